package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"takd/cmd/takd/internal/config"
)

// pair writes a certificate of that name and its key.
func pair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// New files are shown without a restart; half of a renewal, or nonsense, changes
// nothing.
func TestFileCertificate(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	if _, err := openFileCert(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), log); err == nil {
		t.Error("opened without files")
	}
	cert, key := pair(t, dir, "one")
	f, err := openFileCert(cert, key, log)
	if err != nil {
		t.Fatal(err)
	}
	shown := func() string {
		f.looked = time.Time{} // as after lookEvery
		c, err := f.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.Subject.CommonName
	}
	if got := shown(); got != "one" {
		t.Errorf("shows %s", got)
	}
	other := t.TempDir()
	pair(t, other, "two")
	for i, name := range []string{"cert.pem", "key.pem"} {
		data, err := os.ReadFile(filepath.Join(other, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(data, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, want := shown(), []string{"one", "two"}[i]; got != want {
			t.Errorf("after %s: shows %s, want %s", name, got, want)
		}
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if err := f.reload(); err == nil || shown() != "two" {
		t.Errorf("reload without a file: %v, shows %s", err, shown())
	}
}

// An authority that does not answer, or another name, costs nobody the port: the
// server's own certificate is shown. The port for challenges serves nothing else.
func TestACMEFallsBack(t *testing.T) {
	asked := 0
	authority := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer authority.Close()
	own := &tls.Certificate{}
	a, err := openACME(config.ACME{Host: "tak.example.org", Directory: authority.URL, HTTP: "127.0.0.1:0"}, t.TempDir(),
		func() *tls.Certificate { return own }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a.manager.Client.HTTPClient = authority.Client()
	for _, name := range []string{"", "other.example.org", "127.0.0.1"} {
		if c, err := a.get(&tls.ClientHelloInfo{ServerName: name}); err != nil || c != own {
			t.Errorf("%q: %v, %v", name, c, err)
		}
	}
	if asked != 0 {
		t.Errorf("asked %d times for names of others", asked)
	}
	hello := &tls.ClientHelloInfo{
		ServerName: "tak.example.org", SupportedCurves: []tls.CurveID{tls.CurveP256}, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
	}
	if c, err := a.get(hello); err != nil || c != own || asked == 0 {
		t.Errorf("%v, %v, asked %d times", c, err, asked)
	}
	rec := httptest.NewRecorder()
	a.http.Handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/anything", nil))
	if rec.Code != http.StatusNotFound {
		t.Errorf("port for challenges: %d", rec.Code)
	}
	if err := a.stop(t.Context()); err != nil {
		t.Error(err)
	}
}
