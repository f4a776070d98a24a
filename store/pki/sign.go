package pki

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"takd/store/meta"
)

// ErrOtherName means that a request asks for a certificate of somebody else.
var ErrOtherName = errors.New("certificate request for another name")

// EnrollLife is how long a certificate by request is valid, unless told otherwise.
const EnrollLife = 365 * 24 * time.Hour

// Bounds of a request.
const (
	MaxRequest   = 64 << 10 // bytes, with its armour
	maxClientUID = 256      // characters
	maxAddress   = 64
	minRSA       = 2048
	maxRSA       = 8192 // checking a signature takes time with the square of it
)

// Unit is the organisational unit of certificates by request.
const Unit = "TAK"

// oidChannels is challengePassword of PKCS#9. The official server adds it to the
// extended key usage for clients that know channels, and they look for it.
var oidChannels = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}

// SignOptions says whose certificate it is. Only User is required.
type SignOptions struct {
	User      string        // the common name, which the request must have, in any case
	ClientUID string        // of the device
	Address   string        // that the request came from
	Version   string        // of the client; not "": mark the certificate as the official server does, for channels
	Validity  time.Duration // 0 is EnrollLife
}

// Signed is a certificate by request. Its holder alone has the key.
type Signed struct {
	Cert
	Leaf *x509.Certificate
	CAs  []*x509.Certificate // issuing intermediate, then root
}

// ParseCSR reads a certificate request as clients send it, as DER or base64 of
// it, with or without PEM armour and with the line ends and alphabet of their
// choice, and checks all that SignCSR does. Errors: ErrInvalid, ErrOtherName.
func ParseCSR(body []byte, user string) (*x509.CertificateRequest, error) {
	der, err := decodeCSR(body)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate request: not PKCS#10", ErrInvalid)
	}
	return csr, checkCSR(csr, user)
}

// armour are the lines that begin and end PEM. Clients leave them out, or put
// what pem.Decode does not take between them.
var armour = regexp.MustCompile(`-----(BEGIN|END) (NEW )?CERTIFICATE REQUEST-----`)

func decodeCSR(body []byte) ([]byte, error) {
	if len(body) > MaxRequest {
		return nil, fmt.Errorf("%w: certificate request: %d bytes, want at most %d", ErrInvalid, len(body), MaxRequest)
	}
	const sequence = 0x30
	if len(body) > 1 && body[0] == sequence && body[1] >= 0x80 { // no text begins so
		return body, nil
	}
	text := armour.ReplaceAllString(string(body), "")
	text = strings.NewReplacer("\r", "", "\n", "", "\t", "", " ", "", "-", "+", "_", "/", "=", "").Replace(text)
	der, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(der) == 0 {
		return nil, fmt.Errorf("%w: certificate request: want PKCS#10 in base64", ErrInvalid)
	}
	return der, nil
}

// checkCSR looks at the size of the key before it computes with it.
func checkCSR(csr *x509.CertificateRequest, user string) error {
	switch key := csr.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return fmt.Errorf("%w: certificate request: RSA key of %d bits, want %d to %d", ErrInvalid, bits, minRSA, maxRSA)
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return fmt.Errorf("%w: certificate request: want an RSA, P-256 or P-384 key", ErrInvalid)
		}
	default:
		return fmt.Errorf("%w: certificate request: want an RSA, P-256 or P-384 key", ErrInvalid)
	}
	if err := csr.CheckSignature(); err != nil {
		return fmt.Errorf("%w: certificate request: its signature is wrong", ErrInvalid)
	}
	if name := csr.Subject.CommonName; !strings.EqualFold(name, user) {
		return fmt.Errorf("%w: it says CN=%q, want %q", ErrOtherName, clipped(name), clipped(user))
	}
	return nil
}

