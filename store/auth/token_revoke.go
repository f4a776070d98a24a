package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// pruneEvery is after how many more revoked tokens those that expired are dropped.
const pruneEvery = 256

// revokedRow and floorRow are rows of their tables.
type (
	revokedRow struct {
		bun.BaseModel `bun:"table:revoked_tokens"`

		ID        string `bun:",pk"`
		UserName  string
		ExpiresAt int64
	}
	floorRow struct {
		bun.BaseModel `bun:"table:token_floors"`

		UserName  string `bun:",pk"`
		NotBefore int64
	}
)

// load reads what was revoked and still matters.
func (t *Tokens) load(ctx context.Context) error {
	var revoked []revokedRow
	var floors []floorRow
	err := t.s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		now := t.s.now()
		if _, err := tx.NewDelete().Model((*revokedRow)(nil)).Where("expires_at <= ?", now.UnixMilli()).Exec(ctx); err != nil {
			return err
		}
		// Every token from before it has expired.
		over := now.Add(-MaxTokenLife).UnixMilli()
		if _, err := tx.NewDelete().Model((*floorRow)(nil)).Where("not_before < ?", over).Exec(ctx); err != nil {
			return err
		}
		if err := tx.NewSelect().Model(&revoked).Scan(ctx); err != nil {
			return err
		}
		return tx.NewSelect().Model(&floors).Scan(ctx)
	})
	if err != nil {
		return fmt.Errorf("read revoked tokens: %w", err)
	}
	t.revoked, t.count, t.floors = make(map[string]revokedToken), make(map[string]int), make(map[string]int64)
	for _, r := range revoked {
		t.revoked[r.ID] = revokedToken{UserName: r.UserName, ExpiresAt: r.ExpiresAt}
		t.count[r.UserName]++
	}
	for _, f := range floors {
		t.floors[f.UserName] = f.NotBefore
	}
	return nil
}

// Revoke ends one token, as logging out does. A token that is worth nothing
// already gives no error; one that was never ours gives ErrBadToken.
func (t *Tokens) Revoke(ctx context.Context, token string) error {
	c, err := t.parse(token)
	if err != nil {
		return err
	}
	t.mu.Lock()
	if len(t.revoked)%pruneEvery == pruneEvery-1 || t.count[c.Subject] >= maxRevoked {
		t.prune()
	}
	full := t.count[c.Subject] >= maxRevoked
	if _, known := t.revoked[c.ID]; !known && !full {
		t.revoked[c.ID] = revokedToken{UserName: c.Subject, ExpiresAt: c.Expires * 1000}
		t.count[c.Subject]++
	}
	t.mu.Unlock()
	if full { // what is remembered of one user is bounded
		return t.RevokeUser(ctx, c.Subject)
	}
	err = t.s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		now := t.s.now().UnixMilli()
		if _, err := tx.NewDelete().Model((*revokedRow)(nil)).Where("expires_at <= ?", now).Exec(ctx); err != nil {
			return err
		}
		row := revokedRow{ID: c.ID, UserName: c.Subject, ExpiresAt: c.Expires * 1000}
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (id) DO NOTHING").Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	return nil
}

// RevokeUser ends every token that a user has now.
func (t *Tokens) RevokeUser(ctx context.Context, user string) error {
	t.mu.Lock()
	floor := max(t.s.now().UnixMilli(), t.floors[user])
	t.floors[user] = floor
	for id, r := range t.revoked { // the floor covers them
		if r.UserName == user {
			t.drop(id)
		}
	}
	t.mu.Unlock()
	err := t.s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		row := floorRow{UserName: user, NotBefore: floor}
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (user_name) DO UPDATE").Set("not_before = EXCLUDED.not_before").Exec(ctx)
		if err != nil {
			return err
		}
		_, err = tx.NewDelete().Model((*revokedRow)(nil)).Where("user_name = ?", user).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke tokens of %q: %w", shorten(user), err)
	}
	return nil
}

// changed is told of every change of an account. Tokens of one that is refused or
// gone must not come back to life together with it.
func (t *Tokens) changed(user string) {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := t.s.account(ctx, user, false)
	if err == nil && a.known && a.refused == nil {
		return
	}
	if err == nil {
		err = t.RevokeUser(ctx, user)
	}
	if err != nil {
		t.s.log.Error("access tokens not revoked", "user", user, "error", err)
	}
}

func (t *Tokens) floor(user string) int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.floors[user]
}

// prune forgets what has expired. The caller holds mu.
func (t *Tokens) prune() {
	now := t.s.now().UnixMilli()
	for id, r := range t.revoked {
		if r.ExpiresAt <= now {
			t.drop(id)
		}
	}
}

// drop forgets one revoked token. The caller holds mu.
func (t *Tokens) drop(id string) {
	user := t.revoked[id].UserName
	delete(t.revoked, id)
	if t.count[user]--; t.count[user] <= 0 {
		delete(t.count, user)
	}
}
