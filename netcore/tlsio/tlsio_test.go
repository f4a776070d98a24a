package tlsio_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	"takd/netcore/tlsio"
)

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// pair shakes hands over a real socket and returns the client, the server's
// layer, and the server's socket.
func pair(t testing.TB, version uint16) (*tls.Conn, *tlsio.Std, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sock, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close(); _ = sock.Close() })
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	errs := make(chan error, 1)
	go func() { errs <- client.Handshake() }()
	pool := tlsio.NewPool(tlsio.Limits{Deadline: 10 * time.Second, Total: 10, PerAddress: 10})
	layer, _, err := pool.Handshake(context.Background(), sock, &tls.Config{
		Certificates: []tls.Certificate{certificate(t)}, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true,
	})
	if err = errors.Join(err, <-errs); err != nil {
		t.Fatal(err)
	}
	return client, layer, sock
}

func drain(t *testing.T, l tlsio.Layer) []byte {
	t.Helper()
	var all []byte
	buf := make([]byte, 100)
	for {
		n, err := l.Read(buf)
		all = append(all, buf[:n]...)
		if errors.Is(err, tlsio.ErrDry) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// crypto/tls takes its records in any pieces, with writes in between, and
// forgets that it ran dry. The engine stands on that.
func TestByteWise(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			client, layer, sock := pair(t, version)
			want := bytes.Repeat([]byte("0123456789abcdef"), 4000) // several records
			go func() { _, _ = client.Write(want) }()
			var got []byte
			var out []byte
			one := make([]byte, 1)
			for i := 0; len(got) < len(want); i++ {
				if _, err := io.ReadFull(sock, one); err != nil {
					t.Fatal(err)
				}
				layer.Feed(one)
				got = append(got, drain(t, layer)...)
				if i%1000 == 0 {
					var err error
					if out, err = layer.Seal(out[:0], []byte("pong")); err != nil {
						t.Fatal(err)
					}
					if _, err := sock.Write(out); err != nil {
						t.Fatal(err)
					}
				}
			}
			if !bytes.Equal(got, want) {
				t.Error("what came is not what was sent")
			}
			buf := make([]byte, 4)
			if _, err := io.ReadFull(client, buf); err != nil || string(buf) != "pong" {
				t.Errorf("client read %q, %v", buf, err)
			}
		})
	}
}

// Connections lend each other read buffers; what they read stays apart, also
// where records come in pieces.
func TestReadBuffersAreShared(t *testing.T) {
	type side struct {
		layer  *tlsio.Std
		sealed []byte
		want   []byte
		got    []byte
	}
	sides := make([]side, 4)
	for i := range sides {
		s := &sides[i]
		client, layer, sock := pair(t, tls.VersionTLS13)
		s.layer = layer
		for n := range 50 {
			s.want = append(s.want, bytes.Repeat([]byte{byte('a' + i)}, 100+n*97)...)
		}
		go func() {
			_, _ = client.Write(s.want)
			_ = client.NetConn().(*net.TCPConn).CloseWrite()
		}()
		var err error
		if s.sealed, err = io.ReadAll(sock); err != nil {
			t.Fatal(err)
		}
	}
	for step := 0; ; step++ {
		busy := false
		for i := range sides {
			s := &sides[i]
			n := min(len(s.sealed), 1+(step*131+i*977)%5000)
			s.layer.Feed(s.sealed[:n])
			s.got = append(s.got, drain(t, s.layer)...)
			s.sealed = s.sealed[n:]
			busy = busy || len(s.sealed) > 0
		}
		if !busy {
			break
		}
	}
	for i, s := range sides {
		if !bytes.Equal(s.got, s.want) {
			t.Errorf("connection %d read %d bytes that are not the %d sent to it", i, len(s.got), len(s.want))
		}
	}
}

