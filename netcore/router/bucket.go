// Package router decides who receives an event and gathers what they receive:
// buckets of receivers with the same view, an index by uid and callsign,
// mailboxes of absent clients, repeated emergencies, and taps.
package router

import (
	"takd/cot"
	"takd/netcore/group"
	"takd/netcore/msg"
	"takd/netcore/session"
)

// Bucket is the set of one loop's receivers with the same OUT groups and the
// same encoding. They share one plaintext batch, so that an event costs one
// copy for all of them until it is sealed.
type Bucket struct {
	Out     *group.Set
	Format  cot.Format
	Members []*session.Session
	Batch   []byte
	Events  int        // in Batch
	Chat    []*msg.Msg // of them, each held: what somebody who leaves now has not got
	Dirty   bool
}

// Add makes s a member from here on: what the batch holds already is not for it.
func (b *Bucket) Add(s *session.Session) {
	s.Slot = len(b.Members)
	b.Members = append(b.Members, s)
	s.Outbox.Reset(len(b.Batch), b.Events)
}

// Remove takes s out. The order of members changes, so it must not run while
// somebody walks them.
func (b *Bucket) Remove(s *session.Session) {
	last := len(b.Members) - 1
	moved := b.Members[last]
	b.Members[s.Slot] = moved
	moved.Slot = s.Slot
	b.Members[last] = nil
	b.Members = b.Members[:last]
}

// Wants reports whether the bucket's members may receive m.
func (b *Bucket) Wants(m *msg.Msg) bool {
	return b.Out.Bits.Intersects(m.In) && (m.Except == nil || !b.Out.Bits.Intersects(m.Except))
}

// Append adds m's bytes to the batch and returns where they lie.
func (b *Bucket) Append(bytes []byte) (from, to int) {
	from = len(b.Batch)
	b.Batch = append(b.Batch, bytes...)
	b.Events++
	return from, len(b.Batch)
}

// Reset empties the batch; the members' outboxes must have been reset too.
func (b *Bucket) Reset() {
	const keep = 128 << 10
	if cap(b.Batch) > keep {
		b.Batch = nil
	}
	for i, m := range b.Chat {
		m.Release()
		b.Chat[i] = nil
	}
	b.Batch, b.Events, b.Chat, b.Dirty = b.Batch[:0], 0, b.Chat[:0], false
}
