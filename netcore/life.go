package netcore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"takd/cot"
	"takd/netcore/group"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/netcore/session"
)

// admit sets who c is. It runs before c is on its loop, or on it.
func (c *client) admit(e *Engine, p Principal) {
	c.User = p.User
	if p.Serial != "" {
		c.Serial = p.Serial
	}
	c.Reach.Store(&session.Reach{In: e.groups.Set(p.In), Out: e.groups.Set(p.Out)})
	c.origin = &msg.Origin{User: p.User, Input: c.Input, Groups: c.Reach.Load().In.Names}
}

// holder is whose mail c gets.
func (c *client) holder() router.Holder { return router.Holder{User: c.account(), UID: c.UID()} }

// account is c's user, "" for anonymous clients: their names are made up.
func (c *client) account() string {
	if c.Anonymous {
		return ""
	}
	return c.User
}

// drop counts an event of c that is not passed on.
func (l *loop) drop(c *client, why session.Reason) {
	c.Stats.Drops[why]++
	l.stats.dropped[why].Add(1)
}

// open is the first thing that happens to c on its loop.
func (l *loop) open(c *client, conn session.Conn) {
	defer l.leave(l.enter())
	defer l.guard(c)
	c.Conn = conn
	c.entry = router.Entry{Session: &c.Session, Owner: c, Loop: l.idx}
	c.Progress = l.now
	l.clients[c.ID] = c
	l.stats.opened.Add(1)
	if c.origin == nil { // nobody knows yet who it is
		c.To(session.Authenticating)
		c.Deadline = l.now.Add(l.e.opts.Load().HandshakeDeadline)
	} else {
		l.welcome(c)
	}
	l.read(c) // what came with the end of the handshake
}

// welcome makes c a receiver: it catches up with the positions of the others,
// then it is told that protobuf is spoken, then it is current.
func (l *loop) welcome(c *client) {
	if !c.To(session.CatchingUp) {
		return
	}
	c.owed = new(session.Ledger)
	l.catching = append(l.catching, c)
	l.need = true
	l.meter(c)
	l.replayAll(c)
	l.makeOffer(c)
	l.e.log.Info("client connected", "user", c.User, "peer", c.Remote, "input", c.Input, "serial", c.Serial)
}

// authenticate checks the <auth> preamble off the loop; what follows it waits.
func (l *loop) authenticate(c *client) {
	c.checking = true
	user, password := string(c.Decoder.Auth.User), string(c.Decoder.Auth.Password)
	check := func() (Principal, error) {
		o := l.e.opts.Load()
		ctx, cancel := context.WithTimeout(WithPeer(l.e.ctx, c.Remote.Addr()), o.HandshakeDeadline)
		defer cancel()
		return o.Auth.Password(ctx, user, password)
	}
	l.e.goFunc(func() {
		p, err := check()
		l.call(func() { l.authenticated(c, user, p, err) })
		if err != nil {
			return
		}
		l.confirmBy(c, check) // as recheck
	})
}

