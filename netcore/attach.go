package netcore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"takd/cot"
	"takd/netcore/session"
	"takd/netcore/tlsio"
)

// Errors of Attach.
var (
	ErrFull     = errors.New("too many clients are connected")
	ErrStopping = errors.New("the messaging service stops")
)

// Attached is a client that came another way than through an input: a browser
// over a WebSocket. It speaks framed TAK protobuf from the first byte.
type Attached struct {
	Principal
	Input  string // name shown for where it came from
	Remote netip.AddrPort
	// Conn's Read returns whole frames: 0xBF, length, message, any number of
	// them. Write gets whole frames too; a Write that blocks holds up nobody
	// else. Close ends both.
	Conn io.ReadWriteCloser
}

// Attach makes a a client, with the same life as one of the stream, and returns
// when it is gone: nil where the peer ended it, else why. It takes two
// goroutines, one of them the caller's.
func (e *Engine) Attach(ctx context.Context, a Attached) error {
	switch {
	case e.stopping.Load() || !e.started.Load():
		return ErrStopping
	case int(e.count.Add(1)) > e.maxClients:
		e.count.Add(-1)
		e.overLimit.Add(1)
		return fmt.Errorf("%w: max_clients is %d", ErrFull, e.maxClients)
	}
	c := &client{told: true, flood: FloodSlow}
	c.ID, c.Remote, c.Since, c.Input = e.nextID.Add(1), a.Remote, time.Now(), a.Input
	c.Layer, c.Format = new(tlsio.Plain), cot.Proto
	c.Decoder.ProtoOnly = true
	c.admit(e, a.Principal)
	c.loop = e.attachLoop()
	w := &pen{conn: a.Conn, wake: make(chan struct{}, 1)}
	c.loop.call(func() { c.loop.open(c, w) })
	defer context.AfterFunc(ctx, func() { _ = a.Conn.Close() })()

	var writing sync.WaitGroup
	writing.Go(func() { w.run() })
	err := c.feed(a.Conn)
	c.loop.call(func() { c.loop.close(c, "client closed") })
	w.close() // the loop may have ended before that
	writing.Wait()
	return err
}

// feed hands what conn sends to c's loop, one read at a time.
func (c *client) feed(conn io.Reader) error {
	buf := make([]byte, 32<<10)
	done := make(chan struct{}, 1)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			c.loop.call(func() {
				if !c.Gone() {
					c.loop.traffic(c, buf[:n])
				}
				done <- struct{}{}
			})
			select {
			case <-done:
			case <-c.loop.e.stopped:
				return ErrStopping
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read: %w", err)
		}
	}
}

// pen is the Conn of an attached client: what the loop writes waits, bounded by
// the limits of slow clients, for a goroutine that may block.
type pen struct {
	conn    io.WriteCloser
	wake    chan struct{} // holds one when there is something to do
	mu      sync.Mutex
	next    []byte
	writing int // bytes in the write under way
	closed  bool
}

// Write implements session.Conn: it keeps a copy and never blocks.
func (p *pen) Write(b []byte) (int, error) {
	p.mu.Lock()
	p.next = append(p.next, b...)
	p.mu.Unlock()
	p.poke()
	return len(b), nil
}

// OutboundBuffered implements session.Conn.
func (p *pen) OutboundBuffered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.next) + p.writing
}

func (p *pen) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.poke()
}

func (p *pen) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run writes until the pen is closed and what waited is written, or fails.
func (p *pen) run() {
	var out []byte
	for range p.wake {
		p.mu.Lock()
		out, p.next = p.next, out[:0]
		p.writing = len(out)
		closed := p.closed
		p.mu.Unlock()
		var err error
		if len(out) > 0 {
			_, err = p.conn.Write(out)
		}
		if cap(out) > keepPen {
			out = nil
		}
		p.mu.Lock()
		p.writing = 0
		more := len(p.next) > 0
		p.mu.Unlock()
		switch {
		case err != nil, closed && !more:
			_ = p.conn.Close() // the reader sees it and ends the client
			return
		case closed || more:
			p.poke()
		}
	}
}

// keepPen is the largest buffer that a pen keeps.
const keepPen = 64 << 10

// goHost runs a loop on a goroutine of its own: that of attached clients, which
// gnet does not know.
type goHost struct {
	e     *Engine
	l     *loop
	wake  chan struct{}
	mu    sync.Mutex
	queue []func()
	spare []func() // the loop's
}

// Run implements host.
func (h *goHost) Run(f func()) {
	h.mu.Lock()
	h.queue = append(h.queue, f)
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Close implements host.
func (h *goHost) Close(conn session.Conn) {
	for _, c := range h.l.clients {
		if c.Conn == conn {
			h.l.closed(c, nil)
			break
		}
	}
	conn.(*pen).close()
}

// serve runs until the engine has stopped.
func (h *goHost) serve() {
	for {
		select {
		case <-h.wake:
		case <-h.e.stopped:
			return
		}
		h.mu.Lock()
		queue := h.queue
		h.queue = h.spare[:0]
		h.mu.Unlock()
		for _, f := range queue {
			h.guard(f)
		}
		clear(queue)
		h.spare = queue
	}
}

func (h *goHost) guard(f func()) {
	defer func() {
		if r := recover(); r != nil {
			h.e.stats.panics.Add(1)
			h.e.log.Error("panic on the loop of attached clients", "panic", r)
		}
	}()
	f()
}

// attachLoop is the loop of attached clients, begun for the first of them.
func (e *Engine) attachLoop() *loop {
	e.loopMu.Lock()
	defer e.loopMu.Unlock()
	if e.attached == nil {
		h := &goHost{e: e, wake: make(chan struct{}, 1)}
		h.l = e.addLoop(h)
		e.attached = h.l
		go h.serve() // ends with e.stopped: after Stop has waited for everything that needs it
	}
	return e.attached
}
