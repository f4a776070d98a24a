package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Bounds on an authority that somebody brings.
const (
	MaxOwn     = 64 << 10 // bytes of each PEM text
	ownLife    = 30 * 24 * time.Hour
	fieldCert  = "ca_cert"
	fieldKey   = "ca_key"
	decryption = "openssl pkey -in KEY -out PLAIN"
)

// Own is an authority that somebody brings instead of a new root: a root, under which
// an issuing one is made, or an issuing one with its root.
type Own struct {
	chain []*x509.Certificate // one root, or issuing and root
	key   crypto.Signer       // of the first
}

// OwnError is what is wrong with an authority that somebody brings: ErrInvalid.
type OwnError struct {
	Field string // ca_cert or ca_key
	Text  string
}

func (e *OwnError) Error() string {
	return map[string]string{fieldCert: "certificate of the authority: ", fieldKey: "key of the authority: "}[e.Field] + e.Text
}

// Unwrap implements the interface of errors.Is.
func (*OwnError) Unwrap() error { return ErrInvalid }

func ownError(field, format string, args ...any) error {
	return &OwnError{field, fmt.Sprintf(format, args...)}
}

// ParseOwn reads certificate and key of an authority, as PEM: PKCS#8, PKCS#1 or SEC 1.
// Its errors are OwnErrors, which never quote the key.
func ParseOwn(cert, key []byte, now time.Time) (*Own, error) {
	if len(cert) > MaxOwn || len(key) > MaxOwn {
		return nil, ownError(fieldCert, "%d and %d bytes; want at most %d each", len(cert), len(key), MaxOwn)
	}
	certs, err := parseCerts(cert)
	if err != nil {
		return nil, ownError(fieldCert, "want PEM certificates alone: %v", strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": "))
	}
	o := &Own{chain: certs}
	for _, c := range certs {
		if err := checkOwn(c, now); err != nil {
			return nil, err
		}
	}
	if err := o.checkChain(); err != nil {
		return nil, err
	}
	if o.key, err = ownKey(key); err != nil {
		return nil, err
	}
	if !samePublicKey(o.key.Public(), certs[0].PublicKey) {
		return nil, ownError(fieldKey, "it does not belong to the certificate %q", certs[0].Subject.CommonName)
	}
	return o, o.try()
}

// checkOwn checks one certificate by itself.
func checkOwn(c *x509.Certificate, now time.Time) error {
	name := c.Subject.CommonName
	const day = "2006-01-02"
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return ownError(fieldCert, "%q is not a CA: it may not sign certificates", name)
	case c.KeyUsage&x509.KeyUsageCertSign == 0 || c.KeyUsage&x509.KeyUsageCRLSign == 0:
		return ownError(fieldCert, "%q: want the key usages keyCertSign and cRLSign", name)
	case len(c.SubjectKeyId) == 0:
		return ownError(fieldCert, "%q: want a subject key identifier", name)
	case now.Before(c.NotBefore):
		return ownError(fieldCert, "%q is not valid before %s", name, c.NotBefore.UTC().Format(day))
	case now.After(c.NotAfter):
		return ownError(fieldCert, "%q has expired, on %s", name, c.NotAfter.UTC().Format(day))
	case c.NotAfter.Sub(now) < ownLife:
		return ownError(fieldCert, "%q expires on %s; want at least %d days", name, c.NotAfter.UTC().Format(day), ownLife/(24*time.Hour))
	}
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= minRSA && n <= maxRSA {
			return nil
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	}
	return ownError(fieldCert, "%q: want a key that clients know: RSA of at least %d and at most %d bits, or ECDSA on P-256 or P-384", name, minRSA, maxRSA)
}

// checkChain checks that the certificates are a root, or an authority right below it.
func (o *Own) checkChain() error {
	first := o.chain[0]
	alone := bytes.Equal(first.RawIssuer, first.RawSubject) && first.CheckSignatureFrom(first) == nil
	switch {
	case len(o.chain) == 1 && !alone:
		return ownError(fieldCert, "%q was signed by %q: put that certificate, the root, below it", first.Subject.CommonName, first.Issuer.CommonName)
	case len(o.chain) == 1 && first.MaxPathLen == 0:
		return ownError(fieldCert, "%q may sign no further authority (path length 0), and takd makes one below a root: give an authority with its root, or another root", first.Subject.CommonName)
	case len(o.chain) > 2:
		return ownError(fieldCert, "%d certificates; want a root, or an authority and the root right above it", len(o.chain))
	case len(o.chain) == 1:
		return nil
	}
	root := o.chain[1]
	if alone || root.CheckSignatureFrom(root) != nil || first.CheckSignatureFrom(root) != nil {
		return ownError(fieldCert, "want an authority first, and then the root that has signed it")
	}
	return nil
}

// ownKey reads a private key in the forms that openssl writes.
func ownKey(data []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, ownError(fieldKey, "no PEM private key")
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, ownError(fieldKey, "it is encrypted; decrypt it: %s", decryption)
		}
		var key any
		var err error
		switch block.Type {
		case typeKey:
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default: // the parameters of a curve, or a certificate beside it
			continue
		}
		signer, ok := key.(crypto.Signer)
		if err != nil || !ok {
			return nil, ownError(fieldKey, "the PEM block %q cannot be read", block.Type)
		}
		return signer, nil
	}
}

// try signs a server's and a client's certificate and verifies them: constraints that
// the authority has show here, and not when the first device is turned away.
func (o *Own) try() error {
	roots, below := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(o.chain[len(o.chain)-1])
	below.AddCert(o.chain[0])
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		tmpl, err := template("takd", "", time.Hour)
		if err != nil {
			return err
		}
		tmpl.KeyUsage, tmpl.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
		if tmpl.NotBefore.Before(o.chain[0].NotBefore) {
			tmpl.NotBefore = o.chain[0].NotBefore
		}
		leaf, err := sign(tmpl, o.chain[0], o.key.Public(), o.key)
		if err == nil {
			_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: below, KeyUsages: []x509.ExtKeyUsage{usage}})
		}
		if err != nil {
			return ownError(fieldCert, "what it signs for servers and clients is not valid: %v", err)
		}
	}
	return nil
}

// Holds tells whether c is of the authority.
func (o *Own) Holds(c *x509.Certificate) bool { return o.chain[0].Equal(c) }

// write makes the authority's files in dir. Of a root that somebody brought, the key
// does not stay: below it there is an issuing authority of this server's own.
func (o *Own) write(dir, org string) (root, ca *x509.Certificate, err error) {
	root, ca = o.chain[len(o.chain)-1], o.chain[0]
	key := o.key
	if len(o.chain) == 1 {
		if ca, key, err = makeIssuer(root, o.key, org); err != nil {
			return nil, nil, err
		}
	}
	text, err := keyPEM(key)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{issuerKey, text}, {rootCert, certsPEM(root)}, {issuerCert, certsPEM(ca)}} {
		if err = errors.Join(err, WriteFile(filepath.Join(dir, f.name), f.data, 0o600)); err != nil {
			return nil, nil, err
		}
	}
	return root, ca, nil
}
