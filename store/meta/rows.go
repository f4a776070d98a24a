package meta

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// Row types, one per table. Times are Unix milliseconds.
type (
	// User is one account. Hash is a PHC string or bcrypt; empty means no password.
	User struct {
		bun.BaseModel `bun:"table:users"`

		Name      string `bun:",pk"`
		Role      string
		Hash      string
		Disabled  bool
		CreatedAt int64
		UpdatedAt int64
	}
	// RemovedUser keeps the name of a user that was removed.
	RemovedUser struct {
		bun.BaseModel `bun:"table:removed_users"`

		Name      string `bun:",pk"`
		RemovedAt int64
	}
	// Group is a group name and its bit, which stays with the name for ever.
	Group struct {
		bun.BaseModel `bun:"table:groups"`

		Name      string `bun:",pk"`
		Bit       int64
		Removed   bool
		CreatedAt int64
	}
	// Membership puts a user in a group in one direction, "in" or "out".
	Membership struct {
		bun.BaseModel `bun:"table:memberships"`

		UserName  string `bun:",pk"`
		GroupName string `bun:",pk"`
		Direction string `bun:",pk"`
	}
	// Certificate is one certificate that takd issued. RevokedAt 0 means valid.
	Certificate struct {
		bun.BaseModel `bun:"table:certificates"`

		Serial      string `bun:",pk"`
		Name        string
		Kind        string
		Fingerprint string
		NotBefore   int64
		NotAfter    int64
		IssuedAt    int64
		RevokedAt   int64
	}
	// ImportedCA is an authority of others whose clients are let in.
	ImportedCA struct {
		bun.BaseModel `bun:"table:imported_cas"`

		Fingerprint string `bun:",pk"`
		Subject     string
		PEM         string `bun:"pem"`
		NotAfter    int64
		AddedAt     int64
	}
	// AuditEntry says who did what.
	AuditEntry struct {
		bun.BaseModel `bun:"table:audit" json:"-"`

		ID     string `bun:",pk" json:"id"`
		At     int64  `json:"at"`
		Actor  string `json:"actor"`
		Action string `json:"action"`
		Detail string `json:"detail"`
	}
	setting struct {
		bun.BaseModel `bun:"table:settings"`

		Name  string `bun:",pk"`
		Value string
	}
)

// Setting reads a value; a missing one gives ErrNotFound.
func (db *DB) Setting(ctx context.Context, name string) (string, error) {
	var s setting
	err := db.NewSelect().Model(&s).Where("name = ?", name).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("setting %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return "", fmt.Errorf("setting %s: %w", name, err)
	}
	return s.Value, nil
}

// SetSetting stores a value, replacing an earlier one.
func (db *DB) SetSetting(ctx context.Context, name, value string) error {
	_, err := db.NewInsert().Model(&setting{Name: name, Value: value}).
		On("CONFLICT (name) DO UPDATE").Set("value = EXCLUDED.value").Exec(ctx)
	if err != nil {
		return fmt.Errorf("setting %s: %w", name, err)
	}
	return nil
}

// Audit appends one entry to the audit log. Long texts are cut at 4096 bytes.
func (db *DB) Audit(ctx context.Context, actor, action, detail string) error {
	const limit = 4096
	row := AuditEntry{
		ID: rand.Text(), At: time.Now().UnixMilli(),
		Actor: cut(actor, limit), Action: cut(action, limit), Detail: cut(detail, limit),
	}
	if _, err := db.NewInsert().Model(&row).Exec(ctx); err != nil {
		return fmt.Errorf("audit %s: %w", action, err)
	}
	return nil
}

// AuditLog returns the newest entries first, at most limit of them.
func (db *DB) AuditLog(ctx context.Context, limit int64) ([]AuditEntry, error) {
	rows := []AuditEntry{}
	if err := db.NewSelect().Model(&rows).Order("at DESC", "id").Limit(limit).Scan(ctx); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return rows, nil
}

// cut bounds a text and makes it storable: UTF-8 without NUL.
// cut bounds a text, and replaces what SQL text cannot hold: it may come from a client.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "\ufffd")
}
