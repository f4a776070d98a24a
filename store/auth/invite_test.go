package auth_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"takd/store/auth"
)

func (b bench) invite(t *testing.T, n auth.NewInvite) (auth.Invite, string) {
	t.Helper()
	i, token, err := b.AddInvite(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if !auth.LooksLikeInvite(token) {
		t.Errorf("token %q does not look like one", token)
	}
	return i, token
}

func wantInvite(t *testing.T, b bench, user, token string, want error) {
	t.Helper()
	p, err := b.PrincipalForInvite(t.Context(), user, token)
	if !errors.Is(err, want) || (err == nil && (p.Role != auth.RoleReadonly || p.In != nil)) {
		t.Errorf("PrincipalForInvite(%q) = %v, %v; want %v", user, p, err, want)
	}
}

func wantSpent(t *testing.T, b bench, token, uid string, want bool) {
	t.Helper()
	if got, err := b.InviteSpentBy(t.Context(), token, uid); got != want || err != nil {
		t.Errorf("InviteSpentBy(%q) = %v, %v; want %v", uid, got, err, want)
	}
	if p, err := b.PrincipalForSpentInvite(t.Context(), "ann", token); want && (err != nil || p.Role != auth.RoleReadonly) {
		t.Errorf("PrincipalForSpentInvite = %v, %v", p, err)
	}
}

func wantUse(t *testing.T, b bench, token string, want error) func() {
	t.Helper()
	back, err := b.UseInvite(t.Context(), "", token, "uid-1")
	if !errors.Is(err, want) {
		t.Errorf("UseInvite = %v, want %v", err, want)
	}
	return func() {
		if err := back(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestInviteMakesUser(t *testing.T) {
	b := open(t)
	i, token := b.invite(t, auth.NewInvite{User: "Ann", In: []string{"Blue"}, Out: []string{"Red", "Blue"}, By: "boss", Label: "tablet 7"})
	u, err := b.User(t.Context(), "Ann")
	if err != nil || u.HasPassword || u.Role != auth.RoleUser || cmp.Diff(u.Out, []string{"Blue", "Red"}) != "" || cmp.Diff(u.In, []string{"Blue"}) != "" {
		t.Errorf("user %+v, %v", u, err)
	}
	if d := i.Expires.Sub(i.Created); d != 24*time.Hour || i.MaxUses != 1 || i.State(time.Now()) != "open" {
		t.Errorf("invitation %+v: want a day and one use", i)
	}
	p, err := b.PrincipalForInvite(t.Context(), "aNN", strings.ToUpper(token[:13])+"-"+token[13:]) // as typed on a phone
	if diff := cmp.Diff(p, auth.Principal{User: "Ann", Role: auth.RoleReadonly, Out: []string{"Blue", "Red"}}); diff != "" || err != nil {
		t.Errorf("principal %s, %v", diff, err)
	}
	list, err := b.Invites(t.Context())
	if err != nil || len(list) != 1 || cmp.Diff(list[0], i) != "" {
		t.Errorf("Invites = %+v, %v", list, err)
	}
	// The token is nowhere on disk.
	files, _ := filepath.Glob(filepath.Join(b.dir, "*"))
	for _, f := range files {
		if data, _ := os.ReadFile(f); strings.Contains(strings.ToLower(string(data)), token) {
			t.Errorf("%s holds the token", f)
		}
	}
	if strings.Contains(b.log.String(), token) {
		t.Error("the log holds the token")
	}
}

func TestInviteUses(t *testing.T) {
	b := open(t)
	b.add(t, auth.NewUser{Name: "ann", In: []string{"Old"}, Out: []string{"Old"}})
	_, token := b.invite(t, auth.NewInvite{User: "ann", Uses: 2, In: []string{"New", "Dead"}, Out: []string{"New"}})
	if err := b.RemoveGroup(t.Context(), "Dead"); err != nil {
		t.Fatal(err)
	}
	groups := func(want ...string) {
		t.Helper()
		u, err := b.User(t.Context(), "ann")
		if diff := cmp.Diff(u.In, want); diff != "" || err != nil {
			t.Errorf("groups: %s, %v", diff, err)
		}
	}
	for range 3 { // looking uses nothing
		wantInvite(t, b, "ann", token, nil)
	}
	groups("Old")
	wantUse(t, b, token, nil)() // and gives it back
	groups("New", "Old")
	if err := b.SetUser(t.Context(), "ann", auth.Change{In: &[]string{"Old"}}); err != nil {
		t.Fatal(err)
	}
	wantUse(t, b, token, nil)
	groups("Old") // only the first use adds groups
	wantUse(t, b, token, nil)
	if back, err := b.UseInvite(t.Context(), "", token, "uid-1"); !errors.Is(err, auth.ErrInviteUsed) || back != nil {
		t.Errorf("third use = %v, want %v", err, auth.ErrInviteUsed)
	}
	wantInvite(t, b, "ann", token, auth.ErrInviteUsed)
	wantSpent(t, b, token, "uid-1", true) // the profile is read after the certificate
	wantSpent(t, b, token, "", true)
	wantSpent(t, b, token, "uid-2", false)
	b.shift(t, "expires_at", -25*time.Hour)
	wantSpent(t, b, token, "uid-1", true) // the certificate came in time
	if _, err := b.db.ExecContext(t.Context(), "UPDATE invite_uses SET used_at = used_at - 601000"); err != nil {
		t.Fatal(err)
	}
	wantSpent(t, b, token, "uid-1", false)
	if _, err := b.PrincipalForSpentInvite(t.Context(), "ann", token); !errors.Is(err, auth.ErrInviteUsed) {
		t.Errorf("after eleven minutes: %v, want ErrInviteUsed", err)
	}
}

// shift moves a time of all invitations.
func (b bench) shift(t *testing.T, column string, d time.Duration) {
	t.Helper()
	if _, err := b.db.NewRaw("UPDATE invites SET ? = ? + ?", ident(column), ident(column), d.Milliseconds()).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestInviteEnds(t *testing.T) {
	b := open(t)
	i, removed := b.invite(t, auth.NewInvite{User: "ann"})
	if _, err := b.RemoveInvite(t.Context(), i.ID); err != nil {
		t.Fatal(err)
	}
	wantInvite(t, b, "ann", removed, auth.ErrNotFound)
	if _, err := b.RemoveInvite(t.Context(), i.ID); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("second RemoveInvite = %v", err)
	}
	_, token := b.invite(t, auth.NewInvite{User: "ann"})
	wantInvite(t, b, "bob", token, auth.ErrNotFound)
	if err := b.SetDisabled(t.Context(), "ann", true); err != nil {
		t.Fatal(err)
	}
	wantInvite(t, b, "ann", token, auth.ErrDisabled)
	if _, err := b.UseInvite(t.Context(), "ann", token, "uid-1"); !errors.Is(err, auth.ErrDisabled) {
		t.Errorf("UseInvite of a disabled user = %v", err)
	}
	if _, _, err := b.AddInvite(t.Context(), auth.NewInvite{User: "ann"}); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("AddInvite for a disabled user = %v", err)
	}
	if err := b.SetDisabled(t.Context(), "ann", false); err != nil {
		t.Fatal(err)
	}
	wantInvite(t, b, "ann", token, nil)
	b.shift(t, "expires_at", -25*time.Hour)
	wantInvite(t, b, "ann", token, auth.ErrInviteExpired)
	if _, err := b.UseInvite(t.Context(), "ann", token, "uid-1"); !errors.Is(err, auth.ErrInviteExpired) {
		t.Errorf("UseInvite of an expired one = %v", err)
	}
	_, token = b.invite(t, auth.NewInvite{User: "ann"})
	if err := b.RemoveUser(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	b.add(t, auth.NewUser{Name: "ann"})
	wantInvite(t, b, "ann", token, auth.ErrNotFound) // it was for the other ann
}

// Many at once get no more certificates than there are uses.
func TestInviteRace(t *testing.T) {
	b := open(t)
	_, token := b.invite(t, auth.NewInvite{User: "ann", Uses: 3})
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 12 {
		wg.Go(func() {
			_, err := b.UseInvite(t.Context(), "ann", token, "uid-1")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, auth.ErrInviteUsed) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 3 {
		t.Errorf("%d uses of 3", won)
	}
}

func TestInviteHostile(t *testing.T) {
	b := open(t)
	for name, n := range map[string]auth.NewInvite{
		"no user": {}, "path": {User: "../x"}, "short": {User: "a", Life: time.Second}, "negative": {User: "a", Life: -time.Hour},
		"for ever": {User: "a", Life: 1000 * 24 * time.Hour}, "many uses": {User: "a", Uses: 1 << 30}, "negative uses": {User: "a", Uses: -1},
		"label": {User: "a", Label: strings.Repeat("x", 1000)}, "binary label": {User: "a", Label: "\xff"}, "group": {User: "a", In: []string{"a\nb"}},
	} {
		if _, _, err := b.AddInvite(t.Context(), n); !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("%s: AddInvite = %v, want %v", name, err, auth.ErrInvalid)
		}
	}
	if users, err := b.Users(t.Context()); err != nil || len(users) != 0 {
		t.Errorf("refused invitations left users %v, %v", users, err)
	}
	b.invite(t, auth.NewInvite{User: "o'brien; DROP TABLE invites --"})
	for _, token := range []string{"", "' OR 1=1 --", strings.Repeat("a", 26), strings.Repeat("a", 1<<20), "\x00", strings.Repeat("é", 13)} {
		wantInvite(t, b, "", token, auth.ErrNotFound)
	}
	for _, id := range []string{"", "' OR 1=1 --", "\x00", "\xff"} {
		if _, err := b.RemoveInvite(t.Context(), id); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("RemoveInvite(%q) = %v", id, err)
		}
	}
	if list, err := b.Invites(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("Invites = %v, %v; want one", list, err)
	}
}

func ident(s string) bun.Ident { return bun.Ident(s) }
