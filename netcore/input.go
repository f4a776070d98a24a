package netcore

import (
	"bytes"
	"errors"
	"io"
	"time"

	"takd/cot"
	"takd/cot/frame"
	"takd/netcore/msg"
	"takd/netcore/session"
	"takd/netcore/tlsio"
)

const (
	keepPartial = 4 << 10   // memory that an idle client keeps for cut events
	maxUnauthed = 64 << 10  // bytes taken from a client that has not said who it is
	maxChecked  = 4 << 20   // and from one whose password is being checked: it sends what it has
	maxGathered = 256 << 20 // bytes of unfinished events on one loop
	fairPartial = 64 << 10  // what a client may always gather
)

// traffic takes in what came from c's socket.
func (l *loop) traffic(c *client, in []byte) {
	defer l.leave(l.enter())
	defer l.guard(c)
	if l.deaf {
		return
	}
	l.stats.reads.Add(1)
	c.Layer.Feed(in)
	l.read(c)
}

// read handles all plaintext that c's layer has. What was received counts, also
// when the connection has ended meanwhile.
func (l *loop) read(c *client) {
	for c.Reads() {
		n, err := c.Layer.Read(l.plain)
		if n > 0 {
			c.Stats.BytesIn += uint64(n)
			l.stats.bytesIn.Add(uint64(n))
			l.take(c, l.plain[:n])
			l.post() // the other loops may begin
			continue
		}
		l.writeSealed(c, c.Layer.Pending(l.control[:0]))
		switch {
		case errors.Is(err, tlsio.ErrDry):
		case errors.Is(err, io.EOF):
			l.close(c, "client closed")
		default:
			l.close(c, "reading: "+err.Error())
		}
		return
	}
}

// take cuts data, and what was left of earlier data, into events. What is left
// now is copied: data is scratch.
func (l *loop) take(c *client, data []byte) {
	l.gathered -= len(c.Partial)
	kept := len(c.Partial) > 0
	if kept {
		c.Partial = append(c.Partial, data...)
		data = c.Partial
	}
	rest := l.cut(c, data)
	switch {
	case c.State() == session.Closed:
		c.Partial = nil
	case kept && cap(c.Partial) > keepPartial && len(rest) < cap(c.Partial)/4: // after a large event
		c.Partial = append([]byte(nil), rest...)
	case kept:
		c.Partial = c.Partial[:copy(c.Partial, rest)]
	default:
		c.Partial = append(c.Partial[:0], rest...)
	}
	l.gathered += len(c.Partial)
	switch {
	case c.checking && len(c.Partial) > maxChecked, c.State() == session.Authenticating && !c.checking && len(c.Partial) > maxUnauthed:
		l.close(c, "too much data before authentication")
	case len(c.Partial) > fairPartial && l.gathered > maxGathered:
		l.close(c, "too many clients send large events at one time")
	}
}

// cut handles the whole events in data and returns the rest.
func (l *loop) cut(c *client, data []byte) []byte {
	for c.Reads() && !c.checking {
		kind, n, err := c.Decoder.Next(data, &l.ev)
		switch kind {
		case frame.Event:
			if c.State() == session.Authenticating || c.origin == nil {
				l.close(c, "event before <auth>")
				return nil
			}
			l.event(c, &l.ev)
		case frame.Auth:
			if c.State() == session.Authenticating {
				l.authenticate(c)
			}
		case frame.Bad:
			l.drop(c, reasonOf(err))
			if errors.Is(err, frame.ErrTooBig) {
				l.close(c, "protobuf frame too big")
				return nil
			}
		case frame.More:
			return data[n:]
		}
		data = data[n:]
	}
	return data
}

// reasonOf sorts the errors of the codec.
func reasonOf(err error) session.Reason {
	if errors.Is(err, cot.ErrLimit) || errors.Is(err, frame.ErrTooBig) {
		return session.Limit
	}
	return session.Malformed
}

// event handles one event of c, ev, which is valid until it returns. What is
// for the server itself is answered at once, also to those who flood it.
func (l *loop) event(c *client, ev *cot.Event) {
	c.Stats.EventsIn++
	c.Stats.LastEvent = l.now
	l.stats.eventsIn.Add(1)
	switch {
	case len(ev.Type) > 1 && ev.Type[0] == 't' && l.controlEvent(c, ev):
	case c.held.Len() > 0 || !l.may(c, ev):
		l.keepForLater(c, ev)
	default:
		l.accept(c, ev)
	}
}

// accept checks an event that is for others, and publishes it.
func (l *loop) accept(c *client, ev *cot.Event) {
	before := l.spending
	switch {
	case len(ev.UID) == 0 || len(ev.Type) == 0 || !ev.HasPoint:
		l.drop(c, session.Malformed)
	case cot.ServerOnly(ev.Type):
		l.drop(c, session.ServerOnly)
	case l.looped(ev):
		l.drop(c, session.Looped)
	case l.stolen(c, ev):
		l.drop(c, session.Stolen)
	default:
		sa := len(ev.Contact.Callsign) > 0 && len(ev.Contact.Endpoint) > 0
		if sa {
			l.bind(c, ev)
		}
		l.publish(c, ev, sa)
	}
	l.spend(c, (l.spending-before)*l.e.loopCount())
}

