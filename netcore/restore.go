package netcore

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"takd/cot"
	"takd/netcore/group"
	"takd/netcore/msg"
)

// maxRestored bounds what Restore keeps: what is more is left out.
const maxRestored = 32 << 10

// Restored is the latest position of a client from before the start.
type Restored struct {
	User     string // whose client sent it; never ""
	Client   string // its uid: another one than the event's behind a gateway
	Input    string
	Groups   []string // that it is for now, sorted
	XML      []byte
	Received time.Time
	Until    time.Time // when it is stale
}

// restored are positions whose clients have not come back yet. They are for
// newcomers and, once, for those who are there.
type restored struct {
	n    atomic.Int64 // how many; so most of the time nothing here costs more than a look at it
	mu   sync.Mutex
	list map[string]*old // by user and uid
}

type old struct {
	m     *msg.Msg
	typ   string
	until time.Time
}

func restoredKey(user, uid string) string { return user + "\x00" + uid }

// Restore keeps positions from before the start: newcomers, who is there already
// and the taps get them, by the groups that they name. One goes as soon as its
// client reports, at its time, when its user loses one of its groups, or when he
// is thrown out. It returns how many were taken: those of clients that are here,
// that are stale, or that are no positions are not.
func (e *Engine) Restore(ctx context.Context, list []Restored) (taken int) {
	for i := range list {
		if ctx.Err() != nil || e.stopping.Load() {
			break
		}
		if e.restoreOne(ctx, &list[i]) {
			taken++
		}
	}
	if taken > 0 {
		e.each(func(c *client) bool { return c.Live() && c.origin != nil }, func(l *loop, c *client) {
			if found := e.restored.visible(c, l.now.UnixMilli()); len(found) > 0 {
				l.startCatchingUp(c)
				l.replay(c, found)
			}
		})
	}
	return taken
}

func (e *Engine) restoreOne(ctx context.Context, r *Restored) bool {
	m, o := e.restorable(r)
	if m == nil {
		return false
	}
	defer m.Release()
	uid := string(m.UID)
	if !e.restored.add(restoredKey(r.User, uid), o) {
		return false
	}
	// Whose client came between restorable and add has not found it there.
	if e.directory.Known(uid) {
		e.restored.forget(r.User, uid)
		return false
	}
	e.tapGently(ctx, m)
	return true
}

// tapGently gives m to the taps, as soon as they are at most half full: others
// need their room too.
func (e *Engine) tapGently(ctx context.Context, m *msg.Msg) {
	for _, t := range e.taps {
		for t.HalfFull() && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		t.Push(m)
	}
}

// restorable makes a message of r; nil when it is not to be restored.
func (e *Engine) restorable(r *Restored) (*msg.Msg, *old) {
	var ev cot.Event
	n, err := cot.Scan(r.XML, &ev)
	switch {
	case err != nil || n == 0 || n != len(r.XML), !ev.HasPoint, len(ev.UID) == 0, len(ev.Dests) > 0,
		!bytes.HasPrefix(ev.Type, []byte("a-")), r.User == "", len(r.Groups) == 0, !time.Now().Before(r.Until),
		e.directory.Known(string(ev.UID)):
		return nil, nil
	}
	m := msg.Get()
	m.SetXML(r.XML)
	m.Class, m.In, m.Received, m.NoArchive = msg.Position, e.groups.Set(r.Groups).Bits, r.Received.UnixMilli(), true
	m.UID = append(m.UID[:0], ev.UID...)
	m.Origin = &msg.Origin{User: r.User, UID: r.Client, Callsign: string(ev.Contact.Callsign), Input: r.Input, Groups: r.Groups}
	return m, &old{m: m, typ: string(ev.Type), until: r.Until}
}

// add keeps o, with a reference of its own, unless there is no room or something with that key.
func (r *restored) add(key string, o *old) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.list[key]; ok || len(r.list) >= maxRestored {
		return false
	}
	if r.list == nil {
		r.list = make(map[string]*old)
	}
	o.m.Hold()
	r.list[key] = o
	r.n.Store(int64(len(r.list)))
	return true
}

// forget is called when user's client reports uid.
func (r *restored) forget(user, uid string) {
	if r.n.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := restoredKey(user, uid)
	if o := r.list[key]; o != nil {
		o.m.Release()
		delete(r.list, key)
		r.n.Store(int64(len(r.list)))
	}
}

// remove releases what is to go.
func (r *restored) remove(goes func(key string, o *old) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, o := range r.list {
		if goes(key, o) {
			o.m.Release()
			delete(r.list, key)
		}
	}
	r.n.Store(int64(len(r.list)))
}

// prune removes what is stale.
func (r *restored) prune(now time.Time) {
	if r.n.Load() > 0 {
		r.remove(func(_ string, o *old) bool { return !now.Before(o.until) })
	}
}

// visible returns, with a reference each, what c may see. It is nobody's of the
// same user: c has not said yet who it is, and gets nothing back that it sent.
func (r *restored) visible(c *client, now int64) (list []*msg.Msg) {
	if r.n.Load() == 0 {
		return nil
	}
	out := c.Reach.Load().Out.Bits
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.list {
		if o.m.Origin.User != c.User && o.until.UnixMilli() > now && o.m.In.Intersects(out) {
			list = append(list, o.m.Hold())
		}
	}
	return list
}

// disown removes the restored positions of user that are for groups which he may
// not send to any more, and tells those who saw them.
func (e *Engine) disown(user string, in group.Bits) {
	if user == "" || e.restored.n.Load() == 0 {
		return
	}
	e.restored.remove(func(_ string, o *old) bool {
		if o.m.Origin.User != user || covers(in, o.m.In) {
			return false
		}
		m := msg.Get()
		defer m.Release()
		now := time.Now().UnixMilli()
		m.SetXML(cot.AppendDisconnect(nil, cot.XML, newUID(), string(o.m.UID), o.typ, now))
		m.Class, m.In, m.Received, m.Origin, m.NoArchive = msg.Control, o.m.In, now, o.m.Origin, true
		for _, t := range e.taps {
			t.Push(m)
		}
		if len(e.allLoops()) > 0 {
			m.Hold()
			e.onSomeLoop(func(l *loop) {
				l.broadcast(m)
				m.Release()
			})
		}
		return true
	})
}

// covers reports whether all of b is in a.
func covers(a, b group.Bits) bool {
	for i, w := range b {
		if i >= len(a) && w != 0 || i < len(a) && w&^a[i] != 0 {
			return false
		}
	}
	return true
}
