package pki

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"takd/store/meta"
)

// Lifetimes. That of a server counts from notBefore, half a day ago: by public
// rules it is at most 398 days, and Apple refuses more than 825.
const (
	rootLife     = 20 * 365 * 24 * time.Hour
	issuerLife   = 15 * 365 * 24 * time.Hour
	ServerLife   = 397 * 24 * time.Hour
	ClientLife   = 730 * 24 * time.Hour
	clockSkew    = 12 * time.Hour // devices in the field run on wrong clocks and zones
	maxSANs      = 64
	maxSANLength = 253
)

// IssueOptions says how a client certificate is made.
type IssueOptions struct {
	// ECDSA makes a P-256 key, hundreds of times faster than the default RSA-2048
	// that every client accepts.
	ECDSA bool
	// Validity is its lifetime from now; 0 means ClientLife.
	Validity time.Duration

	clientUID, address string // of the device that asks for it
}

// Issued is a new certificate with its key, which is kept nowhere else.
type Issued struct {
	Cert
	Leaf  *x509.Certificate
	Chain []*x509.Certificate // issuing intermediate
	Key   crypto.Signer
	root  *x509.Certificate
}

// IssueClient makes a certificate that lets its holder in as the user name.
func (a *Authority) IssueClient(ctx context.Context, name string, o IssueOptions) (*Issued, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	if o.Validity == 0 {
		o.Validity = ClientLife
	}
	if o.Validity < 0 {
		return nil, fmt.Errorf("%w: certificate validity %s: want more than 0", ErrInvalid, o.Validity)
	}
	tmpl, err := template(name, a.org(), o.Validity)
	if err != nil {
		return nil, err
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	if !o.ECDSA {
		tmpl.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(ctx, tmpl, "client", !o.ECDSA, o)
}

// validName checks a certificate's name, which also names its files.
func validName(name string) error {
	if err := meta.ValidName("certificate name", name); err != nil {
		return err
	}
	for _, taken := range []string{"ca", "truststore"} {
		if strings.EqualFold(name, taken) {
			return fmt.Errorf("%w: certificate name %q: WriteFiles has a file of that name", ErrInvalid, name)
		}
	}
	return nil
}

// IssueServer makes a server certificate for sans: host names and IP addresses.
func (a *Authority) IssueServer(ctx context.Context, name string, sans []string) (*Issued, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	tmpl, err := template(name, a.org(), ServerLife-clockSkew)
	if err != nil {
		return nil, err
	}
	if err := setServer(tmpl, sans); err != nil {
		return nil, err
	}
	return a.issue(ctx, tmpl, "server", false, IssueOptions{})
}

// RenewServer replaces the certificate that this server presents, live. Without
// sans it keeps those of the present one; this machine's own names are added.
func (a *Authority) RenewServer(ctx context.Context, sans []string) error {
	leaf := a.ServerCertificate().Leaf
	name := ""
	if len(sans) == 0 {
		name = leaf.Subject.CommonName
		sans = slices.Clone(leaf.DNSNames)
		for _, ip := range leaf.IPAddresses {
			sans = append(sans, ip.String())
		}
	}
	sans, err := serverNames(sans)
	if err != nil {
		return err
	}
	if name == "" {
		name = sans[0]
	}
	if validName(name) != nil {
		name = "takd"
	}
	issued, err := a.IssueServer(ctx, name, sans)
	if err != nil {
		return err
	}
	key, err := keyPEM(issued.Key)
	if err != nil {
		return err
	}
	if err := WriteFile(filepath.Join(a.dir, serverFile), join(key, issued.CertPEM()), 0o600); err != nil {
		return err
	}
	return a.Reload(ctx)
}

func (a *Authority) org() string {
	if o := a.ca.Subject.Organization; len(o) > 0 {
		return o[0]
	}
	return ""
}

func (a *Authority) issue(ctx context.Context, tmpl *x509.Certificate, kind string, useRSA bool, o IssueOptions) (*Issued, error) {
	if tmpl.NotAfter.After(a.ca.NotAfter) {
		tmpl.NotAfter = a.ca.NotAfter
	}
	key, err := newKey(useRSA)
	if err != nil {
		return nil, err
	}
	leaf, err := sign(tmpl, a.ca, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	row := newRow(leaf, kind)
	if err := a.record(ctx, row, leaf, device{uid: o.clientUID, address: o.address}); err != nil {
		return nil, err
	}
	a.log.Info("certificate issued", "name", row.Name, "kind", kind, "serial", row.Serial, "not_after", leaf.NotAfter)
	return &Issued{Cert: fromRow(row), Leaf: leaf, Chain: []*x509.Certificate{a.ca}, Key: key, root: a.root}, nil
}

// CertPEM is the leaf followed by its chain, without the root.
func (i *Issued) CertPEM() []byte {
	return certsPEM(append([]*x509.Certificate{i.Leaf}, i.Chain...)...)
}

// KeyPEM is the private key, unencrypted.
func (i *Issued) KeyPEM() ([]byte, error) { return keyPEM(i.Key) }

// P12 is key, leaf and chain as PKCS#12 (3DES, SHA-1 MAC); an empty password means DefaultPassword.
func (i *Issued) P12(password string) ([]byte, error) {
	if password == "" {
		password = DefaultPassword
	}
	der, err := pkcs12.LegacyDES.Encode(i.Key, i.Leaf, i.Chain, password)
	if err != nil {
		return nil, fmt.Errorf("encode %s.p12: %w", i.Name, err)
	}
	return der, nil
}

// WriteFiles writes NAME.pem (leaf and chain), NAME.key, NAME.p12, ca.pem and
// truststore.p12 to dir, as the function WriteFiles does. An empty p12password
// means DefaultPassword.
func (i *Issued) WriteFiles(dir, p12password string) error {
	key, err := i.KeyPEM()
	if err != nil {
		return err
	}
	p12, err := i.P12(p12password)
	if err != nil {
		return err
	}
	cas := append([]*x509.Certificate{i.root}, i.Chain...)
	trust, err := truststore(p12password, cas...)
	if err != nil {
		return err
	}
	_, err = WriteFiles(dir, map[string][]byte{
		i.Name + ".key": key, i.Name + ".pem": i.CertPEM(), i.Name + ".p12": p12,
		"ca.pem": certsPEM(cas...), "truststore.p12": trust,
	})
	return err
}

func newKey(useRSA bool) (crypto.Signer, error) {
	if useRSA {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		return key, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// template is a certificate with a 128-bit random serial that is valid from half a day ago.
func template(name, org string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("make serial: %w", err)
	}
	subject := pkix.Name{CommonName: name}
	if org != "" {
		subject.Organization = []string{org}
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(life),
		BasicConstraintsValid: true,
	}, nil
}

// setServer makes tmpl a server certificate. It cannot log in as a client: its
// name would be taken for a user's.
func setServer(tmpl *x509.Certificate, sans []string) error {
	if len(sans) == 0 || len(sans) > maxSANs {
		return fmt.Errorf("%w: server names: %d, want 1 to %d", ErrInvalid, len(sans), maxSANs)
	}
	for _, san := range sans {
		if ip := net.ParseIP(san); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
			continue
		}
		if !validHost(san) {
			return fmt.Errorf("%w: server name %q: want a host name or an IP address", ErrInvalid, san)
		}
		tmpl.DNSNames = append(tmpl.DNSNames, san)
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return nil
}

func validHost(s string) bool {
	if s == "" || len(s) > maxSANLength {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(s, "*."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}

func sign(tmpl, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate %s: %w", tmpl.Subject.CommonName, err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sign certificate %s: %w", tmpl.Subject.CommonName, err)
	}
	return c, nil
}
