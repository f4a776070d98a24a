package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"takd/store/meta"
)

// PrincipalForCertificate tells who the holder of a client certificate is. The
// caller has verified it against the authorities; here count the revocation,
// the dates (a resumed TLS session may outlive them) and the account that its
// common name says. A name without an account is let in as a plain user in
// __ANON__: the authority vouched for it.
//
// Errors: ErrRevoked, ErrDisabled (also for removed users), ErrInvalid.
func (s *Service) PrincipalForCertificate(ctx context.Context, leaf *x509.Certificate) (Principal, error) {
	serial := leaf.SerialNumber.Text(16)
	name := leaf.Subject.CommonName
	if s.revoked.IsRevoked(serial) {
		return Principal{}, fmt.Errorf("%w: serial %s, name %q", ErrRevoked, serial, name)
	}
	if now := s.now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return Principal{}, fmt.Errorf("%w: certificate of %q is valid from %s to %s", ErrInvalid, name, leaf.NotBefore, leaf.NotAfter)
	}
	if err := meta.ValidName("certificate name", name); err != nil {
		return Principal{}, err
	}
	a, err := s.account(ctx, name, true)
	if err != nil {
		return Principal{}, err
	}
	if a.refused != nil {
		return Principal{}, a.refused
	}
	p := a.principal
	p.Serial = serial
	return p, nil
}

// PrincipalForPassword checks a password that comes from the address of
// WithPeer. ErrBadPassword does not tell whether the user exists; ErrDisabled is
// only given with the right password.
func (s *Service) PrincipalForPassword(ctx context.Context, user, password string) (Principal, error) {
	if meta.ValidName("user", user) != nil || len(password) > MaxPassword {
		return Principal{}, badPassword(user)
	}
	g := guess{user: user, addr: peer(ctx)}
	hot := s.throttled(g)
	if hot != nil && !s.throttle.spare(g, s.now()) {
		return Principal{}, hot
	}
	a, err := s.account(ctx, user, false)
	if err != nil {
		return Principal{}, err
	}
	mac := passwordMAC(user, password)
	if !a.lastWas(&mac) {
		if hot != nil {
			return Principal{}, hot
		}
		if err := s.check(ctx, a, g, password, &mac); err != nil {
			return Principal{}, err
		}
	}
	if hot == nil { // else others behind that address would get more tries
		s.throttle.succeed(g, s.now())
	}
	if a.refused != nil {
		return Principal{}, a.refused
	}
	return a.principal, nil
}

// check runs the hash. The checks of one user from one address run one after
// another: parallel guesses get no more tries than others, and the many sensors
// that share an account and come back together all pass once the first has.
func (s *Service) check(ctx context.Context, a *account, g guess, password string, mac *[32]byte) error {
	leave, err := s.checks.enter(ctx, g)
	if err != nil {
		return err
	}
	defer leave()
	if a.lastWas(mac) {
		return nil
	}
	if err := s.throttled(g); err != nil {
		return err
	}
	ok, err := s.verify(ctx, a.hash, password)
	if err != nil {
		return err
	}
	if !ok {
		s.throttle.fail(g, s.now())
		return badPassword(g.user)
	}
	a.mac.Store(mac)
	return nil
}

func (s *Service) throttled(g guess) error {
	if wait := s.throttle.wait(g, s.now()); wait > 0 {
		return fmt.Errorf("%w: %w, wait %s", badPassword(g.user), ErrThrottled, max(wait.Round(time.Second), time.Second))
	}
	return nil
}

func badPassword(user string) error {
	return fmt.Errorf("%w: %q", ErrBadPassword, shorten(user))
}

// lastWas tells whether mac belongs to the last password that was found right.
func (a *account) lastWas(mac *[32]byte) bool {
	last := a.mac.Load()
	return last != nil && hmac.Equal(last[:], mac[:])
}

// Principal tells what the clients of a user may do now, without a certificate or
// password: for sessions that are open while the account changes.
// Errors: ErrDisabled (also for removed users), ErrInvalid.
func (s *Service) Principal(ctx context.Context, user string) (Principal, error) {
	if err := meta.ValidName("user", user); err != nil {
		return Principal{}, err
	}
	a, err := s.account(ctx, user, false)
	if err != nil {
		return Principal{}, err
	}
	return a.principal, a.refused
}

// macKey lives as long as the process: the MACs are worth nothing outside it.
var macKey = sync.OnceValue(func() (key [32]byte) {
	_, _ = rand.Read(key[:]) // never fails
	return key
})

func passwordMAC(user, password string) (mac [32]byte) {
	key := macKey()
	h := hmac.New(sha256.New, key[:])
	_, _ = h.Write([]byte(user))
	_, _ = h.Write([]byte{0}) // no name holds it
	_, _ = h.Write([]byte(password))
	h.Sum(mac[:0])
	return mac
}

func shorten(s string) string {
	if len(s) > meta.MaxName {
		return s[:meta.MaxName] + "..."
	}
	return s
}
