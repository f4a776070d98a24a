package netcore

import (
	"bytes"
	"time"

	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/session"
)

// Callsigns that are no one's.
const (
	everyone   = "All Streaming"                        // as if there were no destination
	serverOnly = "ffffffff-ffff-ffff-ffff-ffffffffffff" // ATAK: keep it, pass it to nobody
)

// publish passes on an event of c to those who may see it.
func (l *loop) publish(c *client, ev *cot.Event, sa bool) {
	if c.Incognito && !addressed(ev) {
		return
	}
	m := msg.Get()
	defer m.Release()
	if err := m.Encode(ev, &l.splice); err != nil {
		l.stats.malformed.Add(1)
		c.Stats.Drops++
		return
	}
	in := c.Reach.Load().In.Bits
	m.Sender, m.Origin, m.In = c.ID, c.origin, in
	m.Received = l.splice.Millis
	classify(m, ev)
	m.NoArchive = ev.MartiArchive == cot.No || (c.NoArchive && ev.MartiArchive != cot.Yes)
	m.Local = c.Local
	l.bill(c, m)
	if m.Oversize = m.Size() > l.e.opts.Load().MaxEvent; m.Oversize {
		l.stats.oversize.Add(1)
		c.Stats.Drops++
	}
	if sa && string(ev.UID) == c.origin.UID {
		c.Keep(m)
	}
	l.route(c, ev, m)
}

func addressed(ev *cot.Event) bool {
	for i := range ev.Dests {
		if len(ev.Dests[i].Callsign) > 0 {
			return true
		}
	}
	return false
}

// classify says what a slow client may lose: positions, never anything else.
func classify(m *msg.Msg, ev *cot.Event) {
	switch {
	case bytes.HasPrefix(ev.Type, []byte("a-")):
		m.Class = msg.Position
		m.UID = append(m.UID[:0], ev.UID...)
	case bytes.HasPrefix(ev.Type, []byte("b-t-f")):
		m.Class = msg.Chat
	default:
		m.Class = msg.Control
	}
}

// destinations sums up an event's <dest> elements.
type destinations struct {
	explicit bool // somebody is named
	store    bool // the server only
}

// route finds the receivers of m. c is nil for events that no session sent.
func (l *loop) route(c *client, ev *cot.Event, m *msg.Msg) {
	d, ok := l.address(ev, m)
	if !ok {
		l.stats.noGroup.Add(1)
		return
	}
	if !m.Oversize && (ev.Emergency.Set || string(ev.Type) == "b-a-o-can") {
		if l.e.opts.Load().EmergencyPeriod > 0 && !l.e.repeater.Note(ev, m, l.now) {
			l.stats.alarmsFull.Add(1)
		}
	}
	for _, t := range l.e.taps {
		t.Push(m)
	}
	switch {
	case m.Oversize || d.store:
	case d.explicit:
		l.routeDirect(c, ev, m)
	default:
		l.broadcast(m)
	}
}

// address works out groups, missions and whether anybody is named. It reports
// false when the sender may not send to the groups it asks for.
func (l *loop) address(ev *cot.Event, m *msg.Msg) (d destinations, ok bool) {
	if len(ev.Dests) == 0 {
		return d, len(m.In) > 0
	}
	l.narrow = l.narrow[:0]
	all, groups := false, false
	for i := range ev.Dests {
		switch dest := &ev.Dests[i]; {
		case string(dest.Callsign) == everyone:
			all = true
		case string(dest.Callsign) == serverOnly:
			d.store = true
		case len(dest.Callsign) > 0 || len(dest.UID) > 0:
			d.explicit = true
		case len(dest.Mission) > 0:
			m.Missions = append(m.Missions, string(dest.Mission))
		case len(dest.MissionGUID) > 0:
			m.Missions = append(m.Missions, "guid:"+string(dest.MissionGUID))
		case len(dest.Group) > 0:
			groups = true
			l.narrow = append(l.narrow, l.e.groups.One(dest.Group))
		}
	}
	d.store = (d.store || len(m.Missions) > 0) && !d.explicit && !all
	d.explicit = d.explicit && !all
	if groups {
		return d, m.Narrow(m.In, l.narrow...)
	}
	return d, len(m.In) > 0
}

// broadcast gives m to every loop.
func (l *loop) broadcast(m *msg.Msg) {
	for i := range l.e.loopCount() {
		if i != l.idx {
			l.send(i, parcel{op: opBroadcast, m: m.Hold()})
		}
	}
	l.deliver(m)
}

