package pki

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"takd/store/meta"
)

// MaxOrg is the longest organisation name, in bytes: the names of the
// authorities are made of it, and X.509 bounds them to 64.
const MaxOrg = 40

// Init makes an authority in dir, which must not exist: root, issuing
// intermediate, and a certificate for this server under hosts, to which
// localhost and the loopback addresses are added. own, where there is one, takes the
// place of a new root.
func Init(ctx context.Context, dir string, db *meta.DB, org string, hosts []string, own *Own) error {
	if org == "" {
		org = "takd"
	}
	if err := ValidOrg(org); err != nil {
		return err
	}
	sans, err := serverNames(hosts)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make pki directory: %w", err)
	}
	authorities := makeCAs
	if own != nil {
		authorities = own.write
	}
	root, ca, err := authorities(dir, org)
	if err != nil {
		return err
	}
	key, err := readKey(filepath.Join(dir, issuerKey))
	if err != nil {
		return err
	}
	a := &Authority{dir: dir, db: db, log: discard(), root: root, ca: ca, key: key}
	name := sans[0]
	if len(name) > meta.MaxName {
		name = "takd"
	}
	issued, err := a.IssueServer(ctx, name, sans)
	if err != nil {
		return err
	}
	serverKey, err := keyPEM(issued.Key)
	if err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, serverFile), join(serverKey, issued.CertPEM()), 0o600)
}

// ValidOrg reports why org cannot be in the names of the authorities.
func ValidOrg(org string) error {
	if err := meta.ValidName("organisation", org); err != nil || len(org) > MaxOrg {
		return fmt.Errorf("%w: organisation %q: want 1 to %d printable characters", ErrInvalid, org, MaxOrg)
	}
	return nil
}

// ValidHosts reports why a server cannot have a certificate for hosts.
func ValidHosts(hosts []string) error {
	_, err := serverNames(hosts)
	return err
}

// serverNames adds the names of this machine to itself, and leaves doubles out.
func serverNames(hosts []string) ([]string, error) {
	var sans []string
	for _, h := range append(slices.Clone(hosts), "localhost", "127.0.0.1", "::1") {
		if !slices.Contains(sans, h) {
			sans = append(sans, h)
		}
	}
	return sans, setServer(&x509.Certificate{}, sans)
}

// makeCAs writes root and issuing intermediate. RSA with SHA-256 throughout:
// every client in the field verifies it.
func makeCAs(dir, org string) (root, ca *x509.Certificate, err error) {
	rootTmpl, err := authority("Root CA", org, rootLife)
	if err != nil {
		return nil, nil, err
	}
	rootTmpl.IsCA, rootTmpl.MaxPathLen = true, 1
	rootTmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	rootSigner, err := newKey(true)
	if err != nil {
		return nil, nil, err
	}
	if root, err = sign(rootTmpl, rootTmpl, rootSigner.Public(), rootSigner); err != nil {
		return nil, nil, err
	}
	ca, caSigner, err := makeIssuer(root, rootSigner, org)
	if err != nil {
		return nil, nil, err
	}
	rootPEM, err := keyPEM(rootSigner)
	if err != nil {
		return nil, nil, err
	}
	caPEM, err := keyPEM(caSigner)
	if err != nil {
		return nil, nil, err
	}
	for name, data := range map[string][]byte{
		rootKey: rootPEM, rootCert: certsPEM(root), issuerKey: caPEM, issuerCert: certsPEM(ca),
	} {
		if err := WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, nil, err
		}
	}
	return root, ca, nil
}

// authority begins a certificate of one. Its name is unique, since browsers and
// Windows tell authorities, and whose client certificates to offer, by name.
func authority(kind, org string, life time.Duration) (*x509.Certificate, error) {
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("make authority name: %w", err)
	}
	return template(fmt.Sprintf("%s %s %x", org, kind, id), org, life)
}

// makeIssuer makes an issuing authority below root, with a name of its own, that ends
// no later.
func makeIssuer(root *x509.Certificate, rootKey crypto.Signer, org string) (*x509.Certificate, crypto.Signer, error) {
	tmpl, err := authority("Issuing CA", org, issuerLife)
	if err != nil {
		return nil, nil, err
	}
	if tmpl.NotAfter.After(root.NotAfter) {
		tmpl.NotAfter = root.NotAfter
	}
	if tmpl.NotBefore.Before(root.NotBefore) {
		tmpl.NotBefore = root.NotBefore
	}
	tmpl.IsCA, tmpl.MaxPathLenZero = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	key, err := newKey(true)
	if err != nil {
		return nil, nil, err
	}
	ca, err := sign(tmpl, root, key.Public(), rootKey)
	return ca, key, err
}
