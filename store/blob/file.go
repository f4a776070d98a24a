package blob

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"
)

// Never is the Expires of what is kept until somebody deletes it.
const Never = -1

// What one file may be called and marked with.
const (
	maxText     = 1024 // bytes of uid, name, tool and so on
	maxKeywords = 64
	maxGroups   = 256
)

// File is what is known of one upload.
type File struct {
	bun.BaseModel `bun:"table:files"`

	ID         int64    `bun:",pk"`
	Hash       string   // SHA-256 in hex
	UID        string   `bun:"uid"`
	Name       string   //
	MIME       string   `bun:"mime"`
	Size       int64    //
	Submitted  int64    `bun:"submitted_at"` // Unix milliseconds
	Submitter  string   // the user
	CreatorUID string   `bun:"creator_uid"`
	Keywords   []string `bun:"keywords"` // as JSON
	Groups     []string `bun:"groups"`   // as JSON: who receives from one of them sees it
	Tool       string   // "public", "private"
	Remarks    string
	Expires    int64    // Unix seconds, or Never
	Lat        *float64 // nil where nobody said
	Lon        *float64
	Alt        *float64
}

type (
	groupRow struct {
		bun.BaseModel `bun:"table:file_groups"`

		FileID    int64  `bun:",pk"`
		GroupName string `bun:",pk"`
	}
	keywordRow struct {
		bun.BaseModel `bun:"table:file_keywords"`

		FileID  int64  `bun:",pk"`
		Keyword string `bun:",pk"`
	}
)

// Time is when it was uploaded.
func (f *File) Time() time.Time { return time.UnixMilli(f.Submitted).UTC() }

// check completes f and reports every field that cannot be kept.
func (f *File) check() error {
	if f.Submitted == 0 {
		f.Submitted = time.Now().UnixMilli()
	}
	if f.UID == "" {
		f.UID = f.Hash
	}
	f.Keywords, f.Groups = set(f.Keywords), set(f.Groups)
	var errs []error
	for _, t := range []struct{ field, text string }{
		{"uid", f.UID},
		{"name", f.Name},
		{"mime", f.MIME},
		{"creatorUid", f.CreatorUID},
		{"tool", f.Tool},
		{"remarks", f.Remarks},
		{"keywords", strings.Join(f.Keywords, "")},
	} {
		if len(t.text) > maxText || !utf8.ValidString(t.text) || strings.ContainsRune(t.text, 0) {
			errs = append(errs, fmt.Errorf("%w: %s: want UTF-8 of at most %d bytes without NUL", ErrInvalid, t.field, maxText))
		}
	}
	if ValidHash(f.UID) && f.UID != f.Hash {
		errs = append(errs, fmt.Errorf("%w: uid: it is the hash of another file", ErrInvalid))
	}
	if len(f.Keywords) > maxKeywords || len(f.Groups) > maxGroups {
		errs = append(errs, fmt.Errorf("%w: want at most %d keywords and %d groups", ErrInvalid, maxKeywords, maxGroups))
	}
	if f.Expires < Never {
		errs = append(errs, fmt.Errorf("%w: expiration %d: want Unix seconds, or -1", ErrInvalid, f.Expires))
	}
	if !within(f.Lat, 90) || !within(f.Lon, 180) || !within(f.Alt, 1e7) {
		errs = append(errs, fmt.Errorf("%w: latitude, longitude, altitude: want degrees and meters", ErrInvalid))
	}
	return errors.Join(errs...)
}

func within(v *float64, limit float64) bool { return v == nil || math.Abs(*v) <= limit }

// set sorts words and leaves out empty and repeated ones.
func set(words []string) []string {
	list := make([]string, 0, len(words))
	for _, w := range words {
		if w = strings.TrimSpace(w); w != "" {
			list = append(list, w)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// insertion is a row that waits to be written.
type insertion struct {
	f        *File
	replaced bool
	done     chan error
}

// insert writes a row and gives it its id. Rows that come at the same time share
// a transaction: each costs a wait for the disk.
func (s *Store) insert(ctx context.Context, f *File) (replaced bool, err error) {
	one := &insertion{f: f, done: make(chan error, 1)}
	s.queue.Lock()
	s.waiting = append(s.waiting, one)
	s.queue.Unlock()
	s.writing.Lock()
	s.queue.Lock()
	batch := s.waiting
	s.waiting = nil
	s.queue.Unlock()
	if len(batch) > 0 {
		err := s.db.Tx(context.WithoutCancel(ctx), func(ctx context.Context, tx bun.Tx) error {
			for _, one := range batch {
				if err := one.write(ctx, tx); err != nil {
					return err
				}
			}
			return nil
		})
		for _, one := range batch {
			one.done <- err
		}
	}
	s.writing.Unlock()
	return one.replaced, <-one.done
}

func (i *insertion) write(ctx context.Context, tx bun.Tx) error {
	f := i.f
	var old int64
	// + keeps SQLite from looking through all files of the submitter: by hash there are few.
	err := tx.NewSelect().Model((*File)(nil)).Column("id").Where("hash = ? AND +submitter = ? AND +uid = ? AND name = ? AND creator_uid = ?",
		f.Hash, f.Submitter, f.UID, f.Name, f.CreatorUID).Limit(1).Scan(ctx, &old)
	switch {
	case err == nil:
		i.replaced, f.ID = true, old
		_, err = tx.NewDelete().Model(f).WherePK().Exec(ctx)
	case errors.Is(err, sql.ErrNoRows):
		err = tx.NewRaw("UPDATE file_counter SET last = last + 1 WHERE one = 1 RETURNING last").Scan(ctx, &f.ID)
	}
	if err == nil {
		_, err = tx.NewInsert().Model(f).Exec(ctx)
	}
	if err == nil {
		err = writeSets(ctx, tx, f)
	}
	return err
}

// writeSets writes groups and keywords where queries find them.
func writeSets(ctx context.Context, tx bun.Tx, f *File) error {
	groups := make([]groupRow, 0, len(f.Groups))
	for _, g := range f.Groups {
		groups = append(groups, groupRow{FileID: f.ID, GroupName: g})
	}
	if len(groups) > 0 {
		if _, err := tx.NewInsert().Model(&groups).Exec(ctx); err != nil {
			return err
		}
	}
	words := make([]keywordRow, 0, len(f.Keywords))
	for _, k := range f.Keywords {
		words = append(words, keywordRow{FileID: f.ID, Keyword: k})
	}
	if len(words) == 0 {
		return nil
	}
	_, err := tx.NewInsert().Model(&words).Exec(ctx)
	return err
}
