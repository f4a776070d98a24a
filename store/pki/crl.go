package pki

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"time"

	"takd/store/meta"
)

// crlLife is how long others may use a revocation list. takd itself never reads it.
const crlLife = 2 * 365 * 24 * time.Hour

// writeCRL writes the revoked certificates that have not expired to crl.pem,
// signed by the issuing intermediate, for proxies and other servers.
func (a *Authority) writeCRL(ctx context.Context) error {
	now := time.Now()
	var rows []meta.Certificate
	err := a.db.NewSelect().Model(&rows).Column("serial", "revoked_at").
		Where("revoked_at <> 0").Where("not_after > ?", now.UnixMilli()).Order("revoked_at", "serial").Scan(ctx)
	if err != nil {
		return fmt.Errorf("revoked certificates: %w", err)
	}
	list := &x509.RevocationList{Number: big.NewInt(now.UnixNano()), ThisUpdate: now, NextUpdate: now.Add(crlLife)}
	for _, r := range rows {
		serial, ok := new(big.Int).SetString(r.Serial, 16)
		if !ok {
			return fmt.Errorf("%w: serial %q", ErrInvalid, r.Serial)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.UnixMilli(r.RevokedAt)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.ca, a.key)
	if err != nil {
		return fmt.Errorf("sign revocation list: %w", err)
	}
	return WriteFile(filepath.Join(a.dir, crlFile), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600)
}
