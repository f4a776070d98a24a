package auth

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"takd/store/meta"
)

type noneRevoked struct{}

func (noneRevoked) IsRevoked(string) bool { return false }

const secret = "correct horse"

func newService(t *testing.T) *Service {
	t.Helper()
	db, err := meta.Open(t.Context(), filepath.Join(t.TempDir(), "meta.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return New(db, noneRevoked{}, nil)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPasswordsAreStoredHashed(t *testing.T) {
	ctx := t.Context()
	s := newService(t)
	must(t, s.AddUser(ctx, NewUser{Name: "a", Password: secret}))
	must(t, s.AddUser(ctx, NewUser{Name: "b", Password: secret}))
	var hashes []string
	must(t, s.db.NewSelect().Model((*meta.User)(nil)).Column("hash").Scan(ctx, &hashes))
	if len(hashes) != 2 || hashes[0] == hashes[1] {
		t.Errorf("hashes %q: want two different ones", hashes)
	}
	for _, h := range hashes {
		if !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(h, secret) {
			t.Errorf("hash %q: want argon2id", h)
		}
	}
}

// Hashes of other servers are accepted as they are.
func TestBcrypt(t *testing.T) {
	ctx := t.Context()
	s := newService(t)
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	must(t, err)
	must(t, s.AddUser(ctx, NewUser{Name: "alice", hash: string(hash)}))
	if _, err := s.PrincipalForPassword(ctx, "alice", secret); err != nil {
		t.Errorf("right password: %v", err)
	}
	if _, err := s.PrincipalForPassword(ctx, "alice", secret+"x"); !errors.Is(err, ErrBadPassword) {
		t.Errorf("wrong password: %v, want ErrBadPassword", err)
	}
}

func TestThrottle(t *testing.T) {
	ctx := t.Context()
	s := newService(t)
	clock := time.Now()
	s.now = func() time.Time { return clock }
	must(t, s.AddUser(ctx, NewUser{Name: "alice", Password: secret}))
	must(t, s.AddUser(ctx, NewUser{Name: "bob", Password: secret}))
	_, err := s.PrincipalForPassword(ctx, "alice", secret)
	must(t, err)
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

// A flood of names stays within bounds and does not free a name under attack.
func TestThrottleIsBounded(t *testing.T) {
	th := throttle{entries: make(map[string]failures)}
	now := time.Now()
	for range freeTries + 3 {
		th.fail("alice", now)
	}
	for i := range 2 * maxThrottled {
		th.fail(fmt.Sprint("user", i), now)
	}
	if n := len(th.entries); n > maxThrottled {
		t.Errorf("%d names are kept, want at most %d", n, maxThrottled)
	}
	if th.wait("alice", now) == 0 {
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
}
