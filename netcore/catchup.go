package netcore

import (
	"time"

	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/netcore/session"
)

const (
	payChunk    = 16 << 10              // given to a client at one time: what thousands that join at once may make gnet hold, each
	settleTurn  = 1 << 20               // and to all of them together: about a millisecond of work
	forbearance = time.Second           // how old what waits for a client may be before newer positions void older ones: it may only have met a burst
	settleEvery = 10 * time.Millisecond // how soon a client that could not take more is looked at again
)

// A client that is current shares a bucket. It stops being so when more than
// soft_limit bytes wait for it, when its groups change, and when mail waits for
// it; then it catches up. What it is owed, all of it, goes through one Ledger in
// the order in which it was published, so that nothing overtakes anything. When
// the ledger is empty it is current again.

// startCatchingUp takes c out of its bucket. Never while the bucket is walked.
func (l *loop) startCatchingUp(c *client) {
	if c.State() != session.Current {
		return
	}
	l.leaveBucket(c)
	if c.To(session.CatchingUp) { // else writing what was gathered has ended it
		c.owed = new(session.Ledger)
		l.catching = append(l.catching, c)
		l.need = true
	} else if c.owed == nil {
		c.owed = new(session.Ledger)
	}
}

// fallBehind is startCatchingUp for a client that reads too slowly.
func (l *loop) fallBehind(c *client) {
	if c.State() != session.Current {
		return
	}
	l.stats.fellBehind.Add(1)
	c.behind = true
	l.startCatchingUp(c)
	c.owed.Patient()
}

// becomeCurrent lets c share a bucket.
func (l *loop) becomeCurrent(c *client) {
	if !c.To(session.Current) {
		return
	}
	c.owed, c.over = nil, time.Time{}
	c.behind = false
	l.joinBucket(c)
}

// owe adds m to what c is owed, or closes c when that is more than it may be.
func (l *loop) owe(c *client, m *msg.Msg) {
	if c.owed.Add(m) {
		c.Stats.Conflated++
		l.stats.conflated.Add(1)
	}
	if c.owed.Bytes() > l.e.opts.Load().HardLimit {
		l.stats.slowCloses.Add(1)
		l.close(c, "too slow: more than hard_limit bytes wait for it")
	}
}

// oweAll adds m to what those who catch up are owed, if they may see it.
func (l *loop) oweAll(m *msg.Msg) {
	for _, c := range l.catching {
		if c.State() != session.CatchingUp || c.ID == m.Sender {
			continue
		}
		out := c.Reach.Load().Out.Bits
		if out.Intersects(m.In) && (m.Except == nil || !out.Intersects(m.Except)) {
			l.owe(c, m)
		}
	}
}

// settle writes to those who catch up, as fast as each reads, and comes back
// soon while some are not done. What it does at one time is bounded: when
// thousands join at once, those who are there already wait no longer than that.
// Who has not had a turn then gets it in the next flush, which follows at once.
func (l *loop) settle() {
	l.unsettled = false
	if len(l.catching) == 0 {
		return
	}
	sent, i := l.stats.bytesOut.Load(), 0
	left := l.turned[:0]
	for ; i < len(l.catching) && l.stats.bytesOut.Load()-sent < settleTurn; i++ {
		if c := l.catching[i]; !l.settleOne(c) {
			left = append(left, c)
		}
	}
	l.unsettled = i < len(l.catching)
	// Those who had their turn come last in the next one.
	n := copy(l.catching, l.catching[i:])
	n += copy(l.catching[n:], left)
	clear(l.catching[n:])
	clear(left)
	l.catching, l.turned = l.catching[:n], left[:0]
	if len(left) > 0 {
		l.lookAgain()
	}
}

// settleOne reports whether c needs no more of this.
func (l *loop) settleOne(c *client) bool {
	most, room := payChunk, 0
	if c.State() == session.CatchingUp && c.owed.IsPatient() {
		if m := c.owed.Peek(); m != nil && l.now.UnixMilli()-m.Received > forbearance.Milliseconds() {
			gone := c.owed.Conflate()
			c.Stats.Conflated += uint64(gone)
			l.stats.conflated.Add(uint64(gone))
		} else { // it reads fast: give it all that a bucket would
			o := l.e.opts.Load()
			most, room = batchSize, min(4*o.SoftLimit, o.HardLimit/4)
		}
	}
	for range 16 {
		if c.State() != session.CatchingUp {
			return true
		}
		if c.Conn.OutboundBuffered() > room {
			return false
		}
		if c.owed.Len() == 0 {
			if c.asked > 0 {
				return false
			}
			l.becomeCurrent(c)
			return true
		}
		l.pay(c, most)
	}
	return c.State() != session.CatchingUp
}

