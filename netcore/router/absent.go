package router

import (
	"cmp"
	"container/list"
	"slices"
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

// Holder is whose mail it is: a device of a user. Anonymous clients have no
// user; there the uid is all that tells them apart.
type Holder struct{ User, UID string }

// Away is a client that left.
type Away struct {
	Holder
	Callsign string
	Out      group.Bits
	Since    time.Time
}

// Letter is chat kept for somebody who is away.
type Letter struct {
	ID   uint64 // of this letter, increasing, never used twice
	To   Holder
	Msg  *msg.Msg
	Kept time.Time
	size int
}

// Changes are what happened to an Absent since the last time somebody asked.
// The messages of New are held; the receiver gives them back.
type Changes struct {
	New     []Letter
	Gone    []uint64 // letters that were handed over, expired or forgotten
	Left    []Away
	Removed []Holder
}

// Empty reports whether nothing happened.
func (c *Changes) Empty() bool {
	return len(c.New)+len(c.Gone)+len(c.Left)+len(c.Removed) == 0
}

// Absent remembers the clients that left, and keeps chat for them until they
// return. Mail belongs to the user and uid that it was kept for: who takes the
// callsign or the uid of somebody else gets none of it, and destroys none.
type Absent struct {
	lim      AbsentLimits
	mu       sync.Mutex
	holders  map[Holder]*list.Element // of *away, newest first
	uid      map[string]Holder        // who held it last
	callsign map[string]Holder
	order    *list.List
	bytes    int
	letters  int
	nextID   uint64
	dropped  uint64

	// What TakeChanges will tell, where that is wanted: no more than is kept.
	record  bool
	fresh   map[uint64]Letter // held once more
	gone    []uint64
	touched map[Holder]struct{}
}

type away struct {
	Away
	mail []Letter
}

// NewAbsent returns an empty memory with these limits. With record set it
// gathers its changes for TakeChanges.
func NewAbsent(lim AbsentLimits, record bool) *Absent {
	return &Absent{
		lim: lim, holders: make(map[Holder]*list.Element), uid: make(map[string]Holder), callsign: make(map[string]Holder),
		order: list.New(), record: record, fresh: make(map[uint64]Letter), touched: make(map[Holder]struct{}),
	}
}

// Left notes that a client went away. Mail that it could not get when it was
// last here stays.
func (a *Absent) Left(w Away) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left(w)
	a.touch(w.Holder)
	a.expire(w.Since)
}

func (a *Absent) left(w Away) {
	var mail []Letter
	if e, ok := a.holders[w.Holder]; ok {
		old := a.order.Remove(e).(*away)
		mail = old.mail
		a.unindex(old)
	}
	a.holders[w.Holder] = a.order.PushFront(&away{Away: w, mail: mail})
	a.uid[w.UID] = w.Holder
	a.callsign[w.Callsign] = w.Holder
}

// Restore brings back what was kept before a restart; letters come in the order
// of their ids. It takes over the references.
func (a *Absent) Restore(gone []Away, letters []Letter, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range gone {
		a.left(w)
	}
	for _, l := range letters {
		a.nextID = max(a.nextID, l.ID)
		e, ok := a.holders[l.To]
		if !ok {
			l.Msg.Release()
			a.gone = append(a.gone, l.ID)
			continue
		}
		a.add(e.Value.(*away), l)
	}
	a.expire(now)
}

// Back forgets that a client was away and hands over the mail that its groups
// let it have, oldest first; the references are the caller's.
func (a *Absent) Back(h Holder, out group.Bits, now time.Time) []*msg.Msg {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire(now)
	e, ok := a.holders[h]
	if !ok {
		return nil
	}
	w := e.Value.(*away)
	var mail []*msg.Msg
	kept := w.mail[:0]
	for _, l := range w.mail {
		if !out.Intersects(l.Msg.In) {
			kept = append(kept, l)
			continue
		}
		a.take(l)
		mail = append(mail, l.Msg)
	}
	clear(w.mail[len(kept):])
	w.mail = kept
	if len(kept) == 0 {
		a.forget(e)
	}
	return mail
}

// take removes l from the sums; its reference goes on.
func (a *Absent) take(l Letter) {
	a.bytes -= l.size
	a.letters--
	if f, ok := a.fresh[l.ID]; ok {
		f.Msg.Release()
		delete(a.fresh, l.ID)
	} else if a.record {
		a.gone = append(a.gone, l.ID)
	}
}

