package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An operator's browser, a real one: it logs in by password and by certificate, and
// uses each page. What the browser calls an error, and any request to another
// origin, fails the test.
func TestPageInChromium(t *testing.T) {
	t.Parallel()
	builtPage(t)
	w := record(t)
	w.aged(0, 3, 9, 20, 40)
	secret := w.secretFile("a good password")
	w.takd("user", "add", "root", "--role", "admin", "--group", "Blue", "--password-file", secret)
	w.takd("user", "add", "red", "--group", "Red", "--password-file", secret)
	for user, group := range map[string]string{"alice": "Blue", "bob": "Blue", "eve": "Red", "mallory": "Blue", "gus": "Blue"} {
		w.takd("user", "add", user, "--group", group)
	}
	alice := w.connect("alice", w.certificate("alice"))
	eve := w.connect("eve", w.certificate("eve"))
	w.connect("gus", w.certificate("gus")) // who will be disconnected
	hostile := w.connect("mallory", w.certificate("mallory"))
	walk, end := context.WithCancel(t.Context())
	walked := make(chan struct{})
	go func() {
		defer close(walked)
		for i := 0; walk.Err() == nil; i++ {
			alice.position()
			eve.position()
			_, _ = io.WriteString(hostile.conn, hostileEvents())
			select {
			case <-time.After(500 * time.Millisecond):
			case <-walk.Done():
			}
		}
	}()
	defer func() {
		end()
		<-walked
	}()
	alice.emergency()

	w.takd("cert", "issue", "soonover", "--ecdsa", "--validity", "200h", "--out", t.TempDir())
	keys := t.TempDir()
	w.takd("cert", "issue", "bob", "--ecdsa", "--out", keys)
	w.takd("package", "bob", "--host", "localhost", "--out", filepath.Join(keys, "plans.zip"))
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	page := browse(ctx, t, "run.mjs", map[string]string{
		"enroll": w.site("enroll"), "api": w.site("https"), "password": "a good password", "dir": keys,
		"cert": filepath.Join(keys, "bob.pem"), "key": filepath.Join(keys, "bob.key"), "zip": filepath.Join(keys, "plans.zip"),
	})
	if page.until(written(keys, "token")) { // the device that is invited
		token, err := os.ReadFile(filepath.Join(keys, "token"))
		if err != nil {
			t.Fatal(err)
		}
		cert := w.browser().enroll("dave", string(token), "UID-dave")
		if page.until(written(keys, "connect")) {
			w.connect("dave", cert)
		}
	}
	page.end()
}

// script is one of http/ui/browser under way.
type script struct {
	*testing.T

	said  bytes.Buffer
	ended chan error
}

// browse runs a script, which finds site in its environment.
func browse(ctx context.Context, t *testing.T, name string, site map[string]string) *script {
	t.Helper()
	text, err := json.Marshal(site)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{T: t, ended: make(chan error, 1)}
	cmd := exec.CommandContext(ctx, "node", filepath.Join("browser", name))
	cmd.Dir = filepath.Join("..", "..", "http", "ui")
	cmd.Env = append(os.Environ(), "TAKD="+string(text))
	cmd.Stdout, cmd.Stderr = &s.said, &s.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- cmd.Wait() }()
	return s
}

// site is the address of a listener, as a browser has it.
func (w *world) site(name string) string {
	w.Helper()
	_, port, err := net.SplitHostPort(w.srv.Status().Listeners[name])
	if err != nil {
		w.Fatal(err)
	}
	return "https://localhost:" + port
}

// until waits until ok; false when the script has ended before.
func (s *script) until(ok func() bool) bool {
	for !ok() {
		select {
		case err := <-s.ended:
			s.ended <- err
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true
}

// end waits for the end of the script and fails the test with what it says.
func (s *script) end() {
	s.Helper()
	if err := <-s.ended; err != nil || !strings.Contains(s.said.String(), " steps\n") {
		s.Errorf("%v:\n%s", err, &s.said)
	}
}

// written tells whether the script has written a file.
func written(dir, name string) func() bool {
	return func() bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
}

// hostileEvents are positions whose texts would be markup.
func hostileEvents() string {
	now := time.Now().UTC()
	stamp := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }
	return `<event version="2.0" uid="UID-mallory" type="a-h-G-U-C-I" how="m-g" time="` + stamp(now) + `" start="` + stamp(now) + `" stale="` + stamp(now.Add(time.Minute)) +
		`"><point lat="50.1" lon="14.4" hae="9999999" ce="5" le="5"/><detail><contact callsign="&lt;img src=x onerror=alert(1)&gt;" endpoint="*:-1:stcp"/>` +
		`<remarks>&lt;script&gt;alert(1)&lt;/script&gt;</remarks></detail></event>`
}
