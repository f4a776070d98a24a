// Package letter keeps chat for clients that are away, and who is away, so that
// a restart of the server loses neither.
//
// A letter is on disk when Add returns. How many letters there are, how long
// they are kept and who gets them is decided by the caller, who holds them in
// memory too. Nothing here starts goroutines.
package letter

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// Letter is one event that waits for the client UID of User.
type Letter struct {
	ID       int64 // given by the caller: unique, and growing with time
	User     string
	UID      string
	Callsign string
	Sender   string   // user or uid of who sent it
	Groups   []string // of the sender
	XML      []byte
	Format   int // of the event, as the caller counts formats
	KeptAt   time.Time
	Expires  time.Time
}

// Key names a client that is away.
type Key struct{ User, UID string }

// Absentee is a client that is away.
type Absentee struct {
	User     string
	UID      string
	Callsign string
	Groups   []string // those that it receives from
	LeftAt   time.Time
}

// Times are Unix milliseconds.
type (
	letterRow struct {
		bun.BaseModel `bun:"table:letters"`

		ID       int64 `bun:",pk"`
		UserName string
		UID      string `bun:"uid"`
		Callsign string
		Sender   string
		Groups   []string `bun:"groups"` // as JSON
		Event    []byte
		Format   int
		KeptAt   int64
		Expires  int64
	}
	absenteeRow struct {
		bun.BaseModel `bun:"table:absentees"`

		UserName string `bun:",pk"`
		UID      string `bun:"uid,pk"`
		Callsign string
		Groups   []string `bun:"groups"` // as JSON
		LeftAt   int64
	}
)

// chunk is how many rows one statement holds.
const chunk = 100

// Box holds the letters of a server. It is safe for concurrent use.
type Box struct {
	db  *meta.DB
	log *slog.Logger
}

// Open returns the box in db. log may be nil.
func Open(db *meta.DB, log *slog.Logger) *Box {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Box{db: db, log: log}
}

// Add keeps letters, all or none. When it returns nil they are on disk.
func (b *Box) Add(ctx context.Context, letters []Letter) error {
	rows := make([]letterRow, 0, len(letters))
	for _, l := range letters {
		rows = append(rows, letterRow{
			ID: l.ID, UserName: l.User, UID: l.UID, Callsign: l.Callsign, Sender: l.Sender, Groups: orEmpty(l.Groups),
			Event: append([]byte{}, l.XML...), Format: l.Format, KeptAt: l.KeptAt.UnixMilli(), Expires: l.Expires.UnixMilli(),
		})
	}
	err := b.chunks(ctx, len(rows), func(ctx context.Context, tx bun.Tx, from, to int) error {
		some := rows[from:to]
		_, err := tx.NewInsert().Model(&some).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep letters: %w", err)
	}
	return nil
}

// Remove forgets letters that were delivered or are not wanted any more. Ids
// that are not there are no error.
func (b *Box) Remove(ctx context.Context, ids []int64) error {
	err := b.chunks(ctx, len(ids), func(ctx context.Context, tx bun.Tx, from, to int) error {
		_, err := tx.NewDelete().Model((*letterRow)(nil)).Where("id IN (?)", bun.List(ids[from:to])).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove letters: %w", err)
	}
	return nil
}

// All returns every letter, expired ones too, in the order of their ids.
func (b *Box) All(ctx context.Context) ([]Letter, error) {
	var rows []letterRow
	if err := b.db.NewSelect().Model(&rows).Order("id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read letters: %w", err)
	}
	letters := make([]Letter, 0, len(rows))
	for _, r := range rows {
		letters = append(letters, Letter{
			ID: r.ID, User: r.UserName, UID: r.UID, Callsign: r.Callsign, Sender: r.Sender, Groups: orEmpty(r.Groups),
			XML: r.Event, Format: r.Format, KeptAt: time.UnixMilli(r.KeptAt).UTC(), Expires: time.UnixMilli(r.Expires).UTC(),
		})
	}
	if len(letters) > 0 {
		b.log.Debug("letters read", "letters", len(letters))
	}
	return letters, nil
}

// SaveAbsentees keeps who is away, all or none; a client that is known already
// gets the new values.
func (b *Box) SaveAbsentees(ctx context.Context, absentees []Absentee) error {
	rows := make([]absenteeRow, 0, len(absentees))
	at := make(map[Key]int, len(absentees)) // one statement must not name a row twice
	for _, a := range absentees {
		r := absenteeRow{UserName: a.User, UID: a.UID, Callsign: a.Callsign, Groups: orEmpty(a.Groups), LeftAt: a.LeftAt.UnixMilli()}
		if i, double := at[Key{a.User, a.UID}]; double {
			rows[i] = r
			continue
		}
		at[Key{a.User, a.UID}] = len(rows)
		rows = append(rows, r)
	}
	err := b.chunks(ctx, len(rows), func(ctx context.Context, tx bun.Tx, from, to int) error {
		some := rows[from:to]
		_, err := tx.NewInsert().Model(&some).On("CONFLICT (user_name, uid) DO UPDATE").
			Set("callsign = EXCLUDED.callsign").Set("groups = EXCLUDED.groups").Set("left_at = EXCLUDED.left_at").Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("save absent clients: %w", err)
	}
	return nil
}

// RemoveAbsentees forgets clients that are back, or away for too long.
func (b *Box) RemoveAbsentees(ctx context.Context, keys []Key) error {
	err := b.chunks(ctx, len(keys), func(ctx context.Context, tx bun.Tx, from, to int) error {
		q := tx.NewDelete().Model((*absenteeRow)(nil))
		for _, k := range keys[from:to] {
			q = q.WhereOr("(user_name = ? AND uid = ?)", k.User, k.UID)
		}
		_, err := q.Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove absent clients: %w", err)
	}
	return nil
}

// Absentees returns who is away, in the order in which they left.
func (b *Box) Absentees(ctx context.Context) ([]Absentee, error) {
	var rows []absenteeRow
	if err := b.db.NewSelect().Model(&rows).Order("left_at", "user_name", "uid").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read absent clients: %w", err)
	}
	all := make([]Absentee, 0, len(rows))
	for _, r := range rows {
		all = append(all, Absentee{
			User: r.UserName, UID: r.UID, Callsign: r.Callsign, Groups: orEmpty(r.Groups), LeftAt: time.UnixMilli(r.LeftAt).UTC(),
		})
	}
	return all, nil
}

// chunks runs f over n rows, some at a time, in one transaction.
func (b *Box) chunks(ctx context.Context, n int, f func(ctx context.Context, tx bun.Tx, from, to int) error) error {
	if n == 0 {
		return nil
	}
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for from := 0; from < n; from += chunk {
			if err := f(ctx, tx, from, min(from+chunk, n)); err != nil {
				return err
			}
		}
		return nil
	})
}

// orEmpty is a copy that is never nil: NULL is no list.
func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return slices.Clone(s)
}
