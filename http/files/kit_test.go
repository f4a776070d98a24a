package files_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"mime/multipart"
	"net/http"
	"net/netip"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"takd/http/files"
	"takd/http/httpd"
	"takd/store/blob"
	"takd/store/meta"
	"takd/store/video"
)

type site struct {
	testing.TB

	dir    string
	db     *meta.DB
	store  *blob.Store
	limits blob.Options
	addr   string
	url    string
	client *http.Client
	routes []httpd.Route
}

// people are who may call; the token is the name.
var people = map[string]httpd.Principal{
	"ann":  {User: "ann", Role: httpd.Writer, In: []string{"Blue"}, Out: []string{"Blue"}},
	"bob":  {User: "bob", Role: httpd.Writer, In: []string{"Blue"}, Out: []string{"Blue"}},
	"red":  {User: "red", Role: httpd.Writer, In: []string{"Red"}, Out: []string{"Red"}},
	"both": {User: "both", Role: httpd.Writer, In: []string{"Blue", "Red"}, Out: []string{"Blue", "Red"}},
	"view": {User: "view", Role: httpd.User, Out: []string{"Blue"}},
	"boss": {User: "boss", Role: httpd.Admin},
}

// Certificate implements httpd.Authenticator.
func (*site) Certificate(context.Context, []*x509.Certificate) (httpd.Principal, error) {
	return httpd.Principal{}, httpd.ErrUnknown
}

// Password implements httpd.Authenticator.
func (*site) Password(context.Context, string, string, netip.Addr) (httpd.Principal, error) {
	return httpd.Principal{}, httpd.ErrUnknown
}

// Token implements httpd.Authenticator.
func (*site) Token(_ context.Context, user string) (httpd.Principal, error) {
	p, ok := people[user]
	if !ok {
		return p, httpd.ErrUnknown
	}
	return p, nil
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{TB: t, limits: blob.Options{MinFree: 1}}
	dir := t.TempDir()
	s.dir = dir
	var err error
	if s.db, err = meta.Open(t.Context(), filepath.Join(dir, "meta.db"), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	if s.store, err = blob.Open(t.Context(), s.db, filepath.Join(dir, "blob"), func() blob.Options { return s.limits }, nil); err != nil {
		t.Fatal(err)
	}
	s.routes = files.Routes(files.Deps{Store: s.store, Videos: video.New(s.db), Audit: s.db.Audit, Log: slog.New(slog.DiscardHandler)})
	server, err := httpd.New(httpd.Options{Auth: s, NodeID: "node-1", Routes: s.routes, Limits: httpd.Limits{Logins: 10_000}})
	if err != nil {
		t.Fatal(err)
	}
	cert := serverCertificate(t)
	addr, err := server.Listen(httpd.Enroll, "127.0.0.1:0", func() *tls.Config { return cert })
	if err != nil {
		t.Fatal(err)
	}
	s.addr = addr.String()
	s.url = "https://" + s.addr
	s.client = &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ExpectContinueTimeout: 5 * time.Second, DisableCompression: true}}
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

// do sends a request; headers are "Name: value".
func (s *site) do(user, method, path string, body io.Reader, headers ...string) answer {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, body)
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
	resp, err := s.client.Do(req)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// want compares status and the beginning of the body.
func (s *site) want(status int, begin, user, method, path, body string, headers ...string) answer {
	s.Helper()
	got := s.do(user, method, path, strings.NewReader(body), headers...)
	if got.status != status || !strings.Contains(got.body, begin) {
		s.Errorf("%s %s as %s: %d %.300s; want %d %s", method, path, user, got.status, got.body, status, begin)
	}
	return got
}

// form is one part assetfile, as ATAK sends it.
func form(t testing.TB, name string, data []byte, more ...string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, field := range append([]string{"assetfile"}, more...) {
		part, err := w.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename=%q`, field, name)}, "Content-Type": {"application/x-zip-compressed"},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(data)
	}
	_ = w.Close()
	return b.Bytes(), "Content-Type: " + w.FormDataContentType()
}

// pack uploads a data package and returns its hash.
func (s *site) pack(user, name string, data []byte, query string, headers ...string) string {
	s.Helper()
	body, kind := form(s, name, data)
	got := s.do(user, "POST", "/Marti/sync/missionupload?filename="+name+"&creatorUid=UID-"+user+query, bytes.NewReader(body), append(headers, kind)...)
	hash := hashOf(data)
	if got.status != 200 || !strings.HasSuffix(got.body, "/Marti/sync/content?hash="+hash) || got.header.Get("Content-Type") != "text/plain" {
		s.Fatalf("missionupload: %d %s %s", got.status, got.header.Get("Content-Type"), got.body)
	}
	return hash
}

func hashOf(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

func (s *site) count() int {
	s.Helper()
	n, err := s.store.Count(s.Context(), blob.Viewer{Admin: true}, blob.Query{})
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// rows of the table, as "GET /path".
func (s *site) rows() []string {
	list := make([]string, 0, len(s.routes))
	for i := range s.routes {
		list = append(list, s.routes[i].Method+" "+s.routes[i].Path)
	}
	slices.Sort(list)
	return list
}

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