// Keep stores m for the absent client that last held this uid or, where uid is
// empty, this callsign, and reports whether there is one that m may reach and
// there is room. It takes a reference of its own.
func (a *Absent) Keep(m *msg.Msg, uid, callsign []byte, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	h, ok := a.uid[string(uid)]
	if len(uid) == 0 {
		h, ok = a.callsign[string(callsign)]
	}
	return ok && a.keep(m, h, now)
}

// User returns who held this uid or callsign last and may receive from the groups
// in; "" for nobody.
func (a *Absent) User(name string, in group.Bits) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	h, ok := a.uid[name]
	if !ok {
		h, ok = a.callsign[name]
	}
	if e := a.holders[h]; ok && e != nil && e.Value.(*away).Out.Intersects(in) {
		return h.User
	}
	return ""
}

// KeepFor is Keep for a client that is known exactly.
func (a *Absent) KeepFor(m *msg.Msg, h Holder, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keep(m, h, now)
}

func (a *Absent) keep(m *msg.Msg, h Holder, now time.Time) bool {
	e, ok := a.holders[h]
	if !ok {
		return false
	}
	w := e.Value.(*away)
	if now.Sub(w.Since) > a.lim.TTL || !w.Out.Intersects(m.In) {
		return false
	}
	if len(w.mail) >= a.lim.PerUser || a.bytes+m.Size() > a.lim.Bytes {
		a.dropped++
		return false
	}
	a.nextID++
	l := Letter{ID: a.nextID, To: h, Msg: m.Hold(), Kept: now}
	a.add(w, l)
	if a.record {
		m.Hold()
		a.fresh[l.ID] = l
	}
	return true
}

func (a *Absent) add(w *away, l Letter) {
	l.size = l.Msg.Size()
	a.bytes += l.size
	a.letters++
	// A letter may come late, from another loop or from what a client that has
	// gone was still owed: its place is by when it was sent.
	at := len(w.mail)
	for at > 0 && w.mail[at-1].Msg.Received > l.Msg.Received {
		at--
	}
	w.mail = slices.Insert(w.mail, at, l)
}

// Stats returns the letters and bytes kept, and how many found no room.
func (a *Absent) Stats() (letters, bytes int, dropped uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.letters, a.bytes, a.dropped
}

// TakeChanges returns what happened since the last call. A letter that came and
// went in between is not mentioned.
func (a *Absent) TakeChanges() Changes {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := Changes{Gone: a.gone}
	for _, l := range a.fresh {
		c.New = append(c.New, l)
	}
	slices.SortFunc(c.New, func(x, y Letter) int { return cmp.Compare(x.ID, y.ID) })
	for h := range a.touched {
		if e, ok := a.holders[h]; ok {
			c.Left = append(c.Left, e.Value.(*away).Away)
		} else {
			c.Removed = append(c.Removed, h)
		}
	}
	a.gone = nil
	clear(a.fresh)
	clear(a.touched)
	return c
}

// Forget gives back the messages of c.
func (c *Changes) Forget() {
	for _, l := range c.New {
		l.Msg.Release()
	}
	*c = Changes{}
}

func (a *Absent) touch(h Holder) {
	if a.record {
		a.touched[h] = struct{}{}
	}
}

// expire drops old letters and the clients that are away for longest.
func (a *Absent) expire(now time.Time) {
	for e := a.order.Back(); e != nil; e = a.order.Back() {
		w := e.Value.(*away)
		if now.Sub(w.Since) <= a.lim.TTL && a.order.Len() <= a.lim.Clients {
			return
		}
		a.forget(e)
	}
}

func (a *Absent) forget(e *list.Element) {
	w := a.order.Remove(e).(*away)
	a.unindex(w)
	for _, l := range w.mail {
		a.take(l)
		l.Msg.Release()
	}
	a.touch(w.Holder)
}

func (a *Absent) unindex(w *away) {
	delete(a.holders, w.Holder)
	if a.uid[w.UID] == w.Holder {
		delete(a.uid, w.UID)
	}
	if a.callsign[w.Callsign] == w.Holder {
		delete(a.callsign, w.Callsign)
	}
}
