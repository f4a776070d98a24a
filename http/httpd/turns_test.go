package httpd

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// calls runs n clients, of which each sends one byte and wants it back, through
// serve, one goroutine for each.
func calls(t *testing.T, turns *turns, n int, serve func(i int, p *paced)) {
	t.Helper()
	var wait sync.WaitGroup
	for i := range n {
		near, far := net.Pipe()
		p := turns.pace(near)
		wait.Go(func() {
			defer func() { _ = p.Close() }()
			var b [1]byte
			if _, err := p.Read(b[:]); err != nil {
				t.Error(err)
			}
			serve(i, p)
			if _, err := p.Write(b[:]); err != nil {
				t.Error(err)
			}
		})
		wait.Go(func() {
			_, _ = far.Write([]byte{1})
			var b [1]byte
			if _, err := far.Read(b[:]); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	turns.mu.Lock()
	defer turns.mu.Unlock()
	if len(turns.running)+len(turns.waiting) > 0 {
		t.Errorf("%d turns and %d who wait are left", len(turns.running), len(turns.waiting))
	}
}

func always() bool { return true }

func TestFewRequestsRunWhileTheStreamIsBusy(t *testing.T) {
	turns := &turns{busy: always, limit: 2, lapse: time.Hour}
	var running, most atomic.Int64
	calls(t, turns, 40, func(int, *paced) {
		most.Store(max(most.Load(), running.Add(1)))
		time.Sleep(100 * time.Microsecond)
		running.Add(-1)
	})
	if most.Load() > 2 {
		t.Errorf("%d requests ran at one time; want at most 2", most.Load())
	}
	if turns.waited.Load() == 0 {
		t.Error("nobody waited")
	}
}

// Who waits for something else than its client keeps nobody from running: here
// each request waits for the one that came after it.
func TestATurnLapses(t *testing.T) {
	turns := &turns{busy: always, limit: 1, lapse: usualLapse}
	var came [5]chan struct{}
	for i := range came {
		came[i] = make(chan struct{})
	}
	calls(t, turns, len(came), func(i int, _ *paced) {
		close(came[i])
		for _, c := range came {
			<-c
		}
	})
}

func TestNobodyWaitsWhileTheStreamIsNotBusy(t *testing.T) {
	var came sync.WaitGroup
	came.Add(20)
	turns := &turns{busy: func() bool { return false }, limit: 1, lapse: time.Hour}
	calls(t, turns, 20, func(int, *paced) {
		came.Done()
		came.Wait() // all at one time
	})
	if n := turns.waited.Load(); n > 0 {
		t.Errorf("%d waited", n)
	}
}

func TestWhoWaitsGoesOnWhenTheStreamIsNoLongerBusy(t *testing.T) {
	var idle atomic.Bool
	turns := &turns{busy: func() bool { return !idle.Load() }, limit: 1, lapse: time.Hour}
	calls(t, turns, 10, func(int, *paced) {
		for !idle.Load() { // the first one, while the others wait
			idle.Store(turns.waited.Load() == 9)
			time.Sleep(time.Millisecond)
		}
	})
}

func TestAReleasedConnectionTakesNoTurn(t *testing.T) {
	turns := &turns{busy: always, limit: 1, lapse: time.Hour}
	var came sync.WaitGroup
	came.Add(10)
	calls(t, turns, 10, func(_ int, p *paced) {
		p.release()
		came.Done()
		came.Wait()
	})
}