// looped reports whether ev has passed this server already: it carries our flow
// tag, and is no edit of what passed. Two phones that bridge a mesh would send
// each event round for ever; an edited marker comes back with the tag too.
func (l *loop) looped(ev *cot.Event) bool {
	tag := l.splice.FlowTag
	if tag == "" || !ev.HasFlowTag(tag) {
		return false
	}
	ms, ok := ev.Time.UnixMilli()
	return !ok || l.e.seen.Has(ev.UID, ms)
}

// controlEvent handles the events that clients send to the server itself and
// reports whether ev was one. They are never passed on.
func (l *loop) controlEvent(c *client, ev *cot.Event) bool {
	switch string(ev.Type) {
	case "t-x-c-t": // ping: ATAK drops a server that does not answer within ten seconds
		l.stats.pings.Add(1)
		l.control = cot.AppendPong(l.control[:0], c.Format, l.now.UnixMilli())
		l.writeOwn(c, l.control)
	case "t-x-takp-q":
		l.negotiate(c, ev)
	case "t-x-c-i-e":
		c.Incognito = true
	case "t-x-c-i-d":
		c.Incognito = false
	case "t-x-c-t-r", "t-x-c-m", "t-x-c-f", "t-b", "t-b-a", "t-b-c", "t-b-q":
	default:
		return false
	}
	return true
}

// writeOwn sends b, which is in c's encoding, to c alone and at once.
func (l *loop) writeOwn(c *client, b []byte) {
	if c.Live() {
		l.write(&c.Session, b, 1)
	}
}

// negotiate answers t-x-takp-q. The reply is the last XML on this connection:
// everything gathered before it goes out before it, everything after it as
// protobuf, and so does what the client sends.
func (l *loop) negotiate(c *client, ev *cot.Event) {
	if c.Format == cot.Proto {
		return
	}
	ok := string(ev.TakRequest) == "1"
	l.leaveBucket(c)
	l.control = cot.AppendProtocolReply(l.control[:0], string(ev.UID), ok, l.now.UnixMilli())
	l.writeOwn(c, l.control)
	c.told = true
	if ok {
		c.Format = cot.Proto
		c.Decoder.ProtoOnly = true
	}
	if c.State() == session.Current {
		l.joinBucket(c)
	}
}

// stolen reports whether ev is about the live client of another user, and is not
// to be believed: its position, its deletion, anything under its uid. Anonymous
// clients have no user to tell them apart, so their uids are anybody's.
func (l *loop) stolen(c *client, ev *cot.Event) bool {
	if l.e.opts.Load().UIDPolicy == UIDAllow {
		return false
	}
	uid := ev.UID
	if string(ev.Type) == "t-x-d-d" && len(ev.Link) > 0 {
		uid = ev.Link
	}
	if string(uid) == c.origin.UID || !l.e.directory.Taken(uid, c.User, c.Anonymous) {
		return false
	}
	if !c.warned {
		c.warned = true
		l.e.log.Warn("client claims the uid of another user's live client", "user", c.User, "peer", c.Remote, "uid", string(uid))
	}
	return true
}

// bind makes c known by the uid and callsign of its SA, again on each change.
// A connection that carries several uids, a gateway, keeps the first one.
func (l *loop) bind(c *client, ev *cot.Event) {
	old := c.Ident.Load()
	if old != nil && !bytes.Equal(ev.UID, []byte(old.UID)) {
		return
	}
	if old != nil && string(ev.Contact.Callsign) == old.Callsign && string(ev.Type) == old.Type &&
		string(ev.Group.Name) == old.Team && string(ev.Group.Role) == old.Role {
		return
	}
	id := &session.Identity{
		Origin: msg.Origin{
			User: c.User, UID: string(ev.UID), Callsign: string(ev.Contact.Callsign),
			Input: c.Input, Groups: c.Reach.Load().In.Names,
		},
		Type: string(ev.Type), Team: string(ev.Group.Name), Role: string(ev.Group.Role),
		Takv: string(bytes.TrimSpace(append(append(bytes.Clone(ev.Takv.Platform), ' '), ev.Takv.Version...))),
	}
	c.Ident.Store(id)
	c.origin = &id.Origin
	l.stats.bound.Add(1)
	if old != nil && old.Callsign == id.Callsign {
		return
	}
	var mail []*msg.Msg
	l.e.directory.Bind(&c.entry, id.UID, id.Callsign, func() {
		if old == nil {
			mail = l.e.absent.Back(c.holder(), c.Reach.Load().Out.Bits, l.now)
		}
	})
	l.e.restored.forget(c.User, id.UID)
	if old != nil {
		if l.now.Sub(c.renamed) > renameEvery {
			c.renamed = l.now
			l.e.log.Info("callsign changed", "uid", id.UID, "user", c.User, "callsign", id.Callsign, "before", old.Callsign)
		}
		return
	}
	l.e.log.Info("client bound", "callsign", id.Callsign, "uid", id.UID, "user", c.User, "peer", c.Remote, "takv", id.Takv)
	l.pass(c, false)
	if len(mail) > 0 {
		l.startCatchingUp(c) // newer chat waits behind these
	}
	for _, m := range mail {
		if c.State() == session.CatchingUp {
			l.owe(c, m)
		} else {
			l.homeless(m, c)
		}
		m.Release()
	}
}

// renameEvery is how often a client's change of callsign is worth a line.
const renameEvery = 10 * time.Second
