package server

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// settle is how long a client may take from the moment it was let in to the
// moment it can be found among the clients.
const settle = 500 * time.Millisecond

// twice acts on live connections now and once more a little later: a client
// that was let in just before a change, and is found only after it, would else
// keep what was taken from it.
type twice struct {
	mu      sync.Mutex
	pending map[string]func() // by what it acts on: many changes at once are one
	closed  chan struct{}
	wait    sync.WaitGroup
}

func newTwice() *twice { return &twice{pending: map[string]func(){}, closed: make(chan struct{})} }

// do runs f, and again after a while unless f of the same key waits already.
func (t *twice) do(key string, f func()) {
	f()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) == 0 {
		t.wait.Go(t.again)
	}
	t.pending[key] = f
}

func (t *twice) again() {
	select {
	case <-time.After(settle):
	case <-t.closed:
		return
	}
	t.mu.Lock()
	all := slices.Collect(maps.Values(t.pending))
	clear(t.pending)
	t.mu.Unlock()
	for _, f := range all {
		f()
	}
}

// stop returns when nothing runs any more; what waits is left out.
func (t *twice) stop() {
	close(t.closed)
	t.wait.Wait()
}
