package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func from(t *testing.T, addr string) context.Context {
	t.Helper()
	return WithPeer(t.Context(), netip.MustParseAddr(addr))
}

func TestThrottle(t *testing.T) {
	ctx := t.Context()
	s := newService(t)
	clock := time.Now()
	s.now = func() time.Time { return clock }
	must(t, s.AddUser(ctx, NewUser{Name: "alice", Password: secret}))
	must(t, s.AddUser(ctx, NewUser{Name: "bob", Password: secret}))
	for i := range freeTries {
		if _, err := s.PrincipalForPassword(ctx, "alice", "guess 12"); errors.Is(err, ErrThrottled) {
			t.Fatalf("try %d: %v", i, err)
		}
	}
	// Even the right password waits: else it could be guessed for ever.
	if _, err := s.PrincipalForPassword(ctx, "alice", secret); !errors.Is(err, ErrThrottled) || !errors.Is(err, ErrBadPassword) {
		t.Errorf("after %d failures: %v, want ErrThrottled and ErrBadPassword", freeTries, err)
	}
	if _, err := s.PrincipalForPassword(ctx, "bob", secret); err != nil {
		t.Errorf("another user: %v", err)
	}
	must(t, s.SetPassword(ctx, "alice", secret))
	if _, err := s.PrincipalForPassword(ctx, "alice", secret); err != nil {
		t.Errorf("after the operator set a password: %v", err)
	}
	var err error
	for range freeTries + 3 {
		_, err = s.PrincipalForPassword(ctx, "alice", "guess 12")
	}
	if !errors.Is(err, ErrThrottled) {
		t.Errorf("after more failures: %v, want ErrThrottled", err)
	}
	clock = clock.Add(maxWait)
	if _, err := s.PrincipalForPassword(ctx, "alice", secret); err != nil {
		t.Errorf("after the wait: %v", err)
	}
	if len(s.throttle.entries) != 0 {
		t.Errorf("failures left after success: %v", s.throttle.entries)
	}
}

// Half an hour of guesses keeps nobody out who knows the password, gets few
// tries, and no more by coming from the user's own address.
func TestGuessesKeepNobodyOut(t *testing.T) {
	s := newService(t)
	clock := time.Now()
	s.now = func() time.Time { return clock }
	for _, user := range []string{"home", "away"} {
		must(t, s.AddUser(t.Context(), NewUser{Name: user, Password: secret}))
	}
	home, away, attacker := from(t, "192.0.2.1"), from(t, "::ffff:192.0.2.2"), from(t, "2001:db8::1")
	_, err := s.PrincipalForPassword(home, "home", secret)
	must(t, err)
	tried := map[string]int{}
	for i := range 30 * 60 * 10 {
		clock = clock.Add(100 * time.Millisecond)
		for user, ctx := range map[string]context.Context{"home": home, "away": from(t, fmt.Sprintf("2001:db8::%x", i%1000+1))} {
			if _, err := s.PrincipalForPassword(ctx, user, fmt.Sprint("guess number ", i)); !errors.Is(err, ErrBadPassword) {
				t.Fatalf("guess %d: %v", i, err)
			} else if !errors.Is(err, ErrThrottled) {
				tried[user]++
			}
		}
		if i%3000 != 0 {
			continue
		}
		for name, ctx := range map[string]context.Context{"from the attacked address": home, "from another": away} {
			if _, err := s.PrincipalForPassword(ctx, "home", secret); err != nil {
				t.Errorf("after %d guesses, %s: %v", i+1, name, err)
			}
		}
	}
	for user, n := range tried {
		if n > 50 {
			t.Errorf("%d guesses of %s were tried in half an hour", n, user)
		}
	}
	// Not remembered, and still let in.
	if _, err := s.PrincipalForPassword(attacker, "away", secret); !errors.Is(err, ErrThrottled) {
		t.Errorf("the right password from the attacker's network: %v, want ErrThrottled", err)
	}
	if _, err := s.PrincipalForPassword(away, "away", secret); err != nil {
		t.Errorf("the right password from another address: %v", err)
	}
	// What was right before is compared at a bounded rate.
	for range 100 {
		_, _ = s.PrincipalForPassword(home, "home", "guess 12")
	}
	if _, err := s.PrincipalForPassword(home, "home", secret); !errors.Is(err, ErrThrottled) {
		t.Errorf("within a flood of guesses from the same address: %v, want ErrThrottled", err)
	}
}

// A flood of names stays within bounds and does not free a name under attack.
func TestThrottleIsBounded(t *testing.T) {
	th := newThrottle()
	now := time.Now()
	for range freeTries + 3 {
		th.fail(guess{user: "alice"}, now)
	}
	for i := range 2 * maxThrottled {
		th.fail(guess{user: fmt.Sprint("user", i)}, now)
		th.succeed(guess{user: fmt.Sprint("home", i)}, now)
	}
	if n, m := len(th.entries), len(th.homes); n > maxThrottled || m > maxThrottled {
		t.Errorf("%d and %d names are kept, want at most %d", n, m, maxThrottled)
	}
	if th.wait(guess{user: "alice"}, now) == 0 {
		t.Error("a flood of other names freed alice")
	}
}

// Guesses in parallel get no more tries than one after another.
func TestParallelGuesses(t *testing.T) {
	ctx := t.Context()
	s := newService(t)
	clock := time.Now()
	s.now = func() time.Time { return clock }
	must(t, s.AddUser(ctx, NewUser{Name: "sensors", Password: secret}))
	errs := make([]error, 50)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = s.PrincipalForPassword(ctx, "sensors", fmt.Sprint("guess number ", i)) })
	}
	wg.Wait()
	tried := 0
	for _, err := range errs {
		if !errors.Is(err, ErrThrottled) {
			tried++
		}
	}
	if tried != freeTries {
		t.Errorf("%d of %d parallel guesses were tried, want %d", tried, len(errs), freeTries)
	}
	if len(s.checks.lanes) != 0 {
		t.Errorf("%d lanes left", len(s.checks.lanes))
	}
}

// One address never has all the hashing: others do not stand behind its queue.
func TestOneAddressLeavesRoom(t *testing.T) {
	s := newService(t)
	must(t, s.AddUser(t.Context(), NewUser{Name: "alice", Password: secret}))
	flood, stop := context.WithCancel(from(t, "192.0.2.66"))
	var leave []func() // nothing is hashed until the flood is there
	for range cap(s.hashing) - 1 {
		f, err := s.checks.enter(flood, guess{addr: peer(flood)})
		must(t, err)
		leave = append(leave, f)
	}
	queued := func() int {
		s.checks.mu.Lock()
		defer s.checks.mu.Unlock()
		return len(s.checks.lanes)
	}
	var wg sync.WaitGroup
	const n = 300
	for i := range n {
		wg.Go(func() { _, _ = s.PrincipalForPassword(flood, fmt.Sprint("nobody", i), "guess 12") })
	}
	for end := time.Now().Add(20 * time.Second); queued() <= n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d wait", queued(), n)
		}
	}
	for _, f := range leave {
		f()
	}
	if _, err := s.PrincipalForPassword(from(t, "192.0.2.1"), "alice", secret); err != nil {
		t.Error(err)
	}
	waiting := queued()
	if waiting < n/2 {
		t.Errorf("only %d of the flood were left when alice was in: she stood behind them", waiting)
	}
	if most := cap(s.hashing); most > hashers() {
		t.Errorf("%d hash at one time, want at most %d", most, hashers())
	}
	stop()
	wg.Wait()
}
