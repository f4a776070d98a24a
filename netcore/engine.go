package netcore

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"takd/netcore/group"
	"takd/netcore/router"
	"takd/netcore/session"
	"takd/netcore/tlsio"
)

// Engine is a running, or not yet started, messaging engine.
type Engine struct {
	opts       atomic.Pointer[Options]
	log        *slog.Logger
	flowTag    string
	groups     *group.Table
	directory  *router.Directory
	absent     *router.Absent
	repeater   *router.Repeater
	restored   restored
	seen       *router.Seen
	lines      *lines
	regrouped  atomic.Uint64  // counts SetGroups
	modest     atomic.Int64   // when somebody last sent who sends little: Unix nanoseconds
	unsaved    *LetterChanges // what the Letterbox has not taken yet
	meters     meters
	taps       []*router.Tap // fixed at Start
	pool       *tlsio.Pool
	tlsConfig  atomic.Pointer[tls.Config]
	maxClients int

	listeners []*listener
	packets   []*packetInput
	gnet      *gnet.Client
	loops     atomic.Pointer[[]*loop]
	loopMu    sync.Mutex // adds loops
	attached  *loop      // of clients that gnet does not know; nil until there is one

	nextID    atomic.Uint64
	count     atomic.Int64 // connections, handshakes included
	refused   atomic.Uint64
	overLimit atomic.Uint64
	stats     loopStats // what no loop did: datagrams
	quiet     throttle  // of log lines that strangers can cause
	refusals  refusals

	injections atomic.Pointer[map[string]string] // nil for none, which costs a look

	ctx      context.Context //nolint:containedctx // ends with the engine: handshakes under way need it
	cancel   context.CancelFunc
	wait     sync.WaitGroup
	started  atomic.Bool
	stopping atomic.Bool
	stopped  chan struct{} // closed when no loop runs any more
}

// New checks o, raises the limit on open files, and binds every listener, so
// that a taken port or a bad option is an error here. Nothing is accepted yet.
func New(o Options) (*Engine, error) {
	o = o.WithDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Log == nil || len(o.ServerID) == 0 {
		return nil, fmt.Errorf("%w: Log and ServerID are required", ErrOptions)
	}
	for _, in := range o.Inputs {
		if in.Auth != AuthAnonymous && o.Auth == nil || in.Protocol == TLS && o.TLS == nil {
			return nil, fmt.Errorf("%w: inputs[%s] needs Auth and TLS", ErrOptions, in.Name)
		}
	}
	room, err := raiseFileLimit(o.MaxClients, o.Log)
	if err != nil {
		return nil, err
	}
	lines := newLines()
	e := &Engine{
		log:       lines.logger(o.Log),
		lines:     lines,
		seen:      router.NewSeen(),
		groups:    group.NewTable(),
		directory: router.NewDirectory(),
		absent: router.NewAbsent(router.AbsentLimits{
			TTL: o.AbsentTTL, Clients: 100_000, PerUser: o.AbsentPerUser, Bytes: o.AbsentBytes,
		}, o.Letters != nil),
		repeater: router.NewRepeater(o.Emergencies),
		pool: tlsio.NewPool(tlsio.Limits{
			Deadline: o.HandshakeDeadline, Total: o.Handshakes, PerAddress: o.HandshakesPerIP, Crypto: max(1, cores/2),
		}),
		maxClients: room,
		stopped:    make(chan struct{}),
	}
	if *o.FlowTags {
		e.flowTag = "TAK-Server-" + o.ServerID
	}
	e.opts.Store(&o)
	e.loops.Store(new([]*loop))
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if o.TLS != nil {
		e.ReloadTLS()
	}
	if err := errors.Join(e.loadLetters(e.ctx), e.listen()); err != nil {
		e.closeListeners()
		close(lines.ring)
		return nil, err
	}
	return e, nil
}

// Tap adds a bounded copy of the traffic; see router.Tap. Only before Start.
func (e *Engine) Tap(t *router.Tap) { e.taps = append(e.taps, t) }

