package pki_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"testing"
	"time"

	"takd/store/pki"
)

// What client certificates say of themselves, as those of the official server
// do: no authority; digitalSignature, with keyEncipherment for RSA alone;
// clientAuth alone, with the mark of channels where a version was given; valid
// from half a day ago.
func TestUsageOfClientCertificates(t *testing.T) {
	s := newSite(t)
	signed := func(csr []byte, version string) *x509.Certificate {
		return s.sign(t, csr, pki.SignOptions{User: "ann", ClientUID: "ANDROID-1", Version: version}).Leaf
	}
	rsaRequest, ecRequest := newCSR(t, "ann", rsaKey(t, 2048)), newCSR(t, "ann", ecKey(t, elliptic.P256()))
	store, _, err := s.IssueKeyStore(t.Context(), pki.SignOptions{User: "ann"}, "x")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		leaf          *x509.Certificate
		rsa, channels bool
	}{
		"enrolled, RSA, with version": {signed(rsaRequest, "5.6.0"), true, true},
		"enrolled, RSA":               {signed(rsaRequest, ""), true, false},
		"enrolled, EC, with version":  {signed(ecRequest, "3"), false, true},
		"issued, RSA":                 {s.issue(t, "ann", pki.IssueOptions{}).Leaf, true, false},
		"issued, EC":                  {s.issue(t, "ann", pki.IssueOptions{ECDSA: true}).Leaf, false, false},
		"key store":                   {store.Leaf, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := tc.leaf
			usage := x509.KeyUsageDigitalSignature
			if tc.rsa {
				usage |= x509.KeyUsageKeyEncipherment
			}
			if c.KeyUsage != usage || len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
				t.Errorf("usage %b, extended %v", c.KeyUsage, c.ExtKeyUsage)
			}
			marked := len(c.UnknownExtKeyUsage) == 1 && c.UnknownExtKeyUsage[0].String() == "1.2.840.113549.1.9.7"
			if marked != tc.channels || !tc.channels && len(c.UnknownExtKeyUsage) != 0 {
				t.Errorf("further usages %v, want the mark of channels: %t", c.UnknownExtKeyUsage, tc.channels)
			}
			if c.IsCA || !c.BasicConstraintsValid || len(c.DNSNames)+len(c.IPAddresses) > 0 || c.Subject.CommonName != "ann" {
				t.Errorf("CA %t, names %v %v, subject %v", c.IsCA, c.DNSNames, c.IPAddresses, c.Subject)
			}
			if age := time.Since(c.NotBefore); age < 11*time.Hour || age > 13*time.Hour {
				t.Errorf("valid from %s ago", age)
			}
		})
	}
}
