package enroll_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"takd/http/enroll"
	"takd/http/httpd"
	"takd/store"
	"takd/store/auth"
	"takd/store/pki"
)

// site is a server with its real store.
type site struct {
	data string
	testing.TB

	store  *store.Store
	tokens *auth.Tokens
	opts   enroll.Options
	url    string // of 8446
	http   *http.Client
	log    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fresh holds what store.Init makes: its keys take long, so it is made once.
var fresh = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "enroll-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := store.Init(context.Background(), dir, store.InitOptions{Hosts: []string{"localhost"}, Org: "Test & Org"}); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = os.ReadFile(filepath.Join(dir, path))
		return err
	})
	return files, err
})

func newSite(t testing.TB) *site {
	t.Helper()
	files, err := fresh()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &site{TB: t, log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.data = dir
	if s.store, err = store.Open(t.Context(), store.Options{Dir: dir, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	if s.tokens, err = auth.NewTokens(t.Context(), s.store.Auth, filepath.Join(dir, "pki", "token.key"), s.store.ServerID()); err != nil {
		t.Fatal(err)
	}
	s.http = &http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.store.PKI.ClientCAs(), ServerName: "localhost"}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(s.http.CloseIdleConnections)
	s.serve(enroll.Deps{
		Auth: s.store.Auth, Tokens: s.tokens, PKI: s.store.PKI, Audit: httpd.NewAudit(s.store.Audit, log), Log: log,
		Profiles: filepath.Join(s.data, "profiles"),
		Site:     func() enroll.Site { return enroll.Site{Host: "tak.example.com", Name: "Test, server", APIPort: 9443} },
		Options:  func() enroll.Options { return s.opts },
	}, log)
	return s
}

func (s *site) add(u auth.NewUser) {
	s.Helper()
	if err := s.store.Auth.AddUser(s.Context(), u); err != nil {
		s.Fatal(err)
	}
}

func (s *site) invite(n auth.NewInvite) string {
	s.Helper()
	_, token, err := s.store.Auth.AddInvite(s.Context(), n)
	if err != nil {
		s.Fatal(err)
	}
	return token
}

// call is one request.
type call struct {
	method, path         string // GET; a path of 8446, or a whole URL
	user, password       string // Basic
	bearer, cookie       string
	accept, kind, csrf   string
	body                 []byte
	header               map[string]string
	status               int    // wanted; 0 is 200
	wantKind, wantInBody string // not looked at when empty
}

type answer struct {
	header http.Header
	body   []byte
	status int
}

func (a answer) cookie(t testing.TB) *http.Cookie {
	t.Helper()
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == "access_token" {
			return c
		}
	}
	t.Fatal("no cookie")
	return nil
}

func (s *site) do(c call) answer {
	s.Helper()
	if c.method == "" {
		c.method = http.MethodGet
	}
	if !strings.HasPrefix(c.path, "https:") {
		c.path = s.url + c.path
	}
	req, err := http.NewRequestWithContext(s.Context(), c.method, c.path, bytes.NewReader(c.body))
	if err != nil {
		s.Fatal(err)
	}
	for key, value := range map[string]string{"Accept": c.accept, "Content-Type": c.kind, "X-Requested-With": c.csrf} {
		if value != "" {
			req.Header.Set(key, value)
		}
	}
	for key, value := range c.header {
		req.Header.Set(key, value)
	}
	if c.user != "" {
		req.SetBasicAuth(c.user, c.password)
	}
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	if c.cookie != "" {
		req.AddCookie(&http.Cookie{Name: "access_token", Value: c.cookie})
	}
	resp, err := s.http.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		s.Fatal(err)
	}
	if c.status == 0 {
		c.status = http.StatusOK
	}
	what := fmt.Sprintf("%s %s as %q", c.method, strings.TrimPrefix(c.path, s.url), c.user)
	if resp.StatusCode != c.status {
		s.Errorf("%s: status %d, want %d: %.200s", what, resp.StatusCode, c.status, body)
	}
	if kind := resp.Header.Get("Content-Type"); c.wantKind != "" && kind != c.wantKind {
		s.Errorf("%s: content type %q, want %q", what, kind, c.wantKind)
	}
	if !bytes.Contains(body, []byte(c.wantInBody)) {
		s.Errorf("%s: %.200s; want %q in it", what, body, c.wantInBody)
	}
	return answer{resp.Header, body, resp.StatusCode}
}

// csr makes a request as PEM.
func csr(t testing.TB, name string) []byte {
	t.Helper()
	body, _ := csrKey(t, name)
	return body
}

func csrKey(t testing.TB, name string) ([]byte, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name, Organization: []string{"TAK"}, OrganizationalUnit: []string{"x"}},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), key
}

// parse reads a certificate as clients do: they put the armour around it.
func parse(t testing.TB, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte("-----BEGIN CERTIFICATE-----\n" + text + "-----END CERTIFICATE-----\n"))
	if block == nil {
		t.Fatalf("not base64 of a certificate: %.80q", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantChain checks that a client that knows only the given authorities, and gets
// only the leaf, takes it; and that it logs its holder in.
func (s *site) wantChain(leaf *x509.Certificate, cas []*x509.Certificate, user string) {
	s.Helper()
	pool, inter := x509.NewCertPool(), x509.NewCertPool()
	pool.AddCert(cas[len(cas)-1])
	for _, ca := range cas[:len(cas)-1] {
		inter.AddCert(ca)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: inter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		s.Error(err)
	}
	if root := cas[len(cas)-1]; root.CheckSignatureFrom(root) != nil {
		s.Error("the last authority is not a root")
	}
	p, err := s.store.Auth.PrincipalForCertificate(s.Context(), leaf)
	if err != nil || p.User != user {
		s.Errorf("PrincipalForCertificate = %v, %v; want %s", p, err, user)
	}
}

func (s *site) enrolled(user string) (all []pki.Enrolled) {
	s.Helper()
	list, err := s.store.PKI.ListEnrolled(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range list {
		if e.Kind == "client" && e.Name == user {
			all = append(all, e)
		}
	}
	return all
}