// ReloadTLS asks Options.TLS again: new certificates and CAs hold for every
// handshake from here on. Clients that are connected stay.
func (e *Engine) ReloadTLS() {
	o := e.opts.Load()
	cfg := o.TLS().Clone()
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	if cfg.MinVersion < tls.VersionTLS12 {
		cfg.MinVersion = tls.VersionTLS12
	}
	if !o.PostQuantum {
		// X25519 is what phones send a share of: to ask for another curve would cost
		// them a round trip. P-256 is what costs the server least.
		cfg.CurvePreferences = []tls.CurveID{tls.CurveP256, tls.X25519, tls.CurveP384}
	}
	// Full records from the first one on: a flush is one write anyway.
	cfg.DynamicRecordSizingDisabled = true
	// Runs for resumed sessions too, where VerifyPeerCertificate does not: a
	// certificate that was revoked since is refused with a proper alert.
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := e.opts.Load().Auth.Certificate(e.ctx, cs.PeerCertificates[0])
		if err != nil {
			name := cs.PeerCertificates[0].Subject.CommonName
			e.refusals.note(name, err)
			err = refusedAs{err, name}
		}
		return err
	}
	e.tlsConfig.Store(cfg)
}

// Start accepts clients.
func (e *Engine) Start() error {
	o := e.opts.Load()
	cli, err := gnet.NewClient(&events{e: e},
		gnet.WithNumEventLoop(o.Loops),
		gnet.WithReadBufferCap(64<<10),
		gnet.WithWriteBufferCap(64<<10),
		gnet.WithSocketSendBuffer(o.SendBuffer),
		gnet.WithTCPNoDelay(gnet.TCPNoDelay),
		gnet.WithLogger(gnetLog{e.log}),
	)
	if err != nil {
		return fmt.Errorf("start event loops: %w", err)
	}
	if err := cli.Start(); err != nil {
		return fmt.Errorf("start event loops: %w", err)
	}
	e.gnet = cli
	e.started.Store(true)
	e.goFunc(e.everySecond)
	e.goFunc(e.saveLetters)
	for _, ln := range e.listeners {
		e.goFunc(func() { e.accept(ln) })
	}
	for _, p := range e.packets {
		e.goFunc(func() { e.readPackets(p) })
	}
	return nil
}

func (e *Engine) goFunc(f func()) {
	if e.stopping.Load() {
		return
	}
	e.wait.Add(1)
	go func() {
		defer e.wait.Done()
		f()
	}()
}

// Stop takes no new clients, writes what is gathered and owed to those who read,
// says goodbye with a closing alert, and waits for the clients to take it. Mail
// that was not taken is kept. It is over when ctx ends, whatever waits.
func (e *Engine) Stop(ctx context.Context) error {
	if e.stopping.Swap(true) {
		return nil
	}
	e.cancel()
	e.closeListeners()
	if !e.started.Load() {
		return nil
	}
	// What follows the goodbyes needs some of the time too.
	parting, cancel := partOf(ctx)
	defer cancel()
	var err error
	idle := make(chan struct{})
	go func() { // ends with what it waits for
		e.wait.Wait() // accept loops, handshakes, password checks, the clock
		close(idle)
	}()
	select {
	case <-idle:
	case <-parting.Done():
		err = errors.New("stop: handshakes or password checks do not end")
	}
	loops := e.allLoops()
	e.hush(parting, loops)
	e.onLoops(parting, loops, func(l *loop) { l.farewell() })
	err = errors.Join(err, e.drained(parting, loops))
	e.onLoops(ctx, loops, func(l *loop) {
		for _, c := range l.clients {
			if !c.Gone() {
				c.reason = "server stops"
				l.host.Close(c.Conn)
			}
		}
	})
	e.onLoops(ctx, loops, func(*loop) {}) // they are buried at the end of that turn
	e.saveChanges(ctx)
	e.lines.flush(ctx)
	ended := make(chan error, 1)
	go func() { ended <- e.gnet.Stop() }() // ends with the loops
	select {
	case stopped := <-ended:
		err = errors.Join(err, stopped)
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("stop: event loops do not end: %w", ctx.Err()))
	}
	close(e.stopped)
	return err
}

// partOf is ctx, but for the last quarter of its time, at most two seconds.
func partOf(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(2*time.Second, time.Until(deadline)/4)))
}

// hush ends the taking in, on all loops, and returns when what was taken in has
// reached the loops of its receivers: no goodbye overtakes it.
func (e *Engine) hush(ctx context.Context, loops []*loop) {
	e.onLoops(ctx, loops, func(l *loop) { l.deaf = true })
	for {
		var waiting atomic.Int64 // senders whose events wait; each round serves some
		e.onLoops(ctx, loops, func(l *loop) { waiting.Add(int64(len(l.holding))) })
		if waiting.Load() == 0 || ctx.Err() != nil {
			return
		}
	}
}

