package pki

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// Record is all that is known of one certificate.
type Record struct {
	Enrolled

	ID       int64 // of the certificate for clients that want a number: the first bits of its fingerprint
	DER      []byte
	Replaced bool // the same user and device have a newer one
}

// PEM is the certificate as text; "" where it was issued before it was kept.
func (r *Record) PEM() string {
	if len(r.DER) == 0 {
		return ""
	}
	return string(appendPEM(nil, r.DER))
}

// Hash is the fingerprint as openssl prints it: upper case with colons.
func (r *Record) Hash() string {
	var b strings.Builder
	for i := 0; i+2 <= len(r.Fingerprint); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(r.Fingerprint[i : i+2]))
	}
	return b.String()
}

// idDigits are the hex digits of a fingerprint that make an id: what a program
// that knows only floating-point numbers can hold.
const idDigits = 13

func recordID(fingerprint string) int64 {
	n, err := strconv.ParseInt(fingerprint[:min(len(fingerprint), idDigits)], 16, 64)
	if err != nil {
		return 0
	}
	return n
}

// Records returns the client certificates of a user, or all for "", newest first.
func (a *Authority) Records(ctx context.Context, user string) ([]Record, error) {
	var rows []certRow
	q := a.db.NewSelect().Model(&rows).Where("kind = ?", "client").Order("issued_at DESC", "serial")
	if user != "" {
		if err := meta.ValidName("user name", user); err != nil {
			return nil, err
		}
		q = q.Where("name = ?", user)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	all := make([]Record, 0, len(rows))
	newest := make(map[[2]string]bool, len(rows))
	for i := range rows {
		r := &rows[i]
		key := [2]string{r.Name, r.ClientUID}
		one := Record{
			Enrolled: Enrolled{Cert: fromRow(r.Certificate), ClientUID: r.ClientUID, Address: r.Address, ClientVersion: r.ClientVersion},
			ID:       recordID(r.Fingerprint), DER: r.DER, Replaced: r.ClientUID != "" && newest[key],
		}
		newest[key] = true
		all = append(all, one)
	}
	return all, nil
}

// Record returns the client certificate with a fingerprint, in any case and with
// or without colons; ErrNotFound where there is none.
func (a *Authority) Record(ctx context.Context, fingerprint string) (*Record, error) {
	clean := strings.ToLower(strings.ReplaceAll(fingerprint, ":", ""))
	if b, err := hex.DecodeString(clean); err != nil || len(b) != 32 {
		return nil, fmt.Errorf("%w: hash: want SHA-256 in hex", ErrInvalid)
	}
	var rows []certRow
	if err := a.db.NewSelect().Model(&rows).Where("fingerprint = ?", clean).Where("kind = ?", "client").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("certificate %s: %w", clean, ErrNotFound)
	}
	all, err := a.Records(ctx, rows[0].Name)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Fingerprint == clean {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("certificate %s: %w", clean, ErrNotFound)
}

// Forget takes expired certificates off the record, and returns how many it
// took. One that is still valid stays: it must remain known that it is revoked.
func (a *Authority) Forget(ctx context.Context, serials []string) (int, error) {
	if len(serials) == 0 {
		return 0, nil
	}
	res, err := a.db.NewDelete().Model((*meta.Certificate)(nil)).
		Where("serial IN (?)", bun.List(serials)).Where("not_after < ?", time.Now().UnixMilli()).Exec(ctx)
	if err != nil {
		return 0, fmt.Errorf("forget certificates: %w", err)
	}
	n, err := res.RowsAffected()
	return int(n), err
}
