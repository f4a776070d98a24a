package store_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"takd/store"
	"takd/store/auth"
	"takd/store/pki"
)

func newDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	err := store.Init(t.Context(), dir, store.InitOptions{Hosts: []string{"tak.example.org", "192.0.2.1"}, Org: "Test"})
	if err != nil {
		t.Fatalf("Init: %v", err)
	}
	return dir
}

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestInitAndOpen(t *testing.T) {
	ctx := t.Context()
	dir := newDir(t)
	s := open(t, dir)
	if id := s.ServerID(); len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		t.Errorf("ServerID() = %q, want 32 hex digits", id)
	}
	if err := store.Init(ctx, dir, store.InitOptions{}); !errors.Is(err, store.ErrExists) {
		t.Errorf("second Init = %v, want ErrExists", err)
	}
	if got := open(t, dir).ServerID(); got != s.ServerID() {
		t.Errorf("ServerID() after reopening = %q, want %q", got, s.ServerID())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left over by Init: %v", left)
	}
	if err := s.Audit(ctx, "o'brien", "user add", "x'); DROP TABLE audit;--\x00\xff"); err != nil {
		t.Errorf("Audit: %v", err)
	}
	log, err := s.Meta.AuditLog(ctx, 10)
	if err != nil || len(log) != 1 || log[0].Actor != "o'brien" || log[0].Detail != "x'); DROP TABLE audit;--\ufffd" {
		t.Errorf("AuditLog = %+v, %v", log, err)
	}
}

func TestOpenWithoutData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	_, err := store.Open(t.Context(), store.Options{Dir: dir})
	if !errors.Is(err, store.ErrNoData) || !strings.Contains(err.Error(), "takd init") {
		t.Errorf("Open(missing) = %v, want ErrNoData with the command to run", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open made the directory: %v", err)
	}
}

func TestInitFailsClean(t *testing.T) {
	tests := map[string]store.InitOptions{
		"host":         {Hosts: []string{"bad host"}},
		"host path":    {Hosts: []string{"../x"}},
		"organisation": {Org: "a/b"},
		"long":         {Org: strings.Repeat("x", 65)},
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := store.Init(t.Context(), dir, o); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("Init(%+v) = %v, want ErrInvalid", o, err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// No file of a data directory may be read by other users of the machine.
func TestModes(t *testing.T) {
	dir := newDir(t)
	_ = open(t, dir) // with its WAL files
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTwoInitsShareNoSecret(t *testing.T) {
	a, b := newDir(t), newDir(t)
	if x, y := open(t, a).ServerID(), open(t, b).ServerID(); x == y {
		t.Errorf("both servers have the id %s", x)
	}
	files, err := os.ReadDir(filepath.Join(a, "pki"))
	if err != nil || len(files) < 5 {
		t.Fatalf("pki holds %v, %v", files, err)
	}
	for _, f := range files {
		x, errX := os.ReadFile(filepath.Join(a, "pki", f.Name()))
		y, errY := os.ReadFile(filepath.Join(b, "pki", f.Name()))
		if err := errors.Join(errX, errY); err != nil {
			t.Fatal(err)
		}
		if string(x) == string(y) {
			t.Errorf("%s is the same in both", f.Name())
		}
	}
}

// handshake connects a client to a server that is set up like takd's.
func handshake(t *testing.T, s *store.Store, client tls.Certificate, version uint16) (*x509.Certificate, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.PKI.CAPEM())
	done := make(chan error, 1)
	go func() {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{
			Certificates: []tls.Certificate{client}, RootCAs: roots, ServerName: "tak.example.org",
			MinVersion: version, MaxVersion: version,
		})
		if err == nil {
			_, _ = io.Copy(io.Discard, c) // TLS 1.3 tells the client of a refusal only now
			err = c.Close()
		}
		done <- err
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	srv := tls.Server(c, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.PKI.ServerCertificate(), nil },
		ClientAuth:     tls.RequireAndVerifyClientCert, ClientCAs: s.PKI.ClientCAs(), MinVersion: tls.VersionTLS12,
	})
	err = srv.Handshake()
	_ = srv.Close()
	if clientErr := <-done; err == nil && clientErr != nil {
		t.Fatalf("the client refuses the server: %v", clientErr)
	}
	if err != nil {
		return nil, err
	}
	return srv.ConnectionState().PeerCertificates[0], nil
}

// The client sends only its leaf, as ATAK does.
func leafOnly(i *pki.Issued) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{i.Leaf.Raw}, PrivateKey: i.Key}
}

