package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"takd/cmd/takd/internal/cli"
	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/server"
)

// firstStart is the page of a first start, and what asks it.
type firstStart struct {
	*testing.T

	data  string
	base  string // https://127.0.0.1:PORT
	token string
	clock atomic.Int64 // added to the time
	stop  func() (*server.Settled, error)
	made  chan struct{} // closed when Setup has returned
}

func setUp(t *testing.T) *firstStart {
	t.Helper()
	f := &firstStart{T: t, data: filepath.Join(t.TempDir(), "d"), made: make(chan struct{})}
	ready, done := make(chan server.SetupLink, 1), make(chan struct{})
	var settled *server.Settled
	var err error
	go func() {
		defer close(f.made)
		settled, err = server.Setup(context.Background(), done, server.SetupOptions{
			Init:  server.InitOptions{Data: f.data, Hosts: []string{"localhost"}, Org: "takd", Admin: "admin"},
			Given: config.Addresses{Enroll: "127.0.0.1:0"},
			Now:   func() time.Time { return time.Now().Add(time.Duration(f.clock.Load())) },
			Ready: func(l server.SetupLink) { ready <- l },
		})
	}()
	f.stop = func() (*server.Settled, error) {
		select {
		case <-done:
		default:
			close(done)
		}
		<-f.made
		return settled, err
	}
	t.Cleanup(func() { _, _ = f.stop() })
	select {
	case l := <-ready:
		u, perr := url.Parse(l.URLs[0])
		if perr != nil || len(l.URLs) != 1 {
			t.Fatalf("links %v: %v", l.URLs, perr)
		}
		f.base, f.token = "https://"+u.Host, strings.TrimPrefix(u.Fragment, "token=")
	case <-f.made:
		t.Fatalf("Setup: %v", err)
	}
	return f
}

func (f *firstStart) call(method, path, token, body string) (int, string) {
	f.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, f.base+path, strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	c := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (f *firstStart) want(status int, method, path, token, body string) string {
	f.Helper()
	got, text := f.call(method, path, token, body)
	if got != status {
		f.Errorf("%s %s: %d, want %d: %.300s", method, path, got, status, text)
	}
	return text
}

const draft = `{"hosts":["localhost"],"org":"takd","admin":"admin","password":"a good password","addresses":{"cot":":0","https":"off","enroll":":8446","federation":"off","ops":"off"}}`

var setupRoutes = [][2]string{{"GET", "/api/setup"}, {"POST", "/api/setup/check"}, {"POST", "/api/setup/finish"}}

// Nothing but the page is open, and it only to who has the link.
func TestFirstStartIsClosed(t *testing.T) {
	t.Parallel()
	builtPage(t)
	f := setUp(t)
	if len(f.token) < 26 {
		t.Errorf("token of %d characters, want 26 of 5 bits", len(f.token))
	}
	f.want(200, "GET", "/setup", "", "")
	for _, path := range []string{
		"/", "/openapi.json", "/api/docs", "/login", "/oauth/token", "/Marti/api/tls/config", "/Marti/api/version", "/api/admin/users", "/api/v1/invites", "/api/v1/live",
		"/user-management/api/list-users", "/index.html", "/webtak/index.html", "/setup/index.html", "/ui/../setup.go", "/ui/%2e%2e/x", "/api/setup/x", "/api",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			if got, text := f.call(method, path, f.token, ""); got != 404 && got != 400 {
				t.Errorf("%s %s: %d %.200s", method, path, got, text)
			}
		}
	}
	near := f.token[:25] + string(map[bool]byte{true: 'A', false: 'B'}[f.token[25] != 'A'])
	for _, r := range setupRoutes {
		f.want(401, r[0], r[1], "", draft)
		f.want(401, r[0], r[1]+"?token="+f.token, "", draft)
		f.want(401, r[0], r[1], near, draft)
	}
	f.want(405, "GET", "/api/setup/finish", f.token, "")
	for _, body := range []string{"", "{", "[]", "null1", draft + draft, `{"hosts":["a"],"colour":"blue"}`, strings.Repeat(" ", 40<<10) + draft} {
		if got, text := f.call("POST", "/api/setup/finish", f.token, body); got != 400 && got != 413 {
			t.Errorf("body %.30q: %d %s", body, got, text)
		}
	}
	f.want(200, "GET", "/api/setup", f.token, "")
	for range 10 {
		f.call("GET", "/api/setup", near, "")
	}
	f.want(429, "GET", "/api/setup", near, "")
	f.want(429, "GET", "/api/setup", f.token, "") // this address has guessed too often
	if settled, err := f.stop(); settled != nil || err != nil {
		t.Errorf("Setup = %v, %v", settled, err)
	}
	if _, err := os.Stat(f.data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is in the data directory: %v", err)
	}
}

// A link ends after half an hour, and says how to get another.
func TestFirstStartExpires(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.clock.Store(int64(29 * time.Minute))
	f.want(200, "GET", "/api/setup", f.token, "")
	f.clock.Store(int64(31 * time.Minute))
	for _, r := range setupRoutes {
		if text := f.want(410, r[0], r[1], f.token, draft); !strings.Contains(text, "takd run") {
			t.Errorf("%s: %s", r[1], text)
		}
	}
	f.want(401, "GET", "/api/setup", "wrong", "")
}

