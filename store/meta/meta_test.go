package meta

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"
)

func openTest(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestOpenKeepsData(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta ?a=b%20 #1.db") // the path must never become a parameter
	db := openTest(t, path)
	if err := db.SetSetting(t.Context(), "server_id", "one"); err != nil {
		t.Fatal(err)
	}
	if err := db.SetSetting(t.Context(), "server_id", "two"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openTest(t, path)
	if got, err := db.Setting(t.Context(), "server_id"); got != "two" || err != nil {
		t.Errorf("Setting = %q, %v; want two", got, err)
	}
	if _, err := db.Setting(t.Context(), "no such"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Setting(no such) = %v, want ErrNotFound", err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("mode of %s = %v, want 0600", name, fi.Mode().Perm())
		}
	}
}

func TestPragmas(t *testing.T) {
	db := openTest(t, filepath.Join(t.TempDir(), "meta.db"))
	tests := map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"}
	for name, want := range tests {
		var got string
		if err := db.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&got); err != nil || got != want {
			t.Errorf("PRAGMA %s = %q, %v; want %q", name, got, err, want)
		}
	}
}

func steps(n int) fstest.MapFS {
	files := fstest.MapFS{}
	for i := 1; i <= n; i++ {
		files[fmt.Sprintf("%04d_t.sql", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "CREATE TABLE t%d (v TEXT DEFAULT '?'); INSERT INTO t%d DEFAULT VALUES;", i, i)}
	}
	return files
}

func reopen(t *testing.T, path string, files fs.FS) error {
	t.Helper()
	db, err := open(t.Context(), path, nil, files)
	if err != nil {
		return err
	}
	return db.Close()
}

