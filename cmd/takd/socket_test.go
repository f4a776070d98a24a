package main

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"google.golang.org/protobuf/proto"

	"takd/cot/takpb"
)

// page is a browser's page with an open stream.
type page struct {
	*world

	ws   *websocket.Conn
	mu   sync.Mutex
	got  []*takpb.CotEvent
	done chan struct{}
}

// page opens the stream on a face, with a cookie or a certificate.
func (w *world) page(face string, header http.Header, certs ...tls.Certificate) *page {
	w.Helper()
	d := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certs}, HandshakeTimeout: patience}
	ws, resp, err := d.DialContext(w.Context(), "wss://"+w.srv.Status().Listeners[face]+"/takproto/1", header)
	if resp != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		w.Fatal(err)
	}
	p := &page{world: w, ws: ws, done: make(chan struct{})}
	go p.read()
	w.Cleanup(func() {
		_ = ws.Close()
		<-p.done
	})
	return p
}

func (p *page) read() {
	defer close(p.done)
	for {
		_, b, err := p.ws.ReadMessage()
		if err != nil {
			return
		}
		size, n := binary.Uvarint(b[1:])
		m := new(takpb.TakMessage)
		if b[0] != 0xBF || int(size) != len(b)-1-n || proto.Unmarshal(b[1+n:], m) != nil {
			p.Errorf("message % x", b[:min(len(b), 32)])
			continue
		}
		p.mu.Lock()
		p.got = append(p.got, m.CotEvent)
		p.mu.Unlock()
	}
}

// send sends an event as a browser would.
func (p *page) send(uid, kind, detail string, contact *takpb.Contact) {
	p.Helper()
	now := uint64(time.Now().UnixMilli())
	b, err := proto.Marshal(&takpb.TakMessage{CotEvent: &takpb.CotEvent{
		Type: kind, Uid: uid, How: "h-e", SendTime: now, StartTime: now, StaleTime: now + 60_000, Lat: 48, Lon: 11, Hae: 1, Ce: 1, Le: 1,
		Detail: &takpb.Detail{XmlDetail: detail, Contact: contact},
	}})
	if err != nil {
		p.Fatal(err)
	}
	if err := p.ws.WriteMessage(websocket.BinaryMessage, append(binary.AppendUvarint([]byte{0xBF}, uint64(len(b))), b...)); err != nil {
		p.Fatal(err)
	}
}

func (p *page) receives(what string, is func(*takpb.CotEvent) bool) {
	p.Helper()
	p.until("the page receives "+what, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range p.got {
			if e != nil && is(e) {
				return true
			}
		}
		return false
	})
}

func (p *page) ends() {
	p.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Fatal("the page is still connected")
	}
}

// chat is the detail of a message to one client.
func chat(to, text string) string {
	return fmt.Sprintf(`<__chat id="CS-%s" chatroom="CS-%s" senderCallsign="x"/><remarks>%s</remarks><marti><dest callsign="CS-%s"/></marti>`, to, to, text, to)
}

// A browser that has logged in sees who is there and chats, as a phone does; what
// its account loses, it loses.
func TestBrowserOnTheStream(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, name := range []string{"alice", "eve"} {
		group := map[string]string{"alice": "Blue", "eve": "Red"}[name]
		w.takd("user", "add", name, "--group", group)
	}
	w.takd("user", "add", "web", "--group", "Blue", "--password-file", w.secretFile("web's password"))
	alice := w.connect("alice", w.certificate("alice"))
	w.connect("eve", w.certificate("eve"))

	b := w.browser()
	form := url.Values{"grant_type": {"password"}, "username": {"web"}, "password": {"web's password"}}.Encode()
	var grant struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(b.want(200, "POST", "enroll", "/oauth/token", "", form)), &grant); err != nil {
		t.Fatal(err)
	}
	origin := "https://" + w.srv.Status().Listeners["enroll"]
	web := w.page("enroll", http.Header{"Cookie": {"access_token=" + grant.Token}, "Origin": {origin}})
	web.send("UID-web", "a-f-G-U-C", "", &takpb.Contact{Callsign: "CS-web", Endpoint: "*:-1:stcp"})
	web.receives("alice's position", func(e *takpb.CotEvent) bool { return e.Uid == "UID-alice" && e.Detail.Contact.Callsign == "CS-alice" })
	alice.receives("UID-web")
	web.send("chat-1", "b-t-f", chat("alice", "hello from the page"), nil)
	alice.receives("hello from the page")
	alice.chat("web", "hello from the phone")
	web.receives("a chat", func(e *takpb.CotEvent) bool { return strings.Contains(e.Detail.XmlDetail, "hello from the phone") })
	web.mu.Lock()
	for _, e := range web.got {
		if e.Uid == "UID-eve" {
			t.Error("the page sees a client of another group")
		}
	}
	web.mu.Unlock()
	if got := w.takd("clients", "--json"); !strings.Contains(got, `"input": "websocket"`) && !strings.Contains(got, `"input":"websocket"`) {
		t.Errorf("clients: %s", got)
	}
	b.want(200, "GET", "enroll", "/logout", grant.Token, "")
	web.ends()
	alice.seesLeave("web")

	if err := json.Unmarshal([]byte(b.want(200, "POST", "enroll", "/oauth/token", "", form)), &grant); err != nil {
		t.Fatal(err)
	}
	web = w.page("enroll", http.Header{"Authorization": {"Bearer " + grant.Token}})
	web.send("UID-web2", "a-f-G-U-C", "", &takpb.Contact{Callsign: "CS-web2", Endpoint: "*:-1:stcp"})
	alice.receives("UID-web2")
	began := time.Now()
	w.takd("user", "disable", "web")
	web.ends()
	if took := time.Since(began); took > time.Second {
		t.Errorf("a disabled user stayed for %s", took)
	}
	alice.seesLeave("web2")
}

// A certificate opens the stream on 8443, and its revocation ends it. Stopping
// the server ends it too, and does not wait for it.
func TestStreamByCertificate(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.takd("user", "add", "bob", "--group", "Blue")
	cert := w.certificate("bob")
	p := w.page("https", nil, cert)
	p.send("UID-bob", "a-f-G-U-C", "", &takpb.Contact{Callsign: "CS-bob", Endpoint: "*:-1:stcp"})
	w.until("bob among the clients", func() bool { return strings.Contains(w.takd("clients", "--json"), "UID-bob") })
	w.takd("cert", "revoke", "bob")
	p.ends()

	w.takd("user", "add", "carl")
	p = w.page("https", nil, w.certificate("carl"))
	began := time.Now()
	w.stop()
	p.ends()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	w.run()
}
