package auth

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// PrincipalForInvite tells who the holder of an invitation is, until it is over.
// It changes nothing: UseInvite does. An empty user takes whoever was invited;
// else the name must match, in any case.
//
// The caller has only been invited: the role is never more than readonly, and what
// it may call should be no more than enrollment.
//
// Errors: ErrNotFound (no such invitation, or for another user), ErrInviteUsed,
// ErrInviteExpired, ErrDisabled.
func (s *Service) PrincipalForInvite(ctx context.Context, user, token string) (Principal, error) {
	row, err := s.findInvite(ctx, s.db, user, token)
	if err != nil {
		return Principal{}, err
	}
	if err := row.open(s.now()); err != nil {
		return Principal{}, err
	}
	return s.invited(ctx, row)
}

// PrincipalForSpentInvite is for an invitation that is over, but gave somebody a
// certificate in the last minutes: ATAK fetches its profile with the same token,
// and forgets its certificate where that is refused. Such a token must open
// nothing else, and that only for the device that InviteSpentBy knows.
//
// Errors: those of PrincipalForInvite; ErrInviteUsed also while it is open.
func (s *Service) PrincipalForSpentInvite(ctx context.Context, user, token string) (Principal, error) {
	row, err := s.findInvite(ctx, s.db, user, token)
	if err != nil {
		return Principal{}, err
	}
	spent, err := s.recentUses(row).Exists(ctx)
	if err != nil {
		return Principal{}, fmt.Errorf("read invitation: %w", err)
	}
	if !spent {
		return Principal{}, fmt.Errorf("%w: for %q", ErrInviteUsed, row.UserName)
	}
	return s.invited(ctx, row)
}

// InviteSpentBy tells whether the device with clientUID got a certificate with an
// invitation in the last minutes. Clients that send no uid are any device.
func (s *Service) InviteSpentBy(ctx context.Context, token, clientUID string) (bool, error) {
	row, err := s.findInvite(ctx, s.db, "", token)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	q := s.recentUses(row)
	if clientUID != "" {
		q = q.Where("client_uid = ?", clientUID)
	}
	spent, err := q.Exists(ctx)
	if err != nil {
		return false, fmt.Errorf("read invitation: %w", err)
	}
	return spent, nil
}

func (s *Service) recentUses(row inviteRow) *bun.SelectQuery {
	return s.db.NewSelect().Model((*inviteUse)(nil)).Where("invite_id = ?", row.ID).Where("used_at >= ?", s.now().Add(-inviteTail).UnixMilli())
}

// inviteUse is a row of its table.
type inviteUse struct {
	bun.BaseModel `bun:"table:invite_uses"`

	ID        string `bun:",pk"`
	InviteID  string
	ClientUID string `bun:"client_uid"`
	UsedAt    int64
}

// invited is who a row is for, as far as the account goes.
func (s *Service) invited(ctx context.Context, row inviteRow) (Principal, error) {
	a, err := s.account(ctx, row.UserName, false)
	if err != nil {
		return Principal{}, err
	}
	if a.refused != nil {
		return Principal{}, a.refused
	}
	if !a.known {
		return Principal{}, fmt.Errorf("invitation: %w", ErrNotFound)
	}
	p := a.principal
	p.Role, p.In = RoleReadonly, nil
	return p, nil
}

// UseInvite takes one use of an invitation, for a certificate that is issued next
// to the device with clientUID.
// back gives it back where that fails. At its first use the user gets the groups
// of the invitation that still exist. Errors are those of PrincipalForInvite.
func (s *Service) UseInvite(ctx context.Context, user, token, clientUID string) (back func(context.Context) error, err error) {
	var row inviteRow
	use := inviteUse{ID: rand.Text(), ClientUID: clientUID}
	regrouped := false
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if row, err = s.findInvite(ctx, tx, user, token); err != nil {
			return err
		}
		var u meta.User
		if err := tx.NewSelect().Model(&u).Where("name = ?", row.UserName).Scan(ctx); err != nil {
			return err
		}
		if u.Disabled {
			return fmt.Errorf("%w: %q", ErrDisabled, row.UserName)
		}
		now := s.now()
		if err := row.open(now); err != nil {
			return err
		}
		if row.Uses == 0 && row.UsedAt == 0 {
			if regrouped, err = s.joinGroups(ctx, tx, row); err != nil {
				return err
			}
		}
		use.InviteID, use.UsedAt = row.ID, now.UnixMilli()
		if _, err := tx.NewInsert().Model(&use).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewUpdate().Model((*inviteRow)(nil)).Set("uses = uses + 1").Set("used_at = ?", now.UnixMilli()).
			Where("id = ?", row.ID).Exec(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("use invitation: %w", err)
	}
	if regrouped {
		s.changed(row.UserName)
	}
	return func(ctx context.Context) error {
		err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewDelete().Model(&use).WherePK().Exec(ctx); err != nil {
				return err
			}
			_, err := tx.NewUpdate().Model((*inviteRow)(nil)).Set("uses = uses - 1").Where("id = ?", row.ID).Where("uses > 0").Exec(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("give back invitation: %w", err)
		}
		return nil
	}, nil
}

// open tells why an invitation cannot be used any more.
func (r inviteRow) open(now time.Time) error {
	switch r.invite().State(now) {
	case "used":
		return fmt.Errorf("%w: for %q", ErrInviteUsed, r.UserName)
	case "expired":
		return fmt.Errorf("%w: for %q", ErrInviteExpired, r.UserName)
	}
	return nil
}

func (s *Service) findInvite(ctx context.Context, db bun.IDB, user, token string) (row inviteRow, err error) {
	if !LooksLikeInvite(token) {
		return row, fmt.Errorf("invitation: %w", ErrNotFound)
	}
	err = db.NewSelect().Model(&row).Where("token_hash = ?", inviteHash(token)).Scan(ctx)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return row, fmt.Errorf("invitation: %w", ErrNotFound)
	case err != nil:
		return row, fmt.Errorf("read invitation: %w", err)
	case user != "" && !strings.EqualFold(user, row.UserName):
		return row, fmt.Errorf("invitation for another user: %w", ErrNotFound)
	}
	return row, nil
}

// joinGroups adds the groups of an invitation to its user, and tells whether
// there were any. A group that was removed since stays removed.
func (s *Service) joinGroups(ctx context.Context, tx bun.Tx, row inviteRow) (joined bool, err error) {
	for direction, names := range map[string][]string{dirIn: lines(row.InGroups), dirOut: lines(row.OutGroups)} {
		for _, g := range names {
			exists, err := tx.NewSelect().Model((*meta.Group)(nil)).Where("name = ?", g).Where("removed = ?", false).Exists(ctx)
			if err != nil {
				return false, err
			}
			if !exists {
				continue
			}
			m := meta.Membership{UserName: row.UserName, GroupName: g, Direction: direction}
			_, err = tx.NewInsert().Model(&m).On("CONFLICT (user_name, group_name, direction) DO NOTHING").Exec(ctx)
			if err != nil {
				return false, err
			}
			joined = true
		}
	}
	return joined, nil
}
