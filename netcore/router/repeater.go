package router

import (
	"sync"
	"time"

	"takd/cot"
	"takd/netcore/group"
	"takd/netcore/msg"
)

// Repeater keeps the emergencies that are to be sent again until their sender
// cancels them, whether or not he is still connected.
type Repeater struct {
	limit int
	mu    sync.Mutex
	byUID map[string]*Alarm
}

// Alarm is one emergency under way.
type Alarm struct {
	UID, Type, Callsign string
	Since               time.Time
	origin              *msg.Origin
	sender              uint64
	in                  group.Bits
	xml                 []byte
}

// NewRepeater returns a repeater that keeps at most limit emergencies.
func NewRepeater(limit int) *Repeater {
	return &Repeater{limit: limit, byUID: make(map[string]*Alarm)}
}

// cancelType is the CoT type with which ATAK takes an emergency back.
const cancelType = "b-a-o-can"

// Note looks at an event with an emergency in it: begins, renews or cancels.
// Only the user who raised an emergency can end or change it. It reports false
// when there is no room for one more.
func (r *Repeater) Note(ev *cot.Event, m *msg.Msg, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.byUID[string(ev.UID)]
	if old != nil && old.origin.User != m.Origin.User {
		return true
	}
	if ev.Emergency.Cancel || string(ev.Type) == cancelType {
		delete(r.byUID, string(ev.UID))
		return true
	}
	if old == nil && len(r.byUID) >= r.limit {
		return false
	}
	since := now
	if old != nil {
		since = old.Since
	}
	r.byUID[string(ev.UID)] = &Alarm{
		UID: string(ev.UID), Type: string(ev.Emergency.Type), Callsign: m.Origin.Callsign, Since: since,
		origin: m.Origin, sender: m.Sender,
		in:  append(group.Bits(nil), m.In...),
		xml: append([]byte(nil), m.Bytes(cot.XML)...),
	}
	return true
}

// Len is the number of emergencies under way.
func (r *Repeater) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.byUID)
}

// Due returns a message for each emergency, with fresh times and a life of
// life; the references are the caller's.
func (r *Repeater) Due(now time.Time, life time.Duration) []*msg.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := make([]*msg.Msg, 0, len(r.byUID))
	var ev cot.Event
	for _, a := range r.byUID {
		if _, err := cot.Scan(a.xml, &ev); err != nil {
			continue
		}
		b, err := ev.AppendAt(nil, cot.XML, now.UnixMilli(), life.Milliseconds())
		if err != nil {
			continue
		}
		m := msg.Get()
		m.SetXML(b)
		m.Class, m.In, m.Sender, m.Origin, m.Received = msg.Control, a.in, a.sender, a.origin, now.UnixMilli()
		m.NoArchive = true // the first one is history already
		due = append(due, m)
	}
	return due
}
