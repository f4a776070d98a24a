package netcore

import (
	"sync"

	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/session"
)

// What happens to a client that sends more than its limits allow.
const (
	FloodDrop  = "drop"  // what is too much is not passed on
	FloodSlow  = "slow"  // it waits, up to keepSlowed bytes; then the oldest is dropped
	FloodClose = "close" // the client is closed
)

// keepSlowed bounds what waits of one client that is slowed down.
const keepSlowed = 1 << 20

// meters are the shared ones: of users and of addresses, for as long as one of
// their clients is connected.
type meters struct {
	mu sync.Mutex
	m  map[string]*sharedMeter
}

type sharedMeter struct {
	session.Meter
	key  string
	refs int
}

// hold returns the meter of key; release gives it back.
func (s *meters) hold(key string) *sharedMeter {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.m[key]
	if m == nil {
		m = &sharedMeter{key: key}
		if s.m == nil {
			s.m = make(map[string]*sharedMeter)
		}
		s.m[key] = m
	}
	m.refs++
	return m
}

func (s *meters) release(m *sharedMeter) {
	if m == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.refs--; m.refs == 0 {
		delete(s.m, m.key)
	}
}

// meter lets c be measured; unmeter ends it.
func (l *loop) meter(c *client) {
	c.user = l.e.meters.hold("user " + c.User)
	c.address = l.e.meters.hold("address " + c.Remote.Addr().String())
}

func (l *loop) unmeter(c *client) {
	l.e.meters.release(c.user)
	l.e.meters.release(c.address)
	c.user, c.address = nil, nil
}

// flooding reports whether ev is more than c, its user or its address may send.
func (l *loop) flooding(c *client, ev *cot.Event) bool {
	o, now, size := l.e.opts.Load(), l.now.UnixNano(), len(ev.Raw)
	fresh := (o.LimitClient.UIDs > 0 || o.LimitUser.UIDs > 0 || o.LimitAddress.UIDs > 0) &&
		string(ev.UID) != c.origin.UID && c.known.Fresh(ev.UID)
	return !c.own.Take(o.LimitClient, now, size, fresh) || !c.user.Take(o.LimitUser, now, size, fresh) ||
		!c.address.Take(o.LimitAddress, now, size, fresh)
}

// bill lets the deliveries of m be charged to c.
func (l *loop) bill(c *client, m *msg.Msg) {
	o := l.e.opts.Load()
	m.Bills = [3]msg.Bill{c.own.Bill(o.LimitClient), c.user.Bill(o.LimitUser), c.address.Bill(o.LimitAddress)}
}

// slow keeps what c sent, of which waiting bytes are left, for later, if its
// input wants that and there is room.
func (l *loop) slow(c *client, waiting int) bool {
	if c.flood != FloodSlow || waiting > keepSlowed {
		return false
	}
	if !c.slowed {
		c.slowed = true
		l.slowed = append(l.slowed, c)
		l.warnFlood(c)
	}
	return true
}

// dropFlood counts an event that was too much, and closes c where its input
// says so.
func (l *loop) dropFlood(c *client) {
	c.Stats.Drops++
	l.stats.flooded.Add(1)
	l.warnFlood(c)
	if c.flood == FloodClose {
		l.close(c, "sent more than its limits allow")
	}
}

func (l *loop) warnFlood(c *client) {
	if !c.flooded {
		c.flooded = true
		l.e.log.Warn("client sends more than its limits allow", "user", c.User, "uid", c.UID(), "peer", c.Remote, "policy", c.flood)
	}
}

// resume goes on with what slowed clients have sent, and comes back soon while
// some of it is still too much.
func (l *loop) resume() {
	l.slowed, l.resuming = l.resuming[:0], l.slowed
	for i, c := range l.resuming {
		l.resuming[i] = nil
		c.slowed = false
		if c.State == session.Open {
			l.take(c, nil)
		}
	}
	if len(l.slowed) > 0 {
		l.lookAgain()
	}
}
