package httpd

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// turns keeps requests from taking the processor from the stream. While the
// stream is busy few requests run at one time, and as much time as they take is
// left free between them; else none waits. Who waits for its client has no turn.
// Who waits for anything else, such as a disk, keeps its turn no longer than
// lapse: so nobody can wait for ever, nor for each other.
type turns struct {
	busy  func() bool   // nil: never
	limit int           // turns at one time
	lapse time.Duration // of one

	mu      sync.Mutex
	running []*paced
	waiting []*paced // first come, first served
	resume  time.Time
	watched bool // somebody looks after those who wait

	waited atomic.Uint64
}

const (
	usualLapse = time.Millisecond
	pause      = 1                // as long as the turn
	shortest   = time.Millisecond // a pause below it is not worth a timer: it is added to the next
)

// paced is a connection that takes a turn when its client has sent something, and
// ends it before it waits for the client again. One goroutine at a time uses it,
// until it is set free.
type paced struct {
	net.Conn
	turns *turns
	begin chan struct{}
	free  bool // waits for nothing any more

	held  bool // has a turn; guarded by turns.mu, as is since
	since time.Time
}

func (t *turns) pace(c net.Conn) *paced {
	return &paced{Conn: c, turns: t, begin: make(chan struct{}, 1)}
}

// Read implements net.Conn.
func (p *paced) Read(b []byte) (int, error) {
	if p.free {
		return p.Conn.Read(b)
	}
	p.turns.end(p)
	n, err := p.Conn.Read(b)
	p.turns.take(p)
	return n, err
}

// Write implements net.Conn.
func (p *paced) Write(b []byte) (int, error) {
	if p.free {
		return p.Conn.Write(b)
	}
	p.turns.end(p)
	n, err := p.Conn.Write(b)
	p.turns.take(p)
	return n, err
}

// Close implements net.Conn.
func (p *paced) Close() error {
	p.turns.end(p)
	return p.Conn.Close()
}

// release sets a connection free that several goroutines will use.
func (p *paced) release() {
	p.turns.end(p)
	p.free = true
}

// take waits for a turn.
func (t *turns) take(p *paced) {
	if t.busy == nil || !t.busy() {
		return
	}
	t.mu.Lock()
	now := time.Now()
	if len(t.waiting) == 0 && t.may(now) {
		t.start(p, now)
		t.mu.Unlock()
		return
	}
	t.waiting = append(t.waiting, p)
	if !t.watched {
		t.watched = true
		go t.watch()
	}
	t.mu.Unlock()
	t.waited.Add(1)
	<-p.begin
}

func (t *turns) may(now time.Time) bool {
	return len(t.running) < t.limit && t.resume.Sub(now) < shortest
}

func (t *turns) start(p *paced, now time.Time) {
	p.held, p.since = true, now
	t.running = append(t.running, p)
}

// end gives p's turn, if it has one, to who waits longest.
func (t *turns) end(p *paced) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.held {
		t.stop(p, time.Now())
	}
}

// stop ends p's turn. The pause grows by what it took.
func (t *turns) stop(p *paced, now time.Time) {
	p.held = false
	t.running = slices.DeleteFunc(t.running, func(o *paced) bool { return o == p })
	if t.resume.Before(p.since) {
		t.resume = p.since
	}
	took := min(now.Sub(p.since), t.lapse)
	t.resume = t.resume.Add((1 + pause) * took / time.Duration(t.limit))
	t.next(now)
}

// next begins turns for those who wait, as many as may be.
func (t *turns) next(now time.Time) {
	for len(t.waiting) > 0 && t.may(now) {
		p := t.waiting[0]
		t.waiting = slices.Delete(t.waiting, 0, 1)
		t.start(p, now)
		p.begin <- struct{}{}
	}
}

// watch looks after those who wait, until nobody does.
func (t *turns) watch() {
	tick := time.NewTicker(shortest)
	defer tick.Stop()
	for now := range tick.C {
		if t.look(now) {
			return
		}
	}
}

// look takes turns away that last too long, and reports whether nobody waits.
func (t *turns) look(now time.Time) (done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range slices.Clone(t.running) {
		if now.Sub(p.since) > t.lapse {
			t.stop(p, now)
		}
	}
	if !t.busy() {
		for _, p := range t.waiting {
			p.begin <- struct{}{}
		}
		t.waiting = t.waiting[:0]
	}
	t.next(now)
	t.watched = len(t.waiting) > 0
	return !t.watched
}
