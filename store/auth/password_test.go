package auth

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

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
