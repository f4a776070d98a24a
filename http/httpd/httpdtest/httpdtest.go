// Package httpdtest serves a table of routes to tests, over TLS on loopback. Who
// calls shows his name as a token.
package httpdtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"takd/http/httpd"
)

// People are who may call.
var People = map[string]httpd.Principal{
	"ann":  {User: "ann", Role: httpd.Writer, In: []string{"Blue"}, Out: []string{"Blue"}},
	"bob":  {User: "bob", Role: httpd.Writer, In: []string{"Blue"}, Out: []string{"Blue"}},
	"both": {User: "both", Role: httpd.Writer, In: []string{"Blue", "Red"}, Out: []string{"Blue", "Red"}},
	"red":  {User: "red", Role: httpd.Writer, In: []string{"Red"}, Out: []string{"Red"}},
	"view": {User: "view", Role: httpd.User, Out: []string{"Blue"}},
	"boss": {User: "boss", Role: httpd.Admin},
}

// Token tells who shows a token.
type Token func(ctx context.Context, token string) (httpd.Principal, error)

type authenticator struct{ token Token }

func (authenticator) Certificate(context.Context, []*x509.Certificate) (httpd.Principal, error) {
	return httpd.Principal{}, httpd.ErrUnknown
}

func (authenticator) Password(context.Context, string, string, netip.Addr) (httpd.Principal, error) {
	return httpd.Principal{}, httpd.ErrUnknown
}

func (a authenticator) Token(ctx context.Context, token string) (httpd.Principal, error) {
	return a.token(ctx, token)
}

func person(_ context.Context, user string) (httpd.Principal, error) {
	p, ok := People[user]
	if !ok {
		return p, httpd.ErrUnknown
	}
	return p, nil
}

// Site is a running server.
type Site struct {
	testing.TB

	URL    string // https://Addr
	Addr   string
	Client *http.Client
}

// New serves routes to People until the test ends.
func New(t testing.TB, routes []httpd.Route) *Site {
	t.Helper()
	return NewFor(t, person, routes)
}

// NewFor is New for other callers than People.
func NewFor(t testing.TB, token Token, routes []httpd.Route) *Site {
	t.Helper()
	server, err := httpd.New(httpd.Options{Auth: authenticator{token}, NodeID: "node-1", Routes: routes, Limits: httpd.Limits{Logins: 10_000}})
	if err != nil {
		t.Fatal(err)
	}
	config := certificate(t)
	addr, err := server.Listen(httpd.Enroll, "127.0.0.1:0", func() *tls.Config { return config })
	if err != nil {
		t.Fatal(err)
	}
	s := &Site{TB: t, URL: "https://" + addr.String(), Addr: addr.String()}
	s.Client = &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true, ExpectContinueTimeout: 5 * time.Second, //nolint:gosec // a test's own server
	}}
	t.Cleanup(func() {
		s.Client.CloseIdleConnections()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"http/1.1"}}
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Do is Send for a body that is text.
func (s *Site) Do(user, method, path, body string, headers ...string) Answer {
	s.Helper()
	return s.Send(user, method, path, strings.NewReader(body), headers...)
}

// Send sends a request; headers are "Name: value".
func (s *Site) Send(user, method, path string, body io.Reader, headers ...string) Answer {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.URL+path, body)
	if err != nil {
		s.Fatal(err)
	}
	if user != "" {
		req.Header.Set("Authorization", "Bearer "+user)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		s.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, string(text)}
}

// Want is Do for an answer with that status.
func (s *Site) Want(status int, user, method, path, body string, headers ...string) Answer {
	s.Helper()
	a := s.Do(user, method, path, body, headers...)
	if a.Status != status {
		s.Errorf("%s %s as %q: %d, want %d: %.300s", method, path, user, a.Status, status, a.Body)
	}
	return a
}
