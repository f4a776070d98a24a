package blob_test

import (
	"testing"

	"takd/store/blob"
)

// A part of a name finds it, few or many have it, in the index or without; what
// is deleted is not found any more.
func TestFindByPartOfName(t *testing.T) {
	p := open(t, t.TempDir())
	f := p.must("ann", "apples", blob.File{Name: `Äpfel "rot" OR 50%.zip`})
	_, err := p.db.ExecContext(t.Context(), `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i < 599)
		INSERT INTO files (id, hash, uid, name, mime, size, submitted_at, submitter, creator_uid, keywords, groups, tool, remarks, expires)
		SELECT 1000000+i, printf('%064x', i), '', printf('many-%d', i), '', 1, 1700000000000, 'ann', '', '[]', '[]', '', '', -1 FROM n`)
	if err != nil {
		t.Fatal(err)
	}
	viewer := blob.Viewer{User: "ann"}
	found := func(name string, want int) {
		t.Helper()
		files, err := p.Find(t.Context(), viewer, blob.Query{Name: name})
		n, counted := p.Count(t.Context(), viewer, blob.Query{Name: name})
		if err != nil || counted != nil || len(files) != want || n != want {
			t.Errorf("%q: %d found (%v), %d counted (%v), want %d", name, len(files), err, n, counted, want)
		}
	}
	for name, want := range map[string]int{
		"äpf": 1, "ÄPF": 1, `"rot"`: 1, `" OR "`: 0, "OR 50%": 1, "%.zip": 1, "50_": 0, "fe": 1, "MANY-": 600, "any-59": 11, "x\x00yz": 0, "*": 0, "many*": 0, "name:m": 0,
	} {
		found(name, want)
	}
	if err := p.Delete(t.Context(), f.ID); err != nil {
		t.Fatal(err)
	}
	found("äpf", 0)
}
