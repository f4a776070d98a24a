package marti_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"takd/http/httpd"
	"takd/http/httpd/httpdtest"
	"takd/http/marti"
	"takd/store/auth"
	"takd/store/contact"
	"takd/store/meta"
)

// crowd is who is connected.
type crowd struct {
	all       []marti.Client
	kicked    []uint64
	regrouped []string
	replayed  []string // user and uid
	settle    func()
}

func (c *crowd) Clients() []marti.Client { return slices.Clone(c.all) }

func (c *crowd) Kick(id uint64) bool {
	c.kicked = append(c.kicked, id)
	return slices.ContainsFunc(c.all, func(o marti.Client) bool { return o.ID == id })
}

func (c *crowd) Regroup(_ context.Context, user string) { c.regrouped = append(c.regrouped, user) }

func (c *crowd) Replay(user, uid string) {
	c.replayed = append(c.replayed, user+" "+uid)
}

func (c *crowd) Settle(context.Context) {
	if c.settle != nil {
		c.settle()
	}
}

type site struct {
	*httpdtest.Site

	db      *meta.DB
	users   *auth.Service
	contact *contact.Store
	live    *crowd
	echo    *echo
	routes  []httpd.Route
}

type nobodyRevoked struct{}

func (nobodyRevoked) IsRevoked(string) bool { return false }

// who is the user whose name is the token.
func (s *site) who(ctx context.Context, user string) (httpd.Principal, error) {
	p, err := s.users.Principal(ctx, user)
	role := map[string]httpd.Role{auth.RoleAdmin: httpd.Admin, auth.RoleUser: httpd.Writer, auth.RoleReadonly: httpd.User}[p.Role]
	return httpd.Principal{User: p.User, Role: role, In: p.In, Out: p.Out}, err
}

// newSite has the groups Blue (3) and Red (4), and the users ann and bob (Blue),
// red (Red), view (readonly, receives from Blue) and boss (administrator in no group).
func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{live: &crowd{}, echo: newEcho()}
	var err error
	if s.db, err = meta.Open(t.Context(), filepath.Join(t.TempDir(), "meta.db"), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	s.users, s.contact = auth.New(s.db, nobodyRevoked{}, nil), contact.New(s.db)
	blue, red := []string{"Blue"}, []string{"Red"}
	for _, u := range []auth.NewUser{
		{Name: "ann", In: blue, Out: blue},
		{Name: "red", In: red, Out: red},
		{Name: "bob", In: blue, Out: blue},
		{Name: "view", Role: auth.RoleReadonly, Out: blue},
		{Name: "boss", Role: auth.RoleAdmin},
	} {
		if err := s.users.AddUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	s.routes = marti.Routes(marti.Deps{
		Live: s.live, Streams: s.echo, Auth: s.users, Contact: s.contact, NodeID: "node-1", Version: "1.2.3-rc1", Upload: func() int { return 400 },
		Audit: httpd.NewAudit(s.db.Audit, slog.New(slog.DiscardHandler)), Log: slog.New(slog.DiscardHandler),
	})
	s.Site = httpdtest.NewFor(t, s.who, s.routes)
	return s
}

// want compares status, content type and body, byte by byte.
func (s *site) want(user, method, path, body, want string) httpdtest.Answer {
	s.Helper()
	got := s.Do(user, method, path, body)
	kind := got.Header.Get("Content-Type")
	if text := strings.TrimSpace(fmt.Sprint(got.Status, " ", kind, " ", got.Body)); text != want {
		s.Errorf("%s %s as %s:\n%s\nwant\n%s", method, path, user, text, want)
	}
	return got
}

const (
	jsonOK = "200 application/json "
	textOK = "200 text/plain "
)
