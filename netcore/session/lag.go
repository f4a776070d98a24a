package session

import "takd/netcore/msg"

// Lag is what waits for a client that does not read as fast as it is written
// to. Of each uid only the newest position waits; everything else waits in
// order. The zero value is empty.
type Lag struct {
	positions map[string]*msg.Msg
	queue     []*msg.Msg
	bytes     int
}

// Add keeps m and reports whether an older position gave way to it.
func (l *Lag) Add(m *msg.Msg) (replaced bool) {
	l.bytes += m.Size()
	if m.Class != msg.Position || len(m.UID) == 0 {
		l.queue = append(l.queue, m.Hold())
		return false
	}
	if l.positions == nil {
		l.positions = make(map[string]*msg.Msg)
	}
	old := l.positions[string(m.UID)]
	l.positions[string(m.UID)] = m.Hold()
	if old == nil {
		return false
	}
	l.bytes -= old.Size()
	old.Release()
	return true
}

// Next takes out what is to be sent next, with its reference: first what must
// not be lost, then positions in any order. nil means that nothing is left.
func (l *Lag) Next() *msg.Msg {
	if len(l.queue) > 0 {
		m := l.queue[0]
		l.queue[0] = nil
		l.queue = l.queue[1:]
		l.bytes -= m.Size()
		return m
	}
	for uid, m := range l.positions {
		delete(l.positions, uid)
		l.bytes -= m.Size()
		return m
	}
	return nil
}

// Bytes is the size of what waits.
func (l *Lag) Bytes() int { return l.bytes }

// Release gives everything back.
func (l *Lag) Release() {
	for m := l.Next(); m != nil; m = l.Next() {
		m.Release()
	}
}