// pay writes one chunk, of about most bytes, of what c is owed.
func (l *loop) pay(c *client, most int) {
	chunk, chat := l.compose[:0], len(c.delivered)
	events, limit := 0, l.e.opts.Load().MaxEvent
	for len(chunk) < most {
		m := c.owed.Next()
		if m == nil {
			break
		}
		b := m.Bytes(c.Format)
		switch {
		case m == c.offer:
			c.offer = nil
			if c.told || c.Format == cot.Proto { // it has asked already
				break
			}
			c.told = true
			chunk = append(chunk, b...)
			events++
		case m.Class == msg.Position && m.Superseded.Load() && !c.owed.IsPatient(): // a newer one follows
		case len(b) == 0 || len(b) > limit:
			l.stats.unconvertible.Add(1)
		default:
			chunk = append(chunk, b...)
			events++
			if m.Class == msg.Chat {
				c.delivered = append(c.delivered, receipt{m: m.Hold()})
			}
		}
		m.Release()
	}
	l.compose = chunk
	if events > 0 {
		l.write(&c.Session, chunk, events)
	}
	if len(c.delivered) > chat {
		l.sent(c, chat)
	}
}

// lookAgain makes a flush happen soon, for clients that could not take all.
func (l *loop) lookAgain() {
	if l.waiting {
		return
	}
	l.waiting = true
	time.AfterFunc(settleEvery, func() { l.call(func() { l.waiting = false }) })
}

// makeOffer tells c, once, that protobuf is spoken here: after the positions of
// all loops, as the official server does, and within the minute that ATAK waits.
func (l *loop) makeOffer(c *client) {
	if c.told || c.offer != nil || c.asked > 0 || c.State() != session.CatchingUp {
		return
	}
	m := msg.Get()
	defer m.Release()
	l.control = cot.AppendProtocolOffer(l.control[:0], newUID(), l.e.opts.Load().Version, l.now.UnixMilli())
	m.SetXML(l.control)
	m.Class = msg.Control
	c.offer = m
	c.owed.Add(m)
	l.need = true
}

// positions returns, with a reference each, the latest positions of this
// loop's clients, and of those behind them, that c may see.
func (l *loop) positions(c *client, list []*msg.Msg) []*msg.Msg {
	out := c.Reach.Load().Out.Bits
	for _, x := range l.shown {
		if x == c || !x.Live() || x.Incognito {
			continue
		}
		if x.SA != nil && x.SA.In.Intersects(out) {
			list = append(list, x.SA.Hold())
		}
		list = x.nodes.visible(list, out, l.now.UnixMilli())
	}
	return list
}

// show notes that newcomers see c, or what it carries.
func (l *loop) show(c *client) {
	if c.shown == 0 {
		l.shown = append(l.shown, c)
		c.shown = len(l.shown)
	}
}

// hide undoes show.
func (l *loop) hide(c *client) {
	if c.shown == 0 {
		return
	}
	last := len(l.shown) - 1
	x := l.shown[last]
	l.shown[c.shown-1], x.shown = x, c.shown
	l.shown[last], l.shown = nil, l.shown[:last]
	c.shown = 0
}

// replayAll sends c the latest position of everybody whom it may see.
func (l *loop) replayAll(c *client) {
	l.replay(c, append(l.positions(c, nil), l.e.restored.visible(c, l.now.UnixMilli())...))
	for i := range l.e.loopCount() {
		if i != l.idx {
			c.asked++
			l.send(i, parcel{op: opAsk, c: c})
		}
	}
}

// replay owes c the list, whose references it takes: as far as c may see it now.
func (l *loop) replay(c *client, list []*msg.Msg) {
	for _, m := range list {
		if c.State() == session.CatchingUp && c.Reach.Load().Out.Bits.Intersects(m.In) {
			c.owed.AddOld(m)
		}
		m.Release()
	}
	l.need = true
}

// joinBucket puts c among the receivers with its view and encoding.
func (l *loop) joinBucket(c *client) {
	out := c.Reach.Load().Out
	for _, b := range l.buckets {
		if b.Format == c.Format && b.Out.Key() == out.Key() {
			b.Add(&c.Session)
			c.bucket = b
			return
		}
	}
	c.bucket = &router.Bucket{Out: out, Format: c.Format}
	c.bucket.Add(&c.Session)
	l.buckets = append(l.buckets, c.bucket)
}

// leaveBucket takes c out, after what is gathered for it was written. Only
// from a turn's own events, never while a bucket is walked.
func (l *loop) leaveBucket(c *client) {
	if c.bucket == nil || c.Gone() {
		return
	}
	l.flushClient(c.bucket, &c.Session)
	c.bucket.Remove(&c.Session)
	c.bucket = nil
}