// farewell writes what is gathered and owed, and closes every client's writing
// side. Who does not take it all now is given what remains as drained goes on.
func (l *loop) farewell() {
	for _, b := range l.buckets {
		l.flushBucket(b)
	}
	for _, c := range l.clients {
		if c.bucket != nil && c.Live() {
			l.flushClient(c.bucket, &c.Session)
			c.Outbox.Reset(0, 0)
		}
	}
	l.part()
}

// part says goodbye to those who are owed nothing any more, and reports for how
// many bytes the others wait.
func (l *loop) part() (waiting int) {
	for _, c := range l.clients {
		if c.State() == session.CatchingUp {
			for c.State() == session.CatchingUp && c.owed.Len() > 0 && c.Conn.OutboundBuffered() == 0 {
				l.pay(c, payChunk)
			}
			if c.State() == session.CatchingUp && c.owed.Len() > 0 {
				waiting += c.owed.Size()
				continue
			}
		}
		if c.To(session.Draining) {
			c.reason = "server stops"
			l.writeSealed(c, c.Layer.CloseNotify(l.control[:0]))
		}
		if !c.Gone() {
			waiting += c.Conn.OutboundBuffered()
		}
	}
	return waiting
}

// drained waits until no client has bytes waiting.
func (e *Engine) drained(ctx context.Context, loops []*loop) error {
	for {
		var waiting atomic.Int64
		e.onLoops(ctx, loops, func(l *loop) { waiting.Add(int64(l.part())) })
		if ctx.Err() == nil && waiting.Load() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop: %d bytes not taken by slow clients: %w", waiting.Load(), ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// onLoops runs f once on each loop and waits for all of them, or for the end of
// the engine or of ctx.
func (e *Engine) onLoops(ctx context.Context, loops []*loop, f func(*loop)) {
	done := make(chan struct{}, len(loops))
	for _, l := range loops {
		l.call(func() {
			defer func() { done <- struct{}{} }()
			f(l)
		})
	}
	for range loops {
		select {
		case <-done:
		case <-e.stopped:
			return
		case <-ctx.Done():
			return
		}
	}
}

// everySecond drives what does not depend on traffic.
func (e *Engine) everySecond() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	last := time.Now()
	var rest rest
	for {
		select {
		case <-e.ctx.Done():
			return
		case now := <-second.C:
			if rest.due(e.nextID.Load()) {
				e.goFunc(giveBack)
			}
			e.restored.prune(now)
			for _, l := range e.allLoops() {
				l.call(l.tick)
			}
			if p := e.opts.Load().EmergencyPeriod; p > 0 && now.Sub(last) >= p {
				last = now
				e.repeatAlarms(now)
			}
		}
	}
}

// rest notices when many clients have come and then none for a while.
type rest struct {
	seen, done uint64 // connections so far: at the last look, and when last due
	quiet      int    // looks without a new one
}

const (
	restAfter = 3   // seconds
	restFrom  = 200 // connections: their handshakes leave megabytes behind
)

func (r *rest) due(connections uint64) bool {
	if connections != r.seen {
		r.seen, r.quiet = connections, 0
		return false
	}
	r.quiet++
	if r.quiet != restAfter || connections-r.done < restFrom {
		return false
	}
	r.done = connections
	return true
}

// giveBack returns to the system what handshakes and first pictures have needed:
// when everybody is in, little garbage is made, and the collector would not run
// for minutes. What lies in pools survives the first collection.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

func (e *Engine) allLoops() []*loop  { return *e.loops.Load() }
func (e *Engine) loopCount() int     { return len(*e.loops.Load()) }
func (e *Engine) loopAt(i int) *loop { return (*e.loops.Load())[i] }
func (e *Engine) addLoop(h host) *loop {
	l := newLoop(e, h)
	l.idx = e.loopCount()
	all := append(slices.Clone(e.allLoops()), l)
	e.loops.Store(&all)
	return l
}

// Healthy returns an error when the engine does not serve.
func (e *Engine) Healthy() error {
	switch {
	case !e.started.Load():
		return errors.New("messaging: not started")
	case e.stopping.Load():
		return errors.New("messaging: stopping")
	}
	return nil
}

// Listeners returns the address of each input as bound, by name.
func (e *Engine) Listeners() map[string]net.Addr {
	m := make(map[string]net.Addr, len(e.listeners)+len(e.packets))
	for _, ln := range e.listeners {
		m[ln.in.Name] = ln.Addr()
	}
	for _, p := range e.packets {
		m[p.in.Name] = p.conn.LocalAddr()
	}
	return m
}

// newUID returns a random uid for an event that the server makes.
func newUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
