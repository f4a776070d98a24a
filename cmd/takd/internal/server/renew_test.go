package server

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"
)

// It looks at once, again after a failure, and then regularly, until it is stopped.
func TestRenewer(t *testing.T) {
	var n atomic.Int64
	r := &renewer{every: time.Millisecond, again: time.Millisecond, log: slog.New(slog.DiscardHandler), renew: func(context.Context) error {
		if n.Add(1) == 2 {
			return errors.New("disk full")
		}
		return nil
	}}
	r.start(t.Context())
	if n.Load() == 0 {
		t.Error("start did not look")
	}
	for end := time.Now().Add(20 * time.Second); n.Load() < 4; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("looked %d times", n.Load())
		}
	}
	r.stop()
	was := n.Load()
	time.Sleep(5 * time.Millisecond)
	if n.Load() != was {
		t.Error("it goes on after stop")
	}
}