func copies(t *testing.T, path string) []string {
	t.Helper()
	found, err := filepath.Glob(path + ".v*.bak")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestMigrateForward(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	mine := path + ".v1-mine.bak" // an operator's own copy
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const last = keepBackups + 3
	for n := 1; n <= last; n++ {
		for range 2 { // the second time there is nothing to do and nothing to copy
			if err := reopen(t, path, steps(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	baks := copies(t, path)
	if len(baks) != keepBackups+1 {
		t.Fatalf("copies = %q, want the newest %d and %s", baks, keepBackups, mine)
	}
	// Each copy opens with the program that wrote it, and holds its data.
	for _, bak := range baks {
		if bak == mine {
			continue
		}
		fi, err := os.Stat(bak)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("mode of %s = %v, want 0600", bak, fi.Mode().Perm())
		}
		db, err := open(t.Context(), bak, nil, steps(last))
		if err != nil {
			t.Fatal(err)
		}
		var v string
		if err := db.NewRaw("SELECT v FROM t1").Scan(t.Context(), &v); err != nil || v != "?" {
			t.Errorf("t1 of %s = %q, %v; want ?", bak, v, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	if err := reopen(t, path, steps(3)); err != nil {
		t.Fatal(err)
	}
	err := reopen(t, path, steps(2))
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "schema 3, this takd knows up to 2") {
		t.Errorf("open = %v, want ErrNewer with both versions", err)
	}
	if baks := copies(t, path); len(baks) != 0 {
		t.Errorf("copies = %q, want none", baks)
	}
	if err := reopen(t, path, steps(3)); err != nil {
		t.Errorf("open with the newer program = %v", err)
	}
}

func TestFailedMigrationChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	if err := reopen(t, path, steps(1)); err != nil {
		t.Fatal(err)
	}
	bad := steps(2)
	bad["0003_bad.sql"] = &fstest.MapFile{Data: []byte("CREATE TABLE half (v TEXT); CREATE TABLE t1 (v TEXT);")}
	err := reopen(t, path, bad)
	if err == nil || !strings.Contains(err.Error(), "0003_bad.sql") {
		t.Fatalf("open = %v, want an error that names the step", err)
	}
	db, err := open(t.Context(), path, nil, steps(2))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.NewRaw("SELECT COUNT(*) FROM sqlite_master WHERE name = 'half'").Scan(t.Context(), &n); err != nil || n != 0 {
		t.Errorf("tables of the failed step = %d, %v; want 0", n, err)
	}
	if v, err := db.Version(t.Context()); v != 2 || err != nil {
		t.Errorf("Version = %d, %v; want 2", v, err)
	}
}

func TestMigrationNumbers(t *testing.T) {
	tests := map[string][]string{
		"gap":       {"0001_a.sql", "0003_b.sql"},
		"twice":     {"0001_a.sql", "0001_b.sql"},
		"no number": {"first.sql"},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			m := fstest.MapFS{}
			for _, f := range files {
				m[f] = &fstest.MapFile{}
			}
			if _, err := migrations(m); err == nil {
				t.Errorf("migrations(%q) = nil, want an error", files)
			}
		})
	}
}

// The command line may open the store beside a server.
func TestTwoWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	const n = 25
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			db, err := Open(context.Background(), path, nil) // both may be the one that makes the schema
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			for range n {
				err := db.Tx(context.Background(), func(ctx context.Context, tx bun.Tx) error {
					var have int
					if err := tx.NewRaw("SELECT COUNT(*) FROM audit").Scan(ctx, &have); err != nil {
						return err
					}
					_, err := tx.NewRaw("INSERT INTO audit (id, at, actor, action, detail) VALUES (?, 0, '', '', '')", fmt.Sprint(have)).Exec(ctx)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	rows, err := openTest(t, path).AuditLog(t.Context(), 1000)
	if err != nil || len(rows) != 2*n {
		t.Errorf("rows = %d, %v; want %d: no write may be lost", len(rows), err, 2*n)
	}
}

func TestForeignKeysHold(t *testing.T) {
	db := openTest(t, filepath.Join(t.TempDir(), "meta.db"))
	_, err := db.NewInsert().Model(&Membership{UserName: "nobody", GroupName: "__ANON__", Direction: "in"}).Exec(t.Context())
	if err == nil {
		t.Error("a membership of a missing user was stored")
	}
}

func TestAudit(t *testing.T) {
	db := openTest(t, filepath.Join(t.TempDir(), "meta.db"))
	hostile := `'; DROP TABLE audit; -- " UNION SELECT ?, ?0 \`
	if err := db.Audit(t.Context(), "admin", "user add", hostile); err != nil {
		t.Fatal(err)
	}
	if err := db.Audit(t.Context(), "admin", "long", strings.Repeat("ä", 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := db.Audit(t.Context(), "admin", "binary", "a\x00b\xff"); err != nil {
		t.Fatal(err)
	}
	rows, err := db.AuditLog(t.Context(), 10)
	if err != nil || len(rows) != 3 {
		t.Fatalf("AuditLog = %d rows, %v; want 3", len(rows), err)
	}
	for _, r := range rows {
		want := hostile
		switch r.Action {
		case "long":
			want = strings.Repeat("ä", 2048)
		case "binary":
			want = "a\ufffdb"
		}
		if diff := cmp.Diff(want, r.Detail); r.Actor != "admin" || r.At == 0 || diff != "" {
			t.Errorf("row %+v: %s", r, diff)
		}
	}
}

// Any text can be looked for and kept, and is a text.
func TestHostileTexts(t *testing.T) {
	db := openTest(t, filepath.Join(t.TempDir(), "meta.db"))
	for _, text := range []string{"a\x00b", "\x00", "\xff\xfe", `\x00`, "' OR 1=1 --", "?0 ?TableName", "\u2028"} {
		n, err := db.NewSelect().Model((*User)(nil)).Where("name = ?", text).Count(t.Context())
		if err != nil || n != 0 {
			t.Errorf("%q: %d, %v", text, n, err)
		}
		row := AuditEntry{ID: text, Action: text}
		if _, err := db.NewInsert().Model(&row).Exec(t.Context()); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestValidName(t *testing.T) {
	tests := map[string]struct {
		name string
		ok   bool
	}{
		"plain":             {"alice", true},
		"punctuation":       {"a.b-c_d@e (f)'s", true},
		"sql":               {`x'; DROP TABLE users; --`, true}, // harmless: names are only ever bound
		"unicode":           {"Jürgen 漢字", true},
		"longest":           {strings.Repeat("ä", MaxName), true},
		"empty":             {"", false},
		"too long":          {strings.Repeat("a", MaxName+1), false},
		"300":               {strings.Repeat("a", 300), false},
		"up":                {"../etc/passwd", false},
		"absolute":          {"/etc/passwd", false},
		"dots":              {"..", false},
		"hidden":            {".ssh", false},
		"backslash":         {`..\x`, false},
		"NUL":               {"a\x00b", false},
		"newline":           {"a\nb", false},
		"escape":            {"a\x1b[31m", false},
		"bidi":              {"a\u202eb", false},
		"zero width":        {"a\u200bb", false},
		"not UTF-8":         {"a\xff", false},
		"space at the end":  {"a ", false},
		"space at the head": {" a", false},
		"no-break space":    {"a\u00a0b", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := ValidName("user", tc.name)
			if (err == nil) != tc.ok || err != nil && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "user ")) {
				t.Errorf("ValidName(%q) = %v, want ok = %v", tc.name, err, tc.ok)
			}
		})
	}
}
