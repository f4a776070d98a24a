package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"takd/store/auth"
	"takd/store/pki"
)

func newCSR(t *testing.T, name string, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name, Organization: []string{"forged"}}, DNSNames: []string{"forged.example.com"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func ecKey(t *testing.T, c elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// openssl runs the command that most clients make their requests with.
func openssl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput(); err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
}

// hugeCSR has a key of so many bits, which nobody holds.
func hugeCSR(t *testing.T, name string, bits uint) []byte {
	t.Helper()
	subject, err1 := asn1.Marshal(pkix.Name{CommonName: name}.ToRDNSequence())
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	key, err2 := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537})
	type info struct {
		Version      int
		Subject, Key asn1.RawValue
		Attributes   []asn1.RawValue `asn1:"tag:0"`
	}
	der, err3 := asn1.Marshal(struct {
		Info      info
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		info{Subject: asn1.RawValue{FullBytes: subject}, Key: asn1.RawValue{FullBytes: key}},
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue},
		asn1.BitString{Bytes: make([]byte, bits/8), BitLength: int(bits / 8 * 8)},
	})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParseCertificateRequest(der); err != nil {
		t.Fatal(err)
	}
	return der
}

func opensslCSR(t *testing.T, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "csr")
	openssl(t, append([]string{"req", "-new", "-nodes", "-keyout", filepath.Join(dir, "key"), "-out", out}, args...)...)
	der, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (s site) sign(t *testing.T, body []byte, o pki.SignOptions) *pki.Signed {
	t.Helper()
	csr, err := pki.ParseCSR(body, o.User)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.SignCSR(t.Context(), csr, o)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestSignCSR(t *testing.T) {
	s := newSite(t)
	users := auth.New(s.db, s.Authority, nil)
	if err := users.AddUser(t.Context(), auth.NewUser{Name: "Ann", In: []string{"Blue"}}); err != nil {
		t.Fatal(err)
	}
	der := newCSR(t, "ann", ecKey(t, elliptic.P256()))
	armoured := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	plain, urlSafe := base64.StdEncoding.EncodeToString(der), base64.URLEncoding.EncodeToString(der)
	_, body, _ := bytes.Cut(armoured, []byte("\n"))
	body, _, _ = bytes.Cut(body, []byte("-----"))
	requests := map[string][]byte{
		"PEM": armoured, "PEM with CR": bytes.ReplaceAll(armoured, []byte("\n"), []byte("\r\n")),
		"old PEM": bytes.ReplaceAll(armoured, []byte("CERTIFICATE"), []byte("NEW CERTIFICATE")),
		"lines":   body, "one line": []byte(plain), "URL-safe": []byte(urlSafe), "no padding": []byte(strings.TrimRight(plain, "=")),
		"PEM in one line": []byte("-----BEGIN CERTIFICATE REQUEST-----" + plain + "-----END CERTIFICATE REQUEST-----"),
		"PEM, URL-safe":   []byte("-----BEGIN CERTIFICATE REQUEST-----\n" + urlSafe + "\n-----END CERTIFICATE REQUEST-----\n"),
		"DER":             der,
		"RSA-2048":        newCSR(t, "ann", rsaKey(t, 2048)),
		"P-384":           newCSR(t, "ANN", ecKey(t, elliptic.P384())),
		"openssl RSA":     opensslCSR(t, "-newkey", "rsa:2048", "-subj", "/CN=ann/O=TAK/OU=x"),
		"openssl EC":      opensslCSR(t, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/O=TAK/CN=Ann"),
		"openssl SHA-1":   opensslCSR(t, "-newkey", "rsa:2048", "-sha1", "-subj", "/CN=Ann"), // old Androids
		"openssl DER":     opensslCSR(t, "-newkey", "rsa:3072", "-subj", "/CN=Ann", "-outform", "DER"),
	}
	for name, body := range requests {
		t.Run(name, func(t *testing.T) {
			got := s.sign(t, body, pki.SignOptions{User: "Ann", ClientUID: "ANDROID-1"})
			if _, err := got.Leaf.Verify(x509.VerifyOptions{Roots: trusted(got.CAs[1]), Intermediates: trusted(got.CAs[0]), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Error(err)
			}
			p, err := users.PrincipalForCertificate(t.Context(), got.Leaf)
			if err != nil || p.User != "Ann" || p.In[0] != "Blue" {
				t.Errorf("PrincipalForCertificate = %v, %v", p, err)
			}
			if n := got.Leaf.Subject.String(); n != "CN=Ann,OU=TAK,O=Test Org" || len(got.Leaf.DNSNames) != 0 {
				t.Errorf("subject %s, names %v: nothing but the key is taken over", n, got.Leaf.DNSNames)
			}
		})
	}
}

func TestSignedCertificate(t *testing.T) {
	s := newSite(t)
	body := newCSR(t, "ann", ecKey(t, elliptic.P256()))
	plain := s.sign(t, body, pki.SignOptions{User: "ann", ClientUID: "it's a uid", Address: "192.0.2.9"})
	marked := s.sign(t, body, pki.SignOptions{User: "ann", Version: "5.6", Validity: time.Hour})
	if len(plain.Leaf.UnknownExtKeyUsage) != 0 || len(marked.Leaf.UnknownExtKeyUsage) != 1 || marked.Leaf.UnknownExtKeyUsage[0].String() != "1.2.840.113549.1.9.7" {
		t.Errorf("further usages %v and %v", plain.Leaf.UnknownExtKeyUsage, marked.Leaf.UnknownExtKeyUsage)
	}
	if d := time.Until(plain.NotAfter); d < 364*24*time.Hour || d > 365*24*time.Hour {
		t.Errorf("valid for %s, want a year", d)
	}
	if d := time.Until(marked.NotAfter); d > time.Hour {
		t.Errorf("valid for %s, want an hour", d)
	}
	if d := time.Since(plain.NotBefore); d < 11*time.Hour {
		t.Errorf("valid since %s, want half a day", d)
	}
	if plain.Serial == marked.Serial || len(plain.Serial) < 24 {
		t.Errorf("serials %s and %s", plain.Serial, marked.Serial)
	}
	list, err := s.ListEnrolled(t.Context())
	if err != nil || len(list) != 3 { // and the server's
		t.Fatalf("ListEnrolled = %v, %v", list, err)
	}
	found := false
	for _, e := range list {
		found = found || e.Serial == plain.Serial && e.Name == "ann" && e.ClientUID == "it's a uid" && e.Address == "192.0.2.9"
	}
	if !found {
		t.Errorf("no record of %s in %+v", plain.Serial, list)
	}
	if _, err := s.Revoke(t.Context(), plain.Serial); err != nil || !s.IsRevoked(plain.Serial) {
		t.Errorf("Revoke = %v", err)
	}
	text := pki.Base64(plain.Leaf)
	if strings.Contains(text, "---") || !strings.HasSuffix(text, "\n") || len(strings.SplitN(text, "\n", 2)[0]) != 64 {
		t.Errorf("Base64 = %q", text)
	}
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
	if err != nil || !bytes.Equal(der, plain.Leaf.Raw) {
		t.Errorf("Base64 is another certificate: %v", err)
	}
}

func TestSignedP12(t *testing.T) {
	s := newSite(t)
	signed := s.sign(t, newCSR(t, "ann", ecKey(t, elliptic.P256())), pki.SignOptions{User: "ann"})
	der, err := signed.P12()
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pkcs12.DecodeTrustStore(der, "atakatak")
	if err != nil || len(certs) != 3 {
		t.Fatalf("DecodeTrustStore = %d certificates, %v; want 3", len(certs), err)
	}
	// As another program reads it: the aliases, and an algorithm that old Androids know.
	file := filepath.Join(t.TempDir(), "x.p12")
	if err := os.WriteFile(file, der, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "openssl", "pkcs12", "-legacy", "-info", "-nokeys", "-passin", "pass:atakatak", "-in", file).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	for _, want := range []string{"friendlyName: signedCert", "friendlyName: ca0", "friendlyName: ca1", "MAC: sha1"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("openssl shows no %q:\n%.600s", want, out)
		}
	}
	issued, store, err := s.IssueKeyStore(t.Context(), pki.SignOptions{User: "ann", ClientUID: "uid-7"}, "secret")
	if err != nil {
		t.Fatal(err)
	}
	_, leaf, chain, err := pkcs12.DecodeChain(store, "secret")
	if err != nil || !leaf.Equal(issued.Leaf) || len(chain) != 2 {
		t.Errorf("DecodeChain = %v, %d authorities, %v", leaf, len(chain), err)
	}
}

func TestBadCSR(t *testing.T) {
	s := newSite(t)
	good := newCSR(t, "ann", ecKey(t, elliptic.P256()))
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.CAs()[0].Raw})
	key, _ := x509.MarshalPKCS8PrivateKey(ed)
	tests := map[string]struct {
		body []byte
		err  error
	}{
		"empty": {nil, pki.ErrInvalid}, "garbage": {[]byte("hello, world"), pki.ErrInvalid}, "not PKCS#10": {[]byte("aGVsbG8="), pki.ErrInvalid},
		"large": {bytes.Repeat([]byte("QUFB"), 1<<18), pki.ErrInvalid}, "zeroes": {make([]byte, 2000), pki.ErrInvalid},
		"cut": {good[:len(good)/2], pki.ErrInvalid}, "more after it": {append(bytes.Clone(good), 0), pki.ErrInvalid},
		"certificate": {cert, pki.ErrInvalid}, "private key": {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), pki.ErrInvalid},
		"wrong signature": {forged, pki.ErrInvalid},
		"RSA-1024":        {opensslCSR(t, "-newkey", "rsa:1024", "-subj", "/CN=ann"), pki.ErrInvalid},
		"RSA-9000":        {hugeCSR(t, "ann", 9000), pki.ErrInvalid},
		"P-224":           {newCSR(t, "ann", ecKey(t, elliptic.P224())), pki.ErrInvalid},
		"P-521":           {newCSR(t, "ann", ecKey(t, elliptic.P521())), pki.ErrInvalid},
		"Ed25519":         {newCSR(t, "ann", ed), pki.ErrInvalid},
		"another":         {newCSR(t, "bob", ecKey(t, elliptic.P256())), pki.ErrOtherName},
		"no name":         {newCSR(t, "", ecKey(t, elliptic.P256())), pki.ErrOtherName},
		"SQL":             {newCSR(t, "ann' OR '1'='1", ecKey(t, elliptic.P256())), pki.ErrOtherName},
		"two names":       {opensslCSR(t, "-newkey", "rsa:2048", "-subj", "/CN=ann/CN=bob"), pki.ErrOtherName},
		"NUL":             {newCSR(t, "ann\x00.evil", ecKey(t, elliptic.P256())), pki.ErrOtherName},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := pki.ParseCSR(tc.body, "ann"); !errors.Is(err, tc.err) {
				t.Errorf("ParseCSR = %v, want %v", err, tc.err)
			}
		})
	}
	csr, err := pki.ParseCSR(good, "ann")
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]pki.SignOptions{
		"name": {User: "../ann"}, "validity": {User: "ann", Validity: -1}, "uid": {User: "ann", ClientUID: strings.Repeat("u", 300)}, "uid with NUL": {User: "ann", ClientUID: "\x00"},
	} {
		if signed, err := s.SignCSR(t.Context(), csr, o); err == nil {
			t.Errorf("%s: SignCSR = %v", name, signed.Serial)
		}
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("refused requests left %d certificates, %v", len(list), err)
	}
}

func FuzzParseCSR(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"))
	f.Add([]byte{0x30, 0x82, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, body []byte) {
		if csr, err := pki.ParseCSR(body, "ann"); err == nil && !strings.EqualFold(csr.Subject.CommonName, "ann") {
			t.Errorf("took a request of %q", csr.Subject.CommonName)
		}
	})
}
