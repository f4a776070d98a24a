package contact_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"takd/store/contact"
	"takd/store/meta"
)

func open(t *testing.T) (*meta.DB, *contact.Store) {
	t.Helper()
	db, err := meta.Open(t.Context(), filepath.Join(t.TempDir(), "meta.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db, contact.New(db)
}

func TestEndpoints(t *testing.T) {
	_, s := open(t)
	now := time.Now().Truncate(time.Millisecond)
	one := contact.Endpoint{UID: "u1", Callsign: "A", User: "ann", Team: "Cyan", Role: "HQ", Groups: []string{"Blue", "Fire Dept"}, At: now}
	two := contact.Endpoint{UID: "u2' OR 1=1 --", Callsign: "B", User: "bob", Groups: []string{}, At: now.Add(-time.Hour)}
	again := one
	again.Callsign, again.At = "A2", now.Add(time.Second)
	ancient := contact.Endpoint{UID: "u3", Callsign: "C", User: "carol", Groups: []string{}, At: now.Add(-31 * 24 * time.Hour)}
	for _, batch := range [][]contact.Endpoint{nil, {one, two, ancient}, {one, again}} {
		if err := s.Left(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	for since, want := range map[time.Time][]contact.Endpoint{
		{}: {again, two}, now: {again}, now.Add(time.Minute): {},
	} {
		got, err := s.Endpoints(t.Context(), since)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Endpoints(%s) = %v (-want +got):\n%s", since, err, diff)
		}
	}
}

// What a device has switched off stays off after a restart.
func TestActive(t *testing.T) {
	db, s := open(t)
	in, out := []string{"Blue", "Red"}, []string{"Blue", "Green"}
	check := func(device, want string) {
		t.Helper()
		for _, store := range []*contact.Store{s, contact.New(db)} {
			i, o, err := store.Active(t.Context(), "ann", device, in, out)
			if got := strings.Join(i, ",") + " " + strings.Join(o, ","); got != want || err != nil {
				t.Errorf("Active(%q) = %s, %v; want %s", device, got, err, want)
			}
		}
	}
	set := func(device string, activeIn, activeOut []string) {
		t.Helper()
		if err := s.SetActive(t.Context(), "ann", device, in, out, activeIn, activeOut); err != nil {
			t.Fatal(err)
		}
	}
	chosen := func(want bool) {
		t.Helper()
		if got, err := s.Chosen(t.Context(), "ann"); got != want || err != nil {
			t.Errorf("Chosen = %v, %v; want %v", got, err, want)
		}
	}
	check("A", "Blue,Red Blue,Green")
	chosen(false)
	set("A", []string{"Red"}, nil)
	chosen(true)
	check("A", "Red ")
	check("B", "Blue,Red Blue,Green")
	check("", "Red ")
	set("B", in, out) // all, said
	check("", "Blue,Red Blue,Green")
	check("A", "Red ")
	set("", nil, []string{"Green"})
	for _, device := range []string{"", "A", "B"} {
		check(device, " Green")
	}
	if i, o, err := s.Active(t.Context(), "bob", "A", in, out); len(i) != 2 || len(o) != 2 || err != nil {
		t.Errorf("another user: %v %v %v", i, o, err)
	}
	set("", in, out)
	chosen(false)
	check("A", "Blue,Red Blue,Green")
	in = append(in, "White") // a new group is on
	check("A", "Blue,Red,White Blue,Green")
}

func TestManyLeave(t *testing.T) {
	_, s := open(t)
	gone := make([]contact.Endpoint, 3000)
	for i := range gone {
		gone[i] = contact.Endpoint{UID: fmt.Sprint("u", i), Callsign: "C", At: time.Now()}
	}
	if err := s.Left(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Endpoints(t.Context(), time.Time{}); len(got) != len(gone) || err != nil {
		t.Errorf("%d endpoints, %v; want %d", len(got), err, len(gone))
	}
}
