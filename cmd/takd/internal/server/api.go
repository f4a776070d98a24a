package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"takd/cmd/takd/internal/config"
	"takd/http/admin"
	"takd/http/enroll"
	"takd/http/files"
	"takd/http/httpd"
	"takd/http/icons"
	"takd/http/live"
	"takd/http/marti"
	"takd/http/profile"
	"takd/http/property"
	"takd/http/tiles"
	"takd/http/ui"
	"takd/http/updates"
	"takd/store/auth"
	"takd/store/blob"
	"takd/store/history"
	"takd/store/icon"
	"takd/store/meta"
	"takd/store/pki"
	propstore "takd/store/property"
	"takd/store/video"
)

// identities lets the HTTP faces ask the store who calls.
type identities struct {
	auth   *auth.Service
	pki    *pki.Authority
	tokens *auth.Tokens
}

// Certificate implements httpd.Authenticator.
func (i identities) Certificate(ctx context.Context, chain []*x509.Certificate) (httpd.Principal, error) {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: i.pki.ClientCAs(), Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return httpd.Principal{}, fmt.Errorf("%w: certificate: %w", httpd.ErrUnknown, err)
	}
	p, err := i.auth.PrincipalForCertificate(ctx, chain[0])
	return caller(p, "certificate", err)
}

// Password implements httpd.Authenticator.
func (i identities) Password(ctx context.Context, user, password string, from netip.Addr) (httpd.Principal, error) {
	if auth.LooksLikeInvite(password) {
		p, err := i.invite(ctx, user, password)
		if !errors.Is(err, httpd.ErrUnknown) || !errors.Is(err, auth.ErrNotFound) {
			return p, err
		}
	}
	p, err := i.auth.PrincipalForPassword(auth.WithPeer(ctx, from), user, password)
	return caller(p, "password", err)
}

// Token implements httpd.Authenticator.
func (i identities) Token(ctx context.Context, token string) (httpd.Principal, error) {
	if auth.LooksLikeInvite(token) {
		return i.invite(ctx, "", token)
	}
	user, err := i.tokens.Verify(ctx, token)
	if err != nil {
		return caller(auth.Principal{}, "", err)
	}
	p, err := i.auth.Principal(ctx, user)
	return caller(p, "", err)
}

// invite is who shows the token of an invitation, open or just spent.
func (i identities) invite(ctx context.Context, user, token string) (httpd.Principal, error) {
	p, err := i.auth.PrincipalForInvite(ctx, user, token)
	if !errors.Is(err, auth.ErrInviteUsed) && !errors.Is(err, auth.ErrInviteExpired) {
		return caller(p, httpd.ViaInvite, err)
	}
	p, err = i.auth.PrincipalForSpentInvite(ctx, user, token)
	return caller(p, httpd.ViaSpent, err)
}

func caller(p auth.Principal, via string, err error) (httpd.Principal, error) {
	switch {
	case err == nil:
	case errors.Is(err, auth.ErrThrottled):
		return httpd.Principal{}, fmt.Errorf("%w: %w", httpd.ErrThrottled, err)
	case errors.Is(err, auth.ErrDisabled):
		return httpd.Principal{}, fmt.Errorf("%w: %w", httpd.ErrRefused, err)
	case errors.Is(err, auth.ErrBadPassword), errors.Is(err, auth.ErrBadToken), errors.Is(err, auth.ErrNotFound), errors.Is(err, auth.ErrRevoked),
		errors.Is(err, auth.ErrInviteUsed), errors.Is(err, auth.ErrInviteExpired), errors.Is(err, meta.ErrInvalid):
		return httpd.Principal{}, fmt.Errorf("%w: %w", httpd.ErrUnknown, err)
	default:
		return httpd.Principal{}, err
	}
	role := map[string]httpd.Role{auth.RoleAdmin: httpd.Admin, auth.RoleUser: httpd.Writer}[p.Role]
	if p.Role != auth.RoleAdmin && p.Role != auth.RoleUser {
		role = httpd.User
	}
	return httpd.Principal{User: p.User, Role: role, In: p.In, Out: p.Out, Serial: p.Serial, Via: via}, nil
}

