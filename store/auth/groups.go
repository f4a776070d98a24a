package auth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// firstBit is the first bit for named groups; __ANON__ has bit 2.
const firstBit = 3

// Group is a group with its bit, which stays with the name for ever, and the
// number of users in each direction.
type Group struct {
	Name    string    `json:"name"`
	Bit     int       `json:"bit"`
	In      int       `json:"in"`
	Out     int       `json:"out"`
	Created time.Time `json:"created"`
}

// AddGroup adds a group; an existing one gives ErrExists.
func (s *Service) AddGroup(ctx context.Context, name string) error {
	if err := meta.ValidName("group name", name); err != nil {
		return err
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		made, err := s.ensureGroup(ctx, tx, name)
		if err == nil && !made {
			err = ErrExists
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("add group %q: %w", name, err)
	}
	return nil
}

// Groups returns every group, by bit. Users in no group are not counted in __ANON__.
func (s *Service) Groups(ctx context.Context) ([]Group, error) {
	var rows []meta.Group
	if err := s.db.NewSelect().Model(&rows).Where("removed = ?", false).Order("bit").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read groups: %w", err)
	}
	var counts []struct {
		GroupName, Direction string
		Count                int
	}
	err := s.db.NewSelect().Model((*meta.Membership)(nil)).
		Column("group_name", "direction").ColumnExpr("COUNT(*) AS count").
		Group("group_name", "direction").Scan(ctx, &counts)
	if err != nil {
		return nil, fmt.Errorf("read groups: %w", err)
	}
	groups := make([]Group, 0, len(rows))
	for _, r := range rows {
		g := Group{Name: r.Name, Bit: int(r.Bit), Created: time.UnixMilli(r.CreatedAt).UTC()}
		for _, c := range counts {
			switch {
			case c.GroupName != r.Name:
			case c.Direction == dirIn:
				g.In = c.Count
			default:
				g.Out = c.Count
			}
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// RemoveGroup takes every user out of a group and removes it. Its bit is kept
// for its name. __ANON__ cannot be removed.
func (s *Service) RemoveGroup(ctx context.Context, name string) error {
	if err := meta.ValidName("group name", name); err != nil {
		return err
	}
	if name == Anonymous {
		return fmt.Errorf("%w: group %s cannot be removed", ErrInvalid, name)
	}
	var members []string
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Model((*meta.Group)(nil)).Set("removed = ?", true).
			Where("name = ?", name).Where("removed = ?", false).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return ErrNotFound
		}
		err = tx.NewSelect().Model((*meta.Membership)(nil)).Distinct().Column("user_name").
			Where("group_name = ?", name).Order("user_name").Scan(ctx, &members)
		if err != nil {
			return err
		}
		_, err = tx.NewDelete().Model((*meta.Membership)(nil)).Where("group_name = ?", name).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove group %q: %w", name, err)
	}
	s.changed(members...)
	return nil
}

// ensureGroup makes a group unless it is there, and tells whether it did. A name
// that had a bit before gets the same one.
func (s *Service) ensureGroup(ctx context.Context, tx bun.Tx, name string) (made bool, err error) {
	var row meta.Group
	err = tx.NewSelect().Model(&row).Where("name = ?", name).Scan(ctx)
	switch {
	case err == nil && !row.Removed:
		return false, nil
	case err == nil:
		_, err = tx.NewUpdate().Model((*meta.Group)(nil)).Set("removed = ?", false).Where("name = ?", name).Exec(ctx)
		return true, err
	case !errors.Is(err, sql.ErrNoRows):
		return false, err
	}
	var top int64
	if err := tx.NewSelect().Model((*meta.Group)(nil)).ColumnExpr("COALESCE(MAX(bit), 0)").Scan(ctx, &top); err != nil {
		return false, err
	}
	row = meta.Group{Name: name, Bit: max(top+1, firstBit), CreatedAt: s.now().UnixMilli()}
	_, err = tx.NewInsert().Model(&row).Exec(ctx)
	return true, err
}

// SetMember puts a user into a group in both directions, or out of it, and leaves
// its other groups alone. A group that does not exist is made.
func (s *Service) SetMember(ctx context.Context, user, group string, is bool) error {
	if err := errors.Join(meta.ValidName("user name", user), meta.ValidName("group name", group)); err != nil {
		return err
	}
	if group == Anonymous {
		return fmt.Errorf("%w: group %s: who is in it is who is in no other", ErrInvalid, Anonymous)
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := s.update(ctx, tx, user, Change{}, nil); err != nil {
			return err
		}
		if _, err := tx.NewDelete().Model((*meta.Membership)(nil)).Where("user_name = ?", user).Where("group_name = ?", group).Exec(ctx); err != nil || !is {
			return err
		}
		if _, err := s.ensureGroup(ctx, tx, group); err != nil {
			return err
		}
		rows := []meta.Membership{{UserName: user, GroupName: group, Direction: dirIn}, {UserName: user, GroupName: group, Direction: dirOut}}
		_, err := tx.NewInsert().Model(&rows).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("change user %q: %w", user, err)
	}
	s.changed(user)
	return nil
}

// setGroups replaces the groups of a user in one direction.
func (s *Service) setGroups(ctx context.Context, tx bun.Tx, user, direction string, groups []string) error {
	_, err := tx.NewDelete().Model((*meta.Membership)(nil)).
		Where("user_name = ?", user).Where("direction = ?", direction).Exec(ctx)
	if err != nil {
		return err
	}
	groups = slices.Compact(slices.Sorted(slices.Values(groups)))
	for _, g := range groups {
		if _, err := s.ensureGroup(ctx, tx, g); err != nil {
			return err
		}
		row := meta.Membership{UserName: user, GroupName: g, Direction: direction}
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}
