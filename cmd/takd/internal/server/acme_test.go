package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
	"golang.org/x/crypto/acme"

	"takd/cmd/takd/internal/config"
)

const publicName = "tak.example.org"

// authority is Pebble, the ACME server that Let's Encrypt tests clients with. It
// finds every name on this machine, and proves them at these ports.
type authority struct {
	*httptest.Server

	roots  *x509.CertPool
	orders atomic.Int64
}

func newAuthority(t *testing.T, httpPort, tlsPort int) *authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0") // trying again takes the client seconds
	names, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resolver := &dns.Server{Listener: names, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(a)
	})}
	served := make(chan error, 1)
	go func() { served <- resolver.ActivateAndServe() }()
	quiet, store := log.New(io.Discard, "", 0), db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "default", ValidityPeriod: uint64((90 * 24 * time.Hour).Seconds())}})
	front := wfe.New(quiet, store, va.New(quiet, httpPort, tlsPort, false, names.Addr().String(), store), issuer, []string{"pebble.example.org"}, false, false, 0, 0)
	a := &authority{roots: x509.NewCertPool()}
	a.roots.AddCert(issuer.GetRootCert(0).Cert)
	h := front.Handler()
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == wfe.DirectoryPath {
			a.orders.Add(1)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		a.Close()
		if err := resolver.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return a
}

// A certificate comes by ACME, with the challenge at the port of enrollment or at
// that for HTTP, and a restart does not ask for it again.
func TestACME(t *testing.T) {
	for _, way := range []string{"tls-alpn-01", "http-01"} {
		t.Run(way, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			here, plain := ln.Addr().(*net.TCPAddr).Port, free.Addr().(*net.TCPAddr).Port
			_ = free.Close()
			c := config.ACME{Host: publicName, HTTP: config.Off}
			if way == "http-01" {
				c.HTTP = net.JoinHostPort("127.0.0.1", strconv.Itoa(plain))
				here = 1 // nobody is at that port
			}
			pebble := newAuthority(t, plain, here)
			c.Directory = pebble.URL + wfe.DirectoryPath
			cert, key := pair(t, t.TempDir(), "own")
			own, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			open := func() *acmeCert {
				a, err := openACME(c, dir, func() *tls.Certificate { return &own }, slog.New(slog.NewTextHandler(t.Output(), nil)))
				if err != nil {
					t.Fatal(err)
				}
				a.manager.Client.HTTPClient = pebble.Client()
				listed := a.manager.HostPolicy
				a.manager.HostPolicy = func(ctx context.Context, host string) error { // a real authority comes to port 80
					return listed(ctx, strings.TrimSuffix(host, ":"+strconv.Itoa(plain)))
				}
				return a
			}
			var now atomic.Pointer[acmeCert]
			now.Store(open())
			front := tls.NewListener(ln, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return now.Load().get(h) }, NextProtos: []string{"http/1.1", acme.ALPNProto}})
			go func() {
				for {
					conn, err := front.Accept()
					if err != nil {
						return
					}
					go func() { _ = conn.(*tls.Conn).Handshake(); _ = conn.Close() }()
				}
			}()
			t.Cleanup(func() { _ = front.Close() })
			first := shownTo(t, ln.Addr(), pebble.roots)
			if err := now.Load().stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			asked := pebble.orders.Load()
			now.Store(open())
			if again := shownTo(t, ln.Addr(), pebble.roots); !again.Equal(first) || pebble.orders.Load() != asked {
				t.Errorf("after a restart: serial %v, was %v; asked %d times more", again.SerialNumber, first.SerialNumber, pebble.orders.Load()-asked)
			}
			if err := now.Load().stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// shownTo is the certificate that who asks for the public name sees, and trusts.
func shownTo(t *testing.T, addr net.Addr, roots *x509.CertPool) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", addr.String(), &tls.Config{ServerName: publicName, RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0]
}
