package main

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"
)

// flow is the traffic of the mode max: every publisher keeps a window of events
// under way. An event is under way until all receivers have it.
//
// What is counted per event is little, since the tool shares the machine with
// the server.
type flow struct {
	l       *load
	lanes   []lane
	inboxes []inbox
	over    chan struct{} // closed at the end of the measured time
}

// lane is one publisher.
type lane struct {
	missing []atomic.Int32 // receivers that lack the event, by sequence number modulo the window
	free    chan struct{}  // one token: an event has reached the last receiver
	done    atomic.Int64   // events that all have
	sent    int64          // of the publisher
	err     error
}

// inbox is one receiver. Only count is read by others while it receives.
type inbox struct {
	count      atomic.Int64
	last       []uint32 // sequence number, by sender
	duplicates int64
	disorder   int64 // came after a later one, or one is missing before it
	bytes      int64
	hist       histogram
	_          [64]byte // not in one cache line with the next
}

const (
	sample    = 16       // latency is taken of every so-many-th event
	writeSize = 32 << 10 // events that a publisher has ready go out together, up to so many bytes
)

func newFlow(l *load) *flow {
	f := &flow{l: l, lanes: make([]lane, l.Publishers), inboxes: make([]inbox, l.Clients), over: make(chan struct{})}
	for i := range f.lanes {
		f.lanes[i].missing = make([]atomic.Int32, l.Window)
		f.lanes[i].free = make(chan struct{}, 1)
	}
	for i := range f.inboxes {
		f.inboxes[i].last = make([]uint32, l.Publishers)
	}
	return f
}

// take counts an event that client i received.
func (f *flow) take(i int, m mark, size int) {
	if m.sender >= len(f.lanes) {
		return
	}
	in, lane := &f.inboxes[i], &f.lanes[m.sender]
	last := in.last[m.sender]
	switch {
	case m.seq <= last:
		in.duplicates++
		return
	case m.seq != last+1:
		in.disorder++
	}
	in.last[m.sender] = m.seq
	in.bytes += int64(size)
	in.count.Store(in.count.Load() + 1) // nobody else writes
	if m.seq%sample == 0 {
		in.hist.add((f.l.now() - m.due) / 1000)
	}
	if lane.missing[m.seq%uint32(len(lane.missing))].Add(-1) == 0 {
		lane.done.Add(1)
		select {
		case lane.free <- struct{}{}:
		default:
		}
	}
}

// publish sends for publisher i, from start to the end. Its events differ in the mark only.
func (f *flow) publish(ctx context.Context, i int, start int64) {
	c, lane := f.l.crowd.clients[i], &f.lanes[i]
	event, at, err := f.template(c, i)
	if lane.err = err; err != nil {
		return
	}
	if !f.l.sleep(ctx, start) {
		return
	}
	var batch []byte
	window, receivers := uint32(f.l.Window), int32(f.l.Clients-1)
	for seq := uint32(1); ; {
		batch = batch[:0]
		now := f.l.now()
		for len(batch) < writeSize && lane.missing[seq%window].Load() == 0 {
			lane.missing[seq%window].Store(receivers)
			begin := len(batch)
			batch = append(batch, event...)
			mark{run: f.l.id, sender: i, seq: seq, due: now}.append(batch[:begin+at])
			seq++
		}
		if len(batch) > 0 {
			if _, lane.err = c.conn.Write(batch); lane.err != nil {
				return
			}
			lane.sent = int64(seq - 1)
		}
		select {
		case <-f.over:
			return
		case <-ctx.Done():
			return
		default:
		}
		if lane.missing[seq%window].Load() > 0 {
			select {
			case <-lane.free:
			case <-f.over:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// template is an event on the wire, and where its mark is.
func (f *flow) template(c *client, i int) (event []byte, at int, err error) {
	m := mark{run: f.l.id, sender: i}
	xml := c.appendSA(nil, time.Unix(0, f.l.now()), f.l.Size, m.append(nil))
	event, err = toWire(nil, xml, c.speaks, &c.scratch)
	return event, bytes.Index(event, []byte(markTag)), err
}

// counts are sums over all lanes and inboxes.
type counts struct{ deliveries, messages int64 }

func (f *flow) counts() (c counts) {
	for i := range f.inboxes {
		c.deliveries += f.inboxes[i].count.Load()
	}
	for i := range f.lanes {
		c.messages += f.lanes[i].done.Load()
	}
	return c
}

// report adds what came in the measured time, which is between from and to, and
// in the whole run. All must have left.
func (f *flow) report(r *report, from, to counts) {
	for i := range f.lanes {
		r.Sent += f.lanes[i].sent
		r.Expected += f.lanes[i].sent * int64(f.l.Clients-1)
		if err := f.lanes[i].err; err != nil && r.FirstLoss == "" {
			r.FirstLoss = err.Error()
		}
	}
	r.Due = r.Sent
	all := newHistogram()
	var size int64
	for i := range f.inboxes {
		in := &f.inboxes[i]
		expected := r.Sent
		if i < len(f.lanes) {
			expected -= f.lanes[i].sent
		}
		r.client(in.count.Load(), expected)
		r.Duplicates += in.duplicates
		r.Disorder += in.disorder
		size += in.bytes
		_ = in.hist.into(all)
	}
	r.Messages = float64(to.messages-from.messages) / r.MeasuredSeconds
	r.measured = to.deliveries - from.deliveries
	if r.Delivered > 0 {
		r.BytesPerSec = float64(size) / float64(r.Delivered) * float64(r.measured) / r.MeasuredSeconds
	}
	r.Latency = latencies(all)
}
