// Package pki is takd's certificate authority: a root, an issuing intermediate,
// the server's certificate, and the certificates of clients.
//
// Keys and authorities are PEM files (0600) in one directory (0700); what was
// issued and revoked is in the metadata database. Whatever the TLS handshake
// asks is answered from memory without a lock.
package pki

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"takd/store/meta"
)

// Errors of this package.
var (
	ErrNotFound = meta.ErrNotFound
	ErrExists   = meta.ErrExists
	ErrInvalid  = meta.ErrInvalid
)

// Files of the directory. The server's key and chain share one file, so that a
// renewal replaces both at once.
const (
	rootCert   = "root.pem"
	rootKey    = "root.key"
	issuerCert = "issuing.pem"
	issuerKey  = "issuing.key"
	serverFile = "server.pem"
	crlFile    = "crl.pem"
)

// Authority issues and revokes certificates. It is safe for concurrent use.
type Authority struct {
	dir  string
	db   *meta.DB
	log  *slog.Logger
	root *x509.Certificate
	ca   *x509.Certificate // the issuing intermediate
	key  crypto.Signer     // of ca

	server  atomic.Pointer[tls.Certificate]
	pool    atomic.Pointer[x509.CertPool]
	revoked atomic.Pointer[map[string]struct{}]

	mu       sync.Mutex // serialises changes; never held while a hook runs
	onRevoke []func(serial string)
	onCA     []func()
}

