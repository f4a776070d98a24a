package blob_test

import (
	"fmt"
	"testing"

	"takd/store/blob"
)

// BenchmarkFindByName searches 100,000 files by a part of their names.
func BenchmarkFindByName(b *testing.B) {
	p := open(b, b.TempDir())
	const rows = 100_000
	_, err := p.db.ExecContext(b.Context(), `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < ?)
		INSERT INTO files (id, hash, uid, name, mime, size, submitted_at, submitter, creator_uid, keywords, groups, tool, remarks, expires)
		SELECT 1000000+i, printf('%064x', i), printf('uid-%d', i), printf('Package of team %d no %d.zip', i % 97, i), 'application/zip', 1000, 1700000000000+i, 'ann',
			'ANDROID-1', '["missionpackage"]', '["Blue"]', 'public', '', -1 FROM n`, rows)
	if err == nil {
		_, err = p.db.ExecContext(b.Context(), `INSERT INTO file_groups SELECT id, 'Blue' FROM files`)
	}
	if err != nil {
		b.Fatal(err)
	}
	viewer := blob.Viewer{User: "bob", Groups: []string{"Blue"}}
	for _, name := range []string{"no 77777", "team 13 ", "package", "nothing like it", "77"} {
		b.Run(fmt.Sprintf("%q", name), func(b *testing.B) {
			for b.Loop() {
				if _, err := p.Find(b.Context(), viewer, blob.Query{Name: name, Limit: 50}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