// SignCSR issues the certificate that csr asks for. Only its key is taken over:
// subject, usage and dates are ours.
func (a *Authority) SignCSR(ctx context.Context, csr *x509.CertificateRequest, o SignOptions) (*Signed, error) {
	if err := meta.ValidName("certificate name", o.User); err != nil {
		return nil, err
	}
	if err := checkCSR(csr, o.User); err != nil {
		return nil, err
	}
	if o.Validity == 0 {
		o.Validity = EnrollLife
	}
	if o.Validity < 0 {
		return nil, fmt.Errorf("%w: certificate validity %s: want more than 0", ErrInvalid, o.Validity)
	}
	if !CleanClientUID(o.ClientUID) {
		return nil, fmt.Errorf("%w: clientUid: want at most %d characters of text", ErrInvalid, maxClientUID)
	}
	tmpl, err := template(o.User, a.org(), o.Validity)
	if err != nil {
		return nil, err
	}
	tmpl.Subject.OrganizationalUnit = []string{Unit}
	if tmpl.NotAfter.After(a.ca.NotAfter) {
		tmpl.NotAfter = a.ca.NotAfter
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	if _, ok := csr.PublicKey.(*rsa.PublicKey); ok {
		tmpl.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if o.Version != "" {
		tmpl.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidChannels}
	}
	leaf, err := sign(tmpl, a.ca, csr.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	row := newRow(leaf, "client")
	if err := a.record(ctx, row, leaf, device{o.ClientUID, o.Address, o.Version}); err != nil {
		return nil, err
	}
	a.log.Info("certificate issued", "name", row.Name, "kind", row.Kind, "serial", row.Serial, "not_after", leaf.NotAfter,
		"client_uid", o.ClientUID, "address", o.Address)
	return &Signed{Cert: fromRow(row), Leaf: leaf, CAs: a.CAs()}, nil
}

// CAs are the issuing intermediate and the root.
func (a *Authority) CAs() []*x509.Certificate {
	return append([]*x509.Certificate{a.ca, a.root}, a.foreign()...)
}

// Org is the organisation in the certificates of this authority; "" for none.
func (a *Authority) Org() string { return a.org() }

// CleanClientUID tells whether a device's uid can be kept.
func CleanClientUID(uid string) bool {
	return utf8.ValidString(uid) && utf8.RuneCountInString(uid) <= maxClientUID && !strings.ContainsFunc(uid, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// certRow is a row of certificates with what is known of a request.
type certRow struct {
	meta.Certificate `bun:",extend"`

	ClientUID     string `bun:"client_uid"`
	Address       string
	ClientVersion string
	DER           []byte `bun:"der"` // nil: issued before it was kept
}

// device is what is known of who asked for a certificate.
type device struct{ uid, address, version string }

func (a *Authority) record(ctx context.Context, row meta.Certificate, leaf *x509.Certificate, d device) error {
	full := certRow{
		Certificate: row, ClientUID: d.uid, Address: d.address[:min(len(d.address), maxAddress)], ClientVersion: clipped(strings.ToValidUTF8(d.version, "")),
		DER: leaf.Raw,
	}
	if _, err := a.db.NewInsert().Model(&full).Exec(ctx); err != nil {
		return fmt.Errorf("record certificate %s: %w", row.Name, err)
	}
	return nil
}

// Enrolled is a certificate with the device that asked for it, which is empty
// where an operator issued it.
type Enrolled struct {
	Cert
	ClientUID     string `json:"client_uid"`
	Address       string `json:"address"`
	ClientVersion string `json:"client_version"`
}

// ListEnrolled is List with the devices.
func (a *Authority) ListEnrolled(ctx context.Context) ([]Enrolled, error) {
	var rows []certRow
	if err := a.db.NewSelect().Model(&rows).ExcludeColumn("der").Order("issued_at DESC", "serial").Scan(ctx); err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	all := make([]Enrolled, 0, len(rows))
	for _, r := range rows {
		all = append(all, Enrolled{Cert: fromRow(r.Certificate), ClientUID: r.ClientUID, Address: r.Address, ClientVersion: r.ClientVersion})
	}
	return all, nil
}

func clipped(s string) string {
	if len(s) > meta.MaxName {
		return strings.ToValidUTF8(s[:meta.MaxName], "") + "..."
	}
	return s
}

// Base64 is the certificate as clients of enrollment read it: base64 in lines of
// 64 characters, without the lines that begin and end PEM.
func Base64(c *x509.Certificate) string {
	text := certsPEM(c)
	_, text, _ = bytes.Cut(text, []byte("\n"))
	text, _, _ = bytes.Cut(text, []byte("-----"))
	return string(text)
}
