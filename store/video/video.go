// Package video keeps video connections: what clients tell each other about
// where streams are to be had. It knows who sees a connection and who may change
// it; what is in one is the API's affair.
package video

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// Errors of this package.
var (
	ErrNotFound = meta.ErrNotFound
	ErrInvalid  = meta.ErrInvalid
	ErrExists   = meta.ErrExists // and is another's
)

// What is kept at most.
const (
	maxAll  = 10_000
	maxUID  = 255
	maxBody = 64 << 10
)

// Connection is one video connection.
type Connection struct {
	bun.BaseModel `bun:"table:videos"`

	UID       string   `bun:"uid,pk"`
	Owner     string   // the user
	Groups    []string `bun:"groups"` // who receives from one of them sees it
	Body      string
	CreatedAt int64 // Unix milliseconds
	Mine      bool  `bun:"mine,scanonly"` // the viewer may change it
}

// Viewer is who asks.
type Viewer struct {
	User   string
	Admin  bool
	Groups []string // that it receives from
}

// Store holds the connections of a server. It is safe for concurrent use.
type Store struct{ db *meta.DB }

// New returns the connections in db.
func New(db *meta.DB) *Store { return &Store{db} }

// mine is true for the owner, and not for who was given his name after him.
const mine = "(v.owner = ? AND v.created_at >= COALESCE((SELECT u.created_at FROM users AS u WHERE u.name = ?), 0)) AS mine"

// List returns what v may see, by uid; only the one with the uid, where that is not "".
func (s *Store) List(ctx context.Context, v Viewer, uid string) ([]Connection, error) {
	return list(ctx, s.db, v, uid)
}

func list(ctx context.Context, db bun.IDB, v Viewer, uid string) ([]Connection, error) {
	all := []Connection{}
	sel := db.NewSelect().Model(&all).ModelTableExpr("videos AS v").ColumnExpr("v.uid, v.owner, v.groups, v.body, v.created_at").ColumnExpr(mine, v.User, v.User).Order("v.uid")
	if uid != "" {
		sel = sel.Where("v.uid = ?", uid)
	}
	if err := sel.Scan(ctx); err != nil {
		return nil, fmt.Errorf("videos: %w", err)
	}
	return slices.DeleteFunc(all, func(c Connection) bool {
		return !v.Admin && !c.Mine && !slices.ContainsFunc(c.Groups, func(g string) bool { return slices.Contains(v.Groups, g) })
	}), nil
}

// Put keeps a connection, and replaces the one with its uid if v may change
// that: ErrExists otherwise. No groups means those of the one replaced.
func (s *Store) Put(ctx context.Context, v Viewer, c Connection) error {
	if c.UID == "" || len(c.UID) > maxUID || len(c.Body) > maxBody {
		return fmt.Errorf("%w: video: want a uid of at most %d bytes, and at most %d bytes in all", ErrInvalid, maxUID, maxBody)
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		n, err := tx.NewSelect().Model((*Connection)(nil)).Count(ctx)
		if err != nil {
			return err
		}
		old, err := list(ctx, tx, Viewer{User: v.User, Admin: true}, c.UID)
		switch {
		case err != nil:
			return err
		case len(old) == 0 && n >= maxAll:
			return fmt.Errorf("%w: there are %d already", ErrInvalid, maxAll)
		case len(old) == 0:
			c.Owner, c.CreatedAt = v.User, time.Now().UnixMilli()
		case !old[0].Mine && !v.Admin:
			return fmt.Errorf("%q: %w", c.UID, ErrExists)
		default:
			c.Owner, c.CreatedAt = old[0].Owner, old[0].CreatedAt
			if len(c.Groups) == 0 {
				c.Groups = old[0].Groups
			}
			if _, err := tx.NewDelete().Model(&c).WherePK().Exec(ctx); err != nil {
				return err
			}
		}
		if c.Groups == nil {
			c.Groups = []string{}
		}
		_, err = tx.NewInsert().Model(&c).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep video: %w", err)
	}
	return nil
}

// Delete removes a connection: ErrNotFound if v sees none, ErrExists if it is another's.
func (s *Store) Delete(ctx context.Context, v Viewer, uid string) error {
	found, err := s.List(ctx, v, uid)
	switch {
	case err != nil:
		return err
	case len(found) == 0 || uid == "":
		return fmt.Errorf("video: %w", ErrNotFound)
	case !found[0].Mine && !v.Admin:
		return fmt.Errorf("video: it is another's and %w", ErrExists)
	}
	if _, err := s.db.NewDelete().Model(&found[0]).WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("delete video: %w", err)
	}
	return nil
}
