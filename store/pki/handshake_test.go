package pki_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"takd/store/pki"
)

// dial shakes hands as a TAK client does: it sends its leaf only, and knows the
// server by the truststore. It returns the leaf that the server saw.
func dial(t *testing.T, s site, version uint16, host string, client tls.Certificate, roots *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	here, there := net.Pipe()
	server := tls.Server(there, &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  s.ClientCAs(),
		MinVersion: version, MaxVersion: version,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.ServerCertificate(), nil },
		VerifyConnection: func(st tls.ConnectionState) error {
			if s.IsRevoked(pki.Serial(st.PeerCertificates[0])) {
				return errors.New("revoked")
			}
			return nil
		},
	})
	conn := tls.Client(here, &tls.Config{
		RootCAs: roots, ServerName: host, Certificates: []tls.Certificate{client},
		MinVersion: version, MaxVersion: version,
	})
	deadline := time.Now().Add(20 * time.Second)
	_, _ = here.SetDeadline(deadline), there.SetDeadline(deadline)
	result := make(chan error, 1)
	go func() {
		err := server.HandshakeContext(context.Background())
		if err == nil {
			_, err = server.Write([]byte("x")) // also takes the client's last flight in TLS 1.3
		}
		result <- errors.Join(err, there.Close())
	}()
	_, err := conn.Read(make([]byte, 1))
	_ = here.Close()
	if serr := <-result; serr != nil {
		return nil, serr
	}
	if err != nil {
		return nil, err
	}
	return server.ConnectionState().PeerCertificates[0], nil
}

func TestHandshake(t *testing.T) {
	s := newSite(t)
	other := newSite(t)
	trust, err := s.TruststoreP12("")
	if err != nil {
		t.Fatal(err)
	}
	cas, err := pkcs12.DecodeTrustStore(trust, pki.DefaultPassword)
	if err != nil || len(cas) != 2 {
		t.Fatalf("truststore = %d certificates, %v; want root and issuing intermediate", len(cas), err)
	}
	roots := trusted(cas...)
	rsa, _ := keyStore(t, p12(t, s.issue(t, "alice", pki.IssueOptions{}), ""), pki.DefaultPassword)
	ec, _ := keyStore(t, p12(t, s.issue(t, "bob", pki.IssueOptions{ECDSA: true}), "s3cret"), "s3cret")
	gone := s.issue(t, "mallory", pki.IssueOptions{ECDSA: true})
	revoked, _ := keyStore(t, p12(t, gone, ""), pki.DefaultPassword)
	if _, err := s.Revoke(t.Context(), gone.Serial); err != nil {
		t.Fatal(err)
	}
	foreign, _ := keyStore(t, p12(t, other.issue(t, "alice", pki.IssueOptions{ECDSA: true}), ""), pki.DefaultPassword)
	short := s.issue(t, "late", pki.IssueOptions{ECDSA: true, Validity: time.Nanosecond})
	expired, _ := keyStore(t, p12(t, short, ""), pki.DefaultPassword)
	web, err := s.IssueServer(t.Context(), "web.example.com", []string{"web.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	asServer, _ := keyStore(t, p12(t, web, ""), pki.DefaultPassword)

	tests := map[string]struct {
		host   string
		client tls.Certificate
		user   string // "": refused
	}{
		"RSA":                   {"tak.example.com", rsa, "alice"},
		"ECDSA":                 {"192.0.2.7", ec, "bob"},
		"localhost":             {"localhost", ec, "bob"},
		"loopback":              {"127.0.0.1", ec, "bob"},
		"loopback v6":           {"::1", ec, "bob"},
		"wrong host":            {"evil.example.com", rsa, ""},
		"no certificate":        {"localhost", tls.Certificate{}, ""},
		"revoked":               {"localhost", revoked, ""},
		"of another server":     {"localhost", foreign, ""},
		"expired":               {"localhost", expired, ""},
		"a server's, as client": {"localhost", asServer, ""},
	}
	for name, tc := range tests {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				leaf, err := dial(t, s, version, tc.host, tc.client, roots)
				if (err == nil) != (tc.user != "") {
					t.Fatalf("handshake = %v, want user %q", err, tc.user)
				}
				if err == nil && leaf.Subject.CommonName != tc.user {
					t.Errorf("user = %q, want %q", leaf.Subject.CommonName, tc.user)
				}
			})
		}
	}
}
