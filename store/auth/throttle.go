package auth

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

type peerKey struct{}

// WithPeer says from which address the password comes that is checked with this
// context. Wrong passwords count against user and address together, so that
// guesses from one address keep nobody out who comes from another.
func WithPeer(ctx context.Context, addr netip.Addr) context.Context {
	return context.WithValue(ctx, peerKey{}, addr)
}

// peer is the address of WithPeer, or none. Of IPv6 the network counts: whoever
// has one address there has them all.
func peer(ctx context.Context) netip.Addr {
	addr, _ := ctx.Value(peerKey{}).(netip.Addr)
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	return addr
}

// A guess is who tries passwords of whom.
type guess struct {
	user string
	addr netip.Addr
}

// throttle makes guessing slow: after freeTries wrong passwords of one user from
// one address each further one waits, twice as long every time, up to maxWait.
//
// Where the user has logged in before it is not kept out by others behind the
// same address: there the password that was right before is let in meanwhile.
// That is a guess too, at no cost, and so they are few: spareRate a second.
type throttle struct {
	mu      sync.Mutex
	entries map[guess]failures
	homes   map[guess]spare // where users have logged in
}

type failures struct {
	count int
	until time.Time // no try before
}

type spare struct {
	left float64
	at   time.Time
}

const (
	freeTries    = 5
	maxWait      = time.Minute
	forgetAfter  = 15 * time.Minute
	maxThrottled = 10_000
	spareRate    = 10.0
	spareBurst   = 20.0
)

func newThrottle() throttle {
	return throttle{entries: make(map[guess]failures), homes: make(map[guess]spare)}
}

// wait tells how long to wait before the next try, 0 if not at all.
func (t *throttle) wait(g guess, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.entries[g]
	if !ok || f.count < freeTries {
		return 0
	}
	return max(f.until.Sub(now), 0)
}

// spare tells whether the password that was right before may be compared
// although others have to wait.
func (t *throttle) spare(g guess, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.homes[g]
	if !ok {
		return false
	}
	h.left, h.at = min(h.left+now.Sub(h.at).Seconds()*spareRate, spareBurst), now
	enough := h.left >= 1
	if enough {
		h.left--
	}
	t.homes[g] = h
	return enough
}

func (t *throttle) fail(g guess, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.entries[g]
	if !ok && len(t.entries) >= maxThrottled {
		t.evict(now)
	}
	if now.Sub(f.until) > forgetAfter {
		f = failures{}
	}
	f.count++
	f.until = now
	if over := f.count - freeTries; over >= 0 {
		f.until = now.Add(min(time.Second<<min(over, 16), maxWait))
	}
	t.entries[g] = f
}

func (t *throttle) succeed(g guess, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.entries, g)
	if _, ok := t.homes[g]; ok {
		return
	}
	for old := range t.homes {
		if len(t.homes) < maxThrottled {
			break
		}
		delete(t.homes, old) // any: it comes back with the next login
	}
	t.homes[g] = spare{left: spareBurst, at: now}
}

// forgive forgets what was guessed of a user, from everywhere.
func (t *throttle) forgive(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for g := range t.entries {
		if g.user == user {
			delete(t.entries, g)
		}
	}
}

// evict drops what is long over, or else the least guessed of a few, so that a
// flood of new names cannot free a name under attack.
func (t *throttle) evict(now time.Time) {
	const sample = 16
	var victim guess
	least, seen := int(^uint(0)>>1), 0
	for g, f := range t.entries {
		if now.Sub(f.until) > forgetAfter {
			delete(t.entries, g)
			return
		}
		if f.count < least {
			victim, least = g, f.count
		}
		if seen++; seen == sample {
			break
		}
	}
	delete(t.entries, victim)
}

// hashers is how many passwords are hashed at one time: each takes a core and
// 19 MiB, and clients want their events meanwhile. It is at least two, so that
// one is left while another address has all that it may have.
func hashers() int { return max(2, runtime.GOMAXPROCS(0)/2) }

// turns lets few of each guess in at one time; the others wait.
type turns struct {
	mu    sync.Mutex
	limit func(g guess) int
	lanes map[guess]*lane
}

type lane struct {
	places chan struct{}
	users  int // who is in it or waits
}

// enter waits for a place of g. leave gives it back.
func (t *turns) enter(ctx context.Context, g guess) (leave func(), err error) {
	t.mu.Lock()
	l := t.lanes[g]
	if l == nil {
		l = &lane{places: make(chan struct{}, t.limit(g))}
		t.lanes[g] = l
	}
	l.users++
	t.mu.Unlock()
	gone := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(t.lanes, g)
		}
	}
	select {
	case l.places <- struct{}{}:
		return func() {
			<-l.places
			gone()
		}, nil
	case <-ctx.Done():
		gone()
		return nil, fmt.Errorf("wait for password check: %w", ctx.Err())
	}
}
