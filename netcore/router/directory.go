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

	nodes     map[string]*Entry // by uid: whose connection carries it
	nodeNames map[string]*Entry // by callsign
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
	return &Directory{
		uid: make(map[string][]*Entry), callsign: make(map[string][]*Entry),
		nodes: make(map[string]*Entry), nodeNames: make(map[string]*Entry),
	}
}

// Bind indexes e under uid and callsign, in place of what it was bound to.
// with runs in the same step: nobody sees one without the other.
func (d *Directory) Bind(e *Entry, uid, callsign string, with func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(e)
	e.uid, e.callsign = uid, callsign
	d.uid[uid] = append(d.uid[uid], e)
	d.callsign[callsign] = append(d.callsign[callsign], e)
	with()
}

// Unbind forgets e, runs last in the same step if e was the last session of its
// uid, and reports whether it was.
func (d *Directory) Unbind(e *Entry, last func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(e)
	if len(d.uid[e.uid]) > 0 {
		return false
	}
	last()
	return true
}

// BindNode makes uid and callsign known behind e: a gateway's, whose mail goes
// to e's connection. A uid that is a client's own, or another gateway's, is not
// taken away. It reports whether uid is e's now.
func (d *Directory) BindNode(e *Entry, uid, callsign string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.uid[uid]) > 0 || d.nodes[uid] != nil && d.nodes[uid] != e {
		return false
	}
	d.nodes[uid] = e
	if callsign != "" && d.nodeNames[callsign] == nil {
		d.nodeNames[callsign] = e
	}
	return true
}

// UnbindNode forgets a uid behind e.
func (d *Directory) UnbindNode(e *Entry, uid, callsign string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nodes[uid] == e {
		delete(d.nodes, uid)
	}
	if d.nodeNames[callsign] == e {
		delete(d.nodeNames, callsign)
	}
}

// Find returns a session of that user's uid, but for except; nil: none is here.
func (d *Directory) Find(uid, user string, except *Entry) *Entry {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, e := range d.uid[uid] {
		if e != except && (e.Session.User == user || e.Session.Anonymous && user == "") {
			return e
		}
	}
	return nil
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

// Known reports whether uid is a session's, or that of a node behind one.
func (d *Directory) Known(uid string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.uid[uid]) > 0 || d.nodes[uid] != nil
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
	return appendReachable(dst, d.uid[string(uid)], d.nodes[string(uid)], in)
}

// AppendCallsign is AppendUID by callsign, which is compared case by case.
func (d *Directory) AppendCallsign(dst []*Entry, callsign []byte, in group.Bits) ([]*Entry, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return appendReachable(dst, d.callsign[string(callsign)], d.nodeNames[string(callsign)], in)
}

func appendReachable(dst, from []*Entry, gateway *Entry, in group.Bits) (_ []*Entry, hit bool) {
	for _, e := range from {
		dst, hit = appendOne(dst, e, in, hit)
	}
	if gateway != nil && len(from) == 0 {
		dst, hit = appendOne(dst, gateway, in, hit)
	}
	return dst, hit
}

func appendOne(dst []*Entry, e *Entry, in group.Bits, hit bool) ([]*Entry, bool) {
	if !e.Session.Reach.Load().Out.Bits.Intersects(in) {
		return dst, hit
	}
	if !slices.Contains(dst, e) {
		dst = append(dst, e)
	}
	return dst, true
}

// All calls f for each session of a uid or callsign.
func (d *Directory) All(name string, f func(e *Entry)) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, e := range d.uid[name] {
		f(e)
	}
	for _, e := range d.callsign[name] {
		if e.uid != name {
			f(e)
		}
	}
}
