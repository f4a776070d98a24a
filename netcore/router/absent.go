package router

import (
	"container/list"
	"sync"
	"time"

	"takd/netcore/group"
	"takd/netcore/msg"
)

// AbsentLimits bounds what is kept for clients that are away.
type AbsentLimits struct {
	TTL     time.Duration // of one message, and of the memory of a client
	Clients int           // clients remembered
	PerUser int           // messages kept for one client
	Bytes   int           // bytes kept for all of them
}

// Absent remembers the clients that left, and keeps chat for them until they
// return. Only the user that last held a uid gets what was sent to it, so
// nobody can collect another's mail by taking his callsign.
type Absent struct {
	lim      AbsentLimits
	mu       sync.Mutex
	uid      map[string]*list.Element // of *away, newest first
	callsign map[string]string        // to uid
	order    *list.List
	bytes    int
	dropped  uint64
}

type away struct {
	uid, callsign, user string
	out                 group.Bits
	since               time.Time
	mail                []letter
}

type letter struct {
	m    *msg.Msg
	size int
	at   time.Time
}

// NewAbsent returns an empty memory with these limits.
func NewAbsent(lim AbsentLimits) *Absent {
	return &Absent{lim: lim, uid: make(map[string]*list.Element), callsign: make(map[string]string), order: list.New()}
}

// Left notes that a client went away.
func (a *Absent) Left(uid, callsign, user string, out group.Bits, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.uid[uid]; ok {
		a.forget(e)
	}
	a.uid[uid] = a.order.PushFront(&away{uid: uid, callsign: callsign, user: user, out: out, since: now})
	a.callsign[callsign] = uid
	a.expire(now)
}

// Back forgets a client that returned and hands over its mail, oldest first;
// the references are the caller's.
func (a *Absent) Back(uid, user string, now time.Time) []*msg.Msg {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire(now)
	e, ok := a.uid[uid]
	if !ok || e.Value.(*away).user != user {
		return nil
	}
	var mail []*msg.Msg
	w := e.Value.(*away)
	for _, l := range w.mail {
		a.bytes -= l.size
		mail = append(mail, l.m)
	}
	w.mail = nil
	a.forget(e)
	return mail
}

// Keep stores m for the absent client with this uid or callsign and reports
// whether there is one that m may reach. It takes a reference of its own.
func (a *Absent) Keep(m *msg.Msg, uid, callsign []byte, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := string(uid)
	if len(uid) == 0 {
		key = a.callsign[string(callsign)]
	}
	e, ok := a.uid[key]
	if !ok {
		return false
	}
	w := e.Value.(*away)
	if now.Sub(w.since) > a.lim.TTL || !w.out.Intersects(m.In) {
		return false
	}
	if len(w.mail) >= a.lim.PerUser || a.bytes+m.Size() > a.lim.Bytes {
		a.dropped++
		return false
	}
	a.bytes += m.Size()
	w.mail = append(w.mail, letter{m: m.Hold(), size: m.Size(), at: now})
	return true
}

// Stats returns the letters and bytes kept, and how many found no room.
func (a *Absent) Stats() (letters, bytes int, dropped uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for e := a.order.Front(); e != nil; e = e.Next() {
		letters += len(e.Value.(*away).mail)
	}
	return letters, a.bytes, a.dropped
}

// expire drops old letters and the clients that are away for longest.
func (a *Absent) expire(now time.Time) {
	for e := a.order.Back(); e != nil; e = a.order.Back() {
		w := e.Value.(*away)
		if now.Sub(w.since) <= a.lim.TTL && a.order.Len() <= a.lim.Clients {
			return
		}
		a.forget(e)
	}
}

func (a *Absent) forget(e *list.Element) {
	w := a.order.Remove(e).(*away)
	delete(a.uid, w.uid)
	if a.callsign[w.callsign] == w.uid {
		delete(a.callsign, w.callsign)
	}
	for _, l := range w.mail {
		a.bytes -= l.size
		l.m.Release()
	}
}
