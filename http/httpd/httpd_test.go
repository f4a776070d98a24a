package httpd_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"takd/http/httpd"
)

// A route that does not say for whom it is would be for somebody by accident.
func TestTableIsChecked(t *testing.T) {
	good := httpd.Route{Method: "GET", Path: "/a", Faces: httpd.API, Role: httpd.User, Handler: ok}
	for name, change := range map[string]func(*httpd.Route){
		"no role": func(r *httpd.Route) { r.Role = 0 }, "bad role": func(r *httpd.Route) { r.Role = 9 }, "no face": func(r *httpd.Route) { r.Faces = 0 },
		"no handler": func(r *httpd.Route) { r.Handler = nil }, "no verb": func(r *httpd.Route) { r.Method = "" }, "small verb": func(r *httpd.Route) { r.Method = "get" },
		"path": func(r *httpd.Route) { r.Path = "a" },
	} {
		r := good
		change(&r)
		if _, err := httpd.New(httpd.Options{Routes: []httpd.Route{r}}); !errors.Is(err, httpd.ErrOptions) {
			t.Errorf("%s: New = %v, want ErrOptions", name, err)
		}
	}
	if _, err := httpd.New(httpd.Options{Routes: []httpd.Route{good, good}}); !errors.Is(err, httpd.ErrOptions) {
		t.Errorf("twice: New = %v, want ErrOptions", err)
	}
	if _, err := httpd.New(httpd.Options{Routes: []httpd.Route{good}}); err != nil {
		t.Errorf("New = %v", err)
	}
}

// Every role of a route, asked by everybody, on every face.
func TestAuthorisation(t *testing.T) {
	var routes []httpd.Route
	need := map[string]httpd.Role{"admin": httpd.Admin, "writer": httpd.Writer, "user": httpd.User, "public": httpd.Public}
	for name, role := range need {
		routes = append(routes, httpd.Route{Method: "GET", Path: "/" + name, Faces: httpd.Everyday, Role: role, Handler: ok})
	}
	routes = append(
		routes,
		httpd.Route{Method: "GET", Path: "/enroll", Faces: httpd.Enroll, Role: httpd.User, Handler: ok},
		httpd.Route{Method: "GET", Path: "/profile", Faces: httpd.Enroll, Role: httpd.User, Spent: true, Handler: ok},
		httpd.Route{Method: "GET", Path: "/files", Faces: httpd.Federation, Role: httpd.User, Handler: ok},
	)
	s := newSite(t, httpd.Options{Routes: routes, Limits: httpd.Limits{Logins: 1000}})
	// Whether each may call admin, writer, user, public, enroll, profile on 8446.
	for caller, want := range map[string]string{
		"":       "401 401 401 200 401 401",
		"nobody": "401 401 401 200 401 401",
		"user":   "403 403 200 200 200 200",
		"writer": "403 200 200 200 200 200",
		"admin":  "200 200 200 200 200 200",
		"invite": "403 403 403 200 200 200",
		"spent":  "401 401 401 200 401 200",
	} {
		var byPassword, byToken []string
		for _, path := range []string{"/admin", "/writer", "/user", "/public", "/enroll", "/profile"} {
			c := s.client("")
			var basic, bearer []string
			if caller != "" {
				basic, bearer = []string{"User", caller}, []string{"Authorization", "Bearer " + caller}
			}
			byPassword = append(byPassword, fmt.Sprint(s.do(c, "GET", s.urls[httpd.Enroll]+path, "", basic...).status))
			byToken = append(byToken, fmt.Sprint(s.do(c, "GET", s.urls[httpd.Enroll]+path, "", bearer...).status))
		}
		if got := strings.Join(byPassword, " "); got != want {
			t.Errorf("%q by password: %s, want %s", caller, got, want)
		}
		if got := strings.Join(byToken, " "); got != want {
			t.Errorf("%q by token: %s, want %s", caller, got, want)
		}
	}
	for caller, want := range map[string]string{
		"": "401 401 401 200 404 404", "nobody": "401 401 401 200 404 404", "user": "403 403 200 200 404 404",
		"writer": "403 200 200 200 404 404", "admin": "200 200 200 200 404 404",
	} {
		var got []string
		for _, path := range []string{"/admin", "/writer", "/user", "/public", "/enroll", "/files"} {
			got = append(got, fmt.Sprint(s.do(s.client(caller), "GET", s.urls[httpd.API]+path, "").status))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q by certificate: %s, want %s", caller, got, want)
		}
	}
	for path, want := range map[string]int{"/files": 401, "/public": 404, "/openapi.json": 404} {
		if got := s.do(s.client(""), "GET", s.urls[httpd.Federation]+path, "", "User", "admin").status; got != want {
			t.Errorf("8444 %s with a password: %d, want %d", path, got, want)
		}
	}
	if got := s.do(s.client("user"), "GET", s.urls[httpd.Federation]+"/files", "").status; got != 200 {
		t.Errorf("8444 with a certificate: %d", got)
	}
}

