package history_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"takd/store/history"
	"takd/store/history/engine"
)

// A database that a DSN names takes what the engine takes; while it is gone
// events wait on disk.
func TestExternal(t *testing.T) {
	run, err := os.MkdirTemp("", "takd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	e, err := engine.Start(engine.Options{Command: self, Dir: t.TempDir(), Socket: filepath.Join(run, "s")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Stop(within(t)) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close() // nobody listens yet
	s := open(t, history.Options{Mode: "http://" + addr + "/default", Dir: t.TempDir(), Flush: 50 * time.Millisecond})
	record(t, s, at("a", 0))
	for end := time.Now().Add(patience); s.Health().Spool.Rows != 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("health %+v; want a row in the spool", s.Health())
		}
	}
	if h := s.Health(); h.State != engine.Unavailable || h.Reason == "" {
		t.Errorf("health %+v; want unavailable, and why", h)
	}
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go forward(l, filepath.Join(run, "s"))
	record(t, s, at("b", 1))
	flush(t, s)
	once(t, s, 2)
	if h := s.Health(); h.State != engine.Ready || h.Engine != "external" || h.Spool.Segments != 0 {
		t.Errorf("health %+v; want ready, with an empty spool", h)
	}
}

// forward connects what comes to l with a unix socket.
func forward(l net.Listener, socket string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", socket)
		if err != nil {
			_ = in.Close()
			continue
		}
		for _, p := range [][2]net.Conn{{in, out}, {out, in}} {
			go func() {
				_, _ = io.Copy(p[0], p[1])
				_ = p[0].Close()
			}()
		}
	}
}

// An https DSN is encrypted, and whom nobody vouches for is not talked to.
func TestExternalTLS(t *testing.T) {
	run, err := os.MkdirTemp("", "takd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	e, err := engine.Start(engine.Options{Command: self, Dir: t.TempDir(), Socket: filepath.Join(run, "s")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Stop(within(t)) })
	if err := e.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	signed := httptest.NewTLSServer(nil) // for its certificate, which nobody knows
	config := signed.TLS.Clone()
	config.NextProtos = nil
	signed.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go forward(l, filepath.Join(run, "s"))
	dsn := "https://" + l.Addr().String() + "/default"
	s := open(t, history.Options{Mode: dsn, Dir: t.TempDir(), Flush: 50 * time.Millisecond})
	if _, _, err := s.Ping(within(t)); err == nil || !strings.Contains(err.Error(), "x509") {
		t.Errorf("unknown certificate: %v; want an error of x509", err)
	}
	s = opened(t, history.Options{Mode: dsn + "?skip_verify=true", Dir: t.TempDir(), Flush: 50 * time.Millisecond})
	record(t, s, at("a", 0))
	flush(t, s)
	once(t, s, 1)
}
