package main

import (
	"crypto/tls"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// feed is a page's end of the live feed that keeps all text it gets.
type feed struct {
	text   syncBuffer
	frames atomic.Uint64 // binary ones
	gone   atomic.Uint64 // tracks taken off
	done   chan struct{}

	mu sync.Mutex // of what is sent
	c  *websocket.Conn
}

func (f *feed) send(v any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.c.WriteJSON(v) // who cannot be written to reads nothing more
}

// watch opens the feed with the certificate of a user.
func (w *world) watch(cert tls.Certificate) *feed {
	w.Helper()
	return w.follow(cert, "live", map[string]any{"t": "hello"})
}

// follow opens the feed or a replay, which begins with hello.
func (w *world) follow(cert tls.Certificate, route string, hello map[string]any) *feed {
	w.Helper()
	d := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}, HandshakeTimeout: patience}
	c, resp, err := d.DialContext(w.Context(), "wss://"+w.srv.Status().Listeners["https"]+"/api/v1/"+route, http.Header{})
	if err != nil {
		w.Fatal(err)
	}
	_ = resp.Body.Close()
	f := &feed{done: make(chan struct{}), c: c}
	f.send(hello)
	go func() {
		defer close(f.done)
		for {
			kind, b, err := c.ReadMessage()
			switch {
			case err != nil:
				return
			case kind == websocket.TextMessage:
				_, _ = f.text.Write(b)
				continue
			case b[1] == 3:
				f.gone.Add(uint64(b[16]))
			}
			f.frames.Add(1)
			f.send(map[string]any{"t": "ack", "seq": uint32(b[4]) | uint32(b[5])<<8})
		}
	}()
	w.Cleanup(func() {
		_ = c.Close()
		<-f.done
	})
	return f
}

func (f *feed) shows(w *world, text string) {
	w.Helper()
	w.until("the map shows "+text, func() bool { return strings.Contains(f.text.String(), text) })
}

// The map shows what the stream carries to its user's groups, and to them alone;
// who leaves, or leaves a group, leaves the map; and so does its viewer.
func TestMapFollowsTheStream(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, u := range []string{"alice", "bob", "view"} {
		w.takd("user", "add", u, "--group", map[string]string{"alice": "Blue", "bob": "Red", "view": "Blue"}[u])
	}
	view := w.certificate("view")
	alice := w.connect("alice", w.certificate("alice"))
	f := w.watch(view)
	f.shows(w, `"uid":"UID-alice"`)
	bob := w.connect("bob", w.certificate("bob"))
	alice.chat("bob", "secret")
	alice.emergency()
	f.shows(w, `"alarm":"911 Alert"`)
	if got := f.text.String(); strings.Contains(got, "bob") || strings.Contains(got, "Red") || strings.Contains(got, "secret") {
		t.Errorf("the map of Blue shows %s", got)
	}
	w.takd("emergency", "cancel", "UID-alice-9-1-1")
	w.until("the emergency ends", func() bool { return f.gone.Load() == 1 })
	w.takd("user", "set", "alice", "--group", "Green")
	w.until("alice leaves Blue", func() bool { return f.gone.Load() == 2 })
	w.takd("user", "set", "bob", "--group", "Blue")
	f.shows(w, `"uid":"UID-bob"`)
	_ = bob.conn.Close()
	w.until("bob leaves", func() bool { return f.gone.Load() == 3 })
	began := time.Now()
	w.takd("cert", "revoke", "view")
	select {
	case <-f.done:
	case <-time.After(patience):
		t.Fatal("a revoked certificate still watches")
	}
	t.Logf("ended after %s", time.Since(began))
}

// An administrator who asks sees every group, which is in the audit log, until he is
// an administrator no more.
func TestMapOfEveryGroup(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.takd("user", "add", "boss", "--role", "admin", "--group", "Blue")
	w.takd("user", "add", "ann", "--group", "Blue")
	w.takd("user", "add", "bob", "--group", "Red")
	w.connect("bob", w.certificate("bob")).position()
	boss, ann := w.watch(w.certificate("boss")), w.watch(w.certificate("ann"))
	for _, f := range []*feed{boss, ann} {
		f.shows(w, `"t":"welcome"`)
		f.send(map[string]any{"t": "all", "on": true})
	}
	boss.shows(w, `"uid":"UID-bob"`)
	select {
	case <-ann.done:
	case <-time.After(patience):
		t.Fatal("a user who asks for every group is still there")
	}
	if got := ann.text.String(); strings.Contains(got, "bob") || strings.Contains(got, "Red") {
		t.Errorf("ann sees %s", got)
	}
	if got := w.takd("audit"); strings.Count(got, "map all groups") != 1 {
		t.Errorf("audit: %s", got)
	}
	w.takd("user", "set", "boss", "--role", "user")
	w.until("bob leaves boss's map", func() bool { return boss.gone.Load() == 1 })
}
