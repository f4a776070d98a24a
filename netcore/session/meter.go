package session

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"takd/netcore/msg"
)

// Rate is how much somebody may send. Zero or less means as much as he likes.
type Rate struct {
	Events int `yaml:"events" json:"events" help:"Events a second; negative: any number."`
	Bytes  int `yaml:"bytes"  json:"bytes"  help:"Bytes a second; negative: any number."`
	UIDs   int `yaml:"uids"   json:"uids"   help:"New uids a second; negative: any number."`

	// What somebody sends costs as much as there are receivers.
	Deliveries int `yaml:"deliveries" json:"deliveries" help:"Deliveries a second that his events may cause, in KiB begun: an event of 700 bytes for 200 clients is 200; negative: any number."`
}

// burst is how many seconds' worth may come at once: clients that lost their
// network send what they have when it is back.
const burst = 3 * time.Second

// deliveryBurst is the same for deliveries: so much later are others served.
const deliveryBurst = 50 * time.Millisecond

// Meter measures one sender against a Rate: a connection, or all those of a
// user or an address. It is safe for concurrent use, and costs four words.
type Meter struct {
	events, bytes, uids, deliveries atomic.Int64 // when, in nanoseconds, what was taken is paid for
}

// Take reports whether an event of size bytes, with a new uid or not, fits at
// now, in nanoseconds of any clock that does not go back, and takes its place
// if so. What its deliveries cost is charged to Bill when they are known.
func (m *Meter) Take(r Rate, now int64, size int, fresh bool) bool {
	if r.Deliveries > 0 {
		paid := m.deliveries.Load()
		if paid-now > int64(deliveryBurst) {
			return false
		}
		if paid < now {
			m.deliveries.CompareAndSwap(paid, now)
		}
	}
	return take(&m.events, now, 1, r.Events) && take(&m.bytes, now, size, r.Bytes) && (!fresh || take(&m.uids, now, 1, r.UIDs))
}

// Bill is where to charge the deliveries of an event that was taken.
func (m *Meter) Bill(r Rate) msg.Bill {
	if r.Deliveries <= 0 {
		return msg.Bill{}
	}
	return msg.Bill{Paid: &m.deliveries, Cost: int64(time.Second) / int64(r.Deliveries)}
}

func take(paid *atomic.Int64, now int64, n, rate int) bool {
	if rate <= 0 {
		return true
	}
	cost := int64(n) * int64(time.Second) / int64(rate)
	for {
		old := paid.Load()
		next := max(old, now) + cost
		if next-now > int64(burst) && old > now { // one alone always fits
			return false
		}
		if paid.CompareAndSwap(old, next) {
			return true
		}
	}
}

// uidsKnown bounds what a Known remembers; a gateway with more uids than that
// spends its allowance of new ones on those that were forgotten.
const uidsKnown = 16 << 10

var seed = maphash.MakeSeed()

// Known remembers, by their hashes, the uids that one sender has used: up to
// twice uidsKnown, the least recent are forgotten in bulk. Most clients use one
// uid, and cost no map. The zero value knows none.
type Known struct {
	first      uint64
	young, old map[uint64]struct{}
}

// Has reports whether uid was used.
func (k *Known) Has(uid []byte) bool {
	h := maphash.Bytes(seed, uid)
	if k.first == h {
		return true
	}
	if _, ok := k.young[h]; ok {
		return true
	}
	_, ok := k.old[h]
	return ok
}

// Learn remembers uid, anew if it was used: what is used stays known.
func (k *Known) Learn(uid []byte) {
	h := maphash.Bytes(seed, uid)
	if k.first == 0 {
		k.first = h
	}
	if k.first == h {
		return
	}
	if k.young == nil {
		k.young = make(map[uint64]struct{})
	}
	if _, ok := k.young[h]; ok {
		return
	}
	if len(k.young) >= uidsKnown {
		k.young, k.old = k.old, k.young
		clear(k.young)
		if k.young == nil {
			k.young = make(map[uint64]struct{})
		}
	}
	k.young[h] = struct{}{}
}
