package pki

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"path/filepath"
	"time"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// ImportServer presents a certificate that another authority issued: that of a
// server whose clients move here and trust no other. chain is its issuers, the
// root included. Whoever enrolls here from now on is told to trust it, too.
// It cannot be renewed here; RenewServer goes over to this authority's own.
func (a *Authority) ImportServer(ctx context.Context, cert *tls.Certificate, chain []*x509.Certificate) error {
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return fmt.Errorf("%w: server certificate: %w", ErrInvalid, err)
	}
	if time.Now().After(leaf.NotAfter) {
		return fmt.Errorf("%w: the server certificate expired on %s", ErrInvalid, leaf.NotAfter.Format(time.DateOnly))
	}
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("%w: the server certificate has no key", ErrInvalid)
	}
	key, err := keyPEM(signer)
	if err != nil {
		return err
	}
	text := join(key, certsPEM(append([]*x509.Certificate{leaf}, chain...)...))
	if _, err := tls.X509KeyPair(text, text); err != nil {
		return fmt.Errorf("%w: server certificate: %w", ErrInvalid, err)
	}
	if err := WriteFile(filepath.Join(a.dir, serverFile), text, 0o600); err != nil {
		return err
	}
	return a.Reload(ctx)
}

// foreign are the authorities of the server certificate where they are not this
// one: who connects has to trust them.
func (a *Authority) foreign() (all []*x509.Certificate) {
	server := a.ServerCertificate()
	if server == nil || server.Leaf.CheckSignatureFrom(a.ca) == nil {
		return nil
	}
	for _, der := range server.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			all = append(all, c)
		}
	}
	return all
}

// ImportRevoked refuses the certificates of another authority that it revoked.
func (a *Authority) ImportRevoked(ctx context.Context, list *x509.RevocationList) (n int, err error) {
	err = a.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, e := range list.RevokedCertificateEntries {
			row := meta.Certificate{
				Serial: e.SerialNumber.Text(16), Name: "", Kind: "client", Fingerprint: "imported-" + e.SerialNumber.Text(16),
				NotBefore: e.RevocationTime.UnixMilli(), NotAfter: time.Now().AddDate(20, 0, 0).UnixMilli(),
				IssuedAt: time.Now().UnixMilli(), RevokedAt: max(1, e.RevocationTime.UnixMilli()),
			}
			if e.SerialNumber.Cmp(big.NewInt(0)) <= 0 {
				continue
			}
			_, err := tx.NewInsert().Model(&row).On("CONFLICT (serial) DO UPDATE").Set("revoked_at = EXCLUDED.revoked_at").Exec(ctx)
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("import revoked certificates: %w", err)
	}
	return n, a.Reload(ctx)
}
