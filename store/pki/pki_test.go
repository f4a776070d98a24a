package pki_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"software.sslmate.com/src/go-pkcs12"

	"takd/store/meta"
	"takd/store/pki"
)

// site is a new authority with its database.
type site struct {
	*pki.Authority
	db  *meta.DB
	dir string
}

func newSite(t *testing.T) site {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	db, err := meta.Open(t.Context(), filepath.Join(t.TempDir(), "meta.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := pki.Init(t.Context(), dir, db, "Test Org", []string{"tak.example.com", "192.0.2.7"}, nil); err != nil {
		t.Fatal(err)
	}
	s := site{db: db, dir: dir}
	s.Authority = s.open(t)
	return s
}

func (s site) open(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.Open(t.Context(), s.dir, s.db, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (s site) issue(t *testing.T, name string, o pki.IssueOptions) *pki.Issued {
	t.Helper()
	i, err := s.IssueClient(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func trusted(certs ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}

// keyStore reads a .p12 as a client does; it sends the leaf alone.
func keyStore(t *testing.T, der []byte, password string) (tls.Certificate, []*x509.Certificate) {
	t.Helper()
	key, leaf, chain, err := pkcs12.DecodeChain(der, password)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, chain
}

func p12(t *testing.T, i *pki.Issued, password string) []byte {
	t.Helper()
	der, err := i.P12(password)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// oids lists every object identifier of a DER text; OCTET STRINGs are looked into.
func oids(der []byte) []string {
	var found []string
	for len(der) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			return found
		}
		switch {
		case v.Class == asn1.ClassUniversal && v.Tag == asn1.TagOID:
			var oid asn1.ObjectIdentifier
			if _, err := asn1.Unmarshal(v.FullBytes, &oid); err == nil {
				found = append(found, oid.String())
			}
		case v.IsCompound || v.Tag == asn1.TagOctetString:
			found = append(found, oids(v.Bytes)...)
		}
		der = rest
	}
	return found
}

// Androids before 8 and older Java read neither PBES2 nor a SHA-256 MAC.
func TestP12IsLegacy(t *testing.T) {
	const (
		pbes2    = "1.2.840.113549.1.5.13"
		pbmac1   = "1.2.840.113549.1.5.14"
		sha256   = "2.16.840.1.101.3.4.2.1"
		rc2      = "1.2.840.113549.1.12.1.6" // OpenSSL 3 refuses it
		desEDE   = "1.2.840.113549.1.12.1.3"
		sha1     = "1.3.14.3.2.26"
		localKey = "1.2.840.113549.1.9.21"
	)
	s := newSite(t)
	trust, err := s.TruststoreP12("")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		der  []byte
		want []string
	}{
		"RSA":        {p12(t, s.issue(t, "alice", pki.IssueOptions{}), ""), []string{desEDE, sha1, localKey}},
		"ECDSA":      {p12(t, s.issue(t, "bob", pki.IssueOptions{ECDSA: true}), ""), []string{desEDE, sha1, localKey}},
		"truststore": {trust, []string{desEDE, sha1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := oids(tc.der)
			for _, oid := range tc.want {
				if !slices.Contains(got, oid) {
					t.Errorf("no %s in %v", oid, got)
				}
			}
			for _, oid := range []string{pbes2, pbmac1, sha256, rc2} {
				if slices.Contains(got, oid) {
					t.Errorf("%s in %v", oid, got)
				}
			}
			if _, _, _, err := pkcs12.DecodeChain(tc.der, "wrong"); !errors.Is(err, pkcs12.ErrIncorrectPassword) {
				t.Errorf("wrong password: %v, want ErrIncorrectPassword", err)
			}
		})
	}
}

func TestCertificateShape(t *testing.T) {
	s := newSite(t)
	server := s.ServerCertificate().Leaf
	client := s.issue(t, "alice", pki.IssueOptions{ECDSA: true}).Leaf
	if diff := cmp.Diff([]string{"tak.example.com", "localhost"}, server.DNSNames); diff != "" {
		t.Errorf("DNS names: %s", diff)
	}
	if diff := cmp.Diff([]x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, client.ExtKeyUsage); diff != "" {
		t.Errorf("client EKU: %s", diff)
	}
	if life := server.NotAfter.Sub(server.NotBefore); life > 397*24*time.Hour {
		t.Errorf("server certificate lives %s: public rules allow at most 398 days", life)
	}
	for _, c := range []*x509.Certificate{server, client} {
		if time.Since(c.NotBefore) < 11*time.Hour {
			t.Errorf("%s valid from %s: want 12 h ago, for wrong clocks", c.Subject, c.NotBefore)
		}
		if c.SerialNumber.BitLen() < 96 || c.SerialNumber.BitLen() > 128 {
			t.Errorf("serial of %s has %d bits, want 128 random ones", c.Subject, c.SerialNumber.BitLen())
		}
	}
	long := s.issue(t, "long", pki.IssueOptions{ECDSA: true, Validity: 100 * 365 * 24 * time.Hour})
	if long.Leaf.NotAfter.After(long.Chain[0].NotAfter) {
		t.Errorf("leaf outlives its issuer: %s > %s", long.Leaf.NotAfter, long.Chain[0].NotAfter)
	}
}

func TestFileModes(t *testing.T) {
	s := newSite(t)
	out := filepath.Join(t.TempDir(), "out")
	if err := s.issue(t, "alice", pki.IssueOptions{ECDSA: true}).WriteFiles(out, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{s.dir, out} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if name := d.Name(); dir == out && (filepath.Ext(name) == ".pem" || name == "truststore.p12") {
				return err // for everybody
			}
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("mode of %s = %v: others can read it", path, info.Mode().Perm())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"alice.key", "alice.p12", "alice.pem", "ca.pem", "truststore.p12"}, names); diff != "" {
		t.Errorf("files: %s", diff)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(out, "alice.pem"), filepath.Join(out, "alice.key"))
	if err != nil || len(pair.Certificate) != 2 {
		t.Errorf("alice.pem and .key = %d certificates, %v; want leaf and issuer", len(pair.Certificate), err)
	}
}

// Whoever reads a file while many write it gets a whole one, and no old file
// widens the mode of a key.
func TestFilesAreReplacedWhole(t *testing.T) {
	out := t.TempDir()
	key, ca, link, pipe := filepath.Join(out, "a.key"), filepath.Join(out, "ca.pem"), filepath.Join(out, "link"), filepath.Join(out, "pipe")
	if err := errors.Join(os.WriteFile(key, []byte("old"), 0o644), os.Chmod(key, 0o666), os.Symlink(key, link), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	texts := map[string]bool{} // filled before anybody reads
	for i := range 20 {
		texts[strings.Repeat(string(rune('a'+i)), 100_000)] = true
	}
	var wg sync.WaitGroup
	for text := range texts {
		wg.Go(func() {
			for range 5 {
				if _, err := pki.WriteFiles(out, map[string][]byte{"ca.pem": []byte(text), "a.key": []byte(text)}); err != nil {
					t.Error(err)
				}
				if got, err := os.ReadFile(ca); err != nil || !texts[string(got)] {
					t.Errorf("ca.pem: %d bytes, %v; want one whole text", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	for path, want := range map[string]os.FileMode{key: 0o600, ca: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want mode %v", path, info.Mode(), err, want)
		}
	}
	if err := pki.WriteFile(link, []byte("through the link"), 0o600); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(key); string(got) != "through the link" {
		t.Errorf("after a write through a link: %q, %v", got, err)
	}
	wg.Go(func() {
		if err := pki.WriteFile(pipe, []byte("piped"), 0o600); err != nil {
			t.Error(err)
		}
	})
	if got, err := os.ReadFile(pipe); string(got) != "piped" {
		t.Errorf("pipe: %q, %v", got, err)
	}
	wg.Wait()
	if left, _ := filepath.Glob(filepath.Join(out, ".*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestHostileNames(t *testing.T) {
	s := newSite(t)
	names := map[string]string{
		"up": "../../etc/cron.d/x", "absolute": "/etc/passwd", "backslash": `..\..\x`, "NUL": "a\x00.pem",
		"empty": "", "long": strings.Repeat("a", 300), "dots": "..", "newline": "a\nb",
		"the authority's file": "ca", "the truststore's file": "TrustStore",
	}
	for what, name := range names {
		t.Run(what, func(t *testing.T) {
			if _, err := s.IssueClient(t.Context(), name, pki.IssueOptions{ECDSA: true}); !errors.Is(err, pki.ErrInvalid) {
				t.Errorf("IssueClient(%q) = %v, want ErrInvalid", name, err)
			}
		})
	}
	// SQL in a name is only a name.
	const sql = `x'; DROP TABLE certificates; --`
	issued := s.issue(t, sql, pki.IssueOptions{ECDSA: true})
	certs, err := s.Revoke(t.Context(), `x' OR '1'='1`)
	if !errors.Is(err, pki.ErrNotFound) {
		t.Errorf("Revoke = %v, %v; want ErrNotFound", certs, err)
	}
	certs, err = s.Revoke(t.Context(), sql)
	if err != nil || len(certs) != 1 || certs[0].Serial != issued.Serial {
		t.Errorf("Revoke = %v, %v; want %s", certs, err, issued.Serial)
	}
}

func TestRevoke(t *testing.T) {
	s := newSite(t)
	one, two := s.issue(t, "alice", pki.IssueOptions{ECDSA: true}), s.issue(t, "alice", pki.IssueOptions{ECDSA: true})
	other := s.issue(t, "bob", pki.IssueOptions{ECDSA: true})
	var told []string
	s.OnRevoke(func(serial string) {
		if !s.IsRevoked(serial) {
			t.Errorf("%s is not yet revoked when the hook runs", serial)
		}
		told = append(told, serial)
	})
	// As other programs print it.
	if _, err := s.Revoke(t.Context(), "0x00"+strings.ToUpper(one.Serial)); err != nil {
		t.Fatal(err)
	}
	certs, err := s.Revoke(t.Context(), "alice")
	if err != nil || len(certs) != 1 || certs[0].Serial != two.Serial {
		t.Errorf("Revoke(alice) = %v, %v; want %s only", certs, err, two.Serial)
	}
	if diff := cmp.Diff([]string{one.Serial, two.Serial}, told); diff != "" {
		t.Errorf("hook: %s", diff)
	}
	if again, err := s.Revoke(t.Context(), "alice"); err != nil || len(again) != 0 {
		t.Errorf("second Revoke(alice) = %v, %v; want nothing", again, err)
	}
	if s.IsRevoked(other.Serial) {
		t.Error("bob is revoked too")
	}
	// It survives a restart, and is in the list for other servers.
	reopened := s.open(t)
	if !reopened.IsRevoked(one.Serial) || !reopened.IsRevoked(two.Serial) || reopened.IsRevoked(other.Serial) {
		t.Error("revocations differ after a restart")
	}
	list, err := reopened.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if revoked := c.Name == "alice"; revoked == c.Revoked.IsZero() {
			t.Errorf("List: %s %s revoked %v, want %v", c.Name, c.Serial, c.Revoked, revoked)
		}
	}
	checkCRL(t, s, one.Serial, two.Serial)
	if n := testing.AllocsPerRun(100, func() { s.IsRevoked(one.Serial) }); n != 0 {
		t.Errorf("allocs per IsRevoked = %v, want 0", n)
	}
}

// checkCRL expects crl.pem to be signed by the issuing intermediate and to list serials.
func checkCRL(t *testing.T, s site, serials ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "crl.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	crl, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := crl.CheckSignatureFrom(s.issue(t, "any", pki.IssueOptions{ECDSA: true}).Chain[0]); err != nil {
		t.Error(err)
	}
	var got []string
	for _, e := range crl.RevokedCertificateEntries {
		got = append(got, e.SerialNumber.Text(16))
	}
	slices.Sort(got)
	slices.Sort(serials)
	if diff := cmp.Diff(serials, got); diff != "" {
		t.Errorf("crl.pem: %s", diff)
	}
}

// A command in another process revokes; the server hears of it by Reload.
func TestReloadSeesOtherProcess(t *testing.T) {
	s := newSite(t)
	c := s.issue(t, "alice", pki.IssueOptions{ECDSA: true})
	var told []string
	s.OnRevoke(func(serial string) { told = append(told, serial) })
	if _, err := s.open(t).Revoke(t.Context(), c.Serial); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{c.Serial}, told); diff != "" || !s.IsRevoked(c.Serial) {
		t.Errorf("hook: %s, IsRevoked = %v", diff, s.IsRevoked(c.Serial))
	}
}

func TestRenewServer(t *testing.T) {
	s := newSite(t)
	before := s.ServerCertificate().Leaf
	if err := s.RenewServer(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	same := s.ServerCertificate().Leaf
	if pki.Serial(before) == pki.Serial(same) || !slices.Equal(before.DNSNames, same.DNSNames) || len(before.IPAddresses) != len(same.IPAddresses) {
		t.Errorf("renewed = %v %v, want a new one with the names of %v", same.DNSNames, same.IPAddresses, before.DNSNames)
	}
	if err := s.RenewServer(t.Context(), []string{"new.example.com"}); err != nil {
		t.Fatal(err)
	}
	now := s.open(t).ServerCertificate().Leaf
	for _, host := range []string{"new.example.com", "localhost", "127.0.0.1", "::1"} {
		if err := now.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if err := now.VerifyHostname("tak.example.com"); err == nil {
		t.Error("the old name is still in the certificate")
	}
	// A broken file keeps the loaded certificate in use.
	if err := os.WriteFile(filepath.Join(s.dir, "server.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context()); err == nil || s.ServerCertificate() == nil {
		t.Errorf("Reload of a broken file = %v, certificate %v", err, s.ServerCertificate())
	}
	for _, bad := range []string{"", "a b", "-x", "a..b", "x/y", strings.Repeat("a", 64)} {
		if err := s.RenewServer(t.Context(), []string{bad}); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("RenewServer(%q) = %v, want ErrInvalid", bad, err)
		}
	}
}

func TestRenewIfDue(t *testing.T) {
	ctx := t.Context()
	s := newSite(t)
	present := func() *x509.Certificate { return s.ServerCertificate().Leaf }
	first := present()
	for _, at := range []time.Duration{0, time.Until(first.NotAfter) - 31*24*time.Hour} {
		if done, err := s.RenewIfDue(ctx, time.Now().Add(at)); done || err != nil {
			t.Errorf("RenewIfDue after %s = %t, %v; want false", at, done, err)
		}
	}
	if done, err := s.RenewIfDue(ctx, first.NotAfter.Add(-29*24*time.Hour)); !done || err != nil {
		t.Errorf("RenewIfDue = %t, %v; want true", done, err)
	}
	now := present()
	if pki.Serial(now) == pki.Serial(first) || now.Subject.CommonName != first.Subject.CommonName ||
		!slices.Equal(now.DNSNames, first.DNSNames) || len(now.IPAddresses) != len(first.IPAddresses) {
		t.Errorf("renewed: %s %v %v, want the names of %s %v", now.Subject, now.DNSNames, now.IPAddresses, first.Subject, first.DNSNames)
	}
	if reopened := s.open(t).ServerCertificate().Leaf; !reopened.Equal(now) {
		t.Error("another certificate is on disk")
	}
	// One of elsewhere stays, and the operator is told in time.
	other, err := newSite(t).IssueServer(ctx, "elsewhere.example.com", []string{"elsewhere.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := other.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.WriteFile(filepath.Join(s.dir, "server.pem"), append(key, other.CertPEM()...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if done, err := s.RenewIfDue(ctx, time.Now()); done || err != nil {
		t.Errorf("of elsewhere: RenewIfDue = %t, %v; want false", done, err)
	}
	if done, err := s.RenewIfDue(ctx, other.NotAfter); done || err == nil || !present().Equal(other.Leaf) {
		t.Errorf("of elsewhere, at its end: RenewIfDue = %t, %v; want an error", done, err)
	}
}

func TestImportCA(t *testing.T) {
	s, company := newSite(t), newSite(t)
	client, _ := keyStore(t, p12(t, company.issue(t, "carol", pki.IssueOptions{ECDSA: true}), ""), pki.DefaultPassword)
	trust, err := s.TruststoreP12("")
	if err != nil {
		t.Fatal(err)
	}
	cas, err := pkcs12.DecodeTrustStore(trust, pki.DefaultPassword)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, s, tls.VersionTLS13, "localhost", client, trusted(cas...)); err == nil {
		t.Fatal("a foreign client was let in before the import")
	}
	changed := 0
	s.OnCAChange(func() { changed++ })
	for range 2 {
		if err := s.ImportCA(t.Context(), company.CAPEM()); err != nil {
			t.Fatal(err)
		}
	}
	if changed != 1 {
		t.Errorf("hook ran %d times, want once", changed)
	}
	s.Authority = s.open(t) // it persists
	leaf, err := dial(t, s, tls.VersionTLS12, "localhost", client, trusted(cas...))
	if err != nil || leaf.Subject.CommonName != "carol" {
		t.Errorf("handshake = %v, %v; want carol", leaf, err)
	}
	issued := s.issue(t, "dave", pki.IssueOptions{ECDSA: true})
	key, err := issued.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{"a leaf": issued.CertPEM(), "a key": key, "empty": nil, "garbage": []byte("x"), "huge": bytes.Repeat([]byte("x"), 2<<20)}
	for name, data := range bad {
		if err := s.ImportCA(t.Context(), data); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("ImportCA(%s) = %v, want ErrInvalid", name, err)
		}
	}
}

func TestSitesShareNoSecret(t *testing.T) {
	one, two := newSite(t), newSite(t)
	for _, a := range []site{one, two} {
		ca := a.issue(t, "x", pki.IssueOptions{ECDSA: true}).Chain[0]
		if n := len(ca.Subject.CommonName); n > 64 || !strings.HasPrefix(ca.Subject.CommonName, "Test Org Issuing CA ") {
			t.Errorf("authority %q: %d bytes, want at most 64", ca.Subject.CommonName, n)
		}
	}
	if a, b := one.ServerCertificate().Leaf.Issuer.String(), two.ServerCertificate().Leaf.Issuer.String(); a == b {
		t.Errorf("both authorities are called %s", a)
	}
	err := filepath.WalkDir(one.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		a, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(two.dir, d.Name()))
		if err == nil && bytes.Equal(a, b) {
			t.Errorf("%s is the same on both sites", d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkIssueClient(b *testing.B) {
	dir := b.TempDir()
	db, err := meta.Open(b.Context(), filepath.Join(dir, "meta.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if err := pki.Init(b.Context(), filepath.Join(dir, "pki"), db, "", []string{"localhost"}, nil); err != nil {
		b.Fatal(err)
	}
	a, err := pki.Open(b.Context(), filepath.Join(dir, "pki"), db, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.IssueClient(b.Context(), "load", pki.IssueOptions{ECDSA: true}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "certs/s")
}
