package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// web is a server that counts what is asked of it.
type web struct {
	mu    sync.Mutex
	calls map[string]int   // by method and path
	bytes map[string]int64 // of their bodies
	conns map[string]bool
	fail  bool
}

// ServeHTTP implements http.Handler.
func (s *web) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Method + " " + r.URL.Path
	s.calls[key]++
	s.bytes[key] += n
	s.conns[r.RemoteAddr] = true
	if user, word, ok := r.BasicAuth(); strings.HasSuffix(key, "signClient/v2") && (!ok || user != "admin" || word != "secret") || s.fail {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	_, _ = io.WriteString(w, "answer")
}

func startWeb(t *testing.T) (s *web, addr, certs string) {
	t.Helper()
	s = &web{calls: map[string]int{}, bytes: map[string]int64{}, conns: map[string]bool{}}
	certs = t.TempDir()
	pool, server := authority(t, certs)
	ts := httptest.NewUnstartedServer(s)
	ts.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
	ts.StartTLS()
	t.Cleanup(ts.Close)
	return s, ts.Listener.Addr().String(), certs
}

// Each kind calls its route, over as many connections as it says, and counts what it did.
func TestAPI(t *testing.T) {
	for kind, want := range map[string]struct {
		call  string
		conns int // at least
		body  int64
	}{
		"contacts": {"GET /Marti/api/contacts/all", 3, 0},
		"fresh":    {"GET /Marti/api/contacts/all", 12, 0},
		"enroll":   {"POST /Marti/api/tls/signClient/v2", 3, 12 * 100},
		"package":  {"POST /Marti/sync/missionupload", 3, 12 * 5000},
		"upload":   {"POST /Marti/sync/upload", 1, 5000},
		"search":   {"GET /Marti/sync/search", 3, 0},
		"download": {"GET /file", 1, 0},
	} {
		t.Run(kind, func(t *testing.T) {
			s, addr, certs := startWeb(t)
			c := &apiCmd{Kind: kind, Addr: addr, Certs: certs, Conns: 3, Duration: time.Minute, Count: 12, Size: 5000, User: "admin", Password: "secret", ServerPID: os.Getpid()}
			if kind == "download" {
				c.Path = "/file"
			}
			c.Out = filepath.Join(t.TempDir(), "report.json")
			var out strings.Builder
			if err := c.Run(t.Context(), &out); err != nil {
				t.Fatal(err)
			}
			report, err := os.ReadFile(c.Out)
			if err != nil || !strings.Contains(string(report), `"kind": "`+kind+`"`) {
				t.Errorf("report: %s, %v", report, err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.calls[want.call] != int(c.Count) || len(s.conns) < want.conns || s.bytes[want.call] < want.body {
				t.Errorf("calls %v, bytes %v, over %d connections; want %d of %+v", s.calls, s.bytes, len(s.conns), c.Count, want)
			}
		})
	}
}

// A request that is refused is counted, and the tool says so.
func TestAPIFails(t *testing.T) {
	s, addr, certs := startWeb(t)
	s.fail = true
	c := &apiCmd{Kind: "contacts", Addr: addr, Certs: certs, Conns: 2, Duration: time.Minute, Count: 4, Size: 1}
	var out strings.Builder
	if err := c.Run(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "4 of 4") || !strings.Contains(out.String(), "403") {
		t.Errorf("%v: %s", err, &out)
	}
}
