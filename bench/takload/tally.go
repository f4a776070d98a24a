package main

import (
	"math/bits"
	"sync"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The histogram counts microseconds, from one to ten minutes, to three digits.
const (
	lowest  = 1
	highest = 600_000_000
	digits  = 3
)

// tally counts what one client received. Only events due in the measured time
// count for anything but order.
type tally struct {
	mu       sync.Mutex // the receiver adds while drain looks
	me       int
	from, to int64
	senders  []window
	hist     histogram

	events     int64 // distinct events
	duplicates int64
	disorder   int64 // came after a later one of the same sender
	strays     int64 // were for another client
	bytes      int64
}

// window knows which of the last events of one sender have come.
type window struct {
	top  uint32 // highest sequence number seen
	seen uint64 // bit k: top-k was seen
}

func newTally(me, senders int) *tally { return &tally{me: me, senders: make([]window, senders)} }

// open sets what is measured. Nothing counts before.
func (t *tally) open(from, to int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.from, t.to = from, to
}

func (t *tally) unique() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.events
}

// add counts one event that came at now.
func (t *tally) add(m mark, now int64, size int) {
	if m.sender >= len(t.senders) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	again, late := t.senders[m.sender].add(m.seq)
	if m.due < t.from || m.due >= t.to {
		return
	}
	if m.to != 0 && m.to != t.me+1 {
		t.strays++
		return
	}
	if again {
		t.duplicates++
		return
	}
	if late {
		t.disorder++
	}
	t.events++
	t.bytes += int64(size)
	t.hist.add((now - m.due) / 1000)
}

// add notes seq. An event that is 64 or more behind cannot be told from a
// duplicate and counts as late.
func (w *window) add(seq uint32) (again, late bool) {
	if seq > w.top {
		w.seen = w.seen<<min(seq-w.top, bits.UintSize) | 1
		w.top = seq
		return false, false
	}
	behind := w.top - seq
	if behind >= bits.UintSize {
		return false, true
	}
	again = w.seen>>behind&1 == 1
	w.seen |= 1 << behind
	return again, true
}

// histogram keeps the few values of one client in a small map, since a full
// histogram for each of ten thousand clients would not fit in memory.
type histogram struct{ counts map[uint32]uint32 }

// add counts a latency in microseconds, rounded to about half a percent.
func (h *histogram) add(us int64) {
	if h.counts == nil {
		h.counts = make(map[uint32]uint32)
	}
	us = min(max(us, lowest), highest)
	if drop := bits.Len64(uint64(us)) - 8; drop > 0 {
		us = us>>drop<<drop + 1<<(drop-1)
	}
	h.counts[uint32(us)]++
}

func (h *histogram) into(all *hdrhistogram.Histogram) error {
	for us, n := range h.counts {
		if err := all.RecordValues(int64(us), int64(n)); err != nil {
			return err
		}
	}
	return nil
}
