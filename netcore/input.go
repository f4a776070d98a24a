package netcore

import (
	"bytes"
	"errors"
	"io"
	"runtime/debug"

	"takd/cot"
	"takd/cot/frame"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/netcore/session"
	"takd/netcore/tlsio"
)

const (
	keepPartial = 4 << 10   // memory that an idle client keeps for cut events
	maxUnauthed = 64 << 10  // bytes taken from a client before it is known
	maxGathered = 256 << 20 // bytes of unfinished events on one loop
	fairPartial = 64 << 10  // what a client may always gather
)

// traffic takes in what came from c's socket.
func (l *loop) traffic(c *client, in []byte) {
	l.enter()
	defer l.leave()
	defer func() {
		if r := recover(); r != nil {
			l.stats.panics.Add(1)
			l.e.log.Error("panic while serving a client", "user", c.User, "uid", c.UID(), "peer", c.Remote, "panic", r, "stack", string(debug.Stack()))
			l.close(c, "internal error")
		}
	}()
	l.stats.reads.Add(1)
	c.Layer.Feed(in)
	l.read(c)
}

// read handles all plaintext that c's layer has.
func (l *loop) read(c *client) {
	for c.State == session.Open || c.State == session.Authenticating {
		n, err := c.Layer.Read(l.plain)
		if n > 0 {
			c.Stats.BytesIn += uint64(n)
			l.stats.bytesIn.Add(uint64(n))
			l.take(c, l.plain[:n])
			continue
		}
		if l.control = c.Layer.Pending(l.control[:0]); len(l.control) > 0 {
			c.Sealed += uint64(len(l.control))
			_, _ = c.Conn.Write(l.control)
		}
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
	case c.State == session.Closed:
		c.Partial = nil
	case len(rest) == 0 && cap(c.Partial) > keepPartial:
		c.Partial = nil
	case kept:
		c.Partial = c.Partial[:copy(c.Partial, rest)]
	default:
		c.Partial = append(c.Partial[:0], rest...)
	}
	l.gathered += len(c.Partial)
	switch {
	case c.State == session.Authenticating && len(c.Partial) > maxUnauthed:
		l.close(c, "too much data before authentication")
	case len(c.Partial) > fairPartial && l.gathered > maxGathered:
		l.close(c, "too many clients send large events at one time")
	}
}

