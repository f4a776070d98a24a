package server

import (
	"sync/atomic"
	"testing"
	"time"
)

func TestTwice(t *testing.T) {
	tw := newTwice()
	var a, b atomic.Int64
	for range 3 {
		tw.do("a", func() { a.Add(1) })
	}
	tw.do("b", func() { b.Add(1) })
	if a.Load() < 3 || b.Load() < 1 {
		t.Errorf("do ran a %d times and b %d times, want 3 and 1 at once", a.Load(), b.Load())
	}
	for end := time.Now().Add(20 * time.Second); a.Load() < 4 || b.Load() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("a ran %d times, b %d times, want 4 and 2", a.Load(), b.Load())
		}
	}
	tw.do("c", func() {})
	tw.stop() // does not wait for what has not begun
}
