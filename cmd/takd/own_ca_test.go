package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pemFiles are the files of a certificate that signs itself.
type pemFiles struct{ cert, key string }

// bring makes NAME.pem and NAME.key, of an authority or of none.
func bring(t *testing.T, name string, isCA bool, until time.Time) pemFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Our " + name}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: until,
		IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name),
	}
	cert, err1 := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	private, err2 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := pemFiles{filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")}
	for file, block := range map[string]*pem.Block{f.cert: {Type: "CERTIFICATE", Bytes: cert}, f.key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// An authority that is there already takes the place of a new root; what cannot be one
// is refused before anything is made.
func TestInitWithOwnCA(t *testing.T) {
	t.Parallel()
	w := &world{T: t, data: filepath.Join(t.TempDir(), "d"), log: &syncBuffer{}}
	now := time.Now()
	ca, leaf, old := bring(t, "ca", true, now.AddDate(5, 0, 0)), bring(t, "leaf", false, now.AddDate(5, 0, 0)), bring(t, "old", true, now.Add(-time.Hour))
	for want, args := range map[string][]string{
		"is not a CA":        {"--ca-cert", leaf.cert, "--ca-key", leaf.key},
		"does not belong":    {"--ca-cert", ca.cert, "--ca-key", leaf.key},
		"has expired":        {"--ca-cert", old.cert, "--ca-key", old.key},
		"want both or none":  {"--ca-cert", ca.cert},
		"no such file":       {"--ca-cert", ca.cert, "--ca-key", "/nowhere"},
		"no PEM private key": {"--ca-cert", ca.cert, "--ca-key", ca.cert},
	} {
		if out, code := w.try(append([]string{"init", "--host", "localhost"}, args...)...); code == 0 || !strings.Contains(out, want) {
			t.Errorf("%v: exit code %d: %s; want %s", args, code, out, want)
		}
	}
	if _, err := os.Stat(w.data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is in the data directory: %v", err)
	}
	w.takd("init", "--host", "localhost", "--ca-cert", ca.cert, "--ca-key", ca.key)
	want, err := os.ReadFile(ca.cert)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(w.data, "admin", "ca.pem")); err != nil || !strings.Contains(string(got), string(want)) {
		t.Errorf("ca.pem: %s, %v", got, err)
	}
	w.run()
	t.Cleanup(w.stop)
	w.takd("user", "add", "alice")
	w.connect("alice", w.certificate("alice")).position()
}