// Who calls is never what a header says, and with a certificate no header counts.
func TestIdentityIsNotAHeader(t *testing.T) {
	s := newSite(t, httpd.Options{
		CertificateOnly: true,
		Routes:          []httpd.Route{{Method: "GET", Path: "/admin", Faces: httpd.Everyday, Role: httpd.Admin, Handler: ok}},
	})
	forged := []string{"X-Forwarded-User", "admin", "X-User", "admin", "Remote-User", "admin", "X-SSL-Client-CN", "admin", "Cookie", "user=admin"}
	for _, face := range []httpd.Face{httpd.API, httpd.Enroll} {
		if got := s.do(s.client(""), "GET", s.urls[face]+"/admin", "", forged...).status; got != 401 {
			t.Errorf("%s: %d, want 401", face, got)
		}
	}
	if got := s.do(s.client(""), "GET", s.urls[httpd.API]+"/admin", "", "User", "admin"); got.status != 401 || !strings.Contains(got.body, "wants a client certificate") {
		t.Errorf("password on 8443: %+v", got)
	}
	if got := s.do(s.client("user"), "GET", s.urls[httpd.API]+"/admin", "", "Authorization", "Bearer admin").status; got != 403 {
		t.Errorf("a user with an administrator's token: %d, want 403", got)
	}
}

// A session's cookie alone changes nothing: another site can have it sent.
func TestCrossSiteWrites(t *testing.T) {
	s := newSite(t, httpd.Options{Routes: []httpd.Route{
		{Method: "GET", Path: "/x", Faces: httpd.Enroll, Role: httpd.User, Handler: ok}, {Method: "POST", Path: "/x", Faces: httpd.Enroll, Role: httpd.User, Handler: ok},
	}})
	url, c := s.urls[httpd.Enroll]+"/x", s.client("")
	for _, tc := range []struct {
		method string
		header []string
		want   int
	}{
		{"GET", []string{"Cookie", "access_token=user"}, 200},
		{"POST", []string{"Cookie", "access_token=user"}, 403},
		{"POST", []string{"Cookie", "access_token=user", "X-Requested-With", "takd"}, 200},
		{"POST", []string{"Authorization", "Bearer user"}, 200},
	} {
		if got := s.do(c, tc.method, url, "", tc.header...).status; got != tc.want {
			t.Errorf("%s %v: %d, want %d", tc.method, tc.header, got, tc.want)
		}
	}
}

// Revoking and disabling hold for a kept connection, too.
func TestRevokedOnAKeptConnection(t *testing.T) {
	s := newSite(t, httpd.Options{Routes: []httpd.Route{{Method: "GET", Path: "/x", Faces: httpd.API, Role: httpd.User, Handler: ok}}})
	for name, why := range map[string]error{"user": httpd.ErrUnknown, "writer": httpd.ErrRefused} {
		c := s.client(name)
		for range 3 {
			if got := s.do(c, "GET", s.urls[httpd.API]+"/x", ""); got.status != 200 {
				t.Fatalf("%s: %+v", name, got)
			}
		}
		s.people.refuse(name, why)
		s.Forget()
		got := s.do(c, "GET", s.urls[httpd.API]+"/x", "")
		if got.status != 401 || !strings.Contains(got.body, "org.springframework.security.authentication.BadCredentialsException") {
			t.Errorf("%s after %v: %+v, want 401 in words that clients know", name, why, got)
		}
	}
	if s.people.asked > 4 {
		t.Errorf("asked %d times for 8 requests: want once for each connection and change", s.people.asked)
	}
}

