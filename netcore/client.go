package netcore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/netcore/session"
)

// admit sets who c is. It runs before c is on its loop, or on it.
func (c *client) admit(e *Engine, p Principal) {
	c.User, c.Serial = p.User, p.Serial
	c.Reach.Store(&session.Reach{In: e.groups.Set(p.In), Out: e.groups.Set(p.Out)})
	c.origin = &msg.Origin{User: p.User, Input: c.Input, Groups: c.Reach.Load().In.Names}
}

// open is the first thing that happens to c on its loop.
func (l *loop) open(c *client, conn session.Conn) {
	l.enter()
	defer l.leave()
	c.Conn = conn
	c.entry = router.Entry{Session: &c.Session, Owner: c, Loop: l.idx}
	c.Progress = l.now
	l.clients[c.ID] = c
	l.stats.opened.Add(1)
	if c.origin == nil { // nobody knows yet who it is
		c.State = session.Authenticating
		c.Deadline = l.now.Add(l.e.opts.Load().HandshakeDeadline)
	} else {
		l.welcome(c)
	}
	l.read(c) // what came with the end of the handshake
}

// welcome makes c a receiver, and starts with the positions of the others.
func (l *loop) welcome(c *client) {
	c.State = session.Open
	l.meter(c)
	l.joinBucket(c)
	l.replayAll(c)
	l.offer(c)
	l.e.log.Info("client connected", "user", c.User, "peer", c.Remote, "input", c.Input, "serial", c.Serial)
}

// offer tells c, once, that protobuf is spoken here: after the positions, as
// the official server does, and within the minute that ATAK waits for it.
func (l *loop) offer(c *client) {
	if c.offered || c.asked > 0 || !c.Live() {
		return
	}
	c.offered = true
	l.replaySome(c)
	l.control = cot.AppendProtocolOffer(l.control[:0], newUID(), l.e.opts.Load().Version, l.now.UnixMilli())
	l.writeOwn(c, l.control)
}

// authenticate checks the <auth> preamble off the loop; what follows it waits.
func (l *loop) authenticate(c *client) {
	c.checking = true
	user, password := string(c.Decoder.Auth.User), string(c.Decoder.Auth.Password)
	l.e.wait.Add(1)
	go func() {
		defer l.e.wait.Done()
		ctx, cancel := context.WithTimeout(context.Background(), l.e.opts.Load().HandshakeDeadline)
		defer cancel()
		p, err := l.e.opts.Load().Auth.Password(ctx, user, password)
		l.call(func() { l.authenticated(c, user, p, err) })
	}()
}

func (l *loop) authenticated(c *client, user string, p Principal, err error) {
	if c.State != session.Authenticating {
		return
	}
	c.checking = false
	if err != nil {
		l.stats.refused.Add(1)
		l.e.log.Warn("client refused", "peer", c.Remote, "input", c.Input, "user", user, "reason", err)
		l.close(c, "refused: "+err.Error())
		return
	}
	c.admit(l.e, p)
	l.welcome(c)
	rest := c.Partial
	l.gathered -= len(rest)
	c.Partial = nil
	l.take(c, rest)
}

// close ends c from the server's side: closing alert, then the socket.
func (l *loop) close(c *client, reason string) {
	if c == nil || c.State == session.Closed {
		return
	}
	if c.reason == "" {
		c.reason = reason
	}
	l.enter()
	defer l.leave()
	l.control = c.Layer.CloseNotify(l.control[:0])
	if len(l.control) > 0 {
		_, _ = c.Conn.Write(l.control)
	}
	if c.State != session.Closed { // else the write has closed it
		l.host.Close(c.Conn)
	}
}

// closed is called, by the host, exactly once for each client: from here on
// the connection is not touched.
func (l *loop) closed(c *client, err error) {
	if c.State == session.Closed {
		return
	}
	l.enter()
	defer l.leave()
	c.State = session.Closed
	if c.reason == "" {
		c.reason = "connection lost"
		if err != nil {
			c.reason += ": " + err.Error()
		}
	}
	l.dead = append(l.dead, c)
}