func (l *loop) authenticated(c *client, user string, p Principal, err error) {
	if c.State() != session.Authenticating {
		return
	}
	c.checking = false
	if err != nil {
		l.stats.refused.Add(1)
		l.e.refusals.note(user, err)
		l.e.tell(c.Input, c.Remote.Addr(), user, err)
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

// confirmBy asks who c is, off the loop, and holds the answer against c on it.
func (l *loop) confirmBy(c *client, check func() (Principal, error)) {
	seen := l.e.regrouped.Load()
	p, err := check()
	l.call(func() { l.confirm(c, p, err, seen, check) })
}

// confirm asks again where SetGroups came between: the answer may be the older.
func (l *loop) confirm(c *client, p Principal, err error, seen uint64, check func() (Principal, error)) {
	switch {
	case !c.Live():
	case err == nil && seen != l.e.regrouped.Load():
		l.e.goFunc(func() { l.confirmBy(c, check) })
	case err != nil:
		l.close(c, "refused: "+err.Error())
	default:
		l.regroup(c, &session.Reach{In: l.e.groups.Set(p.In), Out: l.e.groups.Set(p.Out)})
	}
}

// close ends c from the server's side: closing alert, then the socket.
func (l *loop) close(c *client, reason string) {
	if c == nil || c.Gone() {
		return
	}
	if c.reason == "" {
		c.reason = reason
	}
	defer l.leave(l.enter())
	l.writeSealed(c, c.Layer.CloseNotify(l.control[:0]))
	if !c.Gone() { // else the write has ended it
		l.host.Close(c.Conn)
	}
}

// closed is called, by the host, once for each client: the connection may still
// be asked, for the last time, and is not touched from here on.
func (l *loop) closed(c *client, err error) {
	if c.Gone() {
		return
	}
	defer l.leave(l.enter())
	if c.reason == "" { // the peer's doing: what it has sent counts
		c.reason = "connection lost"
		if err != nil {
			c.reason += ": " + err.Error()
		}
		c.rest = remains(c.Conn)
	}
	l.confirmReceipts(c)
	c.To(session.Ended)
	l.dead = append(l.dead, c)
}

// finish reads what c had sent before it ended, and buries it when none of that
// waits any more.
func (l *loop) finish(c *client) {
	if rest := c.rest; len(rest) > 0 && c.origin != nil && !l.deaf {
		c.rest = nil
		c.Layer.Feed(rest)
		l.read(c)
	}
	if c.held.Len() == 0 {
		l.bury(c)
	}
}

// bury forgets c and tells those who could see it. Chat that it was still owed
// goes to those who may have it.
func (l *loop) bury(c *client) {
	if !c.To(session.Closed) {
		return
	}
	delete(l.clients, c.ID)
	l.hide(c)
	l.gathered -= len(c.Partial) + c.held.Size()
	l.stats.closed.Add(1)
	l.e.count.Add(-1)
	id := c.Ident.Load()
	l.e.log.Info("client left", "user", c.User, "uid", c.UID(), "peer", c.Remote, "reason", c.reason,
		"bytes_in", c.Stats.BytesIn, "bytes_out", c.Stats.BytesOut, "drops", c.Stats.Dropped(), "conflated", c.Stats.Conflated)
	if id != nil {
		last := l.e.directory.Unbind(&c.entry, func() {
			if l.e.opts.Load().AbsentTTL > 0 {
				l.e.absent.Left(router.Away{Holder: c.holder(), Callsign: id.Callsign, Out: c.Reach.Load().Out.Bits, Since: l.now})
			}
		})
		l.pass(c, true)
		l.forward(c)
		if last && !l.e.stopping.Load() {
			l.goodbye(c, id.UID, id.Type, c.Reach.Load(), nil)
		}
	}
	l.dropNodes(c)
	if c.bucket != nil {
		c.bucket.Remove(&c.Session)
		c.bucket = nil
	}
	l.unmeter(c)
	l.forgive(c)
	c.Drop()
	c.held.Release()
}

// goodbye tells those in reach, but for those who are in reach of still, that
// c is gone.
func (l *loop) goodbye(c *client, uid, typ string, reach, still *session.Reach) {
	m := msg.Get()
	defer m.Release()
	l.control = cot.AppendDisconnect(l.control[:0], cot.XML, newUID(), uid, typ, l.now.UnixMilli())
	m.SetXML(l.control)
	m.Class, m.In, m.Sender, m.Received, m.Origin, m.NoArchive = msg.Control, reach.In.Bits, c.ID, l.now.UnixMilli(), c.origin, true
	if still != nil {
		m.Except = still.In.Bits
	}
	l.tap(m)
	l.broadcast(m)
}

// regroup moves c to other groups: who no longer sees it is told so, who sees
// it now gets its position, and c itself starts its picture anew. Of what c was
// still owed it gets what it may see now.
func (l *loop) regroup(c *client, reach *session.Reach) {
	old := c.Reach.Load()
	if !c.Live() || old.In.Key() == reach.In.Key() && old.Out.Key() == reach.Out.Key() {
		return
	}
	l.startCatchingUp(c)
	c.Reach.Store(reach)
	c.owed.Keep(func(m *msg.Msg) bool { return m == c.offer || reach.Out.Bits.Intersects(m.In) })
	if id := c.Ident.Load(); id != nil {
		l.goodbye(c, id.UID, id.Type, old, reach)
		fresh := *id
		fresh.Groups = reach.In.Names
		c.Ident.Store(&fresh)
		c.origin = &fresh.Origin
	} else {
		c.origin = &msg.Origin{User: c.User, Input: c.Input, Groups: reach.In.Names}
	}
	c.SA = l.moveSA(c, c.SA, reach)
	l.regroupNodes(c, old, reach)
	// ATAK clears its map on t-x-g-c, unless the event's uid contains its own.
	l.control = cot.AppendGroupsChanged(l.control[:0], c.Format, newUID(), l.now.UnixMilli())
	l.writeOwn(c, l.control)
	l.replayAll(c)
}

// moveSA returns what becomes of a position of c, whose reference it takes, when
// c moves: the same for the new groups, given to those who see it only now, or
// nil when it was for groups that c has left.
func (l *loop) moveSA(c *client, sa *msg.Msg, reach *session.Reach) *msg.Msg {
	if sa == nil {
		return nil
	}
	m := msg.Get()
	m.SetXML(sa.Bytes(cot.XML))
	m.Class, m.Except, m.Sender, m.In = msg.Position, append(group.Bits(nil), sa.In...), c.ID, reach.In.Bits
	m.UID = append(m.UID[:0], sa.UID...)
	m.Origin, m.Received, m.NoArchive = c.origin, l.now.UnixMilli(), true
	some := true
	if sa.Narrowed {
		some = m.Narrow(reach.In.Bits, sa.In)
	}
	sa.Release()
	if !some || m.Size() == 0 {
		m.Release()
		return nil
	}
	if !c.Incognito {
		l.tap(m)
		l.broadcast(m)
	}
	return m
}

// tick runs once a second.
func (l *loop) tick() {
	o := l.e.opts.Load()
	slow := 0
	for _, c := range l.clients {
		c.Stats.Tick(l.now)
		if c.behind && c.owed != nil && !c.owed.IsPatient() {
			slow++
		}
		switch c.State() {
		case session.Authenticating:
			if l.now.After(c.Deadline) {
				l.close(c, fmt.Sprintf("not authenticated after %s", o.HandshakeDeadline))
			}
		case session.Current, session.CatchingUp:
			l.pruneNodes(c)
			if c.Sealed == c.AtTaken { // all of it was taken at the last look: most clients, most of the time
				c.Progress = l.now
				continue
			}
			waiting := c.Conn.OutboundBuffered()
			taken := c.Sealed - uint64(waiting)
			switch {
			case waiting == 0 || taken != c.AtTaken:
				c.AtTaken, c.Progress = taken, l.now
			case l.now.Sub(c.Progress) > o.StallLimit:
				l.stats.slowCloses.Add(1)
				abandon(c.Conn)
				l.close(c, "too slow: took nothing for "+strconv.Itoa(int(o.StallLimit/time.Second))+" s")
			}
		}
	}
	l.crowded.Store(len(l.clients) >= 4 && slow*2 > len(l.clients))
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
