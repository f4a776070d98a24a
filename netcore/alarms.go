package netcore

import (
	"time"

	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/router"
)

// AlarmInfo is an emergency under way, as an operator sees it.
type AlarmInfo struct {
	UID      string    `json:"uid"`
	Type     string    `json:"type"` // 911 Alert, In Contact, ...
	Callsign string    `json:"callsign"`
	User     string    `json:"user"` // empty: anonymous
	Client   string    `json:"client"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"` // when it ends by itself unless it is renewed
}

// Alarms returns the emergencies that are being repeated, oldest first.
func (e *Engine) Alarms() []AlarmInfo {
	alarms := e.repeater.Alarms(time.Now())
	list := make([]AlarmInfo, 0, len(alarms))
	for _, a := range alarms {
		list = append(list, AlarmInfo{a.UID, a.Type, a.Callsign, a.User, a.Client, a.Since, a.Until})
	}
	return list
}

// CancelAlarm ends an emergency for everybody who has it on his map, and reports
// whether there was one.
func (e *Engine) CancelAlarm(uid string) bool {
	now := time.Now()
	for _, a := range e.repeater.Alarms(now) {
		if a.UID != uid || !e.repeater.Cancel(uid) {
			continue
		}
		xml := cot.AppendCancel(nil, a.UID, a.Callsign, now.UnixMilli())
		e.onSomeLoop(func(l *loop) { l.repeat(a, xml) })
		return true
	}
	return false
}

// alarm looks at an event with an emergency in it.
func (l *loop) alarm(c *client, ev *cot.Event, m *msg.Msg) {
	o := l.e.opts.Load()
	if o.EmergencyPeriod < 0 {
		return
	}
	by := router.Raiser{In: m.In, Out: m.In}
	if c != nil {
		reach := c.Reach.Load()
		by = router.Raiser{User: c.account(), UID: c.UID(), Callsign: c.origin.Callsign, In: reach.In.Bits, Out: reach.Out.Bits}
	}
	if !l.e.repeater.Note(ev, m, by, l.now, o.EmergencyLife) {
		l.stats.alarmsFull.Add(1)
	}
}

// repeatAlarms sends every emergency again that nobody has cancelled, by the
// rules that held for it when it came and for the groups as they are now.
func (e *Engine) repeatAlarms(now time.Time) {
	life := 2 * e.opts.Load().EmergencyPeriod
	for _, a := range e.repeater.Alarms(now) {
		var ev cot.Event
		if _, err := cot.Scan(a.XML, &ev); err != nil {
			continue
		}
		if xml, err := ev.AppendAt(nil, cot.XML, now.UnixMilli(), life.Milliseconds()); err == nil {
			e.onSomeLoop(func(l *loop) { l.repeat(a, xml) })
		}
	}
}

// repeat sends xml where a goes, but not to who raised it.
func (l *loop) repeat(a *router.Alarm, xml []byte) {
	m := msg.Get()
	defer m.Release()
	m.SetXML(xml)
	if m.Scan(&l.again) != nil {
		return
	}
	l.again.Dests = append(l.again.Dests[:0], a.Dests...)
	m.Class, m.In, m.Sender, m.Origin, m.Received = msg.Control, a.In, a.Sender, a.Origin, l.now.UnixMilli()
	m.NoArchive = true // the first one is history already
	if e := l.e.directory.Find(a.Client, a.User, nil); e != nil {
		m.Sender = e.Session.ID // it may have connected again
	}
	d, ok := l.address(&l.again, m)
	if !ok {
		return
	}
	m.Direct, m.Kept = d.explicit, d.store
	l.tap(m)
	l.dispatch(nil, &l.again, m, d)
}

// onSomeLoop runs f on a loop, if there is one: there is when there are clients.
func (e *Engine) onSomeLoop(f func(*loop)) {
	if loops := e.allLoops(); len(loops) > 0 {
		loops[0].call(func() { f(loops[0]) })
	}
}