func TestLoginThrottle(t *testing.T) {
	login := func(r *httpd.Request) error {
		if string(r.QueryArgs().Peek("password")) != "right" {
			return httpd.Unauthorized("Bad credentials")
		}
		return ok(r)
	}
	s := newSite(t, httpd.Options{Limits: httpd.Limits{Logins: 3}, Routes: []httpd.Route{
		{Method: "GET", Path: "/x", Faces: httpd.Everyday, Role: httpd.User, Handler: ok},
		{Method: "GET", Path: "/login", Faces: httpd.Everyday, Role: httpd.Public, Login: true, Handler: login},
		{Method: "GET", Path: "/open", Faces: httpd.Everyday, Role: httpd.Public, Handler: ok},
	}})
	c, url := s.client(""), s.urls[httpd.Enroll]
	for i, path := range []string{"/x", "/login", "/login"} {
		if got := s.do(c, "GET", url+path, "", map[bool][]string{true: {"User", "nobody"}}[i == 0]...).status; got != 401 {
			t.Errorf("try %d: %d, want 401", i, got)
		}
	}
	for _, path := range []string{"/x", "/login?password=right"} {
		got := s.do(c, "GET", url+path, "", map[bool][]string{true: {"User", "user"}}[path == "/x"]...)
		if got.status != 429 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s after three failures: %d, Retry-After %q; want 429", path, got.status, got.header.Get("Retry-After"))
		}
	}
	if got := s.do(c, "GET", url+"/open", "").status; got != 200 {
		t.Errorf("a route without a login: %d", got)
	}
	if got := s.do(s.client("user"), "GET", s.urls[httpd.API]+"/x", "").status; got != 200 {
		t.Errorf("by certificate from that address: %d", got)
	}
	var b bytes.Buffer
	s.WriteMetrics(&b)
	if !strings.Contains(b.String(), "takd_http_logins_throttled_total 2") {
		t.Errorf("metrics: %s", b.String())
	}
}

func TestBodies(t *testing.T) {
	echo := func(r *httpd.Request) error {
		r.Text(fmt.Sprint(len(r.PostBody())))
		return nil
	}
	stream := func(r *httpd.Request) error {
		n, err := io.Copy(io.Discard, r.Body())
		r.Text(fmt.Sprint(n))
		return err
	}
	s := newSite(t, httpd.Options{Routes: []httpd.Route{
		{Method: "POST", Path: "/small", Faces: httpd.Enroll, Role: httpd.Public, MaxBody: 10, Handler: echo},
		{Method: "POST", Path: "/usual", Faces: httpd.Enroll, Role: httpd.Public, Handler: echo},
		{Method: "POST", Path: "/large", Faces: httpd.Enroll, Role: httpd.Public, MaxBody: 4 << 20, Handler: echo},
		{Method: "POST", Path: "/stream", Faces: httpd.Enroll, Role: httpd.Public, MaxBody: 4 << 20, Stream: true, Handler: stream},
	}})
	c := s.client("")
	for _, tc := range []struct {
		path string
		size int
		want string
	}{
		{"/small", 10, "200 10"},
		{"/small", 11, "413 want at most 10"},
		{"/usual", 1 << 20, "200 1048576"},
		{"/usual", 1<<20 + 1, "413 want at most 1048576"},
		{"/large", 3 << 20, "200 3145728"},
		{"/stream", 4 << 20, "200 4194304"},
		{"/stream", 4<<20 + 1, "413 want at most 4194304"},
	} {
		got := s.do(c, "POST", s.urls[httpd.Enroll]+tc.path, strings.Repeat("x", tc.size))
		status, text, _ := strings.Cut(tc.want, " ")
		if fmt.Sprint(got.status) != status || !strings.Contains(got.body, text) {
			t.Errorf("%s with %d bytes: %d %s, want %s", tc.path, tc.size, got.status, got.body, tc.want)
		}
	}
	chunked := "POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n"
	if status, all, closed := s.raw(httpd.Enroll, chunked); status != 413 || !closed {
		t.Errorf("chunks above the limit: %d, closed %v: %s", status, closed, all)
	}
}

