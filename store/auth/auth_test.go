package auth_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"
	"golang.org/x/crypto/bcrypt"

	"takd/store/auth"
	"takd/store/meta"
)

type revokedSet map[string]bool

func (r revokedSet) IsRevoked(serial string) bool { return r[serial] }

// counter counts the queries of a database.
type counter struct{ n atomic.Int64 }

func (c *counter) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context {
	c.n.Add(1)
	return ctx
}
func (c *counter) AfterQuery(context.Context, *bun.QueryEvent) {}

type bench struct {
	*auth.Service
	db      *meta.DB
	queries *counter
	revoked revokedSet
	log     *bytes.Buffer
	dir     string
}

func open(t *testing.T) bench {
	t.Helper()
	b := bench{queries: &counter{}, revoked: revokedSet{}, log: &bytes.Buffer{}, dir: t.TempDir()}
	log := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if b.db, err = meta.Open(t.Context(), filepath.Join(b.dir, "meta.db"), log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.db.Close() })
	b.db.DB = b.db.WithQueryHook(b.queries)
	b.Service = auth.New(b.db, b.revoked, log)
	return b
}

func (b bench) add(t *testing.T, u auth.NewUser) {
	t.Helper()
	if err := b.AddUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

func leaf(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

func TestPrincipals(t *testing.T) {
	b := open(t)
	anon := []string{auth.Anonymous}
	b.add(t, auth.NewUser{Name: "plain"})
	b.add(t, auth.NewUser{Name: "boss", Role: auth.RoleAdmin, In: []string{"Blue", "Red", "Blue"}, Out: []string{"Red", "Blue"}})
	b.add(t, auth.NewUser{Name: "ears", Out: []string{"Blue"}})
	b.add(t, auth.NewUser{Name: "mouth", In: []string{"Blue"}})
	b.add(t, auth.NewUser{Name: "viewer", Role: auth.RoleReadonly, In: []string{"Blue"}, Out: []string{"Blue"}})
	b.add(t, auth.NewUser{Name: "off"})
	b.add(t, auth.NewUser{Name: "gone"})
	if err := errors.Join(b.SetDisabled(t.Context(), "off", true), b.RemoveUser(t.Context(), "gone")); err != nil {
		t.Fatal(err)
	}
	b.revoked["ff"] = true
	old, young := leaf("plain", 3), leaf("plain", 4)
	old.NotAfter, young.NotBefore = time.Now().Add(-time.Second), time.Now().Add(time.Hour)

	tests := map[string]struct {
		leaf *x509.Certificate
		want auth.Principal
		err  error
	}{
		"plain":          {leaf: leaf("plain", 0x0a1b), want: auth.Principal{User: "plain", Role: "user", In: anon, Out: anon, Serial: "a1b"}},
		"groups":         {leaf: leaf("boss", 1), want: auth.Principal{User: "boss", Role: "admin", In: []string{"Blue", "Red"}, Out: []string{"Blue", "Red"}, Serial: "1"}},
		"receives only":  {leaf: leaf("ears", 1), want: auth.Principal{User: "ears", Role: "user", In: []string{}, Out: []string{"Blue"}, Serial: "1"}},
		"sends only":     {leaf: leaf("mouth", 1), want: auth.Principal{User: "mouth", Role: "user", In: []string{"Blue"}, Out: []string{}, Serial: "1"}},
		"readonly":       {leaf: leaf("viewer", 1), want: auth.Principal{User: "viewer", Role: "readonly", Out: []string{"Blue"}, Serial: "1"}},
		"no account":     {leaf: leaf("stranger", 1), want: auth.Principal{User: "stranger", Role: "user", In: anon, Out: anon, Serial: "1"}},
		"disabled":       {leaf: leaf("off", 1), err: auth.ErrDisabled},
		"removed":        {leaf: leaf("gone", 1), err: auth.ErrDisabled},
		"revoked":        {leaf: leaf("plain", 0xff), err: auth.ErrRevoked},
		"expired":        {leaf: old, err: auth.ErrInvalid},
		"not yet valid":  {leaf: young, err: auth.ErrInvalid},
		"no name":        {leaf: leaf("", 1), err: auth.ErrInvalid},
		"path as name":   {leaf: leaf("../../x", 1), err: auth.ErrInvalid},
		"binary in name": {leaf: leaf("a\x00b", 1), err: auth.ErrInvalid},
		"SQL as name":    {leaf: leaf("' OR 1=1 --", 1), want: auth.Principal{User: "' OR 1=1 --", Role: "user", In: anon, Out: anon, Serial: "1"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for range 2 { // from the database, then from memory
				got, err := b.PrincipalForCertificate(t.Context(), tc.leaf)
				if diff := cmp.Diff(tc.want, got); diff != "" || !errors.Is(err, tc.err) {
					t.Errorf("PrincipalForCertificate = %+v, %v; want %v: %s", got, err, tc.err, diff)
				}
			}
		})
	}
}

func TestSecondLookupAsksNoDatabase(t *testing.T) {
	b := open(t)
	b.add(t, auth.NewUser{Name: "alice", Password: "correct horse", In: []string{"Blue"}})
	lookups := map[string]func() error{
		"certificate": func() error { _, err := b.PrincipalForCertificate(t.Context(), leaf("alice", 1)); return err },
		"no account":  func() error { _, err := b.PrincipalForCertificate(t.Context(), leaf("nobody", 1)); return err },
		"password":    func() error { _, err := b.PrincipalForPassword(t.Context(), "alice", "correct horse"); return err },
	}
	for name, lookup := range lookups {
		t.Run(name, func(t *testing.T) {
			b.Invalidate()
			before := b.queries.n.Load()
			if err := lookup(); err != nil {
				t.Fatal(err)
			}
			first := b.queries.n.Load()
			for range 100 {
				if err := lookup(); err != nil {
					t.Fatal(err)
				}
			}
			if again := b.queries.n.Load() - first; again != 0 || first == before {
				t.Errorf("queries: %d at first, then %d in 100 lookups; want some, then 0", first-before, again)
			}
		})
	}
}

// Every change is seen by the next lookup, and told to the hook once it is.
func TestChangesTakeEffectAtOnce(t *testing.T) {
	b := open(t)
	ctx := t.Context()
	b.add(t, auth.NewUser{Name: "alice", Password: "correct horse", In: []string{"Blue"}, Out: []string{"Blue"}})
	var told []string
	var seen auth.Principal
	var seenErr error
	b.OnChange(func(user string) {
		told = append(told, user)
		seen, seenErr = b.Principal(ctx, user)
	})
	admin, red, none, fresh := auth.RoleAdmin, []string{"Red"}, []string{}, "battery staple"
	steps := []struct {
		name string
		do   func() error
		want auth.Principal
		err  error
	}{
		{"role", func() error { return b.SetUser(ctx, "alice", auth.Change{Role: &admin}) }, auth.Principal{User: "alice", Role: "admin", In: []string{"Blue"}, Out: []string{"Blue"}}, nil},
		{"out group", func() error { return b.SetUser(ctx, "alice", auth.Change{Out: &red}) }, auth.Principal{User: "alice", Role: "admin", In: []string{"Blue"}, Out: []string{"Red"}}, nil},
		{"group removed", func() error { return b.RemoveGroup(ctx, "Blue") }, auth.Principal{User: "alice", Role: "admin", In: []string{}, Out: []string{"Red"}}, nil},
		{"no groups", func() error { return b.SetUser(ctx, "alice", auth.Change{In: &none, Out: &none}) }, auth.Principal{User: "alice", Role: "admin", In: []string{"__ANON__"}, Out: []string{"__ANON__"}}, nil},
		{"password", func() error { return b.SetUser(ctx, "alice", auth.Change{Password: &fresh}) }, auth.Principal{User: "alice", Role: "admin", In: []string{"__ANON__"}, Out: []string{"__ANON__"}}, nil},
		{"disabled", func() error { return b.SetDisabled(ctx, "alice", true) }, auth.Principal{User: "alice", Role: "admin", In: []string{"__ANON__"}, Out: []string{"__ANON__"}}, auth.ErrDisabled},
		{"enabled", func() error { return b.SetDisabled(ctx, "alice", false) }, auth.Principal{User: "alice", Role: "admin", In: []string{"__ANON__"}, Out: []string{"__ANON__"}}, nil},
		{"removed", func() error { return b.RemoveUser(ctx, "alice") }, auth.Principal{User: "alice", Role: "user", In: []string{"__ANON__"}, Out: []string{"__ANON__"}}, auth.ErrDisabled},
		{"added again", func() error { return b.AddUser(ctx, auth.NewUser{Name: "alice", Out: red}) }, auth.Principal{User: "alice", Role: "user", In: []string{}, Out: []string{"Red"}}, nil},
	}
	for _, step := range steps {
		told = nil
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff([]string{"alice"}, told); diff != "" {
			t.Errorf("%s: hook: %s", step.name, diff)
		}
		if diff := cmp.Diff(step.want, seen); diff != "" || !errors.Is(seenErr, step.err) {
			t.Errorf("%s: Principal = %+v, %v; want %v: %s", step.name, seen, seenErr, step.err, diff)
		}
	}
}

func TestPasswords(t *testing.T) {
	b := open(t)
	ctx := t.Context()
	b.add(t, auth.NewUser{Name: "alice", Password: "correct horse"})
	b.add(t, auth.NewUser{Name: "certonly"})
	b.add(t, auth.NewUser{Name: "off", Password: "correct horse"})
	if err := b.SetDisabled(ctx, "off", true); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		user, password string
		err            error
	}{
		"right":                  {"alice", "correct horse", nil},
		"wrong":                  {"alice", "correct hors", auth.ErrBadPassword},
		"empty":                  {"alice", "", auth.ErrBadPassword},
		"unknown user":           {"nobody", "correct horse", auth.ErrBadPassword},
		"no password set":        {"certonly", "", auth.ErrBadPassword},
		"disabled":               {"off", "correct horse", auth.ErrDisabled},
		"disabled and wrong":     {"off", "incorrect", auth.ErrBadPassword},
		"SQL":                    {"' OR 1=1 --", "correct horse", auth.ErrBadPassword},
		"SQL, union":             {`x' UNION SELECT 'alice','admin','',0,0,0 --`, "", auth.ErrBadPassword},
		"NUL":                    {"alice\x00", "correct horse", auth.ErrBadPassword},
		"a megabyte of password": {"alice", strings.Repeat("x", 1<<20), auth.ErrBadPassword},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := b.PrincipalForPassword(ctx, tc.user, tc.password)
			if !errors.Is(err, tc.err) || err == nil && (p.User != tc.user || p.Serial != "") {
				t.Errorf("PrincipalForPassword = %+v, %v; want %v", p, err, tc.err)
			}
		})
	}
	// A changed password ends the old one, though that was in memory.
	if err := b.SetPassword(ctx, "alice", "battery staple"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.PrincipalForPassword(ctx, "alice", "correct horse"); !errors.Is(err, auth.ErrBadPassword) {
		t.Errorf("old password: %v, want ErrBadPassword", err)
	}
	if _, err := b.PrincipalForPassword(ctx, "alice", "battery staple"); err != nil {
		t.Errorf("new password: %v", err)
	}
	for _, bad := range []string{"short", strings.Repeat("x", auth.MaxPassword+1)} {
		err := b.SetPassword(ctx, "alice", bad)
		if !errors.Is(err, auth.ErrInvalid) || !strings.Contains(err.Error(), "password: ") || strings.Contains(err.Error(), bad) {
			t.Errorf("SetPassword = %v, want ErrInvalid with the bound and without the password", err)
		}
	}
}