// api is the API service.
type api struct {
	*httpd.Server

	people *people
	addrs  map[string]net.Addr // by face: "https", "enroll", "federation"
}

// startAPI serves 8443, 8446 and 8444.
func (s *Server) startAPI(ctx context.Context) (stop func(context.Context) error, err error) {
	c := s.cfg.Current().WithDefaults().API
	tokens, err := auth.NewTokens(ctx, s.store.Auth, filepath.Join(s.opts.Data, "pki", "token.key"), s.store.ServerID())
	if err != nil {
		return nil, err
	}
	people := newPeople(s)
	if s.peers, err = openFederates(filepath.Join(s.opts.Data, "pki", federatesFile), func() []string { return s.cfg.Current().API.Federates }); err != nil {
		return nil, err
	}
	server, err := httpd.New(httpd.Options{
		NodeID: s.store.ServerID(), Title: "takd", Limits: c.Limits, Log: s.log, CertificateOnly: c.ClientAuth == config.Required,
		Auth: identities{s.store.Auth, s.store.PKI, tokens}, Routes: s.routes(tokens, people),
		Federate: s.peers.Certificate, Refused: s.callRefused, Busy: s.engine.Busy,
	})
	if err != nil {
		return nil, err
	}
	s.store.Auth.OnChange(func(string) { server.Forget() })
	s.store.PKI.OnRevoke(func(string) { server.Forget() })
	s.store.PKI.OnCAChange(server.Forget)
	enrollTLS, stopPublic, err := s.public(c)
	if err != nil {
		return nil, err
	}
	a := &api{Server: server, addrs: map[string]net.Addr{}, people: people}
	for _, f := range []struct {
		name  string
		which httpd.Face
		addr  string
		tls   func() *tls.Config
	}{
		{"https", httpd.API, first(s.opts.HTTPSAddr, c.Address), s.faceTLS(tls.RequestClientCert)},
		{"enroll", httpd.Enroll, first(s.opts.EnrollAddr, c.Enroll), enrollTLS},
		{"federation", httpd.Federation, first(s.opts.FederationAddr, c.Federation), s.faceTLS(tls.RequestClientCert)},
	} {
		if f.addr == config.Off {
			continue
		}
		addr, err := server.Listen(f.which, f.addr, f.tls)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s address: %w", f.name, err), server.Shutdown(ctx), stopPublic(ctx))
		}
		a.addrs[f.name] = addr
	}
	s.mu.Lock()
	s.api = a
	s.mu.Unlock()
	people.start(context.WithoutCancel(ctx))
	return func(ctx context.Context) error {
		return errors.Join(server.Shutdown(ctx), stopPublic(ctx), people.stop(ctx))
	}, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// faceTLS is the configuration of one face, made once for each state of the
// certificates.
func (s *Server) faceTLS(ask tls.ClientAuthType) func() *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: ask, // checked when somebody calls, so that a refusal can be read
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.store.PKI.ServerCertificate(), nil
		},
	}
	return func() *tls.Config { return config }
}

//go:generate go test . -run ^TestAPIDocument$ -update

