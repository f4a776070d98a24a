package netcore

import (
	"slices"
	"time"

	"takd/netcore/msg"
	"takd/netcore/session"
)

// A client whose connection holds more than soft_limit bytes falls behind: it
// leaves its bucket, and from then on only the newest position of each uid is
// kept for it, with everything that is not a position. When it reads again it
// gets that, the current picture, and joins its bucket anew.

// fallBehind takes c out of its bucket. Never while the bucket is walked.
func (l *loop) fallBehind(c *client) {
	if c.lag != nil || !c.Live() || c.bucket == nil {
		return
	}
	l.stats.fellBehind.Add(1)
	l.leaveBucket(c)
	c.lag = new(session.Lag)
	l.behind = append(l.behind, c)
}

// deliverBehind keeps m for those who are behind and may see it.
func (l *loop) deliverBehind(m *msg.Msg) {
	for _, c := range l.behind {
		out := c.Reach.Load().Out.Bits
		if c.ID != m.Sender && c.Live() && out.Intersects(m.In) && (m.Except == nil || !out.Intersects(m.Except)) {
			l.keepBehind(c, m)
		}
	}
}

// keepBehind keeps m for c, or closes c when more waits than it may.
func (l *loop) keepBehind(c *client, m *msg.Msg) {
	if c.lag.Add(m) {
		c.Stats.Conflated++
		l.stats.conflated.Add(1)
	}
	if c.lag.Bytes() > l.e.opts.Load().HardLimit {
		l.stats.slowCloses.Add(1)
		l.close(c, "too slow: more than hard_limit bytes wait for it")
	}
}

// catchUpBehind writes to those who read again and lets them rejoin. It comes
// back soon while somebody is behind.
func (l *loop) catchUpBehind() {
	l.behind = slices.DeleteFunc(l.behind, func(c *client) bool {
		if !c.Live() {
			return true
		}
		for c.Live() && c.Conn.OutboundBuffered() == 0 {
			if !l.writeBehind(c) {
				c.lag = nil
				l.joinBucket(c)
				return true
			}
		}
		return !c.Live()
	})
	if len(l.behind) > 0 {
		l.lookAgain()
	}
}

// writeBehind writes one chunk of what waits for c and reports whether there was any.
func (l *loop) writeBehind(c *client) bool {
	chunk := l.compose[:0]
	events, any := 0, false
	limit := l.e.opts.Load().MaxEvent
	for len(chunk) < replayChunk {
		m := c.lag.Next()
		if m == nil {
			break
		}
		any = true
		if b := m.Bytes(c.Format); len(b) > 0 && len(b) <= limit {
			chunk = append(chunk, b...)
			events++
		}
		m.Release()
	}
	l.compose = chunk
	if events > 0 {
		c.Stats.EventsOut += uint64(events)
		l.stats.eventsOut.Add(uint64(events))
		l.write(&c.Session, chunk)
	}
	return any
}

// lookAgain makes a flush happen soon, for clients that could not take all.
func (l *loop) lookAgain() {
	if l.waiting {
		return
	}
	l.waiting = true
	time.AfterFunc(replayEvery, func() { l.call(func() { l.waiting = false }) })
}
