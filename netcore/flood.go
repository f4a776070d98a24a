package netcore

import (
	"sync"
	"time"

	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/session"
)

// What happens to what a client sends beyond its share: it waits, and what comes
// after it waits behind it. Only when wait_limit bytes wait is anything lost, oldest
// positions first, or the client closed.
const (
	FloodSlow  = "slow"  // it waits
	FloodClose = "close" // it waits, and past that the client is closed
	FloodDrop  = "drop"  // positions do not wait: they are not passed on
)

const (
	// waitFull is the wait_limit while maxGathered bytes wait on one loop.
	waitFull = 64 << 10

	// turnShare is how many deliveries, in KiB begun, one client may cause between
	// two flushes, and all those who have sent more together: so long do others
	// wait because of one that floods. It is more than a loop can do in that time,
	// so nobody waits for the sake of it.
	turnShare = 32 << 10
	// crowdedShare is the same while most receivers read too slowly.
	crowdedShare = turnShare / 32

	// fairRate is how many deliveries a second one client may cause for long, and
	// fairBurst how many seconds' worth at once, while others send less than that
	// and would wait because of it. Among those who all send more, and alone, a
	// client has what the machine can do.
	fairRate  = 400_000
	fairBurst = int64(time.Second)
	// protect is how long after the last event of a modest sender that holds.
	protect = int64(200 * time.Millisecond)
)

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

// may reports whether ev is within the share of c, its user and its address.
func (l *loop) may(c *client, ev *cot.Event) bool {
	return l.spent(c) < l.turnShare() && l.fair(c) && !l.congested() && l.withinRates(c, ev)
}

// turnShare is what a client may spend before the next flush.
func (l *loop) turnShare() int {
	for _, x := range l.e.allLoops() {
		if x.crowded.Load() {
			return crowdedShare
		}
	}
	return turnShare
}

// fair reports whether c may go on though others send little.
func (l *loop) fair(c *client) bool {
	now := l.now.UnixNano()
	ahead := c.paid - now
	if ahead > fairBurst {
		return now-l.e.modest.Load() > protect
	}
	if ahead < fairBurst/2 && now-l.e.modest.Load() > protect/8 {
		l.e.modest.Store(now)
	}
	return true
}

// spent is what c has spent since the last flush.
func (l *loop) spent(c *client) int {
	if c.cycle != l.cycle {
		c.cycle, c.spentNow = l.cycle, 0
	}
	return c.spentNow
}

// spend charges deliveries to c.
func (l *loop) spend(c *client, deliveries int) {
	now := l.now.UnixNano()
	c.spentNow = l.spent(c) + deliveries
	c.paid = max(c.paid, now) + int64(deliveries)*int64(time.Second)/fairRate
	c.paid = min(c.paid, now+fairBurst+fairBurst/8) // what was free is not paid for later
}

// congested reports whether more waits for another loop than it will take.
func (l *loop) congested() bool {
	limit := int64(l.e.opts.Load().MailboxSize / 2)
	for i, x := range l.e.allLoops() {
		if i != l.idx && x.mail.size.Load() > limit {
			return true
		}
	}
	return false
}

// withinRates holds ev against the configured rates.
func (l *loop) withinRates(c *client, ev *cot.Event) bool {
	o, now, size := l.e.opts.Load(), l.now.UnixNano(), len(ev.Raw)
	uids := (o.LimitClient.UIDs > 0 || o.LimitUser.UIDs > 0 || o.LimitAddress.UIDs > 0) && string(ev.UID) != c.origin.UID
	fresh := uids && !c.known.Has(ev.UID)
	if !c.own.Take(o.LimitClient, now, size, fresh) || !c.user.Take(o.LimitUser, now, size, fresh) ||
		!c.address.Take(o.LimitAddress, now, size, fresh) {
		return false
	}
	if uids {
		c.known.Learn(ev.UID) // only what was let through is known
	}
	return true
}

// bill lets the deliveries of m be charged to c.
func (l *loop) bill(c *client, m *msg.Msg) {
	o := l.e.opts.Load()
	m.Bills = [3]msg.Bill{c.own.Bill(o.LimitClient), c.user.Bill(o.LimitUser), c.address.Bill(o.LimitAddress)}
}

// keepForLater lets ev wait until c may send again.
func (l *loop) keepForLater(c *client, ev *cot.Event) {
	m := msg.Get()
	defer m.Release()
	m.SetRaw(ev)
	classify(m, ev)
	l.warnFlood(c)
	if c.flood == FloodDrop && m.Class == msg.Position {
		l.drop(c, session.Flooded)
		return
	}
	most := l.e.opts.Load().WaitLimit
	if l.gathered > maxGathered {
		most = waitFull
	}
	if c.held.Len() == 0 {
		c.held.Patient()
	}
	before := c.held.Size()
	for c.held.Size()+m.Size() > most && c.held.DropPosition() {
		l.drop(c, session.Flooded)
	}
	switch {
	case c.held.Size()+m.Size() <= most:
		if c.held.Add(m) {
			c.Stats.Conflated++
			l.stats.conflated.Add(1)
		}
	case c.flood == FloodClose:
		l.close(c, "sent more than its limits allow")
	default:
		l.drop(c, session.Flooded)
		if m.Class == msg.Chat {
			l.returnTo(c, m)
		}
	}
	l.gathered += c.held.Size() - before
	if !c.holding {
		c.holding = true
		l.holding = append(l.holding, c)
		l.need = true
	}
}

func (l *loop) warnFlood(c *client) {
	if !c.flooded && c.held.Size() > waitFull {
		c.flooded = true
		l.e.log.Warn("client sends more than its share: the rest waits", "user", c.User, "uid", c.UID(), "peer", c.Remote, "policy", c.flood)
	}
}

// serve takes up what clients have sent beyond their share, each in its turn.
func (l *loop) serve() {
	if len(l.holding) == 0 {
		return
	}
	each := max(1, l.turnShare()/len(l.holding))
	left := l.holding[:0]
	for _, c := range l.holding {
		if l.serveOne(c, each); c.held.Len() > 0 && c.State() != session.Closed {
			left = append(left, c)
			continue
		}
		c.holding = false
		if c.State() == session.Ended {
			l.dead = append(l.dead, c)
		}
	}
	clear(l.holding[len(left):])
	l.holding = left
}

// serveOne publishes what c has sent, for at most budget deliveries.
func (l *loop) serveOne(c *client, budget int) {
	defer l.guard(c)
	until := l.spending + budget/max(1, l.e.loopCount())
	for c.Reads() && l.spending < until && !l.congested() && (l.fair(c) || c.Gone()) {
		m := c.held.Peek()
		if m == nil {
			return
		}
		scanned := m.Scan(&l.again) == nil // as when it came
		if scanned && !l.deaf && !l.withinRates(c, &l.again) {
			return
		}
		before := c.held.Size()
		m = c.held.Next()
		l.gathered -= before - c.held.Size()
		if scanned {
			l.accept(c, &l.again)
		}
		m.Release()
	}
}
