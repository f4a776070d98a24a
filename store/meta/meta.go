// Package meta holds the SQL side of the store: schema, migrations and row types
// of users, groups, certificates, settings and the audit log.
//
// The embedded database is SQLite in WAL mode, where a commit is on disk before
// it is reported. Queries go through bun and portable SQL, so that another
// database can run the same code. Nothing here knows of sockets or TLS.
package meta

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// Errors shared by the packages of the store.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrInvalid  = errors.New("invalid")
	// ErrNewer means that the database was written by a newer takd.
	ErrNewer = errors.New("database is newer than this takd")
)

// MaxName is the longest name of a user, group or certificate, in characters.
const MaxName = 64

// DB is an open metadata database. It is safe for concurrent use.
type DB struct {
	*bun.DB
	path string
	log  *slog.Logger
}

// Open opens the database at path, creates it if it is missing, and brings its
// schema up to date; an existing database is copied beside itself before that.
// A schema that is newer than this program gives ErrNewer and changes nothing.
func Open(ctx context.Context, path string, log *slog.Logger) (*DB, error) {
	sub, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, fmt.Errorf("embedded migrations: %w", err)
	}
	return open(ctx, path, log, sub)
}

func open(ctx context.Context, path string, log *slog.Logger, migrations fs.FS) (*DB, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("database path: %w", err)
	}
	// The file is made here so that it, its journal and its copies are never readable by others.
	f, err := os.OpenFile(abs, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	sqlDB, err := sql.Open("sqlite", dsn(abs))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", abs, err)
	}
	sqlDB.SetMaxOpenConns(4)
	sqlDB.SetMaxIdleConns(4)
	db := &DB{DB: bun.NewDB(sqlDB, dialect{sqlitedialect.New()}), path: abs, log: log}
	if err := db.migrate(ctx, migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", abs, err), db.Close())
	}
	return db, nil
}

// dialect writes texts that clients send. bun refuses a NUL and writes U+FFFD for
// what is no UTF-8; a NUL becomes that, too: it is in nothing that is kept, and who
// looks for it finds nothing, rather than an error.
type dialect struct{ *sqlitedialect.Dialect }

// AppendString implements schema.Dialect.
func (d dialect) AppendString(b []byte, s string) []byte {
	return d.Dialect.AppendString(b, strings.ReplaceAll(s, "\x00", "\ufffd"))
}

// busyTimeout is how long one writer waits for another.
const busyTimeout = 10 * time.Second

// dsn escapes the path, so that no character in it can add parameters.
func dsn(path string) string {
	u := url.URL{Scheme: "file", Path: path, RawQuery: strings.Join([]string{
		fmt.Sprintf("_pragma=busy_timeout(%d)", busyTimeout.Milliseconds()),
		"_pragma=journal_mode(WAL)",
		"_pragma=synchronous(FULL)",
		"_pragma=foreign_keys(1)",
		"_txlock=immediate", // writers queue at BEGIN instead of failing at their first write
	}, "&")}
	return u.String()
}

// Tx runs f in one transaction and commits it when f returns nil.
// f must use tx only: the database itself may be waiting for this transaction.
func (db *DB) Tx(ctx context.Context, f func(ctx context.Context, tx bun.Tx) error) error {
	return db.RunInTx(ctx, nil, f)
}

// ValidName checks the name of a user, group or certificate: 1 to 64 printable
// characters, no path separator, no leading dot, no space at either end.
// field names it in the error, which wraps ErrInvalid.
func ValidName(field, name string) error {
	bad := func(why string) error { return fmt.Errorf("%w: %s %q: %s", ErrInvalid, field, clip(name), why) }
	switch {
	case name == "":
		return bad("want 1 to 64 characters")
	case !utf8.ValidString(name):
		return bad("want UTF-8")
	case utf8.RuneCountInString(name) > MaxName:
		return bad("want at most 64 characters")
	case strings.ContainsAny(name, `/\`):
		return bad("want no path separators")
	case name[0] == '.':
		return bad("want no leading dot")
	case strings.TrimSpace(name) != name:
		return bad("want no space at the ends")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return bad("want printable characters only")
		}
	}
	return nil
}

// clip keeps hostile names from filling logs.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
