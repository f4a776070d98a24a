package main

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
)

var endTag = []byte("</event>")

// lastEnd returns where the last event in b ends, 0 if none does. The first
// known bytes were looked at before, without an end.
func lastEnd(b []byte, known int) int {
	from := max(0, known-len(endTag)+1)
	if i := bytes.LastIndex(b[from:], endTag); i >= 0 {
		return from + i + len(endTag)
	}
	return 0
}

// segmentSize is how much of the feed lies in one piece. It is also the longest
// batch, but for events that are longer.
const segmentSize = 256 << 10

// segment is a piece of the feed. Its bytes below used never change, so that
// all receivers write them from where they lie.
type segment struct {
	buf  []byte
	from int64 // position in the feed of its first byte
	used atomic.Int64
	next atomic.Pointer[segment] // once it is set, used is final
}

// feed is everything that anybody sent, in one order. Senders append at its end,
// under a lock; receivers follow, each at its own position, without one. What
// all have passed is garbage.
type feed struct {
	limit   int64
	blocked atomic.Int64 // senders that wait for room

	mu    sync.Mutex // guards what follows
	room  sync.Cond
	tail  *segment
	floor int64   // no receiver has written less than this
	peers []*peer // only ever appended to in place, so that a copy of the slice may be read without the lock
}

// span is a part of the feed.
type span struct{ from, to int64 }

// peer is one connection as the feed sees it.
type peer struct {
	written atomic.Int64 // the connection has taken everything below
	asleep  atomic.Bool
	gone    atomic.Bool
	wake    chan struct{} // one token for whoever set asleep to false

	segment *segment // next to write; of the writer only
	at      int64
	scratch []byte

	mu  sync.Mutex
	own []span // what it sent itself and has not passed yet
}

func newFeed(limit int64) *feed {
	f := &feed{limit: limit, tail: &segment{buf: make([]byte, segmentSize)}}
	f.room.L = &f.mu
	return f
}

// end is the position after the last byte. The caller holds the lock.
func (f *feed) end() int64 { return f.tail.from + f.tail.used.Load() }

func (f *feed) join() *peer {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &peer{wake: make(chan struct{}, 1), segment: f.tail, at: f.end()}
	p.written.Store(p.at)
	f.peers = append(f.peers, p)
	return p
}

// leave may be called twice.
func (f *feed) leave(p *peer) {
	p.gone.Store(true)
	f.mu.Lock()
	if i := slices.Index(f.peers, p); i >= 0 {
		f.peers = slices.Concat(f.peers[:i], f.peers[i+1:])
	}
	f.room.Broadcast()
	f.mu.Unlock()
	p.rouse()
}

// add appends what p sent, whole events, for everybody else. It waits while a
// receiver is too far behind.
func (f *feed) add(p *peer, events []byte) {
	size := int64(len(events))
	if size == 0 {
		return
	}
	f.mu.Lock()
	f.reserve(p, size)
	if f.tail.used.Load()+size > int64(len(f.tail.buf)) {
		next := &segment{buf: make([]byte, max(segmentSize, size)), from: f.end()}
		f.tail.next.Store(next)
		f.tail = next
	}
	at := f.end()
	p.skip(span{at, at + size}) // before the writer of p can see it
	copy(f.tail.buf[f.tail.used.Load():], events)
	f.tail.used.Add(size)
	peers := f.peers
	f.mu.Unlock()
	for _, other := range peers {
		if other != p {
			other.rouse()
		}
	}
}

// reserve waits until every receiver has at most limit bytes before it with so
// many more, or p has left. The caller holds the lock.
func (f *feed) reserve(p *peer, size int64) {
	if f.end()+size-f.floor <= f.limit {
		return
	}
	f.blocked.Add(1) // from here on whoever writes wakes us
	defer f.blocked.Add(-1)
	for !p.gone.Load() {
		f.floor = f.end()
		for _, other := range f.peers {
			f.floor = min(f.floor, other.written.Load())
			other.rouse() // who slept through what he sent himself is not behind
		}
		if f.end()+size-f.floor <= f.limit || f.floor == f.end() {
			return
		}
		f.room.Wait()
	}
}

// next returns everything that p is to write, up to the end of a segment, and
// waits for it; false if p has left. The bytes are valid until it is called
// again, which tells that they were written.
func (f *feed) next(p *peer) (batch []byte, ok bool) {
	for !p.gone.Load() {
		p.written.Store(p.at)
		if f.blocked.Load() > 0 {
			f.mu.Lock() // a sender that has counted already waits by now
			f.room.Broadcast()
			f.mu.Unlock()
		}
		from, to := p.ready()
		if from == to {
			p.sleep()
			continue
		}
		p.at = to
		if batch := p.others(span{from, to}); len(batch) > 0 {
			return batch, true
		}
	}
	return nil, false
}

// ready returns what can be read in one piece.
func (p *peer) ready() (from, to int64) {
	for {
		if to = p.segment.from + p.segment.used.Load(); to > p.at {
			return p.at, to
		}
		next := p.segment.next.Load()
		if next == nil {
			return p.at, p.at
		}
		if p.at == p.segment.from+p.segment.used.Load() { // final now
			p.segment = next
		}
	}
}

// others returns the bytes of s, a part of the segment, without what p sent.
func (p *peer) others(s span) []byte {
	bytesOf := func(from, to int64) []byte { return p.segment.buf[from-p.segment.from : to-p.segment.from] }
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.own) == 0 || p.own[0].from >= s.to {
		return bytesOf(s.from, s.to)
	}
	p.scratch = p.scratch[:0]
	n := 0
	for ; n < len(p.own) && p.own[n].from < s.to; n++ {
		p.scratch = append(p.scratch, bytesOf(s.from, p.own[n].from)...)
		if s.from = p.own[n].to; s.from > s.to { // it goes on where this batch ends
			p.own[n].from, s.from = s.to, s.to
			break
		}
	}
	p.own = slices.Delete(p.own, 0, n)
	p.scratch = append(p.scratch, bytesOf(s.from, s.to)...)
	return p.scratch
}

// skip notes that p sent s.
func (p *peer) skip(s span) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := len(p.own) - 1; last >= 0 && p.own[last].to == s.from {
		p.own[last].to = s.to
		return
	}
	p.own = append(p.own, s)
}

// sleep waits for rouse, unless there is something to read.
func (p *peer) sleep() {
	p.asleep.Store(true)
	if from, to := p.ready(); (from < to || p.gone.Load()) && p.asleep.CompareAndSwap(true, false) {
		return
	}
	<-p.wake
}

// rouse wakes the writer of p if it sleeps.
func (p *peer) rouse() {
	if p.asleep.Load() && p.asleep.CompareAndSwap(true, false) {
		p.wake <- struct{}{}
	}
}
