package netcore

import (
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/netcore/session"
)

// Chat counts as delivered when the receiver's kernel has acknowledged it: a
// phone that drives into a tunnel takes with it what lies in send buffers. What
// was not acknowledged when a client ends is kept for it like chat that came
// later. A phone may so get a message twice, which it knows by its uid.

// receipt is chat that was written, and where in the stream it ends.
type receipt struct {
	m   *msg.Msg
	end uint64
}

// note holds on to the chat that was just written to s: its own and b's.
func (l *loop) note(s *session.Session, b *router.Bucket) {
	c := l.clients[s.ID]
	from := len(c.delivered)
	for _, m := range b.Chat {
		if m.Sender != c.ID {
			c.delivered = append(c.delivered, receipt{m: m.Hold()})
		}
	}
	for i, m := range c.direct {
		c.delivered = append(c.delivered, receipt{m: m})
		c.direct[i] = nil
	}
	c.direct, c.HasChat = c.direct[:0], false
	l.sent(c, from)
}

// sent notes where c.delivered[from:] ends, and forgets what has arrived.
func (l *loop) sent(c *client, from int) {
	for i := range c.delivered[from:] {
		c.delivered[from+i].end = c.Sealed
	}
	if l.confirmReceipts(c); len(c.delivered) > 0 && from == 0 {
		l.unsure = append(l.unsure, c)
	}
}

// confirmReceipts forgets the chat that c's kernel has.
func (l *loop) confirmReceipts(c *client) {
	if len(c.delivered) == 0 || c.Gone() {
		return
	}
	taken := c.Sealed - uint64(outstanding(c.Conn))
	n := 0
	for n < len(c.delivered) && c.delivered[n].end <= taken {
		c.delivered[n].m.Release()
		n++
	}
	rest := copy(c.delivered, c.delivered[n:])
	clear(c.delivered[rest:])
	c.delivered = c.delivered[:rest]
}

// askReceipts asks the kernels of those who have not confirmed all.
func (l *loop) askReceipts() {
	if len(l.unsure) == 0 {
		return
	}
	left := l.unsure[:0]
	for _, c := range l.unsure {
		if l.confirmReceipts(c); len(c.delivered) > 0 && !c.Gone() {
			left = append(left, c)
		}
	}
	clear(l.unsure[len(left):])
	if l.unsure = left; len(left) > 0 {
		l.lookAgain()
	}
}

// forward finds a place for the chat that c has not got, in order: another
// connection of the same client, the box of those who are away, or its sender.
func (l *loop) forward(c *client) {
	give := func(m *msg.Msg) {
		if m.Class == msg.Chat && m.Sender != c.ID {
			l.homeless(m, c)
		}
	}
	for _, r := range c.delivered {
		give(r.m)
	}
	if c.bucket != nil {
		for _, m := range c.bucket.Chat {
			give(m)
		}
	}
	for _, m := range c.direct {
		give(m)
	}
	if c.owed != nil {
		for m := c.owed.Next(); m != nil; m = c.owed.Next() {
			give(m)
			m.Release()
		}
	}
}

// forgive gives back what forward has looked at.
func (l *loop) forgive(c *client) {
	for _, r := range c.delivered {
		r.m.Release()
	}
	for _, m := range c.direct {
		m.Release()
	}
	c.delivered, c.direct = nil, nil
	if c.owed != nil {
		c.owed.Release()
	}
	c.owed, c.offer = nil, nil
}

// homeless finds a place for chat that c, who is gone, has not got.
func (l *loop) homeless(m *msg.Msg, c *client) {
	if e := l.e.directory.Find(c.UID(), c.account(), &c.entry); e != nil {
		l.send(e.Loop, parcel{op: opDirect, m: m.Hold(), c: e.Owner.(*client)})
		return
	}
	if l.e.opts.Load().AbsentTTL > 0 && l.e.absent.KeepFor(m, c.holder(), l.now) {
		l.stats.keptForAbsent.Add(1)
		return
	}
	if m.Direct && m.Origin != nil {
		l.e.directory.All(m.Origin.UID, func(e *router.Entry) {
			if e.Session.ID == m.Sender {
				l.send(e.Loop, parcel{op: opReturn, m: m.Hold(), c: e.Owner.(*client)})
			}
		})
	}
}

// returnTo tells c that nobody got its chat m.
func (l *loop) returnTo(c *client, m *msg.Msg) {
	if m.Scan(&l.again) != nil || string(l.again.Type) == "b-t-f-s" {
		return
	}
	l.stats.undelivered.Add(1)
	var err error
	if l.control, err = l.again.AppendUndelivered(l.control[:0], c.Format); err == nil {
		l.writeOwn(c, l.control)
	}
}
