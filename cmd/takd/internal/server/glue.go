package server

import (
	"context"
	"crypto/x509"

	"takd/netcore"
	"takd/store/auth"
	"takd/store/contact"
)

// authenticator lets the messaging engine ask the store: who it is, and which of
// its groups are switched on.
type authenticator struct {
	*auth.Service
	contact *contact.Store
}

// Certificate implements netcore.Authenticator.
func (a authenticator) Certificate(ctx context.Context, leaf *x509.Certificate) (netcore.Principal, error) {
	p, err := a.PrincipalForCertificate(ctx, leaf)
	return a.active(ctx, p, err)
}

// Password implements netcore.Authenticator.
func (a authenticator) Password(ctx context.Context, user, password string) (netcore.Principal, error) {
	p, err := a.PrincipalForPassword(ctx, user, password)
	return a.active(ctx, p, err)
}

func (a authenticator) active(ctx context.Context, p auth.Principal, err error) (netcore.Principal, error) {
	if err == nil && a.contact != nil {
		p.In, p.Out, err = a.contact.Active(ctx, p.User, "", p.In, p.Out)
	}
	return netcore.Principal(p), err
}

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
		if p.In, p.Out, err = s.live(ctx, p); err != nil {
			s.log.Error("groups not changed", "user", user, "error", err)
			return
		}
		n := s.engine.SetGroups(user, p.In, p.Out)
		s.log.Debug("user changed", "user", user, "in", p.In, "out", p.Out, "sessions", n)
		return
	}
	// Disabled, removed, or nobody knows: then nobody gets in either.
	if n := s.engine.Kick(netcore.Who{User: user}, err.Error()); n > 0 {
		s.log.Info("clients closed", "user", user, "reason", err, "closed", n)
	}
}
