package letter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"takd/store/letter"
	"takd/store/meta"
)

func open(t *testing.T, path string) (*letter.Box, *meta.DB) {
	t.Helper()
	db, err := meta.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return letter.Open(db, nil), db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var now = time.Date(2026, 5, 4, 3, 2, 1, 234e6, time.UTC)

func letters(ids ...int64) []letter.Letter {
	var all []letter.Letter
	for _, id := range ids {
		all = append(all, letter.Letter{
			ID: id, User: "o'brien", UID: "ANDROID-1", Callsign: `"; DROP TABLE letters;--?`, Sender: "bob",
			Groups: []string{"Blue", `Red"\?`}, XML: fmt.Appendf(nil, "<event uid='%d'>\x00\xff?</event>", id),
			Format: 1, KeptAt: now.Add(time.Duration(id) * time.Second), Expires: now.Add(time.Hour),
		})
	}
	return all
}

func expect(t *testing.T, b *letter.Box, want []letter.Letter) {
	t.Helper()
	got, err := b.All(t.Context())
	must(t, err)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("All (-want +got):\n%s", diff)
	}
}

func TestLettersComeBackInOrder(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "meta.db")
	b, db := open(t, path)
	must(t, b.Add(ctx, letters(30, 7)))
	must(t, b.Add(ctx, letters(11)))
	must(t, b.Add(ctx, nil))
	expect(t, b, letters(7, 11, 30))
	must(t, b.Remove(ctx, []int64{11, 99}))
	must(t, b.Remove(ctx, nil))
	must(t, db.Close())
	b, _ = open(t, path)
	expect(t, b, letters(7, 30))
}

// More letters than fit one statement: all or none.
func TestAllOrNone(t *testing.T) {
	ctx := t.Context()
	b, _ := open(t, filepath.Join(t.TempDir(), "meta.db"))
	ids := make([]int64, 1050)
	for i := range ids {
		ids[i] = int64(i + 1)
	}
	all := letters(ids...)
	if err := b.Add(ctx, append(letters(ids[:700]...), letters(700)...)); err == nil {
		t.Error("an id was taken twice")
	}
	expect(t, b, nil)
	must(t, b.Add(ctx, all))
	expect(t, b, all)
	must(t, b.Remove(ctx, ids[1:]))
	expect(t, b, all[:1])
}

// What Add returned for is there after a crash: the files are taken as they
// lie, with the database still open.
func TestLettersSurviveAKill(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	b, _ := open(t, filepath.Join(dir, "meta.db"))
	absent := []letter.Absentee{{User: "eve", UID: "u", Callsign: "EVE", Groups: []string{"Blue"}, LeftAt: now}}
	must(t, b.Add(ctx, letters(1, 2, 3)))
	must(t, b.SaveAbsentees(ctx, absent))
	must(t, b.Remove(ctx, []int64{2}))
	crashed := t.TempDir()
	for _, name := range []string{"meta.db", "meta.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(crashed, name), data, 0o600))
	}
	b, _ = open(t, filepath.Join(crashed, "meta.db"))
	expect(t, b, letters(1, 3))
	got, err := b.Absentees(ctx)
	if diff := cmp.Diff(absent, got); err != nil || diff != "" {
		t.Errorf("Absentees: %v (-want +got):\n%s", err, diff)
	}
}

func TestAbsentees(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "meta.db")
	b, db := open(t, path)
	a := letter.Absentee{User: "a", UID: "1", Callsign: "A1", Groups: []string{"Blue"}, LeftAt: now}
	a2 := letter.Absentee{User: "a", UID: "2", Callsign: "A2", Groups: []string{}, LeftAt: now.Add(time.Second)}
	c := letter.Absentee{User: "c", UID: "1", Callsign: "C", Groups: []string{}, LeftAt: now.Add(2 * time.Second)}
	must(t, b.SaveAbsentees(ctx, []letter.Absentee{c, a2, a}))
	a.Callsign, a.Groups = "A1 new", []string{"Red", "Blue"}
	must(t, b.SaveAbsentees(ctx, []letter.Absentee{{User: "a", UID: "1"}, a})) // the last one counts
	must(t, b.RemoveAbsentees(ctx, []letter.Key{{User: "c", UID: "1"}, {User: "c", UID: "2"}, {User: "nobody", UID: "1"}}))
	must(t, b.RemoveAbsentees(ctx, nil))
	must(t, db.Close())
	b, _ = open(t, path)
	got, err := b.Absentees(ctx)
	if diff := cmp.Diff([]letter.Absentee{a, a2}, got); err != nil || diff != "" {
		t.Errorf("Absentees: %v (-want +got):\n%s", err, diff)
	}
}
