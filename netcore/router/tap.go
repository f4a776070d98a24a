package router

import (
	"sync/atomic"

	"takd/netcore/msg"
)

// Tap is a bounded copy of the traffic for one consumer: history, plugins,
// federation, the map. A full tap drops and counts: it can never slow delivery.
type Tap struct {
	Name    string
	ring    chan *msg.Msg
	accept  func(*msg.Msg) bool
	dropped atomic.Uint64
}

// NewTap returns a tap that holds up to size messages. accept says which ones
// it wants and must not block; nil means all.
func NewTap(name string, size int, accept func(*msg.Msg) bool) *Tap {
	return &Tap{Name: name, ring: make(chan *msg.Msg, size), accept: accept}
}

// Push offers m and never blocks. The tap takes a reference of its own.
func (t *Tap) Push(m *msg.Msg) {
	if t.accept != nil && !t.accept(m) {
		return
	}
	select {
	case t.ring <- m.Hold():
	default:
		m.Release()
		t.dropped.Add(1)
	}
}

// C is where the consumer reads; it releases each message when done with it.
func (t *Tap) C() <-chan *msg.Msg { return t.ring }

// Dropped is how many messages found no room.
func (t *Tap) Dropped() uint64 { return t.dropped.Load() }

// HalfFull tells whether who could wait should, and leave the room to others.
func (t *Tap) HalfFull() bool { return len(t.ring) > cap(t.ring)/2 }

// Len is how many wait.
func (t *Tap) Len() int { return len(t.ring) }