func TestAnswers(t *testing.T) {
	long := strings.Repeat(`{"callsign":"ALPHA"},`, 200)
	s := newSite(t, httpd.Options{Routes: []httpd.Route{
		{Method: "GET", Path: "/x", Faces: httpd.Enroll, Role: httpd.Public, Handler: func(r *httpd.Request) error { return r.Envelope("T", []int{1}) }},
		{Method: "GET", Path: "/long", Faces: httpd.Enroll, Role: httpd.Public, Handler: func(r *httpd.Request) error { r.Text(long); return nil }},
		{Method: "PUT", Path: "/x", Faces: httpd.Enroll, Role: httpd.Public, Handler: ok},
		{Method: "GET", Path: "/of/{name}/x", Faces: httpd.Enroll, Role: httpd.Public, Handler: func(r *httpd.Request) error { r.Text(r.Param("name")); return nil }},
		{Method: "GET", Path: "/panic", Faces: httpd.Enroll, Role: httpd.Public, Handler: func(*httpd.Request) error { panic("on purpose") }},
		{Method: "GET", Path: "/error", Faces: httpd.Enroll, Role: httpd.Public, Handler: func(*httpd.Request) error { return errors.New("secret path /etc") }},
	}})
	c, url := s.client(""), s.urls[httpd.Enroll]
	got := s.do(c, "GET", url+"/x", "")
	if want := `{"version":"3","type":"T","data":[1],"nodeId":"node-1"}`; got.body != want || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("envelope %q %q, want %q", got.header.Get("Content-Type"), got.body, want)
	}
	tag, id := got.header.Get("ETag"), got.header.Get("X-Request-Id")
	if got.header.Get("Strict-Transport-Security") != "max-age=63072000" || got.header.Get("X-Content-Type-Options") != "nosniff" || tag == "" || id == "" {
		t.Errorf("headers %v", got.header)
	}
	got = s.do(c, "GET", url+"/x", "", "If-None-Match", tag, "X-Request-Id", "mine")
	if got.status != 304 || got.body != "" || got.header.Get("X-Request-Id") == id || got.header.Get("X-Request-Id") == "mine" {
		t.Errorf("again with its tag: %+v", got)
	}
	for _, tc := range []struct{ method, path, allow, want string }{
		{"GET", "/none", "", `404 {"status":"NOT_FOUND","code":1,"message":"Not Found: there is no such path"}`},
		{"DELETE", "/x", "GET, HEAD, PUT", `405 {"status":"METHOD_NOT_ALLOWED","code":2,"message":"Method Not Allowed"}`},
		{"GET", "/panic", "", `500 {"status":"INTERNAL_SERVER_ERROR","code":5,"message":"Internal Server Error"}`},
		{"GET", "/error", "", `500 {"status":"INTERNAL_SERVER_ERROR","code":5,"message":"Internal Server Error"}`},
		{"GET", "/of/Blue%20Team%25/x", "", "200 Blue Team%"},
		{"GET", "/x/", "", `200 {"version":"3","type":"T","data":[1],"nodeId":"node-1"}`},
		{"HEAD", "/x", "", "200 "},
	} {
		got := s.do(c, tc.method, url+tc.path, "")
		if text := fmt.Sprint(got.status, " ", got.body); text != tc.want || got.header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: %s, want %s", tc.method, tc.path, text, tc.want)
		}
		allow := strings.Split(got.header.Get("Allow"), ", ")
		for _, m := range strings.Split(tc.allow, ", ") {
			if tc.allow != "" && !strings.Contains(strings.Join(allow, " "), m) {
				t.Errorf("%s %s: Allow %q, want %s", tc.method, tc.path, allow, tc.allow)
			}
		}
	}
	for accept, coding := range map[string]string{
		"": "", "gzip": "gzip", "deflate,gzip": "gzip", "gzip;q=0": "", "gzip, zstd": "zstd", "GZIP;q=0.5, br": "gzip", "zstd;q=0, gzip": "gzip", "gzipped": "",
	} {
		got := s.do(c, "GET", url+"/long", "", "Accept-Encoding", accept)
		if got.header.Get("Content-Encoding") != coding || got.header.Get("Vary") != "Accept-Encoding" || unpack(t, coding, got.body) != long {
			t.Errorf("Accept-Encoding %q: %q, %d bytes; want %q", accept, got.header.Get("Content-Encoding"), len(got.body), coding)
		}
	}
}

