package main

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// pause makes a client stop reading. A nil pause never does.
type pause struct{ until atomic.Pointer[chan struct{}] }

// hold stops the reader before its next read; release lets it go on.
func (p *pause) hold() (release func()) {
	gate := make(chan struct{})
	p.until.Store(&gate)
	return sync.OnceFunc(func() { close(gate) })
}

func (p *pause) wait() {
	if p == nil {
		return
	}
	if gate := p.until.Load(); gate != nil {
		<-*gate
	}
}

// smallWindow keeps the kernel from reading in place of a client that does not.
func smallWindow(_, _ string, raw syscall.RawConn) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 64<<10)
	}); e != nil {
		return e
	}
	return err
}

// stuckReport is what became of the clients that did not read for a while.
type stuckReport struct {
	Clients  int     `json:"clients"`
	Closed   int     `json:"closed"`      // by the server; they connected again when they read again
	Pictures int     `json:"pictures"`    // got the current position of every publisher
	Median   float64 `json:"seconds_p50"` // from reading again until then
	Longest  float64 `json:"seconds_max"`
}

// stuck plays the clients that stop reading.
type stuck struct {
	l       *load
	first   int // they are clients[first:]
	viewers []*viewer
	closed  atomic.Int64
}

// viewer waits for the current picture: of each sender an event that is at least
// as new as the newest when it began to read again.
type viewer struct {
	mu      sync.Mutex
	newest  []int64 // due, by sender
	want    int64
	since   time.Time
	missing int // senders, while want is set
	done    chan struct{}
	took    time.Duration
}

func newStuck(l *load) *stuck {
	s := &stuck{l: l, first: l.Clients - l.Stuck}
	for range l.Stuck {
		s.viewers = append(s.viewers, &viewer{newest: make([]int64, l.Publishers), done: make(chan struct{})})
	}
	return s
}

func (v *viewer) take(m mark) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m.sender >= len(v.newest) || m.due <= v.newest[m.sender] {
		return
	}
	before := v.newest[m.sender]
	v.newest[m.sender] = m.due
	if v.missing > 0 && before < v.want && m.due >= v.want {
		v.count()
	}
}

// look begins to wait for events due at want or later.
func (v *viewer) look(want int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.want, v.since, v.missing = want, time.Now(), 1
	for _, due := range v.newest {
		if due < want {
			v.missing++
		}
	}
	v.count()
}

func (v *viewer) count() {
	if v.missing--; v.missing == 0 {
		v.took = time.Since(v.since)
		close(v.done)
	}
}

// play stops the readers, lets them read again after a while, and waits until
// they have the picture or the publishers have ended.
func (s *stuck) play(ctx context.Context) {
	clients := s.l.crowd.clients[s.first:]
	release := make([]func(), 0, len(clients))
	for _, c := range clients {
		release = append(release, c.pause.hold())
	}
	s.l.sleep(ctx, s.l.from+int64(s.l.StuckFor))
	// A publisher's newest event is as old as its interval, and is under way.
	want := s.l.now() - int64(float64(time.Second)/s.l.Rate)
	for i, c := range clients {
		s.viewers[i].look(want)
		c.pause.until.Store(nil)
		release[i]()
	}
	for _, v := range s.viewers {
		select {
		case <-v.done:
		case <-ctx.Done():
			return
		case <-time.After(max(0, time.Duration(s.l.to-s.l.now()))):
		}
	}
}

// again connects a client that the server has closed meanwhile, as ATAK does.
func (s *stuck) again(ctx context.Context, c *client) bool {
	if c.index < s.first || c.index >= s.l.Clients || ctx.Err() != nil {
		return false
	}
	s.closed.Add(1)
	next := &client{person: c.person, index: c.index, proto: c.proto, size: c.size, pause: c.pause, got: c.got}
	return s.l.crowd.join(ctx, next) == nil
}

func (s *stuck) report(r *report) {
	rep := &stuckReport{Clients: len(s.viewers), Closed: int(s.closed.Load())}
	var took []float64
	for _, v := range s.viewers {
		v.mu.Lock()
		if v.took > 0 {
			rep.Pictures++
			took = append(took, v.took.Seconds())
		} else {
			took = append(took, math.Inf(1))
		}
		v.mu.Unlock()
	}
	slices.Sort(took)
	took = took[:rep.Pictures]
	if len(took) > 0 {
		rep.Median, rep.Longest = took[len(took)/2], took[len(took)-1]
	}
	r.Stuck = rep
}