// A flush of 64 KiB is a few full records from the first one on.
func TestSeal(t *testing.T) {
	client, layer, sock := pair(t, tls.VersionTLS13)
	plain := bytes.Repeat([]byte("x"), 64<<10)
	out, err := layer.Seal([]byte("kept"), plain)
	if err != nil {
		t.Fatal(err)
	}
	if overhead := len(out) - len("kept") - len(plain); string(out[:4]) != "kept" || overhead > 5*22 {
		t.Errorf("sealing %d bytes costs %d: want at most five records", len(plain), overhead)
	}
	go func() {
		_, _ = sock.Write(out[4:])
		_, _ = sock.Write(layer.CloseNotify(nil))
	}()
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("client read %d bytes, %v", len(got), err)
	}
}

func TestEnds(t *testing.T) {
	feedAll := func(l tlsio.Layer, sock net.Conn) error {
		buf := make([]byte, 4096)
		for {
			n, err := sock.Read(buf)
			l.Feed(buf[:n])
			if _, rerr := l.Read(make([]byte, 100)); rerr != nil && !errors.Is(rerr, tlsio.ErrDry) {
				return rerr
			}
			if err != nil {
				return err
			}
		}
	}
	client, layer, sock := pair(t, tls.VersionTLS13)
	_ = client.CloseWrite()
	if err := feedAll(layer, sock); !errors.Is(err, io.EOF) {
		t.Errorf("after close_notify: %v, want EOF", err)
	}
	client, layer, sock = pair(t, tls.VersionTLS13)
	_, _ = client.NetConn().Write([]byte("\x17\x03\x03\x00\x20this is not an encrypted record!"))
	if err := feedAll(layer, sock); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after a forged record: %v, want an error", err)
	}
	if alert := layer.Pending(nil); len(alert) == 0 {
		t.Error("no alert for the peer")
	}
}

func TestPlain(t *testing.T) {
	var p tlsio.Plain
	p.Feed([]byte("abc"))
	if got := drain(t, &p); string(got) != "abc" {
		t.Errorf("Read = %q", got)
	}
	if out, err := p.Seal([]byte("a"), []byte("b")); string(out) != "ab" || err != nil {
		t.Errorf("Seal = %q, %v", out, err)
	}
}

func TestPoolLimits(t *testing.T) {
	p := tlsio.NewPool(tlsio.Limits{Total: 3, PerAddress: 2})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	steps := []struct {
		ip   netip.Addr
		want error
	}{{a, nil}, {a, nil}, {a, tlsio.ErrAddress}, {b, nil}, {b, tlsio.ErrBusy}}
	for i, s := range steps {
		if err := p.Enter(s.ip); !errors.Is(err, s.want) {
			t.Errorf("step %d: Enter = %v, want %v", i, err, s.want)
		}
	}
	p.Leave(a)
	if err := p.Enter(a); err != nil || p.Waiting() != 3 {
		t.Errorf("after Leave: %v, waiting %d", err, p.Waiting())
	}
}

func TestSealDoesNotAllocate(t *testing.T) {
	_, layer, _ := pair(t, tls.VersionTLS13)
	plain, out := make([]byte, 3000), make([]byte, 0, 8192)
	if n := testing.AllocsPerRun(200, func() { out, _ = layer.Seal(out[:0], plain) }); n >= 1 && !raceDetector {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	client, layer, sock := pair(t, tls.VersionTLS13)
	const runs = 200
	var records [][]byte
	buf := make([]byte, 4096)
	for range runs + 1 {
		if _, err := client.Write(make([]byte, 700)); err != nil {
			t.Fatal(err)
		}
		n, err := io.ReadFull(sock, buf[:700+22])
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, bytes.Clone(buf[:n]))
	}
	plain := make([]byte, 4096)
	n := testing.AllocsPerRun(runs, func() {
		layer.Feed(records[0])
		records = records[1:]
		if n, err := layer.Read(plain); n != 700 {
			t.Fatalf("Read = %d, %v", n, err)
		}
		if _, err := layer.Read(plain); !errors.Is(err, tlsio.ErrDry) {
			t.Fatal(err)
		}
	})
	if n >= 1 && !raceDetector {
		t.Errorf("%v allocations, want 0", n)
	}
}