// cut handles the whole events in data and returns the rest.
func (l *loop) cut(c *client, data []byte) []byte {
	for c.State == session.Open || (c.State == session.Authenticating && !c.checking) {
		kind, n, err := c.Decoder.Next(data, &l.ev)
		switch kind {
		case frame.Event:
			if c.State == session.Authenticating {
				l.close(c, "event before <auth>")
				return nil
			}
			if l.event(c, &l.ev, len(data)) {
				return data
			}
		case frame.Auth:
			if c.State == session.Authenticating {
				l.authenticate(c)
			}
		case frame.Bad:
			l.stats.malformed.Add(1)
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

// event handles one event of c, ev, which is valid until it returns. It reports
// whether ev and what came with it, waiting bytes, are held for later instead.
func (l *loop) event(c *client, ev *cot.Event, waiting int) (held bool) {
	control := len(ev.Type) > 1 && ev.Type[0] == 't' && l.controlEvent(c, ev)
	tooMuch := !control && l.flooding(c, ev)
	if tooMuch && l.slow(c, waiting) {
		return true
	}
	c.Stats.EventsIn++
	c.Stats.LastEvent = l.now
	l.stats.eventsIn.Add(1)
	switch {
	case tooMuch:
		l.dropFlood(c)
	case !control:
		l.accept(c, ev)
	}
	return false
}

// accept checks an event that is for others, and publishes it.
func (l *loop) accept(c *client, ev *cot.Event) {
	switch {
	case len(ev.UID) == 0 || len(ev.Type) == 0 || !ev.HasPoint:
		l.stats.malformed.Add(1)
		c.Stats.Drops++
		return
	case l.splice.FlowTag != "" && ev.HasFlowTag(l.splice.FlowTag):
		l.stats.loops.Add(1)
		return
	}
	sa := len(ev.Contact.Callsign) > 0 && len(ev.Contact.Endpoint) > 0
	if sa {
		if l.stolen(c, ev) {
			return
		}
		l.bind(c, ev)
	}
	l.publish(c, ev, sa)
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
		c.Stats.EventsOut++
		l.stats.eventsOut.Add(1)
		l.write(&c.Session, b)
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
	if ok {
		c.Format = cot.Proto
		c.Decoder.ProtoOnly = true
	}
	l.joinBucket(c)
}

// stolen reports whether ev is the position of a client that another user has
// connected, and is not to be believed. Anonymous clients have no user to tell
// them apart, so their uids are anybody's.
func (l *loop) stolen(c *client, ev *cot.Event) bool {
	if id := c.Ident.Load(); id != nil && string(ev.UID) == id.UID || l.e.opts.Load().UIDPolicy == UIDAllow {
		return false // its own, checked when it was bound
	}
	if !l.e.directory.Taken(ev.UID, c.User, c.Anonymous) {
		return false
	}
	c.Stats.Drops++
	l.stats.stolen.Add(1)
	if !c.warned {
		c.warned = true
		l.e.log.Warn("client claims the uid of another user's live client", "user", c.User, "peer", c.Remote, "uid", string(ev.UID))
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
	if old != nil && old.Callsign == id.Callsign {
		return
	}
	l.e.directory.Bind(&c.entry, id.UID, id.Callsign)
	if old != nil {
		l.e.log.Info("callsign changed", "uid", id.UID, "user", c.User, "callsign", id.Callsign, "before", old.Callsign)
		return
	}
	l.e.log.Info("client bound", "callsign", id.Callsign, "uid", id.UID, "user", c.User, "peer", c.Remote, "takv", id.Takv)
	mail := l.e.absent.Back(id.UID, c.User, l.now)
	for i, m := range mail {
		if c.Reach.Load().Out.Bits.Intersects(m.In) {
			continue
		}
		m.Release()
		mail[i] = nil
	}
	l.replay(c, compact(mail))
}

func compact(list []*msg.Msg) []*msg.Msg {
	kept := list[:0]
	for _, m := range list {
		if m != nil {
			kept = append(kept, m)
		}
	}
	return kept
}

// positions returns, with a reference each, the latest positions of this
// loop's clients that c may see.
func (l *loop) positions(c *client, list []*msg.Msg) []*msg.Msg {
	out := c.Reach.Load().Out.Bits
	for _, x := range l.clients {
		if x != c && x.SA != nil && x.Live() && !x.Incognito && !x.SA.Oversize && x.Reach.Load().In.Bits.Intersects(out) {
			list = append(list, x.SA.Hold())
		}
	}
	return list
}

// replayAll sends c the latest position of everybody whom it may see.
func (l *loop) replayAll(c *client) {
	l.replay(c, l.positions(c, nil))
	for i := range l.e.loopCount() {
		if i != l.idx {
			c.asked++
			l.send(i, parcel{op: opAsk, c: c})
		}
	}
}

// replay sends c the list, whose references it takes, as fast as c reads.
func (l *loop) replay(c *client, list []*msg.Msg) {
	if c.State == session.Closed || len(list) == 0 {
		for _, m := range list {
			m.Release()
		}
		return
	}
	if len(c.Replay) == 0 {
		l.lagging = append(l.lagging, c)
	}
	c.Replay = append(c.Replay, list...)
	l.need = true
}

// catchUp moves the replays on, and comes back while some are not done.
func (l *loop) catchUp() {
	left := l.lagging[:0]
	for _, c := range l.lagging {
		if l.replaySome(c) {
			left = append(left, c)
		}
	}
	clear(l.lagging[len(left):])
	l.lagging = left
	if len(left) > 0 {
		l.lookAgain()
	}
}

// replaySome reports whether there is more to replay to c.
func (l *loop) replaySome(c *client) bool {
	if c.bucket != nil && len(c.bucket.Batch) > 0 { // older than what is replayed
		l.flushClient(c.bucket, &c.Session)
		c.Outbox.Reset(len(c.bucket.Batch), c.bucket.Events)
	}
	for range 16 {
		if len(c.Replay) == 0 || !c.Live() || c.Conn.OutboundBuffered() > 0 {
			break
		}
		chunk := l.compose[:0]
		events, k := 0, 0
		for ; k < len(c.Replay) && len(chunk) < replayChunk; k++ {
			m := c.Replay[k]
			if b := m.Bytes(c.Format); !m.Superseded.Load() && len(b) > 0 && len(b) <= l.e.opts.Load().MaxEvent {
				chunk = append(chunk, b...)
				events++
			}
			m.Release()
			c.Replay[k] = nil
		}
		c.Replay = c.Replay[k:]
		l.compose = chunk
		c.Stats.EventsOut += uint64(events)
		l.stats.eventsOut.Add(uint64(events))
		if events > 0 {
			l.write(&c.Session, chunk)
		}
	}
	if len(c.Replay) == 0 {
		c.Replay = nil
	}
	return len(c.Replay) > 0 && c.Live()
}

// joinBucket puts c among the receivers with its view and encoding.
func (l *loop) joinBucket(c *client) {
	if c.lag != nil {
		return // when it has caught up
	}
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
	if c.bucket == nil {
		return
	}
	l.flushClient(c.bucket, &c.Session)
	c.bucket.Remove(&c.Session)
	c.bucket = nil
}
