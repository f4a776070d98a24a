package live

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"takd/http/httpd"
)

const patience = 20 * time.Second

// site is a server with a hub, where a token is its user's name.
type site struct {
	*testing.T

	hub  *Hub
	past Past
	addr string

	mu  sync.Mutex
	out map[string][]string // who is no key is let in no more

	demoted  atomic.Bool // root is no administrator any more
	recorded []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteOf(t, nil)
}

func newSiteOf(t *testing.T, past Past) *site {
	t.Helper()
	s := &site{T: t, past: past, out: map[string][]string{"ann": {"Blue"}, "bob": {"Blue", "Green"}, "red": {"Red"}, "root": {"Blue"}}}
	s.hub = NewHub(s, nil)
	server, err := httpd.New(httpd.Options{Auth: s, Routes: Routes(s.hub, s.past, nil), Limits: httpd.Limits{Logins: 10_000}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	addr, err := server.Listen(httpd.Enroll, "127.0.0.1:0", func() *tls.Config { return config })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	s.addr = addr.String()
	return s
}

func (s *site) Out(_ context.Context, user, _ string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, ok := s.out[user]
	if !ok {
		return nil, httpd.ErrRefused
	}
	return out, nil
}

// All is for root alone.
func (s *site) All(_ context.Context, user, _ string) ([]string, error) {
	if user != "root" || s.demoted.Load() {
		return nil, httpd.ErrRefused
	}
	return []string{"Blue", "Green", "Red"}, nil
}

func (s *site) Record(_ context.Context, user, action, detail string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorded = append(s.recorded, user+" "+action+" "+detail)
	return nil
}

func (s *site) set(user string, out ...string) {
	s.mu.Lock()
	if s.out[user] = out; out == nil {
		delete(s.out, user)
	}
	s.mu.Unlock()
	s.hub.Changed(user)
}

func (*site) Certificate(context.Context, []*x509.Certificate) (httpd.Principal, error) {
	return httpd.Principal{}, httpd.ErrUnknown
}

func (*site) Password(context.Context, string, string, netip.Addr) (httpd.Principal, error) {
	return httpd.Principal{}, httpd.ErrUnknown
}

func (s *site) Token(ctx context.Context, user string) (httpd.Principal, error) {
	out, err := s.Out(ctx, user, "")
	role := httpd.Writer
	if user == "root" {
		role = httpd.Admin
	}
	return httpd.Principal{User: user, Role: role, Out: out}, err
}

// page is one browser's end.
type page struct {
	*site

	c       *websocket.Conn
	welcome welcome
	seq     uint32
	names   map[uint32]string // callsigns by tid
	lat     map[string]float64
	frames  int
	meta    []string
}

func (s *site) dial(user string, header ...string) (*websocket.Conn, int) {
	s.Helper()
	return s.dialTo("live", user, header...)
}

func (s *site) dialTo(route, user string, header ...string) (*websocket.Conn, int) {
	s.Helper()
	h := http.Header{}
	if user != "" {
		h.Set("Cookie", "access_token="+user)
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	d := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, HandshakeTimeout: patience}
	c, resp, err := d.DialContext(s.Context(), "wss://"+s.addr+"/api/v1/"+route, h)
	status := 0
	if resp != nil {
		status = resp.StatusCode
		_ = resp.Body.Close()
	}
	if err != nil {
		return nil, status
	}
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return c, status
}

// open is a page of user; before is the one that it goes on from, or nil.
func (s *site) open(user string, before *page) *page {
	s.Helper()
	c, status := s.dial(user, "Origin", "https://"+s.addr)
	if c == nil {
		s.Fatalf("%s: %d", user, status)
	}
	p := &page{site: s, c: c, names: map[uint32]string{}, lat: map[string]float64{}}
	m := message{Type: "hello"}
	if before != nil {
		m.Key, m.Epoch, m.Seq = before.welcome.Key, before.welcome.Epoch, before.seq
	}
	p.send(m)
	if _, b, err := c.ReadMessage(); err != nil || json.Unmarshal(b, &p.welcome) != nil || p.welcome.Type != "welcome" {
		s.Fatalf("welcome: %s, %v", b, err)
	}
	if p.welcome.Resumed {
		p.names, p.lat = before.names, before.lat
	}
	return p
}

func (p *page) send(v any) {
	p.Helper()
	if err := p.c.WriteJSON(v); err != nil {
		p.Fatal(err)
	}
}

// next takes in all messages of one look, without an answer.
func (p *page) next() {
	p.Helper()
	for {
		kind, b, err := p.c.ReadMessage()
		if err != nil {
			p.Fatalf("read: %v", err)
		}
		if kind == websocket.TextMessage {
			var m struct {
				List []struct {
					TID      uint32
					Callsign string
				}
			}
			if err := json.Unmarshal(b, &m); err != nil {
				p.Fatalf("%v: %s", err, b)
			}
			for _, t := range m.List {
				p.names[t.TID] = t.Callsign
			}
			p.meta = append(p.meta, string(b))
			continue
		}
		if p.binary(b) {
			p.frames++
			return
		}
	}
}

func (p *page) binary(b []byte) (last bool) {
	le := binary.LittleEndian
	n := int(le.Uint32(b[16:]))
	p.seq = le.Uint32(b[4:])
	for i := range n {
		tid := le.Uint32(b[headerLen+4*i:])
		name := p.names[tid]
		if b[1] == kindGone {
			delete(p.names, tid)
			delete(p.lat, name)
			continue
		}
		if name == "" {
			p.Errorf("a move of %d, which was never named", tid)
		}
		p.lat[name] = float64(int32(le.Uint32(b[headerLen+8*n+4*i:]))) / 1e7
	}
	return le.Uint16(b[2:])&flagLast != 0
}

func (p *page) ack() { p.send(message{Type: "ack", Seq: p.seq}) }

// until answers frames until ok.
func (p *page) until(what string, ok func() bool) {
	p.Helper()
	for !ok() {
		if p.next(); p.Failed() {
			p.Fatal(what)
		}
		p.ack()
	}
}

// ends reads until the server closes.
func (p *page) ends() {
	p.Helper()
	for {
		if _, _, err := p.c.ReadMessage(); err != nil {
			if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() {
				p.Error("the connection is still open")
			}
			return
		}
	}
}

func at(uid string, lat float64, groups ...string) *Event {
	return &Event{
		UID: []byte(uid), Callsign: []byte(uid), Type: []byte("a-f-G-U-C"), User: "u-" + uid, Groups: groups, Lat: lat, Lon: 11,
		Received: time.Now().UnixMilli(), Life: time.Minute,
	}
}