// Open loads the authority of dir, which Init made.
func Open(ctx context.Context, dir string, db *meta.DB, log *slog.Logger) (*Authority, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a := &Authority{dir: dir, db: db, log: log}
	var err error
	if a.root, err = readCert(filepath.Join(dir, rootCert)); err != nil {
		return nil, err
	}
	if a.ca, err = readCert(filepath.Join(dir, issuerCert)); err != nil {
		return nil, err
	}
	if a.key, err = readKey(filepath.Join(dir, issuerKey)); err != nil {
		return nil, err
	}
	if !samePublicKey(a.key.Public(), a.ca.PublicKey) {
		return nil, fmt.Errorf("%w: %s does not belong to %s", ErrInvalid, issuerKey, issuerCert)
	}
	if err := a.ca.CheckSignatureFrom(a.root); err != nil {
		return nil, fmt.Errorf("%s is not signed by %s: %w", issuerCert, rootCert, err)
	}
	for _, name := range []string{rootKey, issuerKey, serverFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().Perm()&0o077 != 0 {
			log.Warn("key file can be read by others", "file", filepath.Join(dir, name), "mode", info.Mode().Perm().String())
		}
	}
	if err := a.Reload(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Reload reads the server certificate, the imported authorities and the
// revocations again. On an error what was loaded before stays in use.
func (a *Authority) Reload(ctx context.Context) error {
	a.mu.Lock()
	server, err := readServer(filepath.Join(a.dir, serverFile))
	if err != nil {
		a.mu.Unlock()
		return err
	}
	pool, err := a.loadPool(ctx)
	if err != nil {
		a.mu.Unlock()
		return err
	}
	revoked, err := a.loadRevoked(ctx)
	if err != nil {
		a.mu.Unlock()
		return err
	}
	a.server.Store(server)
	changed := a.pool.Load() != nil && !a.pool.Load().Equal(pool)
	a.pool.Store(pool)
	var fresh []string
	if old := a.revoked.Load(); old != nil {
		for serial := range revoked {
			if _, known := (*old)[serial]; !known {
				fresh = append(fresh, serial)
			}
		}
	}
	a.revoked.Store(&revoked)
	onRevoke, onCA := a.onRevoke, a.onCA
	a.mu.Unlock()
	for _, serial := range fresh {
		for _, f := range onRevoke {
			f(serial)
		}
	}
	if changed {
		for _, f := range onCA {
			f()
		}
	}
	return nil
}

// ServerCertificate is what the server presents. It is swapped whole on renewal
// and must not be changed.
func (a *Authority) ServerCertificate() *tls.Certificate { return a.server.Load() }

// ClientCAs is the pool that client certificates are checked against: root,
// issuing intermediate (ATAK sends only its leaf) and imported authorities.
// It is replaced, never changed; see OnCAChange.
func (a *Authority) ClientCAs() *x509.CertPool { return a.pool.Load() }

// IsRevoked tells whether the serial (as Serial writes it) is revoked. It takes no lock.
func (a *Authority) IsRevoked(serial string) bool {
	_, revoked := (*a.revoked.Load())[serial]
	return revoked
}

// OnRevoke calls f with each serial after it was revoked.
func (a *Authority) OnRevoke(f func(serial string)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.onRevoke = append(a.onRevoke[:len(a.onRevoke):len(a.onRevoke)], f)
}

// OnCAChange calls f after the pool of ClientCAs was replaced.
func (a *Authority) OnCAChange(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.onCA = append(a.onCA[:len(a.onCA):len(a.onCA)], f)
}

// CAPEM is the root and the issuing intermediate, as clients need them, and the
// authorities of the server certificate where they are others.
func (a *Authority) CAPEM() []byte { return certsPEM(a.trusted()...) }

func (a *Authority) trusted() []*x509.Certificate {
	return append([]*x509.Certificate{a.root, a.ca}, a.foreign()...)
}

// TruststoreP12 is CAPEM as PKCS#12 in the form that every Android reads.
func (a *Authority) TruststoreP12(password string) ([]byte, error) {
	return truststore(password, a.trusted()...)
}

// Fingerprint is the SHA-256 of a certificate in lower-case hex.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Serial is the text form of a certificate's serial: lower-case hex, no leading zeros.
func Serial(c *x509.Certificate) string { return c.SerialNumber.Text(16) }

func (a *Authority) loadPool(ctx context.Context) (*x509.CertPool, error) {
	var rows []meta.ImportedCA
	if err := a.db.NewSelect().Model(&rows).Scan(ctx); err != nil {
		return nil, fmt.Errorf("imported authorities: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	pool.AddCert(a.ca)
	for _, row := range rows {
		if !pool.AppendCertsFromPEM([]byte(row.PEM)) {
			return nil, fmt.Errorf("%w: imported authority %q", ErrInvalid, row.Subject)
		}
	}
	return pool, nil
}

func (a *Authority) loadRevoked(ctx context.Context) (map[string]struct{}, error) {
	var serials []string
	err := a.db.NewSelect().Model((*meta.Certificate)(nil)).Column("serial").Where("revoked_at <> 0").Scan(ctx, &serials)
	if err != nil {
		return nil, fmt.Errorf("revoked certificates: %w", err)
	}
	set := make(map[string]struct{}, len(serials))
	for _, s := range serials {
		set[s] = struct{}{}
	}
	return set, nil
}

// ImportCA admits clients whose certificates come from other authorities: one
// or more CA certificates as PEM. A client is who its certificate's common name
// says, so an imported authority is trusted with every user name.
func (a *Authority) ImportCA(ctx context.Context, pemData []byte) error {
	certs, err := parseCAs(pemData)
	if err != nil {
		return err
	}
	for _, c := range certs {
		row := meta.ImportedCA{
			Fingerprint: Fingerprint(c), Subject: c.Subject.String(), PEM: string(certsPEM(c)),
			NotAfter: c.NotAfter.UnixMilli(), AddedAt: time.Now().UnixMilli(),
		}
		if _, err := a.db.NewInsert().Model(&row).On("CONFLICT (fingerprint) DO NOTHING").Exec(ctx); err != nil {
			return fmt.Errorf("import %s: %w", row.Subject, err)
		}
	}
	return a.Reload(ctx)
}

func parseCAs(pemData []byte) ([]*x509.Certificate, error) {
	const limit = 1 << 20
	if len(pemData) > limit {
		return nil, fmt.Errorf("%w: authority file: %d bytes, want at most %d", ErrInvalid, len(pemData), limit)
	}
	certs, err := parseCerts(pemData)
	if err != nil {
		return nil, fmt.Errorf("authority file: %w", err)
	}
	var errs []error
	for _, c := range certs {
		switch {
		case !c.BasicConstraintsValid || !c.IsCA:
			errs = append(errs, fmt.Errorf("%w: %s is not an authority", ErrInvalid, c.Subject))
		case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
			errs = append(errs, fmt.Errorf("%w: %s may not sign certificates", ErrInvalid, c.Subject))
		case time.Now().After(c.NotAfter):
			errs = append(errs, fmt.Errorf("%w: %s expired on %s", ErrInvalid, c.Subject, c.NotAfter.Format(time.DateOnly)))
		}
	}
	return certs, errors.Join(errs...)
}
