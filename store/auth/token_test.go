package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"takd/store/auth"
)

func (b bench) tokens(t *testing.T) *auth.Tokens {
	t.Helper()
	tokens, err := auth.NewTokens(t.Context(), b.Service, filepath.Join(b.dir, "token.key"), "takd-1")
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func issue(t *testing.T, tokens *auth.Tokens, user string) string {
	t.Helper()
	token, expires, err := tokens.Issue(t.Context(), user, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Until(expires); d < 58*time.Minute || d > time.Hour {
		t.Errorf("Issue: expires in %s, want an hour", d)
	}
	return token
}

func wantToken(t *testing.T, tokens *auth.Tokens, token, user string, want error) {
	t.Helper()
	got, err := tokens.Verify(t.Context(), token)
	if got != user || !errors.Is(err, want) {
		t.Errorf("Verify = %q, %v; want %q, %v", got, err, user, want)
	}
}

// node-tak decodes the whole token at once and cuts it at braces.
func TestTokenForm(t *testing.T) {
	b := open(t)
	tokens := b.tokens(t)
	const name = `o"}{'x`
	b.add(t, auth.NewUser{Name: name})
	token := issue(t, tokens, name)
	parts := strings.Split(token, ".")
	header, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	payload, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if want := `{"alg":"RS256","typ":"JWT"}`; string(header) != want {
		t.Errorf("header %s, want %s", header, want)
	}
	if n := strings.Count(string(payload), "{") + strings.Count(string(payload), "}"); n != 2 {
		t.Errorf("payload has %d braces, want 2: %s", n, payload)
	}
	var c map[string]any
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"nbf", "exp", "iat"} {
		if _, ok := c[key].(float64); !ok {
			t.Errorf("%s is %T, want a number", key, c[key])
		}
	}
	if c["sub"] != name || c["aud"] != "takd-1" || c["jti"] == "" {
		t.Errorf("sub %v, aud %v, jti %v", c["sub"], c["aud"], c["jti"])
	}
	wantToken(t, tokens, token, name, nil)
	info, err := os.Stat(filepath.Join(b.dir, "token.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v; want mode 0600", info, err)
	}
}

func TestTokenEnds(t *testing.T) {
	b := open(t)
	tokens := b.tokens(t)
	b.add(t, auth.NewUser{Name: "ann", Password: "old password"})
	b.add(t, auth.NewUser{Name: "bob"})
	fresh := func() string { return issue(t, tokens, "ann") }
	other := issue(t, tokens, "bob")

	one, two := fresh(), fresh()
	if err := tokens.Revoke(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	wantToken(t, tokens, one, "", auth.ErrBadToken)
	wantToken(t, tokens, two, "ann", nil)
	if err := b.SetUser(t.Context(), "ann", auth.Change{In: &[]string{"Blue"}}); err != nil {
		t.Fatal(err)
	}
	wantToken(t, tokens, two, "ann", nil) // other groups end nothing

	if err := b.SetPassword(t.Context(), "ann", "old password"); err != nil {
		t.Fatal(err)
	}
	wantToken(t, tokens, two, "", auth.ErrBadToken)
	three := fresh()
	wantToken(t, tokens, three, "ann", nil)
	if err := b.SetDisabled(t.Context(), "ann", true); err != nil {
		t.Fatal(err)
	}
	wantToken(t, tokens, three, "", auth.ErrBadToken)
	if _, _, err := tokens.Issue(t.Context(), "ann", time.Hour); !errors.Is(err, auth.ErrDisabled) {
		t.Errorf("Issue for a disabled user = %v", err)
	}
	if err := b.SetDisabled(t.Context(), "ann", false); err != nil {
		t.Fatal(err)
	}
	wantToken(t, tokens, three, "", auth.ErrBadToken) // must not come back to life
	four := fresh()
	wantToken(t, tokens, four, "ann", nil)
	if err := b.RemoveUser(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	wantToken(t, tokens, four, "", auth.ErrBadToken)
	b.add(t, auth.NewUser{Name: "ann"})
	wantToken(t, tokens, four, "", auth.ErrBadToken)
	five := fresh()
	if err := tokens.RevokeUser(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	wantToken(t, tokens, five, "", auth.ErrBadToken)
	six := fresh()
	wantToken(t, tokens, other, "bob", nil)

	again := b.tokens(t) // as after a restart
	for _, token := range []string{one, two, three, four, five} {
		wantToken(t, again, token, "", auth.ErrBadToken)
	}
	wantToken(t, again, six, "ann", nil)
}

func TestTokenHostile(t *testing.T) {
	b := open(t)
	tokens := b.tokens(t)
	b.add(t, auth.NewUser{Name: "ann"})
	wantToken(t, tokens, "a.b.c", "", auth.ErrBadToken) // before there is a key
	if _, err := os.Stat(filepath.Join(b.dir, "token.key")); err == nil {
		t.Error("Verify made a key")
	}
	good := issue(t, tokens, "ann")
	parts := strings.Split(good, ".")
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	enc := base64.RawURLEncoding.EncodeToString
	none := enc([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
	// The public key as the secret of an HMAC: the classic confusion.
	pem, _ := os.ReadFile(filepath.Join(b.dir, "token.key"))
	mac, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "ann", "aud": "takd-1", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(pem)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := open(t)
	elsewhere.add(t, auth.NewUser{Name: "ann"})
	foreign := issue(t, elsewhere.tokens(t), "ann")
	for name, token := range map[string]string{
		"empty": "", "garbage": "x", "dots": "..", "long": strings.Repeat("a", 5000) + ".b.c", "none": none, "HMAC": mac,
		"other name":     parts[0] + "." + enc([]byte(strings.Replace(string(payload), `"ann"`, `"bob"`, 1))) + "." + parts[2],
		"cut":            good[:len(good)-4],
		"another server": foreign,
		"SQL":            `' OR 1=1 --.' UNION SELECT.x`,
	} {
		t.Run(name, func(t *testing.T) {
			wantToken(t, tokens, token, "", auth.ErrBadToken)
			if err := tokens.Revoke(t.Context(), token); !errors.Is(err, auth.ErrBadToken) {
				t.Errorf("Revoke = %v", err)
			}
		})
	}
	for name, ttl := range map[string]time.Duration{"none": 0, "negative": -time.Hour, "for ever": 10000 * time.Hour} {
		if _, _, err := tokens.Issue(t.Context(), "ann", ttl); !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("Issue with a life of %s = %v", name, err)
		}
	}
	if _, _, err := tokens.Issue(t.Context(), "nobody", time.Hour); !errors.Is(err, auth.ErrDisabled) {
		t.Errorf("Issue for nobody = %v", err)
	}
}

// What is remembered of one user is bounded.
func TestTokenRevokeMany(t *testing.T) {
	b := open(t)
	tokens := b.tokens(t)
	b.add(t, auth.NewUser{Name: "ann"})
	var all []string
	for range 70 {
		all = append(all, issue(t, tokens, "ann"))
	}
	for _, token := range all {
		if err := tokens.Revoke(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	for _, tk := range []*auth.Tokens{tokens, b.tokens(t)} {
		for _, token := range all {
			wantToken(t, tk, token, "", auth.ErrBadToken)
		}
	}
	var n int
	if err := b.db.NewRaw("SELECT COUNT(*) FROM revoked_tokens").Scan(t.Context(), &n); err != nil || n > 64 {
		t.Errorf("%d rows of revoked tokens, %v; want at most 64", n, err)
	}
}

func TestTokenKeyFile(t *testing.T) {
	b := open(t)
	b.add(t, auth.NewUser{Name: "ann"})
	for name, text := range map[string]string{"empty": "", "not PEM": "x", "not a key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		file := filepath.Join(b.dir, "bad.key")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		tokens, err := auth.NewTokens(t.Context(), b.Service, file, "x")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tokens.Issue(t.Context(), "ann", time.Hour); err == nil {
			t.Errorf("%s: Issue took a key file of that kind", name)
		}
		if got, _ := os.ReadFile(file); string(got) != text {
			t.Errorf("%s: the key file was overwritten", name)
		}
	}
}
