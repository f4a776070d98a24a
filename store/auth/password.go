package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Bounds of a password: MinPassword in characters, MaxPassword in bytes.
const (
	MinPassword = 8
	MaxPassword = 256
)

// argon2id as OWASP advises for servers: 19 MiB, two passes.
const (
	argonMemory  = 19 * 1024
	argonTime    = 2
	argonThreads = 1
	argonKey     = 32
)

func checkPassword(password string) error {
	switch n := utf8.RuneCountInString(password); {
	case n < MinPassword:
		return fmt.Errorf("%w: password: %d characters, want at least %d", ErrInvalid, n, MinPassword)
	case len(password) > MaxPassword:
		return fmt.Errorf("%w: password: %d bytes, want at most %d", ErrInvalid, len(password), MaxPassword)
	}
	return nil
}

// hash makes a PHC string; an empty password gives an empty one, which nothing matches.
func (s *Service) hash(ctx context.Context, password string) (string, error) {
	if password == "" {
		return "", nil
	}
	if err := checkPassword(password); err != nil {
		return "", err
	}
	if err := s.acquire(ctx); err != nil {
		return "", err
	}
	defer s.release()
	var salt [16]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return "", fmt.Errorf("make salt: %w", err)
	}
	key := argon2.IDKey([]byte(password), salt[:], argonTime, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, argonMemory, argonTime, argonThreads, b64(salt[:]), b64(key)), nil
}

// verify compares a password with a hash. No hash costs as much time as one and never matches.
func (s *Service) verify(ctx context.Context, hash, password string) (bool, error) {
	leave, err := s.checks.enter(ctx, guess{addr: peer(ctx)})
	if err != nil {
		return false, err
	}
	defer leave()
	if err := s.acquire(ctx); err != nil {
		return false, err
	}
	defer s.release()
	if hash == "" {
		_ = argon2.IDKey([]byte(password), make([]byte, 16), argonTime, argonMemory, argonThreads, argonKey)
		return false, nil
	}
	if strings.HasPrefix(hash, "$2") {
		err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("check password: %w", err)
		}
		return true, nil
	}
	h, err := parseArgon(hash)
	if err != nil {
		return false, fmt.Errorf("check password: %w", err)
	}
	key := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1, nil
}

func (s *Service) acquire(ctx context.Context) error {
	select {
	case s.hashing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for password check: %w", ctx.Err())
	}
}

func (s *Service) release() { <-s.hashing }

type argonHash struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

// parseArgon reads a PHC string and bounds what it may cost: hashes can be imported.
func parseArgon(s string) (argonHash, error) {
	var h argonHash
	var version int
	bad := func(why string) (argonHash, error) {
		return argonHash{}, fmt.Errorf("%w: password hash: %s", ErrInvalid, why)
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return bad("want argon2id or bcrypt")
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return bad("want version 19")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil {
		return bad("want m=,t=,p=")
	}
	if h.memory < 8 || h.memory > 256*1024 || h.time < 1 || h.time > 16 || h.threads < 1 || h.threads > 16 {
		return bad("cost out of bounds")
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return bad("bad salt")
	}
	if h.key, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(h.key) < 16 || len(h.key) > 64 {
		return bad("bad key")
	}
	return h, nil
}

// checkHash accepts what verify can check at a bounded cost.
func checkHash(hash string) error {
	if !strings.HasPrefix(hash, "$2") {
		_, err := parseArgon(hash)
		return err
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || len(hash) != 60 || cost > 15 {
		return fmt.Errorf("%w: password hash: want bcrypt of cost 15 or less", ErrInvalid)
	}
	return nil
}
