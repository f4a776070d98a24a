package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// What a slow client may take.
const (
	writeTime   = 60 * time.Second // for each part of an answer
	acceptPause = 5 * time.Millisecond
	lingerTime  = 500 * time.Millisecond // for the answer to a request that was not read
	lingerBytes = 8 << 20
)

// listener counts connections and puts TLS around them.
type listener struct {
	net.Listener
	face   Face
	srv    *Server
	config func() *tls.Config
}

// Accept implements net.Listener. Connections beyond the limits are closed unread.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			time.Sleep(acceptPause) // out of descriptors, or a client that went at once
			continue
		}
		c := &conn{raw: l.srv.turns.pace(raw), ln: l, gate: &l.srv.gate, ip: address(raw.RemoteAddr())}
		if !c.gate.enter(c) {
			_ = raw.Close()
			continue
		}
		c.Conn = tls.Server(c.raw, l.config())
		return c, nil
	}
}

func address(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// conn is one connection, and who is known to be at its other end.
type conn struct {
	*tls.Conn
	raw    *paced
	ln     *listener
	gate   *gate
	ip     netip.Addr
	shaken atomic.Bool
	linger atomic.Bool
	once   sync.Once
	who    atomic.Pointer[identity]
}

// identity is who a certificate belongs to, as of a moment.
type identity struct {
	who   Principal
	epoch uint64
	until time.Time
}

// Handshake is what fasthttp calls first. It has a deadline of its own.
func (c *conn) Handshake() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.gate.limits.Handshake)
	err := c.HandshakeContext(ctx)
	cancel()
	if c.shaken.CompareAndSwap(false, true) {
		c.gate.shaken(c)
		if err != nil && !errors.Is(err, io.EOF) { // who only knocks is nobody's business
			c.ln.srv.tell(c.ln.face, c.ip, "", "handshake: "+err.Error())
		}
	}
	return err
}

// Read shakes hands first.
func (c *conn) Read(b []byte) (int, error) {
	if !c.shaken.Load() {
		if err := c.Handshake(); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(b)
}

// Write gives each part of an answer its own time, so that a large file may take
// long, and a client that reads nothing may not.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn. Where the client is still sending what was refused,
// it is read a while longer: else a reset would overtake the answer.
func (c *conn) Close() error {
	if c.linger.CompareAndSwap(true, false) && c.CloseWrite() == nil {
		_ = c.raw.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.raw, lingerBytes)
	}
	c.once.Do(func() { c.gate.leave(c) })
	return c.Conn.Close()
}

// unread closes the connection after the answer, with input that nobody wants.
func unread(ctx *fasthttp.RequestCtx) {
	ctx.SetConnectionClose()
	if c, ok := ctx.Conn().(*conn); ok {
		c.linger.Store(true)
	}
}

// gate bounds connections, in all and by address.
type gate struct {
	limits  Limits
	mu      sync.Mutex
	conns   map[*conn]struct{}
	byIP    map[netip.Addr]*load
	closed  bool
	refused uint64
}

type load struct{ conns, handshakes int }

func (g *gate) enter(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		g.conns, g.byIP = make(map[*conn]struct{}), make(map[netip.Addr]*load)
	}
	l := g.byIP[c.ip]
	if l == nil {
		l = new(load)
	}
	if g.closed || len(g.conns) >= g.limits.Conns || l.conns >= g.limits.ConnsPerIP || l.handshakes >= g.limits.Handshakes {
		g.refused++
		return false
	}
	l.conns++
	l.handshakes++
	g.byIP[c.ip] = l
	g.conns[c] = struct{}{}
	return true
}

func (g *gate) shaken(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.byIP[c.ip]; l != nil {
		l.handshakes--
	}
}

func (g *gate) leave(c *conn) {
	if c.shaken.CompareAndSwap(false, true) {
		g.shaken(c)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
	if l := g.byIP[c.ip]; l != nil {
		if l.conns--; l.conns == 0 {
			delete(g.byIP, c.ip)
		}
	}
}

func (g *gate) counts() (open int, refused uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns), g.refused
}

// closeAll ends every connection that is left, and lets no more in.
func (g *gate) closeAll() {
	g.mu.Lock()
	g.closed = true
	left := make([]*conn, 0, len(g.conns))
	for c := range g.conns {
		left = append(left, c)
	}
	g.mu.Unlock()
	for _, c := range left {
		_ = c.raw.Close()
	}
}

// failures counts refused logins by address.
type failures struct {
	limit     int
	throttled atomic.Uint64
	mu        sync.Mutex
	byIP      map[netip.Addr]*failed
}

type failed struct {
	n     int
	since time.Time
}

const (
	failWindow = time.Minute
	failsKnown = 16 << 10 // addresses; beyond it the old ones are forgotten
)

// full reports whether addr has failed too often, and for how long that holds.
func (f *failures) full(addr netip.Addr, now time.Time) (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.byIP[addr]
	if e == nil || e.n < f.limit {
		return 0, false
	}
	left := failWindow - now.Sub(e.since)
	if left <= 0 {
		delete(f.byIP, addr)
		return 0, false
	}
	f.throttled.Add(1)
	return left, true
}

// note counts one more.
func (f *failures) note(addr netip.Addr, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byIP == nil {
		f.byIP = make(map[netip.Addr]*failed)
	}
	e := f.byIP[addr]
	if e == nil || now.Sub(e.since) > failWindow {
		if len(f.byIP) >= failsKnown {
			for a, old := range f.byIP {
				if now.Sub(old.since) > failWindow {
					delete(f.byIP, a)
				}
			}
			if len(f.byIP) >= failsKnown {
				clear(f.byIP)
			}
		}
		e = &failed{since: now}
		f.byIP[addr] = e
	}
	e.n++
}
