package history

import (
	"context"
	"log/slog"
	"testing"
	"time"
)

// A group that is spooled while it gets through is written, and counted, once.
func TestSpooledWhileWritten(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s, err := openSpool(t.TempDir(), 1<<20, log)
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	write := func(_ context.Context, g *group, _ bool) error {
		rows += g.rows
		return nil
	}
	r := newRecorder(Options{Log: log}, s, nil, write, nil)
	now := time.Now()
	g := newGroup(uint64(now.UnixMicro())<<groupShift, []*Event{{Table: Cot, UID: "a", Received: now, Raw: []byte("<event/>")}}, 8)
	g.Batches[0].split(newShaper())
	r.writeDirect(t.Context(), g)
	if err := s.append(g); err != nil {
		t.Fatal(err)
	}
	if err := r.writeSpooled(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	if _, left := s.front(); left || rows != 1 || r.written.Load() != 1 {
		t.Errorf("%d rows written, %d counted, left in the spool: %t; want 1, 1, false", rows, r.written.Load(), left)
	}
}
