package router

import (
	"slices"
	"strings"
	"sync"
	"time"

	"takd/cot"
	"takd/netcore/group"
	"takd/netcore/msg"
)

// Repeater keeps the emergencies that are to be sent again until somebody
// cancels them, whether or not their sender is still connected.
type Repeater struct {
	limit int
	mu    sync.Mutex
	byUID map[string]*Alarm
}

// Alarm is one emergency under way. It is immutable.
type Alarm struct {
	UID, Type, Callsign, User string
	Client                    string // uid of the client that raised it
	Since, Until              time.Time
	Origin                    *msg.Origin
	Sender                    uint64
	Dests                     []cot.Dest // as they were; their bytes are the alarm's
	In                        group.Bits // of the sender now, not narrowed
	XML                       []byte
}

// NewRepeater returns a repeater that keeps at most limit emergencies.
func NewRepeater(limit int) *Repeater {
	return &Repeater{limit: limit, byUID: make(map[string]*Alarm)}
}

// cancelType is the CoT type with which ATAK takes an emergency back.
const cancelType = "b-a-o-can"

// Everyone is the callsign that means everybody, as if there were no destination.
const Everyone = "All Streaming"

// Emergency reports whether ev raises, renews or ends one.
func Emergency(ev *cot.Event) bool { return ev.Emergency.Set || string(ev.Type) == cancelType }

// Raiser is who sends an event about an emergency.
type Raiser struct {
	User     string // "" for anonymous clients
	UID      string // of the client
	Callsign string
	In, Out  group.Bits
}

// Note looks at an event with an emergency in it: begins, renews or cancels.
// Who raised it may do each; who received it may cancel it, as on the official
// server: a phone that is lost cannot. It reports false when there is no room
// for one more, for all or for one user: he gets an eighth of the places.
func (r *Repeater) Note(ev *cot.Event, m *msg.Msg, by Raiser, now time.Time, life time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.byUID[string(ev.UID)]
	own := old != nil && old.User == by.User
	if ev.Emergency.Cancel || string(ev.Type) == cancelType {
		if own || old != nil && old.reaches(by) {
			delete(r.byUID, old.UID)
		}
		return true
	}
	if old != nil && !own {
		return true
	}
	if old == nil && (len(r.byUID) >= r.limit || r.of(by.User) >= max(1, r.limit/8)) {
		return false
	}
	a := &Alarm{
		UID: string(ev.UID), Type: string(ev.Emergency.Type), Callsign: by.Callsign, User: by.User, Client: by.UID, Since: now,
		Origin: m.Origin, Sender: m.Sender, In: slices.Clone(by.In), XML: slices.Clone(m.Bytes(cot.XML)), Dests: clone(ev.Dests),
	}
	if old != nil {
		a.Since = old.Since
	}
	a.Until = now
	if stale, ok := ev.Stale.UnixMilli(); ok && time.UnixMilli(stale).After(now) {
		a.Until = time.UnixMilli(stale)
	}
	if last := now.Add(maxStale); a.Until.After(last) {
		a.Until = last
	}
	a.Until = a.Until.Add(life)
	r.byUID[a.UID] = a
	return true
}

// maxStale bounds what a client can ask for: a stale time in ten years is no
// reason to repeat for ten years.
const maxStale = 24 * time.Hour

// of is how many alarms a user has under way.
func (r *Repeater) of(user string) (n int) {
	for _, a := range r.byUID {
		if a.User == user {
			n++
		}
	}
	return n
}

// reaches reports whether a goes to by.
func (a *Alarm) reaches(by Raiser) bool {
	if !by.Out.Intersects(a.In) {
		return false
	}
	direct := false
	for i := range a.Dests {
		d := &a.Dests[i]
		switch {
		case len(d.Callsign) > 0:
			if string(d.Callsign) == by.Callsign || string(d.Callsign) == Everyone {
				return true
			}
			direct = true
		case len(d.UID) > 0:
			if string(d.UID) == by.UID {
				return true
			}
			direct = true
		}
	}
	return !direct
}

func clone(dests []cot.Dest) []cot.Dest {
	dests = slices.Clone(dests)
	for i := range dests {
		d := &dests[i]
		for _, b := range []*[]byte{&d.Callsign, &d.UID, &d.Group, &d.Mission, &d.MissionGUID, &d.Path, &d.After, &d.Publish} {
			*b = slices.Clone(*b)
		}
	}
	return dests
}

// Len is the number of emergencies under way.
func (r *Repeater) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.byUID)
}

// Alarms returns the emergencies under way, oldest first, but for those that
// end by themselves: nobody has renewed them for too long.
func (r *Repeater) Alarms(now time.Time) []*Alarm {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Alarm, 0, len(r.byUID))
	for uid, a := range r.byUID {
		if now.After(a.Until) {
			delete(r.byUID, uid)
			continue
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *Alarm) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.UID, b.UID)
	})
	return all
}

// Cancel ends an emergency and reports whether there was one.
func (r *Repeater) Cancel(uid string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.byUID[uid]
	delete(r.byUID, uid)
	return ok
}

// Regroup makes a user's emergencies go where he may send to now.
func (r *Repeater) Regroup(user string, in group.Bits) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid, a := range r.byUID {
		if a.User == user {
			moved := *a
			moved.In = slices.Clone(in)
			r.byUID[uid] = &moved
		}
	}
}
