package property

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// ErrExists says that something is there already, and is another's.
var ErrExists = meta.ErrExists

const (
	maxLayers = 1000
	maxLayer  = 64 << 10 // bytes of one
)

// Layer is a layer of maps. Everybody who is known sees it; its owner and
// administrators change it.
type Layer struct {
	bun.BaseModel `bun:"table:map_layers"`

	UID       string `bun:"uid,pk"`
	Owner     string // the user
	Body      string // JSON
	CreatedAt int64  // Unix milliseconds
}

// Layers returns all layers, by uid; only the one with the uid, where that is not "".
func (s *Store) Layers(ctx context.Context, uid string) ([]Layer, error) {
	all := []Layer{}
	q := s.db.NewSelect().Model(&all).Order("uid")
	if uid != "" {
		q = q.Where("uid = ?", uid)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("map layers: %w", err)
	}
	return all, nil
}

// PutLayer keeps a layer, or replaces that of the same owner: ErrExists where it is
// another's and the caller no administrator.
func (s *Store) PutLayer(ctx context.Context, l Layer, admin bool) error {
	if err := errors.Join(check("uid", l.UID, maxName), check("layer", l.Body, maxLayer)); err != nil {
		return err
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var old []Layer
		n, err := tx.NewSelect().Model((*Layer)(nil)).Count(ctx)
		if err == nil {
			err = tx.NewSelect().Model(&old).Where("uid = ?", l.UID).Scan(ctx)
		}
		switch {
		case err != nil:
			return err
		case len(old) == 0 && n >= maxLayers:
			return fmt.Errorf("%w: there are %d already", ErrInvalid, maxLayers)
		case len(old) == 0:
			l.CreatedAt = time.Now().UnixMilli()
			_, err = tx.NewInsert().Model(&l).Exec(ctx)
			return err
		case old[0].Owner != l.Owner && !admin:
			return fmt.Errorf("%q: %w", l.UID, ErrExists)
		}
		l.Owner, l.CreatedAt = old[0].Owner, old[0].CreatedAt
		_, err = tx.NewUpdate().Model(&l).WherePK().Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("map layer: %w", err)
	}
	return nil
}

// DeleteLayer removes a layer of that owner, or of anybody for an administrator:
// ErrNotFound where there is none.
func (s *Store) DeleteLayer(ctx context.Context, uid, owner string, admin bool) error {
	q := s.db.NewDelete().Model((*Layer)(nil)).Where("uid = ?", uid)
	if !admin {
		q = q.Where("owner = ?", owner)
	}
	gone, err := q.Exec(ctx)
	if err != nil {
		return fmt.Errorf("map layer: %w", err)
	}
	if n, err := gone.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, fmt.Errorf("map layer %q: %w", uid, ErrNotFound))
	}
	return nil
}
