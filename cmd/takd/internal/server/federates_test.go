package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"takd/http/httpd"
)

// Without a file no server is known; with one, those of its authorities; a file
// that cannot be read leaves the trust as it was.
func TestFederates(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	make := func(name string) *x509.Certificate {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c
	}
	path := filepath.Join(t.TempDir(), federatesFile)
	peer, other := make("peer"), make("other")
	f, err := openFederates(path, func() []string { return []string{"Red", "Blue"} })
	if err != nil {
		t.Fatal(err)
	}
	known := func(c *x509.Certificate) bool {
		p, err := f.Certificate(t.Context(), []*x509.Certificate{c})
		if err != nil && !errors.Is(err, httpd.ErrUnknown) {
			t.Error(err)
		}
		return err == nil && p.User == "federate "+c.Subject.CommonName && slices.Equal(p.In, []string{"Blue", "Red"}) && slices.Equal(p.Out, p.In)
	}
	if known(peer) {
		t.Error("known without a file")
	}
	write := func(text []byte) error {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return f.reload()
	}
	if err := write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: peer.Raw})); err != nil || !known(peer) || known(other) {
		t.Errorf("reload: %v, known %t, other %t", err, known(peer), known(other))
	}
	if err := write([]byte("nonsense")); err == nil || !known(peer) {
		t.Errorf("reload of nonsense: %v, known %t", err, known(peer))
	}
}
