package main

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// builtPage fails the test where takd was built without its page.
func builtPage(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join("..", "..", "http", "ui", "dist", "app", "index.html.gz")); err != nil {
		out, err := exec.CommandContext(t.Context(), "make", "-C", filepath.Join("..", ".."), "ui").CombinedOutput()
		t.Fatalf("takd was built without its page; make ui (err %v) has built it now, run the test again:\n%s", err, out)
	}
}

// fetched is an answer without its body.
type fetched struct {
	status int
	header http.Header
}

func (b *browser) fetch(face, path string, head map[string]string) fetched {
	b.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+b.srv.Status().Listeners[face]+path, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	for k, v := range head {
		req.Header.Set(k, v)
	}
	client := *b.http
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	_ = resp.Body.Close()
	return fetched{resp.StatusCode, resp.Header}
}

// The page is there on both ports, for everybody, and may load nothing from elsewhere.
func TestPageIsServed(t *testing.T) {
	t.Parallel()
	builtPage(t)
	w := start(t)
	b := w.browser()
	for _, face := range []string{"https", "enroll"} {
		resp := b.fetch(face, "/", map[string]string{"Accept-Encoding": "br, gzip"})
		csp, h := resp.header.Get("Content-Security-Policy"), resp.header
		if resp.status != http.StatusOK || h.Get("Content-Encoding") != "br" || h.Get("Cache-Control") != "no-cache" || !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %v", face, resp.status, h)
		}
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
			t.Errorf("%s: policy %q", face, csp)
		}
		if again := b.fetch(face, "/", map[string]string{"If-None-Match": h.Get("ETag")}); again.status != 304 {
			t.Errorf("%s: %d for what the browser has", face, again.status)
		}
		_, text := b.call("GET", face, "/", "", "")
		_, name, _ := strings.Cut(text, `src="`)
		name, _, _ = strings.Cut(name, `"`)
		script := b.fetch(face, name, map[string]string{"Accept-Encoding": "gzip"})
		if script.status != http.StatusOK || !strings.Contains(script.header.Get("Cache-Control"), "immutable") || !strings.HasPrefix(script.header.Get("Content-Type"), "text/javascript") ||
			script.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s%s: %d %v", face, name, script.status, script.header)
		}
		for _, path := range []string{"/ui/nothing.js", "/ui/", "/ui", "/ui/../go.mod", "/ui/%2e%2e/ui.go", "/ui/.gitignore", "/ui/index.html.gz", "/nothing"} {
			if got := b.fetch(face, path, nil).status; got != 404 && got != 400 {
				t.Errorf("%s%s: %d", face, path, got)
			}
		}
	}
}

// Addresses of other servers' pages lead to this one.
func TestOldAddressesLeadToThePage(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.takd("user", "add", "alice")
	b := w.browser(w.certificate("alice"))
	for _, path := range []string{"/webtak/index.html", "/webtak/", "/setup/", "/setup", "/Marti/", "/Marti/api/home"} {
		resp := b.fetch("https", path, map[string]string{"Accept": "text/html,*/*"})
		if resp.status != http.StatusFound || resp.header.Get("Location") != "/" {
			t.Errorf("%s: %d to %q", path, resp.status, resp.header.Get("Location"))
		}
	}
	if got := b.want(200, "GET", "https", "/Marti/api/home", "", ""); got != "/" {
		t.Errorf("programs get %q", got)
	}
}