func unpack(t *testing.T, coding, body string) string {
	t.Helper()
	var r io.Reader = strings.NewReader(body)
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zstd":
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The access log tells a request by its id, and never its query.
func TestAccessLog(t *testing.T) {
	var log lockedBuffer
	s := newSite(t, httpd.Options{
		Log:    slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Routes: []httpd.Route{{Method: "GET", Path: "/x", Faces: httpd.Enroll, Role: httpd.Public, Handler: ok}},
	})
	id := s.do(s.client(""), "GET", s.urls[httpd.Enroll]+"/x?password=hunter2", "").header.Get("X-Request-Id")
	if text := log.String(); !strings.Contains(text, "id="+id) || strings.Contains(text, "hunter2") {
		t.Errorf("log: %s", text)
	}
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

// The document has every row of the table, and is for whoever may call something.
func TestOpenAPI(t *testing.T) {
	s := newSite(t, httpd.Options{Routes: []httpd.Route{
		{Method: "PUT", Path: "/Marti/api/x/{name}", Faces: httpd.Everyday, Role: httpd.Writer, Tag: "X", Summary: "Do <it>.", Query: []string{"clientUid"}, Handler: ok},
	}})
	c, url := s.client(""), s.urls[httpd.Enroll]
	if got := s.do(c, "GET", url+"/openapi.json", "").status; got != 401 {
		t.Errorf("without credentials: %d", got)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Parameters  []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal([]byte(s.do(c, "GET", url+"/openapi.json", "", "User", "user").body), &doc); err != nil {
		t.Fatal(err)
	}
	op := doc.Paths["/Marti/api/x/{name}"]["put"]
	if doc.OpenAPI != "3.1.0" || op.OperationID != "put_Marti_api_x_name" || len(op.Parameters) != 2 || op.Parameters[0].In != "path" || op.Parameters[1].Name != "clientUid" {
		t.Errorf("%+v", doc)
	}
	if len(doc.Paths) != 3 {
		t.Errorf("%d paths, want 3", len(doc.Paths))
	}
	page := s.do(c, "GET", url+"/api/docs", "", "User", "user")
	if page.status != 200 || !strings.Contains(page.body, "PUT /Marti/api/x/{name}") || !strings.Contains(page.body, "Do &lt;it&gt;.") {
		t.Errorf("page: %d %s", page.status, page.body)
	}
}

// HTTP/2 is not offered: clients that get it send no Host.
func TestProtocol(t *testing.T) {
	s := newSite(t, httpd.Options{})
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}}
	c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.urls[httpd.Enroll], "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("protocol %q", got)
	}
}

// Shutting down does not wait for idle connections, and cuts off what is slow.
func TestShutdown(t *testing.T) {
	s := newSite(t, httpd.Options{Routes: []httpd.Route{{Method: "GET", Path: "/x", Faces: httpd.Enroll, Role: httpd.Public, Handler: ok}}})
	c := s.client("")
	s.do(c, "GET", s.urls[httpd.Enroll]+"/x", "")
	slow := s.dial(httpd.Enroll)
	defer slow.Close()
	_, _ = io.WriteString(slow, "GET /x HTTP/1.1\r\n")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	if err := s.Shutdown(ctx); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("Shutdown = %v after %s", err, time.Since(began))
	}
	if _, err := http.Get(s.urls[httpd.Enroll] + "/x"); err == nil { //nolint:bodyclose,noctx // there is none
		t.Error("it still answers")
	}
}

// Stopping right after the start does not wait for ever.
func TestShutdownAtOnce(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t, "localhost")}}
	for range 200 {
		s, err := httpd.New(httpd.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Listen(httpd.Enroll, "127.0.0.1:0", func() *tls.Config { return config }); err != nil {
			t.Fatal(err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A client's certificate opens nothing on the port of federated servers, and a
// server's nothing elsewhere.
func TestFederation(t *testing.T) {
	s := newSite(t, httpd.Options{
		Routes: []httpd.Route{
			{Method: "GET", Path: "/files", Faces: httpd.Federation, Role: httpd.User, Handler: ok},
			{Method: "GET", Path: "/all", Faces: httpd.Everyday, Role: httpd.User, Handler: ok},
		},
		Federate: func(_ context.Context, chain []*x509.Certificate) (httpd.Principal, error) {
			if chain[0].Subject.CommonName != "peer" {
				return httpd.Principal{}, httpd.ErrUnknown
			}
			return httpd.Principal{User: "federate peer", Role: httpd.User}, nil
		},
	})
	for _, tc := range []struct {
		name, path string
		face       httpd.Face
		want       int
	}{
		{"peer", "/files", httpd.Federation, 200},
		{"admin", "/files", httpd.Federation, 401},
		{"", "/files", httpd.Federation, 401},
		{"peer", "/all", httpd.Federation, 404},
		{"peer", "/all", httpd.API, 401},
		{"admin", "/all", httpd.API, 200},
		{"admin", "/files", httpd.API, 404},
	} {
		if got := s.do(s.client(tc.name), "GET", s.urls[tc.face]+tc.path, "").status; got != tc.want {
			t.Errorf("%s: %s on %v = %d, want %d", tc.name, tc.path, tc.face, got, tc.want)
		}
	}
}
