package router

import (
	"slices"
	"sync"

	"takd/netcore/group"
	"takd/netcore/session"
)

// Directory finds live sessions by uid and callsign. It is safe for concurrent
// use; it is read once per destination of a direct message and written when a
// client comes, goes or renames itself, never per broadcast event.
type Directory struct {
	mu       sync.RWMutex
	uid      map[string][]*Entry
	callsign map[string][]*Entry
}

// Entry is one live session in the directory.
type Entry struct {
	Session       *session.Session
	Owner         any // what the loop knows the session by
	Loop          int
	uid, callsign string
}

// NewDirectory returns an empty directory.
func NewDirectory() *Directory {
	return &Directory{uid: make(map[string][]*Entry), callsign: make(map[string][]*Entry)}
}

// Bind indexes e under uid and callsign, in place of what it was bound to.
func (d *Directory) Bind(e *Entry, uid, callsign string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(e)
	e.uid, e.callsign = uid, callsign
	d.uid[uid] = append(d.uid[uid], e)
	d.callsign[callsign] = append(d.callsign[callsign], e)
}

// Unbind forgets e and reports whether that was the last session of its uid.
func (d *Directory) Unbind(e *Entry) (last bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(e)
	return len(d.uid[e.uid]) == 0
}

func (d *Directory) remove(e *Entry) {
	if e.uid != "" {
		without(d.uid, e.uid, e)
		without(d.callsign, e.callsign, e)
	}
}

func without(m map[string][]*Entry, key string, e *Entry) {
	list := m[key]
	for i, x := range list {
		if x == e {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(m, key)
		return
	}
	m[key] = list
}

// Taken reports whether uid is bound to a session of another user than this
// one. Two anonymous sessions count as one user.
func (d *Directory) Taken(uid []byte, user string, anonymous bool) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, e := range d.uid[string(uid)] {
		if e.Session.User != user && (!anonymous || !e.Session.Anonymous) {
			return true
		}
	}
	return false
}

// AppendUID appends the sessions bound to uid that receive from one of the
// groups in, each once, and reports whether there is one. A uid may have
// several: a phone that changed networks.
func (d *Directory) AppendUID(dst []*Entry, uid []byte, in group.Bits) ([]*Entry, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return appendReachable(dst, d.uid[string(uid)], in)
}

// AppendCallsign is AppendUID by callsign, which is compared case by case.
func (d *Directory) AppendCallsign(dst []*Entry, callsign []byte, in group.Bits) ([]*Entry, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return appendReachable(dst, d.callsign[string(callsign)], in)
}

func appendReachable(dst, from []*Entry, in group.Bits) (_ []*Entry, hit bool) {
	for _, e := range from {
		if !e.Session.Reach.Load().Out.Bits.Intersects(in) {
			continue
		}
		hit = true
		if !slices.Contains(dst, e) {
			dst = append(dst, e)
		}
	}
	return dst, hit
}
