package netcore

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"takd/cot"
	"takd/cot/frame"
	"takd/netcore/msg"
	"takd/netcore/session"
	"takd/netcore/tlsio"
)

// spareFiles are left for everything that is not a client.
const spareFiles = 256

// keepalive finds out within about 75 s that a silent client is gone: many say
// nothing for minutes when all is well.
var keepalive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 4}

// listener is one stream input.
type listener struct {
	net.Listener
	in Input
}

// packetInput is one datagram input.
type packetInput struct {
	conn    *net.UDPConn
	in      Input
	waiting atomic.Int32 // datagrams on their way to a loop
	own     session.Meter
	known   session.Known
}

// maxDatagrams is how many of one input may wait for a loop.
const maxDatagrams = 4096

// raiseFileLimit makes room for clients and returns for how many there is.
func raiseFileLimit(clients int, log *slog.Logger) int {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return clients
	}
	want := uint64(clients + 2*spareFiles) // a handshake that becomes a client holds two for a moment
	if lim.Cur < want {
		raised := unix.Rlimit{Cur: want, Max: max(lim.Max, want)}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) != nil {
			raised = unix.Rlimit{Cur: lim.Max, Max: lim.Max}
			_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &raised)
		}
		_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &lim)
	}
	if room := int(min(lim.Cur, 1<<30)) - spareFiles; room < clients {
		room = max(room, 1)
		log.Warn("limit on open files is low: fewer clients can connect", "max_clients", clients, "files", lim.Cur, "clients", room)
		return room
	}
	return clients
}