func TestHandshakeAndRemoval(t *testing.T) {
	ctx := t.Context()
	s := open(t, newDir(t))
	if err := s.Auth.AddUser(ctx, auth.NewUser{Name: "alice", In: []string{"Blue"}, Out: []string{"Blue"}}); err != nil {
		t.Fatal(err)
	}
	var leaf *x509.Certificate
	for _, o := range []pki.IssueOptions{{}, {ECDSA: true}} {
		issued, err := s.PKI.IssueClient(ctx, "alice", o)
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			if leaf, err = handshake(t, s, leafOnly(issued), version); err != nil {
				t.Fatalf("handshake %s, ECDSA %v: %v", tls.VersionName(version), o.ECDSA, err)
			}
			p, err := s.Auth.PrincipalForCertificate(ctx, leaf)
			if err != nil || p.User != "alice" || p.Serial != issued.Serial || p.In[0] != "Blue" {
				t.Fatalf("PrincipalForCertificate = %+v, %v", p, err)
			}
		}
	}
	var serials, users []string
	s.PKI.OnRevoke(func(serial string) { serials = append(serials, serial) })
	s.Auth.OnChange(func(user string) { users = append(users, user) })
	if err := s.RemoveUser(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	if len(serials) != 2 || len(users) != 1 || users[0] != "alice" {
		t.Errorf("hooks: revoked %v, changed %v; want two serials and alice", serials, users)
	}
	if _, err := s.Auth.PrincipalForCertificate(ctx, leaf); !errors.Is(err, auth.ErrRevoked) {
		t.Errorf("certificate of a removed user: %v, want ErrRevoked", err)
	}
	if err := s.RemoveUser(ctx, "alice"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("RemoveUser twice = %v, want ErrNotFound", err)
	}
}

func TestHandshakeRefuses(t *testing.T) {
	ctx := t.Context()
	s, other := open(t, newDir(t)), open(t, newDir(t))
	stranger, err := other.PKI.IssueClient(ctx, "mallory", pki.IssueOptions{ECDSA: true})
	if err != nil {
		t.Fatal(err)
	}
	server, err := s.PKI.IssueServer(ctx, "feed", []string{"feed.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	for name, cert := range map[string]tls.Certificate{
		"of another authority": leafOnly(stranger), "of a server": leafOnly(server), "none": {},
	} {
		if _, err := handshake(t, s, cert, tls.VersionTLS13); err == nil {
			t.Errorf("certificate %s: let in", name)
		}
	}
	changed := 0
	s.PKI.OnCAChange(func() { changed++ })
	if err := s.PKI.ImportCA(ctx, other.PKI.CAPEM()); err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, s, leafOnly(stranger), tls.VersionTLS12); err != nil || changed != 1 {
		t.Errorf("after ImportCA: %v, %d changes; want to be let in after one", err, changed)
	}
	if err := s.PKI.ImportCA(ctx, other.PKI.CAPEM()); err != nil || changed != 1 {
		t.Errorf("ImportCA again = %v, %d changes; want no other", err, changed)
	}
}

// Removing a user that is called like another's serial must not touch the other.
func TestRemoveUserNamedLikeASerial(t *testing.T) {
	ctx := context.WithoutCancel(t.Context())
	s := open(t, newDir(t))
	victim, err := s.PKI.IssueClient(ctx, "victim", pki.IssueOptions{ECDSA: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Auth.AddUser(ctx, auth.NewUser{Name: victim.Serial}); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveUser(ctx, victim.Serial); err != nil {
		t.Fatal(err)
	}
	if s.PKI.IsRevoked(victim.Serial) {
		t.Error("the certificate of another user was revoked")
	}
}
