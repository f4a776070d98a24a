package session

import (
	"takd/netcore/msg"
)

// Ledger is a queue of messages in the order in which they were published. A
// newer position of a uid voids the older one and goes to the end, so that what
// is said about a uid, its deletion too, never overtakes and is never overtaken.
//
// A patient one voids nothing until it is told to, or holds MaxPatient bytes: who
// only stumbles over a burst gets all of it.
//
// It holds what a client that catches up is still owed, and what a sender has
// sent beyond its share. Its owner bounds Bytes; positions are bounded by their
// number. The zero value is empty.
type Ledger struct {
	list      []*msg.Msg // void: nil
	head      int        // list[:head] was taken out
	positions map[string]int
	bytes     int // of what is not a position
	posBytes  int
	voids     int // behind head
	patient   bool
}

// MaxPatient is how many bytes a patient Ledger holds.
const MaxPatient = 8 << 20

// Patient makes an empty Ledger a patient one, and returns it.
func (l *Ledger) Patient() *Ledger {
	l.patient = true
	return l
}

// IsPatient reports whether l voids nothing.
func (l *Ledger) IsPatient() bool { return l.patient }

// Conflate ends the patience of l: of each uid only the newest position stays.
// It returns how many gave way.
func (l *Ledger) Conflate() (gone int) {
	if !l.patient {
		return 0
	}
	l.patient = false
	l.positions = make(map[string]int)
	for i := l.head; i < len(l.list); i++ {
		m := l.list[i]
		if m == nil || !conflates(m) {
			continue
		}
		if at, ok := l.positions[string(m.UID)]; ok {
			l.posBytes -= l.list[at].Size()
			l.list[at].Release()
			l.list[at] = nil
			l.voids++
			gone++
		}
		l.positions[string(m.UID)] = i
	}
	l.compact()
	return gone
}

// MaxPositions is how many uids' positions one Ledger keeps; beyond it the
// oldest are given up.
const MaxPositions = 1 << 16

// Add appends m, holding it, and reports whether an older position gave way.
func (l *Ledger) Add(m *msg.Msg) (replaced bool) {
	if !conflates(m) {
		l.bytes += m.Size()
		l.append(m)
		return false
	}
	if l.patient && l.Size() < MaxPatient {
		l.posBytes += m.Size()
		l.append(m)
		return false
	}
	l.Conflate()
	if l.positions == nil {
		l.positions = make(map[string]int)
	}
	if at, ok := l.positions[string(m.UID)]; ok {
		l.void(at)
		replaced = true
	} else if len(l.positions) >= MaxPositions {
		l.DropPosition()
		replaced = true
	}
	l.posBytes += m.Size()
	l.append(m)
	l.positions[string(m.UID)] = len(l.list) - 1
	return replaced
}

// AddOld is Add for a position that was published some time ago: one of the
// same uid that waits already is newer.
func (l *Ledger) AddOld(m *msg.Msg) {
	l.Conflate()
	if _, ok := l.positions[string(m.UID)]; ok && conflates(m) {
		return
	}
	l.Add(m)
}

func conflates(m *msg.Msg) bool { return m.Class == msg.Position && len(m.UID) > 0 }

func (l *Ledger) append(m *msg.Msg) {
	if l.head > 64 && l.head+l.voids > len(l.list)/2 {
		l.compact()
	}
	l.list = append(l.list, m.Hold())
}

// compact closes the gaps. What it costs was paid for by as many additions.
func (l *Ledger) compact() {
	n := 0
	for _, m := range l.list[l.head:] {
		if m == nil {
			continue
		}
		if !l.patient && conflates(m) {
			l.positions[string(m.UID)] = n
		}
		l.list[n] = m
		n++
	}
	clear(l.list[n:])
	l.list, l.head, l.voids = l.list[:n], 0, 0
}

func (l *Ledger) void(at int) {
	m := l.list[at]
	l.posBytes -= m.Size()
	m.Release()
	l.list[at] = nil
	l.voids++
	if l.voids > 64 && l.voids > (len(l.list)-l.head)/2 {
		l.compact()
	}
}

// DropPosition gives up the oldest position and reports whether there was one.
func (l *Ledger) DropPosition() bool {
	if len(l.positions) == 0 {
		return false
	}
	for i := l.head; i < len(l.list); i++ {
		if m := l.list[i]; m != nil && conflates(m) {
			delete(l.positions, string(m.UID))
			l.void(i)
			return true
		}
	}
	return false
}

// Next takes out the oldest message, with its reference; nil: nothing is left.
func (l *Ledger) Next() *msg.Msg {
	for l.head < len(l.list) {
		m := l.list[l.head]
		l.list[l.head] = nil
		l.head++
		if m == nil {
			l.voids--
			continue
		}
		if conflates(m) {
			delete(l.positions, string(m.UID))
			l.posBytes -= m.Size()
		} else {
			l.bytes -= m.Size()
		}
		return m
	}
	l.list, l.head, l.voids = l.list[:0], 0, 0
	return nil
}

// Peek is Next, but m stays where it is.
func (l *Ledger) Peek() *msg.Msg {
	for _, m := range l.list[l.head:] {
		if m != nil {
			return m
		}
		l.head++
		l.voids--
	}
	return nil
}

// Keep drops what fits does not want.
func (l *Ledger) Keep(fits func(*msg.Msg) bool) {
	for i := l.head; i < len(l.list); i++ {
		m := l.list[i]
		if m == nil || fits(m) {
			continue
		}
		if conflates(m) {
			delete(l.positions, string(m.UID))
			l.posBytes -= m.Size()
		} else {
			l.bytes -= m.Size()
		}
		m.Release()
		l.list[i] = nil
		l.voids++
	}
	l.compact()
}

// Len is how many messages wait.
func (l *Ledger) Len() int { return len(l.list) - l.head - l.voids }

// Bytes is the size of what waits and is not a position.
func (l *Ledger) Bytes() int { return l.bytes }

// Size is the size of everything that waits.
func (l *Ledger) Size() int { return l.bytes + l.posBytes }

// Release gives everything back.
func (l *Ledger) Release() {
	for m := l.Next(); m != nil; m = l.Next() {
		m.Release()
	}
}
