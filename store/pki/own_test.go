package pki_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"takd/store/meta"
	"takd/store/pki"
)

// authority is one that somebody brings.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// brought makes an authority, signed by parent or by itself.
func brought(t *testing.T, name string, key crypto.Signer, parent *authority, change func(*x509.Certificate)) *authority {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name),
	}
	if change != nil {
		change(tmpl)
	}
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	by := &authority{tmpl, key}
	if parent != nil {
		by = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func block(typ string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
}

func (a *authority) certPEM() string { return block("CERTIFICATE", a.cert.Raw) }

func (a *authority) keyPEM(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

// What is brought signs, and of a root the key does not stay.
func TestOwnAuthority(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	root := brought(t, "Our Root", rsaKey, nil, nil)
	issuing := brought(t, "Our Issuing", nil, root, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	ecDER, err := x509.MarshalECPrivateKey(issuing.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ cert, key string }{
		"root":    {root.certPEM(), root.keyPEM(t)},
		"PKCS#1":  {"some text\n" + root.certPEM(), block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))},
		"issuing": {issuing.certPEM() + root.certPEM(), block("EC PRIVATE KEY", ecDER)},
	} {
		t.Run(name, func(t *testing.T) {
			own, err := pki.ParseOwn([]byte(c.cert), []byte(c.key), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			db, err := meta.Open(t.Context(), filepath.Join(t.TempDir(), "meta.db"), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			s := site{db: db, dir: filepath.Join(t.TempDir(), "pki")}
			if err := pki.Init(t.Context(), s.dir, db, "Org", []string{"tak.example.com"}, own); err != nil {
				t.Fatal(err)
			}
			s.Authority = s.open(t)
			pool := x509.NewCertPool()
			pool.AddCert(root.cert)
			below := x509.NewCertPool()
			leaf := s.issue(t, "alice", pki.IssueOptions{})
			for _, c := range leaf.Chain {
				below.AddCert(c)
			}
			if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: below, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Error(err)
			}
			if leaf.Leaf.NotAfter.After(root.cert.NotAfter) {
				t.Errorf("it ends on %s, after its root", leaf.Leaf.NotAfter)
			}
			if _, err := s.Revoke(t.Context(), leaf.Serial); err != nil { // which signs a list
				t.Error(err)
			}
			if name != "issuing" {
				files, _ := filepath.Glob(filepath.Join(s.dir, "*"))
				for _, f := range files {
					if text, err := os.ReadFile(f); err != nil || strings.Contains(string(text), root.keyPEM(t)) {
						t.Errorf("%s has the root's key, or: %v", f, err)
					}
				}
			}
		})
	}
}

// What cannot be used is refused with the field and the reason, and without the key.
func TestOwnAuthorityIsRefused(t *testing.T) {
	root := brought(t, "Root", nil, nil, nil)
	issuing := brought(t, "Issuing", nil, root, nil)
	third := brought(t, "Third", nil, issuing, nil)
	changed := func(change func(*x509.Certificate)) *authority { return brought(t, "Bad", nil, nil, change) }
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own := func(a *authority) [2]string { return [2]string{a.certPEM(), a.keyPEM(t)} }
	now := time.Now()
	for want, c := range map[string][2]string{
		"ca_cert: is not a CA":                       own(changed(func(c *x509.Certificate) { c.IsCA = false })),
		"ca_cert: has expired":                       own(changed(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0) })),
		"ca_cert: is not valid before":               own(changed(func(c *x509.Certificate) { c.NotBefore = now.AddDate(0, 1, 0) })),
		"ca_cert: want at least 30 days":             own(changed(func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, 20) })),
		"ca_cert: keyCertSign and cRLSign":           own(changed(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })),
		"ca_cert: path length 0":                     own(changed(func(c *x509.Certificate) { c.MaxPathLenZero = true })),
		"ca_cert: not valid":                         own(changed(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} })),
		"ca_cert: RSA of at least":                   own(brought(t, "Edwards", edwards, nil, nil)),
		"ca_cert: put that certificate":              own(issuing),
		"ca_cert: 3 certificates":                    {third.certPEM() + issuing.certPEM() + root.certPEM(), third.keyPEM(t)},
		"ca_cert: authority first":                   {root.certPEM() + issuing.certPEM(), root.keyPEM(t)},
		"ca_cert: PEM certificates alone":            {root.keyPEM(t), root.keyPEM(t)},
		"ca_cert: no PEM certificate":                {"nothing", root.keyPEM(t)},
		"ca_cert: want at most":                      {strings.Repeat("x", pki.MaxOwn+1), root.keyPEM(t)},
		"ca_key: does not belong":                    {root.certPEM(), issuing.keyPEM(t)},
		"ca_key: no PEM private key":                 {root.certPEM(), ""},
		"ca_key: cannot be read":                     {root.certPEM(), block("PRIVATE KEY", []byte("secret"))},
		"ca_key: it is encrypted":                    {root.certPEM(), block("ENCRYPTED PRIVATE KEY", []byte("secret"))},
		"ca_key: it is encrypted; decrypt it: opens": {root.certPEM(), "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"},
	} {
		_, err := pki.ParseOwn([]byte(c[0]), []byte(c[1]), now)
		var e *pki.OwnError
		if field, text, _ := strings.Cut(want, ": "); !errors.As(err, &e) || !errors.Is(err, pki.ErrInvalid) || e.Field != field || !strings.Contains(e.Text, text) {
			t.Errorf("%s: %v", want, err)
		}
		for line := range strings.Lines(c[1]) {
			if err != nil && len(line) > 20 && !strings.HasPrefix(line, "-----") && strings.Contains(err.Error(), strings.TrimSpace(line)) {
				t.Errorf("%s: the key is in the error", want)
			}
		}
	}
}

func FuzzParseOwn(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		if _, err := pki.ParseOwn(slices.Clone(cert), key, time.Now()); err != nil && !errors.Is(err, pki.ErrInvalid) {
			t.Error(err)
		}
	})
}
