package server

import (
	"context"
	"crypto/x509"
	"net/netip"

	"takd/netcore"
	"takd/store/auth"
)

// authenticator lets the messaging engine ask the store.
type authenticator struct{ *auth.Service }

// Certificate implements netcore.Authenticator.
func (a authenticator) Certificate(ctx context.Context, leaf *x509.Certificate) (netcore.Principal, error) {
	p, err := a.PrincipalForCertificate(ctx, leaf)
	return netcore.Principal(p), err
}

// Password implements netcore.Authenticator.
func (a authenticator) Password(ctx context.Context, user, password string) (netcore.Principal, error) {
	if addr := peer(ctx); addr.IsValid() {
		ctx = auth.WithPeer(ctx, addr)
	}
	p, err := a.PrincipalForPassword(ctx, user, password)
	return netcore.Principal(p), err
}

// peer is the address of the client that the messaging engine asks about, as far
// as the engine tells.
func peer(context.Context) netip.Addr { return netip.Addr{} }

// link makes changes of the store act on live connections.
func (s *Server) link(ctx context.Context) {
	s.store.PKI.OnCAChange(s.engine.ReloadTLS)
	s.store.PKI.OnRevoke(func(serial string) {
		s.twice.do("serial "+serial, func() {
			if n := s.engine.Kick(netcore.Who{Serial: serial}, "certificate revoked"); n > 0 {
				s.log.Info("clients closed", "serial", serial, "reason", "certificate revoked", "closed", n)
			}
		})
	})
	s.store.Auth.OnChange(func(user string) {
		s.twice.do("user "+user, func() { s.regroup(ctx, user) })
	})
}

// regroup gives the sessions of a user what its account says now.
func (s *Server) regroup(ctx context.Context, user string) {
	p, err := s.store.Auth.Principal(ctx, user)
	if err == nil {
		n := s.engine.SetGroups(user, p.In, p.Out)
		s.log.Debug("user changed", "user", user, "in", p.In, "out", p.Out, "sessions", n)
		return
	}
	// Disabled, removed, or nobody knows: then nobody gets in either.
	if n := s.engine.Kick(netcore.Who{User: user}, err.Error()); n > 0 {
		s.log.Info("clients closed", "user", user, "reason", err, "closed", n)
	}
}
