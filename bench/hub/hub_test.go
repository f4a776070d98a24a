package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// world is a hub on loopback and what its clients need.
type world struct {
	*testing.T
	hub    *hub
	addr   string
	client *tls.Config
}

func start(t *testing.T, limit int64) *world {
	t.Helper()
	dir := t.TempDir()
	cmd := root{Cert: filepath.Join(dir, "hub.pem"), Key: filepath.Join(dir, "hub.key"), CA: filepath.Join(dir, "ca.pem")}
	client := authority(t, dir)
	config, err := cmd.config()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, hub: newHub(config, limit), addr: listener.Addr().String(), client: client}
	var wait sync.WaitGroup
	wait.Go(func() { _ = w.hub.serve(listener) })
	t.Cleanup(func() {
		_ = listener.Close()
		wait.Wait()
		w.hub.close()
	})
	return w
}

// authority writes the files of a hub and returns what its clients dial with.
func authority(t *testing.T, dir string) *tls.Config {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) {
		check(os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	check(err)
	write("ca.pem", "CERTIFICATE", caDER)
	for i, name := range []string{"hub", "client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(err)
		leaf := &x509.Certificate{SerialNumber: big.NewInt(int64(i) + 2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
		check(err)
		write(name+".pem", "CERTIFICATE", der)
		der, err = x509.MarshalPKCS8PrivateKey(key)
		check(err)
		write(name+".key", "PRIVATE KEY", der)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"))
	check(err)
	root, err := x509.ParseCertificate(caDER)
	check(err)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "hub"}
}

// dial returns once the hub passes events on to the new connection.
func (w *world) dial() *tls.Conn {
	w.Helper()
	before := w.peers()
	conn, err := tls.Dial("tcp", w.addr, w.client)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	w.until("joined", func() bool { return w.peers() == before+1 })
	return conn
}

func (w *world) peers() int {
	w.hub.feed.mu.Lock()
	defer w.hub.feed.mu.Unlock()
	return len(w.hub.feed.peers)
}

func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (w *world) send(conn io.Writer, text string) {
	if _, err := io.WriteString(conn, text); err != nil {
		w.Error(err)
	}
}

// expect reads size bytes, which must be whole events, and returns the numbers
// of each sender's events in the order in which they came.
func (w *world) expect(conn io.Reader, size int) map[string][]int {
	b := make([]byte, size)
	if n, err := io.ReadFull(conn, b); err != nil {
		w.Errorf("after %d of %d bytes: %v", n, size, err)
		return nil
	}
	got := make(map[string][]int)
	for one := range bytes.SplitAfterSeq(b, endTag) {
		if len(one) == 0 {
			continue
		}
		var uid string
		var number int
		_, err := fmt.Sscanf(string(one[:min(len(one), 40)]), "<event uid=%q n=\"%d\"", &uid, &number)
		if err != nil || string(one) != event(uid, number) {
			w.Errorf("%.100q is no event: %v", one, err)
			return nil
		}
		got[uid] = append(got[uid], number)
	}
	return got
}

func event(uid string, n int) string {
	return fmt.Sprintf(`<event uid="%s" n="%06d">%s</event>`, uid, n, strings.Repeat("x", n*37%2000))
}

// Three clients who all send at once get each other's events whole, in order,
// and not their own, however the writes are cut.
func TestEverybodyGetsTheOthers(t *testing.T) {
	const count = 3000
	w := start(t, backlog)
	names := []string{"ann", "bob", "cid"}
	conns := []*tls.Conn{w.dial(), w.dial(), w.dial()}
	size := 0
	for n := range count {
		size += len(event(names[0], n))
	}
	var wait sync.WaitGroup
	for i, conn := range conns {
		wait.Go(func() {
			var text bytes.Buffer
			for n := range count {
				text.WriteString(event(names[i], n))
				if piece := 1 + n*911%5000; text.Len() > piece {
					w.send(conn, string(text.Next(piece)))
				}
			}
			w.send(conn, text.String())
		})
		wait.Go(func() {
			got := w.expect(conn, 2*size)
			if len(got[names[i]]) > 0 {
				t.Errorf("%s got %d events of its own", names[i], len(got[names[i]]))
			}
			for _, name := range names {
				for n, number := range got[name] {
					if number != n {
						t.Errorf("%s got event %d of %s as number %d", names[i], number, name, n)
						return
					}
				}
			}
		})
	}
	wait.Wait()
}

// A client may leave at any moment, in the middle of an event too.
func TestLeaving(t *testing.T) {
	w := start(t, backlog)
	ann, bob := w.dial(), w.dial()
	for n := range 20 {
		cid := w.dial()
		w.send(cid, event("cid", n)+`<event uid="cid" `)
		w.send(ann, event("ann", n))
		size := len(event("ann", n))
		w.expect(bob, 2*size)
		w.expect(ann, size)
		_ = cid.Close()
		w.until("cid has left", func() bool { return w.peers() == 2 })
	}
	stranger := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
	conn, err := tls.Dial("tcp", w.addr, stranger)
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil {
		t.Error("a client without certificate got in")
	}
}

// A client that does not read holds the others up when it is so far behind, not
// before, and they go on when it reads or leaves; nothing is lost.
func TestSlowReader(t *testing.T) {
	const limit, count = 1 << 20, 12_000
	size := 0
	for n := range count {
		size += len(event("ann", n))
	}
	for name, leaves := range map[string]bool{"reads": false, "leaves": true} {
		t.Run(name, func(t *testing.T) {
			w := start(t, limit)
			ann, bob, slow := w.dial(), w.dial(), w.dial()
			w.hub.feed.mu.Lock()
			stuck := w.hub.feed.peers[2]
			w.hub.feed.mu.Unlock()
			var wait sync.WaitGroup
			wait.Go(func() {
				for n := range count {
					w.send(ann, event("ann", n))
				}
			})
			wait.Go(func() { w.expect(bob, size) })
			w.until("ann has to wait", func() bool { return w.hub.feed.blocked.Load() > 0 && stuck.behind(w.hub.feed) > limit/2 })
			if n := stuck.behind(w.hub.feed); n > limit {
				t.Errorf("%d bytes wait for one client, want at most %d", n, limit)
			}
			if leaves {
				_ = slow.Close()
			} else {
				w.expect(slow, size)
			}
			wait.Wait()
		})
	}
}

func (p *peer) behind(f *feed) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end() - p.written.Load()
}

// Whoever sends more than the limit, and nothing comes from anybody else, does
// not wait for himself.
func TestSenderIsNotBehindHimself(t *testing.T) {
	w := start(t, 100<<10)
	ann, bob := w.dial(), w.dial()
	var wait sync.WaitGroup
	wait.Go(func() {
		for n := range 1000 {
			w.send(ann, event("ann", n))
		}
	})
	size := 0
	for n := range 1000 {
		size += len(event("ann", n))
	}
	w.expect(bob, size)
	wait.Wait()
	w.send(bob, event("bob", 1))
	w.expect(ann, len(event("bob", 1)))
}

// One event longer than the limit and than a segment passes too.
func TestLongEvent(t *testing.T) {
	w := start(t, 64<<10)
	ann, bob := w.dial(), w.dial()
	text := `<event uid="ann">` + strings.Repeat("x", 1<<20) + `</event>`
	var wait sync.WaitGroup
	wait.Go(func() { w.send(ann, text+text) })
	got := make([]byte, 2*len(text))
	if _, err := io.ReadFull(bob, got); err != nil || string(got) != text+text {
		t.Errorf("bob got something else: %v", err)
	}
	wait.Wait()
}

func TestLastEnd(t *testing.T) {
	tests := map[string]struct {
		in          string
		known, want int
	}{
		"nothing":        {},
		"no end":         {in: "<event>"},
		"one":            {in: "<event></event>", want: 15},
		"two and a half": {in: "<event></event><event></event><event", want: 30},
		"known in part":  {in: "<event></event>", known: 14, want: 15},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := lastEnd([]byte(tc.in), tc.known); got != tc.want {
				t.Errorf("lastEnd(%q, %d) = %d, want %d", tc.in, tc.known, got, tc.want)
			}
		})
	}
}

// The command says where it listens and ends when it is told to.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	authority(t, dir)
	cmd := root{Listen: "127.0.0.1:0", Cert: filepath.Join(dir, "hub.pem"), Key: filepath.Join(dir, "hub.key"), CA: filepath.Join(dir, "ca.pem")}
	ctx, stop := context.WithCancel(t.Context())
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- cmd.Run(ctx, out) }()
	var addr string
	if _, err := fmt.Fscanf(in, "listening on %s\n", &addr); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}
