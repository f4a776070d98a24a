// Package auth knows users, their passwords, roles and groups, and who a client
// is, by certificate or by password.
//
// Answers come from memory and are forgotten explicitly when an account
// changes; the metadata database is asked only for what is not there yet.
package auth

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"takd/store/meta"
)

// Errors of this package. Each is a decision for the caller; texts name the details.
var (
	ErrNotFound    = meta.ErrNotFound
	ErrExists      = meta.ErrExists
	ErrInvalid     = meta.ErrInvalid
	ErrDisabled    = errors.New("user is disabled or removed")
	ErrBadPassword = errors.New("wrong user or password")
	ErrRevoked     = errors.New("certificate is revoked")
	// ErrThrottled comes together with ErrBadPassword: too many wrong passwords of late.
	ErrThrottled = errors.New("too many wrong passwords")
)

// Roles.
const (
	RoleAdmin    = "admin"
	RoleUser     = "user"
	RoleReadonly = "readonly" // receives, but sends into no group
)

// Anonymous is the group of everybody who is in no other, in both directions.
const Anonymous = "__ANON__"

// Principal is who a client is: it may send to the groups In and receives from
// the groups Out. It is shared and must not be changed.
type Principal struct {
	User   string
	Role   string
	In     []string // sorted
	Out    []string // sorted
	Serial string   // of the certificate: lower-case hex without leading zeros; empty with a password
}

// Revocations tells which certificates are revoked. It must not block.
type Revocations interface {
	IsRevoked(serial string) bool
}

// Service answers who may do what. It is safe for concurrent use.
type Service struct {
	db       *meta.DB
	revoked  Revocations
	log      *slog.Logger
	now      func() time.Time
	hashing  chan struct{} // bounds what argon2id takes at once
	throttle throttle
	checks   turns // of one user from one address one after another; of one address not all
	accounts cache

	mu    sync.Mutex
	hooks []func(user string)
}

// New returns the service over db. log may be nil.
func New(db *meta.DB, revoked Revocations, log *slog.Logger) *Service {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Service{db: db, revoked: revoked, log: log, now: time.Now, hashing: make(chan struct{}, hashers()), throttle: newThrottle()}
	s.checks = turns{lanes: make(map[guess]*lane), limit: func(g guess) int {
		if g.user == "" {
			return cap(s.hashing) - 1
		}
		return 1
	}}
	s.accounts.entries = make(map[string]*account)
	return s
}

// OnChange calls f with the name of a user after anything that concerns its
// clients has changed: groups, role, password, disabled, removed.
func (s *Service) OnChange(f func(user string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks[:len(s.hooks):len(s.hooks)], f)
}

// Invalidate forgets everything that is kept in memory, after the database was
// changed by another process.
func (s *Service) Invalidate() { s.accounts.clear() }

// changed forgets the users and tells the hooks. It is called after the commit.
func (s *Service) changed(users ...string) {
	s.accounts.forget(users...)
	s.mu.Lock()
	hooks := s.hooks
	s.mu.Unlock()
	for _, u := range users {
		for _, f := range hooks {
			f(u)
		}
	}
}

// An account is what is kept of one name. It is immutable but for the MAC.
type account struct {
	principal Principal // without a serial
	hash      string
	refused   error // disabled or removed
	known     bool  // has a row
	// mac proves the last password that was found right, so that argon2id runs once a user.
	mac atomic.Pointer[[32]byte]
}

// cache holds accounts by name, bounded: unknown names of certificates are kept too.
type cache struct {
	mu      sync.RWMutex
	entries map[string]*account
	// epoch counts changes: what was read before one is not stored after it.
	epoch uint64
}

const maxAccounts = 1 << 16

func (c *cache) get(name string) (a *account, epoch uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries[name], c.epoch
}

// put stores a and returns it, or what another caller stored meanwhile: there is
// one account of a name, so that its checks run one after another.
func (c *cache) put(name string, a *account, epoch uint64) *account {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return a
	}
	if have := c.entries[name]; have != nil {
		return have
	}
	if len(c.entries) >= maxAccounts {
		clear(c.entries)
	}
	c.entries[name] = a
	return a
}

func (c *cache) forget(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	for _, n := range names {
		delete(c.entries, n)
	}
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	clear(c.entries)
}

// account returns what is known of name, from memory or the database. Names
// without an account are only remembered where a certificate vouches for them.
func (s *Service) account(ctx context.Context, name string, vouched bool) (*account, error) {
	a, epoch := s.accounts.get(name)
	if a != nil {
		return a, nil
	}
	a, err := s.load(ctx, name)
	if err != nil {
		return nil, err
	}
	if a.known || vouched {
		a = s.accounts.put(name, a, epoch)
	}
	return a, nil
}
