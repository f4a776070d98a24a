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

const (
	spareFiles = 256 // left for everything that is not a client, or a quarter of what there is
	fewFiles   = 64  // with fewer, serving makes no sense
)

// ErrFiles means that the limit on open files leaves no room for clients.
var ErrFiles = errors.New("the limit on open files is too low")

// vanished is how long what was sent may stay unacknowledged. Without this limit
// Linux sends a phone that vanished on a busy channel the same bytes again for a
// quarter of an hour.
const vanished = 60 * time.Second

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
func raiseFileLimit(clients int, log *slog.Logger) (int, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return clients, nil //nolint:nilerr // then there is nothing to go by
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
	room, err := roomFor(clients, lim.Cur)
	if err == nil && room < clients {
		log.Warn("limit on open files is low: fewer clients can connect", "max_clients", clients, "files", lim.Cur, "clients", room)
	}
	return room, err
}

// roomFor is how many of the clients there is room for with that many files.
func roomFor(clients int, files uint64) (int, error) {
	if files < fewFiles {
		return 0, fmt.Errorf("%w: %d: want at least %d (ulimit -n)", ErrFiles, files, fewFiles)
	}
	n := int(min(files, 1<<30))
	return min(clients, n-min(spareFiles, n/4)), nil
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
			limitSilence(conn.(*net.TCPConn))
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

func limitSilence(conn *net.TCPConn) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(vanished.Milliseconds()))
		})
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
	e.tell(in.Name, remote.Addr(), "", reason(err))
	if ok, hidden := e.quiet.allow(time.Now()); ok {
		e.log.Warn("client refused", "input", in.Name, "peer", remote, "reason", reason(err), "not_shown", hidden)
	}
}

// handshake makes conn a client and hands it to an event loop.
func (e *Engine) handshake(conn *net.TCPConn, in Input, remote netip.AddrPort) error {
	c := &client{}
	c.ID = e.nextID.Add(1)
	c.Remote, c.Since, c.Input = remote, time.Now(), in.Name
	c.NoArchive, c.Local, c.flood, c.gateway = !*in.Archive, !*in.Federated, in.Flood, *in.Gateway
	c.Layer = new(tlsio.Plain)
	var leaf *x509.Certificate
	if in.Protocol == TLS {
		layer, state, err := e.pool.Handshake(e.ctx, conn, e.tlsConfig.Load())
		if err != nil {
			return err
		}
		c.Layer = layer
		c.Serial = state.PeerCertificates[0].SerialNumber.Text(16) // revoking it closes the connection, however it authenticates
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
	c.loop.confirmBy(c, func() (Principal, error) { return e.opts.Load().Auth.Certificate(e.ctx, leaf) })
}

// readPackets takes in datagrams: each holds an event or several.
func (e *Engine) readPackets(p *packetInput) {
	buf := make([]byte, 64<<10)
	set := e.groups.Set(p.in.Groups)
	origin := &msg.Origin{User: "anonymous", Input: p.in.Name, Groups: set.Names}
	for {
		n, _, err := p.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of an earlier datagram of ours; a real one ends with the socket
		}
		e.stats.bytesIn.Add(uint64(n))
		loops := e.allLoops()
		if len(loops) == 0 {
			e.stats.eventsIn.Add(1)
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
			frame.EachInMesh(b, &loops[0].again, func(err error) { loops[0].datagram(err, origin, set.Bits, p) })
		})
	}
}

// datagram routes l.again, an event that came without a connection, or counts
// what was none.
func (l *loop) datagram(err error, origin *msg.Origin, groups []uint64, p *packetInput) {
	ev, o := &l.again, l.e.opts.Load()
	l.stats.eventsIn.Add(1)
	fresh := o.LimitClient.UIDs > 0 && err == nil && !p.known.Has(ev.UID)
	switch {
	case err != nil:
		l.stats.dropped[reasonOf(err)].Add(1)
		return
	case len(ev.UID) == 0 || len(ev.Type) == 0 || !ev.HasPoint:
		l.stats.dropped[session.Malformed].Add(1)
		return
	case cot.ServerOnly(ev.Type):
		l.stats.dropped[session.ServerOnly].Add(1)
		return
	case l.looped(ev):
		l.stats.dropped[session.Looped].Add(1)
		return
	case !p.own.Take(o.LimitClient, l.now.UnixNano(), len(ev.Raw), fresh):
		l.stats.dropped[session.Flooded].Add(1)
		return
	}
	p.known.Learn(ev.UID)
	m := msg.Get()
	defer m.Release()
	if err := l.encode(m, ev, ""); err != nil {
		l.stats.dropped[session.Malformed].Add(1)
		return
	}
	if ms, ok := ev.Time.UnixMilli(); ok {
		l.e.seen.Note(ev.UID, ms)
	}
	m.Origin, m.In, m.Received = origin, groups, l.splice.Millis
	classify(m, ev)
	m.NoArchive, m.Local = !*p.in.Archive, !*p.in.Federated
	m.Bills[0] = p.own.Bill(o.LimitClient)
	m.Oversize = m.Size() > o.MaxEvent
	if d, ok := l.address(ev, m); ok {
		l.route(nil, ev, m, d)
	} else {
		l.stats.dropped[session.NoGroup].Add(1)
	}
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
