package httpd_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"takd/http/httpd"
)

// people is an Authenticator of names: a certificate's common name, a user whose
// password is "right", a token that is the name.
type people struct {
	mu      sync.Mutex
	revoked map[string]error
	asked   int
}

var roles = map[string]httpd.Role{"admin": httpd.Admin, "writer": httpd.Writer, "user": httpd.User}

func (p *people) who(name, via string) (httpd.Principal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if err := p.revoked[name]; err != nil {
		return httpd.Principal{}, err
	}
	switch name {
	case "invite":
		return httpd.Principal{User: "bob", Role: httpd.User, Via: httpd.ViaInvite}, nil
	case "spent":
		return httpd.Principal{User: "bob", Role: httpd.User, Via: httpd.ViaSpent}, nil
	}
	if role, ok := roles[name]; ok {
		return httpd.Principal{User: name, Role: role, Via: via}, nil
	}
	return httpd.Principal{}, httpd.ErrUnknown
}

func (p *people) Certificate(_ context.Context, chain []*x509.Certificate) (httpd.Principal, error) {
	return p.who(chain[0].Subject.CommonName, "")
}

func (p *people) Password(_ context.Context, user, password string, _ netip.Addr) (httpd.Principal, error) {
	if password != "right" {
		return httpd.Principal{}, httpd.ErrUnknown
	}
	return p.who(user, "")
}

func (p *people) Token(_ context.Context, token string) (httpd.Principal, error) {
	return p.who(token, "")
}

func (p *people) refuse(name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.revoked == nil {
		p.revoked = map[string]error{}
	}
	p.revoked[name] = err
}

// site is a running server.
type site struct {
	testing.TB

	*httpd.Server
	people *people
	urls   map[httpd.Face]string
}

func newSite(t testing.TB, o httpd.Options) *site {
	t.Helper()
	s := &site{TB: t, people: &people{}, urls: map[httpd.Face]string{}}
	o.Auth, o.NodeID, o.Title = s.people, "node-1", "Test"
	if o.Federate == nil {
		o.Federate = s.people.Certificate
	}
	var err error
	if s.Server, err = httpd.New(o); err != nil {
		t.Fatal(err)
	}
	for face, ask := range map[httpd.Face]tls.ClientAuthType{
		httpd.API: tls.RequestClientCert, httpd.Enroll: tls.NoClientCert, httpd.Federation: tls.RequestClientCert,
	} {
		config := &tls.Config{Certificates: []tls.Certificate{certificate(t, "localhost")}, ClientAuth: ask, NextProtos: []string{"http/1.1"}}
		addr, err := s.Listen(face, "127.0.0.1:0", func() *tls.Config { return config })
		if err != nil {
			t.Fatal(err)
		}
		s.urls[face] = "https://" + addr.String()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func certificate(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// client has the certificate of name, none with "".
func (s *site) client(name string) *http.Client {
	s.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if name != "" {
		config.Certificates = []tls.Certificate{certificate(s, name)}
	}
	c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableCompression: true}}
	s.Cleanup(c.CloseIdleConnections)
	return c
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do makes a request; header holds names and values in turn.
func (s *site) do(c *http.Client, method, url, body string, header ...string) answer {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if user := req.Header.Get("User"); user != "" {
		req.Header.Del("User")
		req.SetBasicAuth(user, "right")
	}
	resp, err := c.Do(req)
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

// raw sends bytes and returns all that comes until the connection ends, or the
// first answer where it does not end.
func (s *site) raw(face httpd.Face, text string) (status int, all string, closed bool) {
	s.Helper()
	c := s.dial(face)
	defer c.Close()
	_, _ = io.WriteString(c, text) // the server may have closed by then
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	b, err := io.ReadAll(c)
	var ne net.Error
	closed = !errors.As(err, &ne) || !ne.Timeout()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(b))), nil)
	if err != nil {
		return 0, string(b), closed
	}
	defer resp.Body.Close()
	return resp.StatusCode, string(b), closed
}

func (s *site) dial(face httpd.Face) *tls.Conn {
	s.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	c, err := d.DialContext(s.Context(), "tcp", strings.TrimPrefix(s.urls[face], "https://"))
	if err != nil {
		s.Fatal(err)
	}
	return c.(*tls.Conn)
}

func ok(r *httpd.Request) error {
	r.Text("ok")
	return nil
}
