package netcore

import (
	"bytes"

	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/netcore/session"
)

// Callsigns that are no one's.
const (
	serverOnly = "ffffffff-ffff-ffff-ffff-ffffffffffff" // ATAK: keep it, pass it to nobody
)

// publish passes on an event of c to those who may see it.
func (l *loop) publish(c *client, ev *cot.Event, sa bool) {
	if c.Incognito && !addressed(ev) {
		return
	}
	m := msg.Get()
	defer m.Release()
	if err := l.encode(m, ev, c.UID()); err != nil {
		l.drop(c, session.Malformed)
		return
	}
	if ms, ok := ev.Time.UnixMilli(); ok && l.splice.FlowTag != "" {
		l.e.seen.Note(ev.UID, ms)
	}
	m.Sender, m.Origin, m.In = c.ID, c.origin, c.Reach.Load().In.Bits
	m.Received = l.splice.Millis
	classify(m, ev)
	m.NoArchive = ev.MartiArchive == cot.No || (c.NoArchive && ev.MartiArchive != cot.Yes)
	m.Local = c.Local
	l.bill(c, m)
	if m.Oversize = m.Size() > l.e.opts.Load().MaxEvent; m.Oversize {
		l.drop(c, session.Oversize)
	}
	d, ok := l.address(ev, m)
	l.remember(c, ev, m, d, sa)
	if !ok {
		l.drop(c, session.NoGroup)
		return
	}
	l.route(c, ev, m, d)
}

// remember keeps m for newcomers: what they get is what everybody in reach got.
// Who may send to no group yet, all channels being off, is remembered for later.
func (l *loop) remember(c *client, ev *cot.Event, m *msg.Msg, d destinations, sa bool) {
	switch {
	case m.Oversize || d.explicit || d.store:
	case sa && string(ev.UID) == c.origin.UID:
		c.Keep(m)
		l.show(c)
	case c.gateway && m.Class == msg.Position:
		l.keepNode(c, ev, m, sa)
	}
}

func addressed(ev *cot.Event) bool {
	for i := range ev.Dests {
		if len(ev.Dests[i].Callsign) > 0 {
			return true
		}
	}
	return false
}

// classify says what a slow client may lose: positions, never anything else,
// and none that were sent to it by name.
func classify(m *msg.Msg, ev *cot.Event) {
	switch {
	case bytes.HasPrefix(ev.Type, []byte("a-")) && len(ev.Dests) == 0:
		m.Class = msg.Position
		m.UID = append(m.UID[:0], ev.UID...)
	case bytes.HasPrefix(ev.Type, []byte("b-t-f")), // chat and its receipts
		bytes.HasPrefix(ev.Type, []byte("b-f-t-")): // files offered, and their receipts
		m.Class = msg.Chat
	default:
		m.Class = msg.Control
	}
}

// destinations sums up an event's <dest> elements.
type destinations struct {
	explicit bool // somebody is named, or nobody by a destination that names nobody
	store    bool // the server only
}

// route gives m to the taps and to its receivers. c is nil for events that no
// session sent.
func (l *loop) route(c *client, ev *cot.Event, m *msg.Msg, d destinations) {
	if !m.Oversize && router.Emergency(ev) {
		l.alarm(c, ev, m)
	}
	m.Direct, m.Kept = d.explicit, d.store // before anybody else sees m
	l.tap(m)
	l.dispatch(c, ev, m, d)
}

// tap gives m to the taps.
func (l *loop) tap(m *msg.Msg) {
	for _, t := range l.e.taps {
		t.Push(m)
	}
}

// dispatch is what is done again when an event is repeated.
func (l *loop) dispatch(c *client, ev *cot.Event, m *msg.Msg, d destinations) {
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
	all, groups, nobody := false, false, false
	for i := range ev.Dests {
		switch dest := &ev.Dests[i]; {
		case string(dest.Callsign) == router.Everyone:
			all = true
		case string(dest.Callsign) == serverOnly:
			d.store = true
		case len(dest.Callsign) > 0:
			d.explicit = true
			m.AddDest(dest.Callsign)
		case len(dest.UID) > 0:
			d.explicit = true
			m.AddDest(dest.UID)
		case len(dest.Mission) > 0:
			m.Missions = append(m.Missions, string(dest.Mission))
		case len(dest.MissionGUID) > 0:
			m.Missions = append(m.Missions, "guid:"+string(dest.MissionGUID))
		case len(dest.Group) > 0:
			groups = true
			l.narrow = append(l.narrow, l.e.groups.One(dest.Group))
		case dest.Nobody():
			nobody = true
		}
	}
	d.store = (d.store || len(m.Missions) > 0) && !d.explicit && !all && !groups
	// Somebody meant one person: what names nobody reaches nobody.
	d.explicit = (d.explicit || nobody && !groups && !d.store) && !all
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
	receivers := len(l.catching)
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
		if m.Class == msg.Chat {
			b.Chat = append(b.Chat, m.Hold())
		}
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
	if len(l.catching) > 0 {
		l.oweAll(m)
	}
	m.Charge(receivers)
	l.spending += receivers * (1 + m.Size()>>10)
}

// routeDirect gives m to the clients that ev names. Chat for one that is away
// is kept for it; chat that reaches nobody comes back to its sender.
func (l *loop) routeDirect(c *client, ev *cot.Event, m *msg.Msg) {
	l.found = l.found[:0]
	reached := false
	for i := range ev.Dests {
		d := &ev.Dests[i]
		if len(d.Callsign)+len(d.UID) == 0 {
			continue
		}
		hit := l.find(d, m)
		if !hit && m.Class == msg.Chat && l.e.opts.Load().AbsentTTL > 0 {
			if hit = l.e.absent.Keep(m, d.UID, d.Callsign, l.now); hit {
				l.stats.keptForAbsent.Add(1)
			} else { // it may have returned in between
				hit = l.find(d, m)
			}
		}
		reached = reached || hit
	}
	for _, e := range l.found {
		switch {
		case e.Session.ID == m.Sender:
		case e.Loop == l.idx:
			l.deliverTo(e.Owner.(*client), m)
		default:
			l.send(e.Loop, parcel{op: opDirect, m: m.Hold(), c: e.Owner.(*client)})
		}
	}
	m.Charge(len(l.found))
	l.spending += len(l.found) * (1 + m.Size()>>10)
	clear(l.found)
	if !reached && m.Class == msg.Chat && c != nil {
		l.returnTo(c, m)
	}
}

// find adds those whom d names to l.found, and reports whether there is one.
func (l *loop) find(d *cot.Dest, m *msg.Msg) (hit bool) {
	if len(d.Callsign) > 0 {
		l.found, hit = l.e.directory.AppendCallsign(l.found, d.Callsign, m.In)
	} else {
		l.found, hit = l.e.directory.AppendUID(l.found, d.UID, m.In)
	}
	return hit
}

// deliverTo adds m to c's own stream, in its place among the batches. A chat
// whose receiver has just left is kept for it.
func (l *loop) deliverTo(c *client, m *msg.Msg) {
	switch c.State() {
	case session.CatchingUp:
		l.owe(c, m)
		return
	case session.Current:
	default:
		if m.Class == msg.Chat && c.Ident.Load() != nil {
			l.homeless(m, c)
		}
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
		l.deliverTo(c, m)
		return
	}
	c.Insert(len(c.bucket.Batch), b)
	if m.Class == msg.Chat {
		c.direct, c.HasChat = append(c.direct, m.Hold()), true
	}
	l.need = true
	if !c.Dirty {
		c.Dirty = true
		l.changed = append(l.changed, c)
	}
}
