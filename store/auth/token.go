package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"takd/store/meta"
)

// ErrBadToken means that an access token is not one of ours, has expired or was revoked.
var ErrBadToken = errors.New("bad access token")

const (
	// MaxTokenLife is the longest that an access token is good for.
	MaxTokenLife = 30 * 24 * time.Hour
	maxTokenSize = 4096
	// maxRevoked is how many single tokens of one user are remembered as revoked:
	// one more, and all that the user has are.
	maxRevoked = 64
)

// Tokens issues and checks access tokens: what a program or browser shows instead
// of a password after it has logged in. They are JSON Web Tokens, signed with a key
// that this data directory alone has. It is safe for concurrent use.
//
// A token dies with its time, when it is revoked, and together with all others of
// its user when the password changes or the account is disabled or removed.
type Tokens struct {
	s        *Service
	audience string
	file     string

	keyMu sync.Mutex
	key   *rsa.PrivateKey // nil until the first use
	stamp [32]byte        // key of the stamps

	mu      sync.RWMutex
	revoked map[string]revokedToken
	count   map[string]int   // revoked tokens by user
	floors  map[string]int64 // by user, Unix ms
}

// A revokedToken is a row of revoked_tokens.
type revokedToken struct {
	UserName  string
	ExpiresAt int64
}

// NewTokens returns the tokens of the accounts of s. keyFile is made at the first
// use; audience names this server in the tokens.
func NewTokens(ctx context.Context, s *Service, keyFile, audience string) (*Tokens, error) {
	t := &Tokens{s: s, audience: audience, file: keyFile}
	if err := t.load(ctx); err != nil {
		return nil, err
	}
	s.OnChange(t.changed)
	return t, nil
}

// claims are the payload. node-tak cuts the decoded token at braces instead of
// parsing it, so there are no objects inside; aud is a text for the same reason.
type claims struct {
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Before   int64  `json:"nbf"`
	Expires  int64  `json:"exp"`
	Issued   int64  `json:"iat"`
	ID       string `json:"jti"`
}

// MarshalJSON keeps braces out of the texts, see above.
func (c claims) MarshalJSON() ([]byte, error) {
	type plain claims
	b, err := json.Marshal(plain(c))
	if err != nil {
		return nil, err
	}
	inner := b[1 : len(b)-1]
	inner = bytes.ReplaceAll(inner, []byte("{"), []byte(`\u007b`))
	inner = bytes.ReplaceAll(inner, []byte("}"), []byte(`\u007d`))
	return bytes.Join([][]byte{{'{'}, inner, {'}'}}, nil), nil
}

// These make claims a jwt.Claims.

func (c claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires) }
func (c claims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.Issued) }
func (c claims) GetNotBefore() (*jwt.NumericDate, error)      { return date(c.Before) }
func (c claims) GetIssuer() (string, error)                   { return "", nil }
func (c claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c claims) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings{c.Audience}, nil }

func date(unix int64) (*jwt.NumericDate, error) { return jwt.NewNumericDate(time.Unix(unix, 0)), nil }

// Issue makes a token with which its holder is user for ttl.
func (t *Tokens) Issue(ctx context.Context, user string, ttl time.Duration) (token string, expires time.Time, err error) {
	if ttl < time.Second || ttl > MaxTokenLife {
		return "", time.Time{}, fmt.Errorf("%w: token life %s: want 1s to %s", ErrInvalid, ttl, MaxTokenLife)
	}
	if err := meta.ValidName("user", user); err != nil {
		return "", time.Time{}, err
	}
	key, err := t.signer(true)
	if err != nil {
		return "", time.Time{}, err
	}
	now := t.s.now()
	stamp, err := t.stampOf(ctx, user)
	if err != nil {
		return "", time.Time{}, err
	}
	made := max(now.UnixMilli(), t.floor(user)+1)
	c := claims{
		Subject: user, Audience: t.audience,
		Before: now.Unix(), Issued: now.Unix(), Expires: now.Add(ttl).Unix(),
		ID: strconv.FormatInt(made, 36) + "." + stamp + "." + rand.Text(),
	}
	token, err = jwt.NewWithClaims(jwt.SigningMethodRS256, c).SignedString(key)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign token: %w", err)
	}
	return token, time.Unix(c.Expires, 0), nil
}

