package pki

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// Cert describes one certificate that was issued here.
type Cert struct {
	Serial      string    `json:"serial"` // lower-case hex without leading zeros
	Name        string    `json:"name"`
	Kind        string    `json:"kind"`        // "client" or "server"
	Fingerprint string    `json:"fingerprint"` // SHA-256, lower-case hex
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Issued      time.Time `json:"issued"`
	Revoked     time.Time `json:"revoked,omitzero"` // zero: not revoked
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newRow(c *x509.Certificate, kind string) meta.Certificate {
	return meta.Certificate{
		Serial: Serial(c), Name: c.Subject.CommonName, Kind: kind, Fingerprint: Fingerprint(c),
		NotBefore: c.NotBefore.UnixMilli(), NotAfter: c.NotAfter.UnixMilli(), IssuedAt: time.Now().UnixMilli(),
	}
}

func fromRow(r meta.Certificate) Cert {
	c := Cert{
		Serial: r.Serial, Name: r.Name, Kind: r.Kind, Fingerprint: r.Fingerprint,
		NotBefore: time.UnixMilli(r.NotBefore).UTC(), NotAfter: time.UnixMilli(r.NotAfter).UTC(),
		Issued: time.UnixMilli(r.IssuedAt).UTC(),
	}
	if r.RevokedAt != 0 {
		c.Revoked = time.UnixMilli(r.RevokedAt).UTC()
	}
	return c
}

// List returns every certificate ever issued, newest first.
func (a *Authority) List(ctx context.Context) ([]Cert, error) {
	var rows []meta.Certificate
	if err := a.db.NewSelect().Model(&rows).Order("issued_at DESC", "serial").Scan(ctx); err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	certs := make([]Cert, 0, len(rows))
	for _, r := range rows {
		certs = append(certs, fromRow(r))
	}
	return certs, nil
}

// Revoke revokes the certificate with that serial or, where there is none, every
// client certificate of that name, and returns those that were valid before.
// Nothing of either kind gives ErrNotFound; already revoked ones give no error.
// The revocation list for other programs, crl.pem, is written anew.
func (a *Authority) Revoke(ctx context.Context, serialOrName string) ([]Cert, error) {
	return a.revoke(ctx, serialOrName, true)
}

// RevokeName is Revoke for a name only: a user may be called like another's serial.
func (a *Authority) RevokeName(ctx context.Context, name string) ([]Cert, error) {
	return a.revoke(ctx, name, false)
}

func (a *Authority) revoke(ctx context.Context, serialOrName string, bySerial bool) ([]Cert, error) {
	if !utf8.ValidString(serialOrName) || strings.ContainsRune(serialOrName, 0) {
		return nil, fmt.Errorf("%w: certificate %q: want UTF-8", ErrInvalid, serialOrName)
	}
	a.mu.Lock()
	rows, err := a.revokeRows(ctx, serialOrName, bySerial)
	if err == nil {
		set := maps.Clone(*a.revoked.Load())
		for _, r := range rows {
			set[r.Serial] = struct{}{}
		}
		a.revoked.Store(&set)
		if err := a.writeCRL(ctx); err != nil { // the revocation holds without it
			a.log.Error("revocation list not written", "error", err)
		}
	}
	hooks := a.onRevoke
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	certs := make([]Cert, 0, len(rows))
	for _, r := range rows {
		certs = append(certs, fromRow(r))
		a.log.Info("certificate revoked", "name", r.Name, "serial", r.Serial)
		for _, f := range hooks {
			f(r.Serial)
		}
	}
	return certs, nil
}

func (a *Authority) revokeRows(ctx context.Context, serialOrName string, bySerial bool) ([]meta.Certificate, error) {
	var fresh []meta.Certificate
	err := a.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var rows []meta.Certificate
		if bySerial {
			err := tx.NewSelect().Model(&rows).Where("serial = ?", normalSerial(serialOrName)).Scan(ctx)
			if err != nil {
				return err
			}
		}
		if len(rows) == 0 {
			err := tx.NewSelect().Model(&rows).Where("name = ?", serialOrName).Where("kind = ?", "client").Scan(ctx)
			if err != nil {
				return err
			}
		}
		if len(rows) == 0 {
			return ErrNotFound
		}
		now := time.Now().UnixMilli()
		for _, r := range rows {
			if r.RevokedAt != 0 {
				continue
			}
			r.RevokedAt = now
			if _, err := tx.NewUpdate().Model(&r).Column("revoked_at").WherePK().Exec(ctx); err != nil {
				return err
			}
			fresh = append(fresh, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("revoke certificate %q: %w", serialOrName, err)
	}
	return fresh, nil
}

// normalSerial takes a serial as other programs print it: upper case, colons, leading zeros.
func normalSerial(s string) string {
	s = strings.ToLower(strings.ReplaceAll(s, ":", ""))
	return strings.TrimLeft(strings.TrimPrefix(s, "0x"), "0")
}
