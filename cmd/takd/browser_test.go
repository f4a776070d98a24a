package main

import (
	"context"
	"io"
	"path/filepath"
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

	keys := t.TempDir()
	w.takd("cert", "issue", "bob", "--ecdsa", "--out", keys)
	w.takd("package", "bob", "--host", "localhost", "--out", filepath.Join(keys, "plans.zip"))
	chromium(t, "run.mjs", map[string]string{
		"enroll": w.site("enroll"), "api": w.site("https"), "password": "a good password",
		"cert": filepath.Join(keys, "bob.pem"), "key": filepath.Join(keys, "bob.key"), "zip": filepath.Join(keys, "plans.zip"),
	})
}

// hostileEvents are positions whose texts would be markup.
func hostileEvents() string {
	now := time.Now().UTC()
	stamp := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }
	return `<event version="2.0" uid="UID-mallory" type="a-h-G-U-C-I" how="m-g" time="` + stamp(now) + `" start="` + stamp(now) + `" stale="` + stamp(now.Add(time.Minute)) +
		`"><point lat="50.1" lon="14.4" hae="9999999" ce="5" le="5"/><detail><contact callsign="&lt;img src=x onerror=alert(1)&gt;" endpoint="*:-1:stcp"/>` +
		`<remarks>&lt;script&gt;alert(1)&lt;/script&gt;</remarks></detail></event>`
}
