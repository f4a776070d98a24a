package meta

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var embedded embed.FS

// Copies made before an upgrade: META.vVERSION-TIME.bak, the newest few are kept.
const (
	backupTime  = "20060102T150405.000"
	keepBackups = 3
)

// A migration is one forward step; there is no way back but the copy made before it.
type migration struct {
	version int
	name    string
	sql     string
}

// migrate brings the schema to the newest version in files, one transaction a step.
func (db *DB) migrate(ctx context.Context, files fs.FS) error {
	steps, err := migrations(files)
	if err != nil {
		return err
	}
	err = patiently(ctx, func() error {
		_, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)`)
		return err
	})
	if err != nil {
		return fmt.Errorf("schema version: %w", err)
	}
	have, err := db.Version(ctx)
	if err != nil {
		return err
	}
	newest := 0
	if len(steps) > 0 {
		newest = steps[len(steps)-1].version
	}
	if have > newest {
		return fmt.Errorf("%w: schema %d, this takd knows up to %d", ErrNewer, have, newest)
	}
	if have > 0 && have < newest {
		if err := db.backup(ctx, have); err != nil {
			return fmt.Errorf("copy before the upgrade: %w", err)
		}
	}
	for _, m := range steps {
		if m.version <= have {
			continue
		}
		if err := db.apply(ctx, m); err != nil {
			return fmt.Errorf("migration %s: %w", m.name, err)
		}
		db.log.Info("database migrated", "version", m.version, "migration", m.name)
	}
	return nil
}

// patiently repeats f while the database is busy, for as long as a writer waits.
// SQLite itself does not wait when somebody else has just made the file, changes
// it to WAL, or takes the WAL away as the last one to close it.
func patiently(ctx context.Context, f func() error) error {
	for end := time.Now().Add(busyTimeout); ; {
		err := f()
		var code interface{ Code() int }
		if !errors.As(err, &code) || code.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (db *DB) apply(ctx context.Context, m migration) error {
	return db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// Another process may have been faster.
		var done int
		if err := tx.NewRaw(`SELECT COUNT(*) FROM schema_version WHERE version = ?`, m.version).Scan(ctx, &done); err != nil {
			return err
		}
		if done > 0 {
			return nil
		}
		// Straight to the driver: bun would take a question mark in the file for a parameter.
		if _, err := tx.Tx.ExecContext(ctx, m.sql); err != nil {
			return err
		}
		_, err := tx.NewRaw(`INSERT INTO schema_version (version, applied_at) VALUES (?, ?)`, m.version, time.Now().UnixMilli()).Exec(ctx)
		return err
	})
}

// Version is the schema version of the database, 0 when it is empty.
func (db *DB) Version(ctx context.Context) (int, error) {
	var v int
	if err := db.NewRaw(`SELECT COALESCE(MAX(version), 0) FROM schema_version`).Scan(ctx, &v); err != nil {
		return 0, fmt.Errorf("schema version: %w", err)
	}
	return v, nil
}

// backup writes a consistent copy of the database beside it.
func (db *DB) backup(ctx context.Context, version int) error {
	name := fmt.Sprintf("%s.v%d-%s.bak", db.path, version, time.Now().UTC().Format(backupTime))
	if err := db.CopyTo(ctx, name); err != nil {
		return err
	}
	db.log.Info("database copied before its upgrade", "copy", name, "version", version)
	return db.prune()
}

// CopyTo writes the database as it is at one moment to a new file, readable by
// its owner only. Others may use the database meanwhile.
func (db *DB) CopyTo(ctx context.Context, name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	// VACUUM INTO takes an empty file, and so the copy keeps the mode given above.
	if _, err := db.NewRaw(`VACUUM INTO ?`, name).Exec(ctx); err != nil {
		return errors.Join(fmt.Errorf("copy database: %w", err), os.Remove(name))
	}
	return nil
}

// prune removes all but the newest copies. Only files that backup named count:
// a copy that the operator made beside the database stays.
func (db *DB) prune() error {
	entries, err := os.ReadDir(filepath.Dir(db.path))
	if err != nil {
		return err
	}
	type bak struct{ at, path string }
	var copies []bak
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), filepath.Base(db.path)+".v")
		if !ok {
			continue
		}
		_, rest, _ = strings.Cut(rest, "-")
		at, ok := strings.CutSuffix(rest, ".bak")
		if _, err := time.Parse(backupTime, at); !ok || err != nil {
			continue
		}
		copies = append(copies, bak{at: at, path: filepath.Join(filepath.Dir(db.path), e.Name())})
	}
	slices.SortFunc(copies, func(a, b bak) int { return strings.Compare(b.at, a.at) })
	for _, c := range copies[min(len(copies), keepBackups):] {
		if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// migrations reads the steps in order of their number: 0001_name.sql, 0002_name.sql.
func migrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	slices.Sort(names)
	steps := make([]migration, 0, len(names))
	for i, name := range names {
		number, _, _ := strings.Cut(name, "_")
		v, err := strconv.Atoi(number)
		if err != nil || v != i+1 {
			return nil, fmt.Errorf("migration %s: want number %04d", name, i+1)
		}
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		steps = append(steps, migration{version: v, name: name, sql: string(body)})
	}
	return steps, nil
}