// bury forgets c and tells those who could see it.
func (l *loop) bury(c *client) {
	delete(l.clients, c.ID)
	if c.bucket != nil {
		c.bucket.Remove(&c.Session)
		c.bucket = nil
	}
	l.gathered -= len(c.Partial)
	l.stats.closed.Add(1)
	l.e.count.Add(-1)
	in, out := &c.Stats.BytesIn, &c.Stats.BytesOut
	id := c.Ident.Load()
	l.e.log.Info("client left", "user", c.User, "uid", c.UID(), "peer", c.Remote, "reason", c.reason,
		"bytes_in", *in, "bytes_out", *out, "drops", c.Stats.Drops, "conflated", c.Stats.Conflated)
	if id != nil {
		last := l.e.directory.Unbind(&c.entry)
		if last && !l.e.stopping.Load() {
			if l.e.opts.Load().AbsentTTL > 0 {
				l.e.absent.Left(id.UID, id.Callsign, c.User, c.Reach.Load().Out.Bits, l.now)
			}
			l.goodbye(c, id, c.Reach.Load(), nil)
		}
	}
	l.unmeter(c)
	c.Drop()
	if c.lag != nil {
		c.lag.Release()
		c.lag = nil
	}
}

// goodbye tells those in reach, but for those who are in reach of still, that
// c is gone.
func (l *loop) goodbye(c *client, id *session.Identity, reach, still *session.Reach) {
	m := msg.Get()
	defer m.Release()
	l.control = cot.AppendDisconnect(l.control[:0], cot.XML, newUID(), id.UID, id.Type, l.now.UnixMilli())
	m.SetXML(l.control)
	m.Class, m.In, m.Sender, m.Received, m.Origin, m.NoArchive = msg.Control, reach.In.Bits, c.ID, l.now.UnixMilli(), c.origin, true
	if still != nil {
		m.Except = still.In.Bits
	}
	l.broadcast(m)
}

// regroup moves c to other groups: who no longer sees it is told so, who sees
// it now gets its position, and c itself starts its picture anew.
func (l *loop) regroup(c *client, reach *session.Reach) {
	old := c.Reach.Load()
	if old.In.Key() == reach.In.Key() && old.Out.Key() == reach.Out.Key() {
		return
	}
	l.leaveBucket(c)
	c.Reach.Store(reach)
	l.joinBucket(c)
	if id := c.Ident.Load(); id != nil {
		l.goodbye(c, id, old, reach)
		fresh := *id
		fresh.Groups = reach.In.Names
		c.Ident.Store(&fresh)
		c.origin = &fresh.Origin
	} else {
		c.origin = &msg.Origin{User: c.User, Input: c.Input, Groups: reach.In.Names}
	}
	if c.SA != nil && !c.Incognito {
		m := msg.Get()
		m.SetXML(c.SA.Bytes(cot.XML))
		m.Class, m.In, m.Except, m.Sender = msg.Position, reach.In.Bits, old.In.Bits, c.ID
		m.UID = append(m.UID[:0], c.UID()...)
		m.Origin, m.Received, m.NoArchive = c.origin, l.now.UnixMilli(), true
		l.broadcast(m)
		m.Release()
	}
	// ATAK clears its map on t-x-g-c, unless the event's uid contains its own.
	l.control = cot.AppendGroupsChanged(l.control[:0], c.Format, newUID(), l.now.UnixMilli())
	l.writeOwn(c, l.control)
	l.replayAll(c)
}

// tick runs once a second.
func (l *loop) tick() {
	o := l.e.opts.Load()
	for _, c := range l.clients {
		c.Stats.Tick(l.now)
		switch c.State {
		case session.Authenticating:
			if l.now.After(c.Deadline) {
				l.close(c, fmt.Sprintf("not authenticated after %s", o.HandshakeDeadline))
			}
		case session.Open:
			waiting := c.Conn.OutboundBuffered()
			taken := c.Sealed - uint64(waiting)
			switch {
			case waiting == 0 || taken != c.AtTaken:
				c.AtTaken, c.Progress = taken, l.now
			case l.now.Sub(c.Progress) > o.StallLimit:
				l.stats.slowCloses.Add(1)
				l.close(c, "too slow: took nothing for "+strconv.Itoa(int(o.StallLimit/time.Second))+" s")
			}
		}
	}
	l.sweep()
}

// sweep drops buckets that nobody is in any more.
func (l *loop) sweep() {
	kept := l.buckets[:0]
	for _, b := range l.buckets {
		if len(b.Members) > 0 {
			kept = append(kept, b)
		}
	}
	clear(l.buckets[len(kept):])
	l.buckets = kept
}