// Verify tells whose token it is. Errors: ErrBadToken, ErrDisabled.
func (t *Tokens) Verify(ctx context.Context, token string) (user string, err error) {
	c, err := t.parse(token)
	if err != nil {
		return "", err
	}
	if err := t.alive(ctx, c); err != nil {
		return "", err
	}
	return c.Subject, nil
}

// Expires is when a token that Verify took ends.
func (t *Tokens) Expires(token string) (time.Time, error) {
	c, err := t.parse(token)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(c.Expires, 0), nil
}

// parse checks signature, audience and time.
func (t *Tokens) parse(token string) (claims, error) {
	var c claims
	if len(token) > maxTokenSize || strings.Count(token, ".") != 2 {
		return c, fmt.Errorf("%w: not a token", ErrBadToken)
	}
	key, err := t.signer(false)
	if err != nil {
		return c, err
	}
	if key == nil { // none was ever issued
		return c, fmt.Errorf("%w: not signed here", ErrBadToken)
	}
	_, err = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodRS256.Name}), jwt.WithTimeFunc(t.s.now),
		jwt.WithExpirationRequired(), jwt.WithAudience(t.audience),
	).ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return &key.PublicKey, nil })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return c, fmt.Errorf("%w: it has expired", ErrBadToken)
	case err != nil:
		return c, fmt.Errorf("%w: not signed here", ErrBadToken)
	}
	return c, nil
}

// alive tells whether a token that is signed and in its time still counts.
func (t *Tokens) alive(ctx context.Context, c claims) error {
	at, rest, _ := strings.Cut(c.ID, ".")
	stamp, _, _ := strings.Cut(rest, ".")
	made, err := strconv.ParseInt(at, 36, 64)
	if err != nil {
		return fmt.Errorf("%w: not signed here", ErrBadToken)
	}
	t.mu.RLock()
	_, gone := t.revoked[c.ID]
	floor := t.floors[c.Subject]
	t.mu.RUnlock()
	if gone || made <= floor {
		return fmt.Errorf("%w: it was revoked", ErrBadToken)
	}
	want, err := t.stampOf(ctx, c.Subject)
	if err != nil {
		return err
	}
	if !hmac.Equal([]byte(stamp), []byte(want)) {
		return fmt.Errorf("%w: the password was changed", ErrBadToken)
	}
	return nil
}

// stampOf is what a token carries of its user's password: with another password,
// or none, it is another. ErrDisabled where the account is refused or missing.
func (t *Tokens) stampOf(ctx context.Context, user string) (string, error) {
	a, err := t.s.account(ctx, user, false)
	if err != nil {
		return "", err
	}
	if a.refused != nil {
		return "", a.refused
	}
	if !a.known {
		return "", fmt.Errorf("%w: %q has no account", ErrDisabled, shorten(user))
	}
	h := hmac.New(sha256.New, t.stamp[:])
	_, _ = h.Write([]byte(user))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(a.hash))
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// signer is the key. Unless make is set it is nil where there is none yet.
func (t *Tokens) signer(mayMake bool) (*rsa.PrivateKey, error) {
	t.keyMu.Lock()
	defer t.keyMu.Unlock()
	if t.key != nil {
		return t.key, nil
	}
	key, err := readTokenKey(t.file)
	if err != nil {
		return nil, err
	}
	if key == nil {
		if !mayMake {
			return nil, nil
		}
		if key, err = makeTokenKey(t.file); err != nil {
			return nil, err
		}
	}
	t.stamp = sha256.Sum256(append([]byte("takd token stamp\x00"), x509.MarshalPKCS1PrivateKey(key)...))
	t.key = key
	return key, nil
}
