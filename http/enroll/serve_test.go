package enroll_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"takd/http/enroll"
	"takd/http/httpd"
	"takd/store/auth"
)

// keeper lets the server ask the store, as the real one does.
type keeper struct{ *site }

func (keeper) Certificate(context.Context, []*x509.Certificate) (httpd.Principal, error) {
	return httpd.Principal{}, httpd.ErrUnknown
}

func (k keeper) Password(ctx context.Context, user, password string, from netip.Addr) (httpd.Principal, error) {
	if auth.LooksLikeInvite(password) {
		if p, err := k.invited(ctx, user, password); !errors.Is(err, auth.ErrNotFound) {
			return p, err
		}
	}
	p, err := k.store.Auth.PrincipalForPassword(auth.WithPeer(ctx, from), user, password)
	return conv(p, "password", err)
}

func (k keeper) Token(ctx context.Context, token string) (httpd.Principal, error) {
	if auth.LooksLikeInvite(token) {
		return k.invited(ctx, "", token)
	}
	user, err := k.tokens.Verify(ctx, token)
	if err != nil {
		return conv(auth.Principal{}, "", err)
	}
	p, err := k.store.Auth.Principal(ctx, user)
	return conv(p, "", err)
}

func (k keeper) invited(ctx context.Context, user, token string) (httpd.Principal, error) {
	p, err := k.store.Auth.PrincipalForInvite(ctx, user, token)
	if !errors.Is(err, auth.ErrInviteUsed) && !errors.Is(err, auth.ErrInviteExpired) {
		return conv(p, httpd.ViaInvite, err)
	}
	p, err = k.store.Auth.PrincipalForSpentInvite(ctx, user, token)
	return conv(p, httpd.ViaSpent, err)
}

func conv(p auth.Principal, via string, err error) (httpd.Principal, error) {
	if err != nil {
		return httpd.Principal{}, fmt.Errorf("%w: %w", httpd.ErrUnknown, err)
	}
	role := map[string]httpd.Role{"admin": httpd.Admin, "user": httpd.Writer, "readonly": httpd.User}[p.Role]
	return httpd.Principal{User: p.User, Role: role, In: p.In, Out: p.Out, Via: via}, nil
}

func (s *site) serve(d enroll.Deps, log *slog.Logger) {
	server, err := httpd.New(httpd.Options{Auth: keeper{s}, Routes: enroll.Routes(d), Limits: httpd.Limits{Logins: 1000}, Log: log})
	if err != nil {
		s.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{*s.store.PKI.ServerCertificate()}}
	addr, err := server.Listen(httpd.Enroll, "127.0.0.1:0", func() *tls.Config { return config })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := server.Shutdown(ctx); err != nil {
			s.Error(err)
		}
	})
	_, port, _ := net.SplitHostPort(addr.String())
	s.url = "https://localhost:" + port
}