// routes is the whole table.
func (s *Server) routes(tokens *auth.Tokens, people *people) []httpd.Route {
	profiles, audit := filepath.Join(s.opts.Data, "profiles"), httpd.NewAudit(s.store.Audit, s.log)
	return slices.Concat(enroll.Routes(enroll.Deps{
		Auth: s.store.Auth, Tokens: tokens, PKI: s.store.PKI, Audit: audit, Log: s.log,
		Profiles: profiles,
		Site:     s.site,
		Options:  func() enroll.Options { return s.cfg.Current().API.Enrollment },
	}), marti.Routes(marti.Deps{
		Live: people, Streams: people, Publish: people.publish, History: s.recorded(), Auth: s.store.Auth, Contact: s.contact, NodeID: s.store.ServerID(), Version: s.opts.Version, Audit: audit, Log: s.log,
		Upload: func() int { return int(s.blobs.Limits().MaxUpload / blob.MiB) },
	}), admin.Routes(admin.Deps{
		Auth: s.store.Auth, PKI: s.store.PKI, Live: people, RemoveUser: s.store.RemoveUser, Audit: audit, AuditLog: s.store.Meta.AuditLog, Log: s.log,
		Backups: s.keeper, Blobs: s.blobs, Retention: s.retain.Load, History: s.recorded(), Period: s.emergencyPeriod, SetPeriod: s.setEmergencyPeriod,
		Injectors: s.injectors, Refusals: s.refusals.list,
		Diagnose: func(ctx context.Context, pem []byte) (admin.Verdict, error) { return diagnose(ctx, s.store, pem) },
		Status:   func() any { return s.Status() }, Metrics: s.writeMetrics, Settings: settings{s.cfg}, LogTail: s.logTail,
	}), files.Routes(files.Deps{
		Store: s.blobs, Videos: video.New(s.store.Meta), Audit: audit, Log: s.log,
	}), profile.Routes(profile.Deps{Dir: profiles, Site: s.apiURL, Publish: people.publish, Audit: audit}),
		property.Routes(property.Deps{Store: propstore.New(s.store.Meta)}),
		icons.Routes(icons.Deps{Store: s.icons(), Audit: audit}),
		tiles.Routes(tiles.Deps{Library: s.tiles, Audit: audit}),
		updates.Routes(updates.Deps{Dir: filepath.Join(s.opts.Data, "packages"), Log: s.log}),
		live.Routes(s.hub(), s.past(), newTalks(s, people)), ui.Routes())
}

// icons are the icon sets, opened once. One that cannot be read is left out.
func (s *Server) icons() *icon.Store {
	if s.iconSets != nil {
		return s.iconSets
	}
	store, err := icon.Open(filepath.Join(s.opts.Data, "icons"))
	if err != nil {
		s.log.Error("icon sets that cannot be read", "error", err)
	}
	s.iconSets = store
	return store
}

// recorded is the history, nil without one.
func (s *Server) recorded() *history.Store {
	if s.archive == nil {
		return nil
	}
	return s.archive.store
}

// hub is the map's, nil where there is no map.
func (s *Server) hub() *live.Hub {
	if s.feed == nil {
		return nil
	}
	return s.feed.hub
}

func (s *Server) emergencyPeriod() time.Duration {
	return s.cfg.Current().Messaging.WithDefaults().EmergencyPeriod
}

func (s *Server) setEmergencyPeriod(d time.Duration) error {
	_, err := s.cfg.Set(map[string]string{"messaging.emergency_period": d.String()})
	return err
}

// site is how clients reach this server now.
func (s *Server) site() enroll.Site {
	site := enroll.Site{Host: s.cfg.Current().Server.Host, Public: s.cfg.Current().API.Public()}
	for _, in := range s.messaging(s.cfg.Current()).Inputs {
		if addr := s.engine.Listeners()[in.Name]; in.Protocol == "tls" && addr != nil {
			site.StreamPort = port(addr)
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.api != nil {
		site.EnrollPort, site.APIPort = port(s.api.addrs["enroll"]), port(s.api.addrs["https"])
	}
	return site
}

// apiURL is where phones reach the API.
func (s *Server) apiURL() string {
	site := s.site()
	return "https://" + net.JoinHostPort(site.Host, strconv.Itoa(site.APIPort))
}

func port(a net.Addr) int {
	if a == nil {
		return 0
	}
	return portOf(a.String())
}

// portOf is the port of host:port; 0 where there is none, or only a name of one.
func portOf(addr string) int {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(p)
	return n
}