// deliver adds m to the batches of this loop's receivers.
func (l *loop) deliver(m *msg.Msg) {
	limit := l.e.opts.Load().MaxEvent
	sender := l.clients[m.Sender]
	receivers := len(l.behind)
	for _, b := range l.buckets {
		if len(b.Members) == 0 || !b.Wants(m) {
			continue
		}
		bytes := m.Bytes(b.Format)
		if len(bytes) == 0 || len(bytes) > limit {
			l.stats.unconvertible.Add(1)
			continue
		}
		receivers += len(b.Members)
		from, to := b.Append(bytes)
		if sender != nil && sender.bucket == b {
			sender.Skip(from, to)
		}
		if len(b.Batch) >= batchSize {
			l.flushBucket(b)
			continue
		}
		b.Dirty = true
		l.need = true
		l.many = l.many || len(b.Batch) >= enough
	}
	if len(l.behind) > 0 {
		l.deliverBehind(m)
	}
	m.Charge(receivers)
}

// routeDirect gives m to the clients that ev names. Chat for one that is away
// is kept for it; chat that reaches nobody comes back to its sender.
func (l *loop) routeDirect(c *client, ev *cot.Event, m *msg.Msg) {
	l.found = l.found[:0]
	reached := false
	for i := range ev.Dests {
		d := &ev.Dests[i]
		var hit bool
		switch {
		case len(d.Callsign) > 0:
			l.found, hit = l.e.directory.AppendCallsign(l.found, d.Callsign, m.In)
		case len(d.UID) > 0:
			l.found, hit = l.e.directory.AppendUID(l.found, d.UID, m.In)
		default:
			continue
		}
		if !hit && m.Class == msg.Chat && l.e.opts.Load().AbsentTTL > 0 {
			if hit = l.e.absent.Keep(m, d.UID, d.Callsign, l.now); hit {
				l.stats.keptForAbsent.Add(1)
			}
		}
		reached = reached || hit
	}
	for _, e := range l.found {
		switch {
		case e.Session.ID == m.Sender:
		case e.Loop == l.idx:
			l.deliverTo(l.clients[e.Session.ID], m)
		default:
			l.send(e.Loop, parcel{op: opDirect, m: m.Hold(), c: e.Owner.(*client)})
		}
	}
	clear(l.found)
	if !reached && m.Class == msg.Chat && c != nil && string(ev.Type) != "b-t-f-s" {
		l.stats.undelivered.Add(1)
		var err error
		if l.control, err = ev.AppendUndelivered(l.control[:0], c.Format); err == nil {
			l.writeOwn(c, l.control)
		}
	}
}

// deliverTo adds m to c's own stream, in its place among the batches. A chat
// whose receiver has just left is kept for it.
func (l *loop) deliverTo(c *client, m *msg.Msg) {
	if c == nil || !c.Live() {
		if id := identity(c); id != nil && m.Class == msg.Chat {
			l.e.absent.Keep(m, []byte(id.UID), nil, l.now)
		}
		return
	}
	if c.lag != nil {
		l.keepBehind(c, m)
		return
	}
	b := m.Bytes(c.Format)
	if len(b) == 0 || len(b) > l.e.opts.Load().MaxEvent {
		l.stats.unconvertible.Add(1)
		return
	}
	if waiting := c.Outbox.Len() + len(b); waiting > l.e.opts.Load().HardLimit {
		l.stats.slowCloses.Add(1)
		l.close(c, "too slow: more than hard_limit bytes wait for it")
		return
	}
	c.Insert(len(c.bucket.Batch), b)
	l.need = true
	if !c.Dirty {
		c.Dirty = true
		l.direct = append(l.direct, c)
	}
}

func identity(c *client) *session.Identity {
	if c == nil {
		return nil
	}
	return c.Ident.Load()
}

// inject routes an event that no session sent: a datagram, an emergency that
// is due again, a plugin's. It may be called from any goroutine; the reference
// is l's to give back.
func (e *Engine) inject(m *msg.Msg) {
	for i := range e.loopCount() {
		e.loopAt(i).push(parcel{op: opBroadcast, m: m.Hold()})
	}
	m.Release()
}

// repeatAlarms sends every emergency again until it is cancelled.
func (e *Engine) repeatAlarms(now time.Time) {
	for _, m := range e.repeater.Due(now, 2*e.opts.Load().EmergencyPeriod) {
		for _, t := range e.taps {
			t.Push(m)
		}
		e.inject(m)
	}
}
