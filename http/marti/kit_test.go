package marti_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"takd/http/httpd"
	"takd/http/marti"
	"takd/store/auth"
	"takd/store/contact"
	"takd/store/meta"
)

// crowd is who is connected.
type crowd struct {
	all       []marti.Client
	kicked    []uint64
	regrouped []string
	replayed  []string // user and uid
	settle    func()
}

func (c *crowd) Clients() []marti.Client { return slices.Clone(c.all) }

func (c *crowd) Kick(id uint64) bool {
	c.kicked = append(c.kicked, id)
	return slices.ContainsFunc(c.all, func(o marti.Client) bool { return o.ID == id })
}

func (c *crowd) Regroup(_ context.Context, user string) { c.regrouped = append(c.regrouped, user) }

func (c *crowd) Replay(user, uid string) {
	c.replayed = append(c.replayed, user+" "+uid)
}

func (c *crowd) Settle(context.Context) {
	if c.settle != nil {
		c.settle()
	}
}

type site struct {
	testing.TB

	db      *meta.DB
	users   *auth.Service
	contact *contact.Store
	live    *crowd
	echo    *echo
	url     string
	client  *http.Client
	routes  []httpd.Route
}

type nobodyRevoked struct{}

func (nobodyRevoked) IsRevoked(string) bool { return false }

// Certificate implements httpd.Authenticator.
func (*site) Certificate(context.Context, []*x509.Certificate) (httpd.Principal, error) {
	return httpd.Principal{}, httpd.ErrUnknown
}

// Password implements httpd.Authenticator.
func (*site) Password(context.Context, string, string, netip.Addr) (httpd.Principal, error) {
	return httpd.Principal{}, httpd.ErrUnknown
}

// Token implements httpd.Authenticator: the token is the user's name.
func (s *site) Token(ctx context.Context, user string) (httpd.Principal, error) {
	p, err := s.users.Principal(ctx, user)
	role := map[string]httpd.Role{auth.RoleAdmin: httpd.Admin, auth.RoleUser: httpd.Writer, auth.RoleReadonly: httpd.User}[p.Role]
	return httpd.Principal{User: p.User, Role: role, In: p.In, Out: p.Out}, err
}

// newSite has the groups Blue (3) and Red (4), and the users ann and bob (Blue),
// red (Red), view (readonly, receives from Blue) and boss (administrator in no group).
func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{TB: t, live: &crowd{}, echo: newEcho()}
	var err error
	if s.db, err = meta.Open(t.Context(), filepath.Join(t.TempDir(), "meta.db"), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	s.users, s.contact = auth.New(s.db, nobodyRevoked{}, nil), contact.New(s.db)
	blue, red := []string{"Blue"}, []string{"Red"}
	for _, u := range []auth.NewUser{
		{Name: "ann", In: blue, Out: blue},
		{Name: "red", In: red, Out: red},
		{Name: "bob", In: blue, Out: blue},
		{Name: "view", Role: auth.RoleReadonly, Out: blue},
		{Name: "boss", Role: auth.RoleAdmin},
	} {
		if err := s.users.AddUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	s.routes = marti.Routes(marti.Deps{
		Live: s.live, Streams: s.echo, Auth: s.users, Contact: s.contact, NodeID: "node-1", Version: "1.2.3-rc1", Upload: func() int { return 400 },
		Audit: httpd.NewAudit(s.db.Audit, slog.New(slog.DiscardHandler)), Log: slog.New(slog.DiscardHandler),
	})
	server, err := httpd.New(httpd.Options{Auth: s, NodeID: "node-1", Routes: s.routes, Limits: httpd.Limits{Logins: 10_000}})
	if err != nil {
		t.Fatal(err)
	}
	cert := serverCertificate(t)
	addr, err := server.Listen(httpd.Enroll, "127.0.0.1:0", func() *tls.Config { return cert })
	if err != nil {
		t.Fatal(err)
	}
	s.url = "https://" + addr.String()
	s.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (s *site) do(user, method, path, body string) answer {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	if user != "" {
		req.Header.Set("Authorization", "Bearer "+user)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		s.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// want compares status, content type and body, byte by byte.
func (s *site) want(user, method, path, body, want string) answer {
	s.Helper()
	got := s.do(user, method, path, body)
	kind := got.header.Get("Content-Type")
	if text := strings.TrimSpace(fmt.Sprint(got.status, " ", kind, " ", got.body)); text != want {
		s.Errorf("%s %s as %s:\n%s\nwant\n%s", method, path, user, text, want)
	}
	return got
}

const (
	jsonOK = "200 application/json "
	textOK = "200 text/plain "
)

func serverCertificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