// What is wrong is told by field, and nothing is made of it.
func TestFirstStartChecks(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	body := `{"hosts":["a b"],"org":"` + strings.Repeat("o", 41) + `","admin":"../x","password":"short","addresses":{"cot":"off","https":"` + taken.Addr().String() +
		`","enroll":"8446","federation":"99999","ops":"127.0.0.1:nonsense"}}`
	var wrong map[string]string
	if err := json.Unmarshal([]byte(f.want(200, "POST", "/api/setup/check", f.token, body)), &wrong); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"hosts", "org", "admin", "password", "addresses.cot", "addresses.https", "addresses.federation", "addresses.ops"} {
		if wrong[field] == "" {
			t.Errorf("nothing wrong with %s: %v", field, wrong)
		}
	}
	if wrong["addresses.enroll"] != "" {
		t.Errorf("what the command line gives is asked: %v", wrong)
	}
	f.want(400, "POST", "/api/setup/finish", f.token, body)
	if _, err := os.Stat(f.data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is in the data directory: %v", err)
	}
}

// A directory with something in it, or with a server, is never set up.
func TestFirstStartOverNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if blank, err := server.Blank(dir); !blank || err != nil {
		t.Errorf("Blank of an empty directory = %v, %v", blank, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := cli.Main(t.Context(), []string{"run", "--data", dir}, cli.IO{In: strings.NewReader(""), Out: &out, Err: &errs})
	if code != 1 || !strings.Contains(errs.String(), "thesis.txt") || out.Len() > 0 {
		t.Errorf("takd run = %d, %s%s", code, &out, &errs)
	}
	made := &world{T: t, data: filepath.Join(t.TempDir(), "d")}
	made.fill()
	if blank, err := server.Blank(made.data); blank || err != nil {
		t.Errorf("Blank of a server's data = %v, %v", blank, err)
	}
	if err := os.Remove(filepath.Join(made.data, "conf", "takd.yaml")); err != nil {
		t.Fatal(err)
	}
	if text, code := made.try("run"); code != 1 || !strings.Contains(text, "takd init --data") {
		t.Errorf("takd run without the configuration = %d, %s", code, text)
	}
}

// On a desktop the link is opened, and Ctrl-C leaves nothing behind.
func TestFirstStartOpensABrowser(t *testing.T) {
	bin, data := t.TempDir(), filepath.Join(t.TempDir(), "d")
	script := "#!/bin/sh\necho \"$1\" > " + filepath.Join(bin, "tmp") + " && mv " + filepath.Join(bin, "tmp") + " " + filepath.Join(bin, "opened") + "\n"
	if err := os.WriteFile(filepath.Join(bin, "xdg-open"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DISPLAY", ":99")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran, out := make(chan int, 1), &syncBuffer{}
	go func() {
		ran <- cli.Main(ctx, []string{"run", "--data", data, "--enroll-addr", "127.0.0.1:0"}, cli.IO{In: strings.NewReader(""), Out: out, Err: out})
	}()
	w := &world{T: t, data: data}
	w.until("a browser", func() bool {
		link, err := os.ReadFile(filepath.Join(bin, "opened"))
		return err == nil && strings.Contains(out.String(), "  "+strings.TrimSpace(string(link))+"\n")
	})
	cancel()
	if code := <-ran; code != 0 {
		t.Errorf("takd run = %d: %s", code, out)
	}
	if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is in the data directory: %v", err)
	}
}

// The whole way in a browser: takd run on nothing, the page, and the server that
// it starts in the same process, until its first device is there.
func TestFirstStartInChromium(t *testing.T) {
	t.Parallel()
	builtPage(t)
	w := &world{T: t, data: filepath.Join(t.TempDir(), "d"), log: &syncBuffer{}}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	ran := make(chan int, 1)
	out := &syncBuffer{}
	go func() {
		ran <- cli.Main(ctx, []string{
			"run", "--data", w.data, "--cot-addr", "127.0.0.1:0", "--enroll-addr", "127.0.0.1:0", "--history", "off",
		}, cli.IO{In: strings.NewReader(""), Out: out, Err: w.log})
	}()
	link := regexp.MustCompile(`https://127\.0\.0\.1:\d+/setup#token=[A-Z2-7]{26}`)
	w.until("the link", func() bool { return link.MatchString(out.String()) })

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	spare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := spare.Addr().String()
	_ = spare.Close()
	now := time.Now()
	ca, leaf, expired := bring(t, "ca", true, now.AddDate(5, 0, 0)), bring(t, "leaf", false, now.AddDate(1, 0, 0)), bring(t, "expired", true, now.Add(-time.Minute))
	page := browse(ctx, t, "setup.mjs", map[string]string{
		"link": strings.Replace(link.FindString(out.String()), "127.0.0.1", "localhost", 1), "taken": taken.Addr().String(), "free": free, "password": "a good password",
		"ca": ca.cert, "caKey": ca.key, "leaf": leaf.cert, "leafKey": leaf.key, "expired": expired.cert,
	})
	invited := page.until(func() bool {
		text, code := w.try("invite", "list", "--json")
		return code == 0 && strings.Contains(text, `"scout"`)
	})
	if invited {
		w.device("scout")
	}
	page.end()
	if t.Failed() {
		t.Logf("takd says:\n%s%s", out, w.log)
	}
	if text := out.String(); strings.Contains(text, "shown only now") || !strings.Contains(text, "Listening:") {
		t.Errorf("takd says:\n%s", text)
	}
	cancel()
	if code := <-ran; code != 0 {
		t.Errorf("takd run ends with %d:\n%s", code, w.log)
	}
}

// device connects a client to a server of which only the data directory is known.
func (w *world) device(name string) {
	w.Helper()
	cert := w.certificate(name)
	var status struct{ Listeners map[string]string }
	if err := json.Unmarshal([]byte(w.takd("status", "--json")), &status); err != nil {
		w.Fatal(err)
	}
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}}
	conn, err := d.DialContext(w.Context(), "tcp", status.Listeners["tls"])
	if err != nil {
		w.Fatal(err)
	}
	w.bind(name, conn)
}