// Sensors often share an account, and come back all at once after a restart.
func TestSharedAccountIsNotThrottled(t *testing.T) {
	b := open(t)
	b.add(t, auth.NewUser{Name: "sensors", Password: "correct horse"})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := b.PrincipalForPassword(t.Context(), "sensors", "correct horse"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestGroupBitsAreNeverReused(t *testing.T) {
	b := open(t)
	ctx := t.Context()
	for _, g := range []string{"Blue", "Red"} {
		if err := b.AddGroup(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.AddGroup(ctx, "Blue"); !errors.Is(err, auth.ErrExists) {
		t.Errorf("AddGroup twice = %v, want ErrExists", err)
	}
	if err := errors.Join(b.RemoveGroup(ctx, "Red"), b.AddGroup(ctx, "Green"), b.RemoveGroup(ctx, "Blue"), b.AddGroup(ctx, "Blue")); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveGroup(ctx, "Red"); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("RemoveGroup twice = %v, want ErrNotFound", err)
	}
	if err := b.RemoveGroup(ctx, auth.Anonymous); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("RemoveGroup(__ANON__) = %v, want ErrInvalid", err)
	}
	groups, err := b.Groups(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, g := range groups {
		got[g.Name] = g.Bit
	}
	if diff := cmp.Diff(map[string]int{"__ANON__": 2, "Blue": 3, "Green": 5}, got); diff != "" {
		t.Errorf("bits: %s", diff)
	}
}

func TestHostileNames(t *testing.T) {
	b := open(t)
	ctx := t.Context()
	for _, name := range []string{"", "../x", "/etc/passwd", `a\b`, "a\x00b", "a\nb", ".x", strings.Repeat("a", 65), "a\xffb"} {
		calls := map[string]error{
			"AddUser":     b.AddUser(ctx, auth.NewUser{Name: name}),
			"SetUser":     b.SetUser(ctx, name, auth.Change{}),
			"RemoveUser":  b.RemoveUser(ctx, name),
			"AddGroup":    b.AddGroup(ctx, name),
			"RemoveGroup": b.RemoveGroup(ctx, name),
			"group of":    b.AddUser(ctx, auth.NewUser{Name: "x", In: []string{name}}),
		}
		_, calls["User"] = b.User(ctx, name)
		for call, err := range calls {
			if !errors.Is(err, auth.ErrInvalid) {
				t.Errorf("%s(%q) = %v, want ErrInvalid", call, name, err)
			}
		}
	}
	// SQL in names is only a name.
	sql := []string{`x'; DROP TABLE users; --`, `x" OR "1"="1`, `' UNION SELECT hash FROM users --`, `?0 ?`, `%`, `_`}
	b.add(t, auth.NewUser{Name: "victim", Password: "correct horse"})
	for _, name := range sql {
		b.add(t, auth.NewUser{Name: name, In: []string{name}, Out: []string{name}})
		u, err := b.User(ctx, name)
		if err != nil || u.Name != name || !cmp.Equal(u.In, []string{name}) {
			t.Errorf("User(%q) = %+v, %v", name, u, err)
		}
	}
	for _, name := range sql {
		if err := errors.Join(b.RemoveGroup(ctx, name), b.RemoveUser(ctx, name)); err != nil {
			t.Error(err)
		}
	}
	users, err := b.Users(ctx)
	if err != nil || len(users) != 1 || users[0].Name != "victim" || !users[0].HasPassword {
		t.Errorf("Users = %+v, %v; want the victim untouched", users, err)
	}
}

func TestImportCSV(t *testing.T) {
	hashed, err := bcrypt.GenerateFromPassword([]byte("battery staple"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		csv   string
		users int
		errs  []string // each in the error; nil: none
	}{
		"all columns": {"\ufeffname,password,hash,role,groups,in,out\nalice,correct horse,,admin,Blue;Red,,\nbob,," + string(hashed) + ",,,Blue,Red\n", 2, nil},
		"spaces":      {"name , password, role, groups\n a , correct horse , admin , Blue ; Red\nb,   ,,\n", 2, nil},
		"names only":  {"name\na\nb\n\"c, d\"\n", 3, nil},
		"every bad line is named": {
			"name,password,role\n../x,,\nok,short,\nfine,,king\ntwice,,\ntwice,,\n", 0,
			[]string{"line 2: ", "line 3: ", "line 4: ", "line 6: ", "at least 8", "want admin, user or readonly"},
		},
		"existing user":   {"name\nnew\nold\n", 0, []string{"line 3: ", "already exists"}},
		"unknown column":  {"name,pasword\na,b\n", 0, []string{"line 1: ", "pasword"}},
		"no name column":  {"role\nuser\n", 0, []string{"line 1: "}},
		"ragged":          {"name,role\na\n", 0, []string{"line 2"}},
		"empty":           {"", 0, []string{"header"}},
		"costly hash":     {"name,hash\na,\"$argon2id$v=19$m=4194304,t=1000,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA\"\n", 0, []string{"line 2: ", "bounds"}},
		"plain text hash": {"name,hash\na,hunter2hunter2\n", 0, []string{"line 2: ", "argon2id or bcrypt"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			b.add(t, auth.NewUser{Name: "old"})
			n, err := b.ImportCSV(t.Context(), strings.NewReader(tc.csv))
			if n != tc.users || (err == nil) != (tc.errs == nil) || err != nil && !errors.Is(err, auth.ErrInvalid) && !errors.Is(err, auth.ErrExists) {
				t.Fatalf("ImportCSV = %d, %v; want %d users", n, err, tc.users)
			}
			for _, want := range tc.errs {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("ImportCSV = %v, want %q in it", err, want)
				}
			}
			users, err := b.Users(t.Context())
			if err != nil || len(users) != tc.users+1 {
				t.Errorf("users = %d, %v; want %d: all lines or none", len(users), err, tc.users+1)
			}
		})
	}
	spaced := open(t)
	if _, err := spaced.ImportCSV(t.Context(), strings.NewReader(tests["spaces"].csv)); err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]error{" correct horse ": nil, "correct horse": auth.ErrBadPassword, " correct horse": auth.ErrBadPassword} {
		p, err := spaced.PrincipalForPassword(t.Context(), "a", password)
		if !errors.Is(err, want) || err == nil && (p.Role != auth.RoleAdmin || !slices.Equal(p.In, []string{"Blue", "Red"})) {
			t.Errorf("with the password %q: %v, %v; want %v", password, p, err, want)
		}
	}
	b := open(t)
	if _, err := b.ImportCSV(t.Context(), strings.NewReader(tests["all columns"].csv)); err != nil {
		t.Fatal(err)
	}
	for user, password := range map[string]string{"alice": "correct horse", "bob": "battery staple"} {
		p, err := b.PrincipalForPassword(t.Context(), user, password)
		if err != nil || p.User != user {
			t.Errorf("PrincipalForPassword(%s) = %+v, %v", user, p, err)
		}
	}
}

// A password is neither stored, nor logged, nor in any answer or error.
func TestPasswordsStayInside(t *testing.T) {
	const secret = "Tr0ub4dor&3-secret"
	b := open(t)
	ctx := t.Context()
	b.add(t, auth.NewUser{Name: "alice", Password: secret})
	_, err := b.ImportCSV(ctx, strings.NewReader("name,password\nalice,"+secret+"\n"))
	said := fmt.Sprintln(err)
	_, err = b.ImportCSV(ctx, strings.NewReader("name,password\nbob,"+secret+"\n.x,"+secret+"\n"))
	said += fmt.Sprintln(err)
	_, err = b.PrincipalForPassword(ctx, "alice", secret+"x")
	said += fmt.Sprintln(err)
	p, err := b.PrincipalForPassword(ctx, "alice", secret)
	said += fmt.Sprintf("%+v %v\n", p, err)
	u, err := b.User(ctx, "alice")
	said += fmt.Sprintf("%+v %v\n%s", u, err, b.log)
	if err := b.db.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(b.dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		said += string(data)
	}
	if len(files) == 0 || strings.Contains(said, secret) || strings.Contains(fmt.Sprintf("%+v", u), "argon2id") {
		t.Errorf("the password or its hash came out (%d files)", len(files))
	}
}

func TestConcurrentChanges(t *testing.T) {
	b := open(t)
	ctx := t.Context()
	b.add(t, auth.NewUser{Name: "alice"})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := b.PrincipalForCertificate(ctx, leaf("alice", 1)); err != nil && !errors.Is(err, auth.ErrDisabled) {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 20 {
		if err := b.SetDisabled(ctx, "alice", i%2 == 0); err != nil {
			t.Error(err)
		}
		_, err := b.PrincipalForCertificate(ctx, leaf("alice", 1))
		if disabled := errors.Is(err, auth.ErrDisabled); disabled != (i%2 == 0) {
			t.Errorf("change %d: %v: what was read before it is still in memory", i, err)
		}
	}
	close(stop)
	wg.Wait()
}

func BenchmarkPrincipalForCertificate(b *testing.B) {
	db, err := meta.Open(b.Context(), filepath.Join(b.TempDir(), "meta.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	s := auth.New(db, revokedSet{}, nil)
	c := leaf("alice", 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.PrincipalForCertificate(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}