// listen binds every input.
func (e *Engine) listen() error {
	inputs := e.opts.Load().Inputs
	errs := make([]error, 0, len(inputs))
	for _, in := range inputs {
		var err error
		if in.Protocol == UDP {
			err = e.listenPacket(in)
		} else {
			err = e.listenStream(in)
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("input %s: %s is taken by another program: stop it, or set another address", in.Name, in.Address)
		} else if err != nil {
			err = fmt.Errorf("input %s: %w", in.Name, err)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (e *Engine) listenStream(in Input) error {
	lc := net.ListenConfig{KeepAliveConfig: keepalive}
	ln, err := lc.Listen(e.ctx, "tcp", in.Address)
	if err != nil {
		return err
	}
	e.listeners = append(e.listeners, &listener{ln, in})
	return nil
}

func (e *Engine) listenPacket(in Input) error {
	addr, err := net.ResolveUDPAddr("udp", in.Address)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return err
	}
	_ = conn.SetReadBuffer(4 << 20)
	e.packets = append(e.packets, &packetInput{conn: conn, in: in})
	return nil
}

func (e *Engine) closeListeners() {
	for _, ln := range e.listeners {
		_ = ln.Close()
	}
	for _, p := range e.packets {
		_ = p.conn.Close()
	}
}

// accept takes in connections. Running out of descriptors, or any other error
// that may pass, slows it down and never ends it.
func (e *Engine) accept(ln *listener) {
	const longest = time.Second
	pause := 5 * time.Millisecond
	for {
		conn, err := ln.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			e.welcome(conn.(*net.TCPConn), ln.in)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		e.log.Error("accept", "input", ln.in.Name, "err", err, "pause", pause)
		select {
		case <-e.ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longest)
	}
}

// welcome gives a new connection its place, or turns it away.
func (e *Engine) welcome(conn *net.TCPConn, in Input) {
	remote := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if int(e.count.Add(1)) > e.maxClients {
		e.count.Add(-1)
		e.overLimit.Add(1)
		_ = conn.Close()
		e.refuse(in, remote, fmt.Errorf("max_clients: %d are connected", e.maxClients))
		return
	}
	if err := e.pool.Enter(remote.Addr()); err != nil {
		e.count.Add(-1)
		_ = conn.Close()
		e.refuse(in, remote, err)
		return
	}
	e.goFunc(func() {
		defer e.pool.Leave(remote.Addr())
		if err := e.handshake(conn, in, remote); err != nil {
			e.count.Add(-1)
			_ = conn.Close()
			if e.ctx.Err() == nil {
				e.refuse(in, remote, err)
			}
		}
	})
}

// refuse logs why somebody could not come in: one line each, but not more than
// a human can read.
func (e *Engine) refuse(in Input, remote netip.AddrPort, err error) {
	e.refused.Add(1)
	if ok, hidden := e.quiet.allow(time.Now()); ok {
		e.log.Warn("client refused", "input", in.Name, "peer", remote, "reason", reason(err), "not_shown", hidden)
	}
}

// handshake makes conn a client and hands it to an event loop.
func (e *Engine) handshake(conn *net.TCPConn, in Input, remote netip.AddrPort) error {
	c := &client{}
	c.ID = e.nextID.Add(1)
	c.Remote, c.Since, c.Input = remote, time.Now(), in.Name
	c.NoArchive, c.Local, c.flood = !*in.Archive, !*in.Federated, in.Flood
	c.Layer = new(tlsio.Plain)
	var leaf *x509.Certificate
	if in.Protocol == TLS {
		layer, state, err := e.pool.Handshake(e.ctx, conn, e.tlsConfig.Load())
		if err != nil {
			return err
		}
		c.Layer = layer
		if in.Auth == AuthCert {
			leaf = state.PeerCertificates[0]
			p, err := e.opts.Load().Auth.Certificate(e.ctx, leaf)
			if err != nil {
				return err
			}
			c.admit(e, p)
		}
	}
	if in.Auth == AuthAnonymous {
		c.Anonymous = true
		c.admit(e, Principal{User: fmt.Sprintf("anonymous-%d", c.ID), In: in.Groups, Out: in.Groups})
	}
	// gnet gives the zone of a link-local address to a pool of buffers when the
	// connection ends. That string is not ours to give.
	conn.RemoteAddr().(*net.TCPAddr).Zone = ""
	conn.LocalAddr().(*net.TCPAddr).Zone = ""
	if _, err := e.gnet.EnrollContext(conn, c); err != nil {
		return fmt.Errorf("hand over to an event loop: %w", err)
	}
	if leaf != nil {
		e.recheck(c, leaf)
	}
	return nil
}

// recheck asks once more who c is, now that Kick and SetGroups can find it: a
// certificate that was revoked in between has no place to hide.
func (e *Engine) recheck(c *client, leaf *x509.Certificate) {
	p, err := e.opts.Load().Auth.Certificate(e.ctx, leaf)
	c.loop.call(func() {
		switch {
		case c.State != session.Open:
		case err != nil:
			c.loop.close(c, "refused: "+err.Error())
		default:
			c.loop.regroup(c, &session.Reach{In: e.groups.Set(p.In), Out: e.groups.Set(p.Out)})
		}
	})
}

// readPackets takes in datagrams: one event each.
func (e *Engine) readPackets(p *packetInput) {
	buf := make([]byte, 64<<10)
	set := e.groups.Set(p.in.Groups)
	origin := &msg.Origin{User: "anonymous", Input: p.in.Name, Groups: set.Names}
	var ev cot.Event
	for {
		n, _, err := p.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of an earlier datagram of ours; a real one ends with the socket
		}
		e.stats.eventsIn.Add(1)
		e.stats.bytesIn.Add(uint64(n))
		if frame.ScanMesh(buf[:n], &ev) != nil || len(ev.UID) == 0 || len(ev.Type) == 0 || !ev.HasPoint {
			e.stats.malformed.Add(1)
			continue
		}
		limit := e.opts.Load().LimitClient
		if !p.own.Take(limit, nanotime(), n, limit.UIDs > 0 && p.known.Fresh(ev.UID)) {
			e.stats.flooded.Add(1)
			continue
		}
		loops := e.allLoops()
		if len(loops) == 0 {
			continue // nobody is there
		}
		if p.waiting.Add(1) > maxDatagrams {
			p.waiting.Add(-1)
			e.stats.datagramDrops.Add(1)
			continue
		}
		b := append([]byte(nil), buf[:n]...)
		loops[0].call(func() {
			p.waiting.Add(-1)
			loops[0].datagram(b, origin, set.Bits, p)
		})
	}
}

// datagram routes one event that came without a connection.
func (l *loop) datagram(b []byte, origin *msg.Origin, groups []uint64, p *packetInput) {
	ev := &l.ev
	if frame.ScanMesh(b, ev) != nil {
		return
	}
	if l.splice.FlowTag != "" && ev.HasFlowTag(l.splice.FlowTag) {
		l.stats.loops.Add(1)
		return
	}
	m := msg.Get()
	defer m.Release()
	if err := m.Encode(ev, &l.splice); err != nil {
		l.stats.malformed.Add(1)
		return
	}
	m.Origin, m.In, m.Received = origin, groups, l.splice.Millis
	classify(m, ev)
	m.NoArchive, m.Local = !*p.in.Archive, !*p.in.Federated
	m.Bills[0] = p.own.Bill(l.e.opts.Load().LimitClient)
	m.Oversize = m.Size() > l.e.opts.Load().MaxEvent
	l.route(nil, ev, m)
}

// reason puts a handshake's error in words that an operator can act on.
func reason(err error) error {
	if op := new(net.OpError); errors.As(err, &op) && op.Op == "remote error" { // an alert
		return fmt.Errorf("the client refused this server: %w", err)
	}
	return err
}

// throttle lets some log lines pass each second and counts the others.
type throttle struct {
	mu     sync.Mutex
	second int64
	n      int
	hidden int
}

const linesPerSecond = 20

func (t *throttle) allow(now time.Time) (ok bool, hidden int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := now.Unix(); s != t.second {
		t.second, t.n = s, 0
	}
	if t.n++; t.n > linesPerSecond {
		t.hidden++
		return false, 0
	}
	hidden, t.hidden = t.hidden, 0
	return true, hidden
}
