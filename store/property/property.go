// Package property keeps what plugins and web clients note by uid, and the
// counters that they share. Everybody who is known reads and writes them, as on
// the official server: nothing secret belongs here.
package property

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// Errors of this package.
var (
	ErrNotFound = meta.ErrNotFound
	ErrInvalid  = meta.ErrInvalid
)

// What is kept at most.
const (
	maxRows      = 100_000 // of all uids together
	maxOfUID     = 1000    // values of one uid
	maxSequences = 10_000
	maxName      = 255  // bytes of a uid, a key
	maxValue     = 4096 // bytes
)

type row struct {
	bun.BaseModel `bun:"table:properties"`

	UID   string `bun:"uid,pk"`
	Name  string `bun:",pk"`
	Value string `bun:",pk"`
}

// Store holds the properties of a server. It is safe for concurrent use.
type Store struct{ db *meta.DB }

// New returns the properties in db.
func New(db *meta.DB) *Store { return &Store{db} }

func check(field, text string, limit int) error {
	if text == "" || len(text) > limit || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return fmt.Errorf("%w: %s: want UTF-8 of 1 to %d bytes without NUL", ErrInvalid, field, limit)
	}
	return nil
}

// UIDs returns every uid that has properties, sorted.
func (s *Store) UIDs(ctx context.Context) ([]string, error) {
	all := []string{}
	if err := s.db.NewRaw("SELECT DISTINCT uid FROM properties ORDER BY uid").Scan(ctx, &all); err != nil {
		return nil, fmt.Errorf("properties: %w", err)
	}
	return all, nil
}

// Of returns the values of a uid, by key, sorted; only those of one key where it
// is not "".
func (s *Store) Of(ctx context.Context, uid, key string) (map[string][]string, error) {
	var rows []row
	q := s.db.NewSelect().Model(&rows).Where("uid = ?", uid).Order("name", "value")
	if key != "" {
		q = q.Where("name = ?", key)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("properties: %w", err)
	}
	all := map[string][]string{}
	for _, r := range rows {
		all[r.Name] = append(all[r.Name], r.Value)
	}
	return all, nil
}

// Add adds a value to those of a key. One that is there already stays.
func (s *Store) Add(ctx context.Context, uid, key, value string) error {
	if err := errors.Join(check("uid", uid, maxName), check("key", key, maxName), check("value", value, maxValue)); err != nil {
		return err
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		all, err := tx.NewSelect().Model((*row)(nil)).Count(ctx)
		if err != nil {
			return err
		}
		own, err := tx.NewSelect().Model((*row)(nil)).Where("uid = ?", uid).Count(ctx)
		if err != nil {
			return err
		}
		if all >= maxRows || own >= maxOfUID {
			return fmt.Errorf("%w: want at most %d values of a uid, and %d in all", ErrInvalid, maxOfUID, maxRows)
		}
		_, err = tx.NewInsert().Model(&row{UID: uid, Name: key, Value: value}).On("CONFLICT DO NOTHING").Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("property: %w", err)
	}
	return nil
}

// Delete removes the values of a key, or all of the uid where it is "".
func (s *Store) Delete(ctx context.Context, uid, key string) error {
	q := s.db.NewDelete().Model((*row)(nil)).Where("uid = ?", uid)
	if key != "" {
		q = q.Where("name = ?", key)
	}
	if _, err := q.Exec(ctx); err != nil {
		return fmt.Errorf("properties: %w", err)
	}
	return nil
}

// Next counts a sequence on and returns its number: 1 at first, and none twice.
func (s *Store) Next(ctx context.Context, name string) (n int64, err error) {
	if err := check("key", name, maxName); err != nil {
		return 0, err
	}
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var all int
		if err := tx.NewRaw("SELECT COUNT(*) FROM sequences WHERE name <> ?", name).Scan(ctx, &all); err != nil {
			return err
		}
		if all >= maxSequences {
			return fmt.Errorf("%w: there are %d already", ErrInvalid, maxSequences)
		}
		return tx.NewRaw("INSERT INTO sequences (name, last) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET last = sequences.last + 1 RETURNING last", name).Scan(ctx, &n)
	})
	if err != nil {
		return 0, fmt.Errorf("sequence: %w", err)
	}
	return n, nil
}
