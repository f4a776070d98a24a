package live

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// BenchmarkFrame is what a page with 10,000 tracks that all move costs at each tick:
// it looks, encodes, and sends by TLS to somebody who reads. cpu-ns/op is the
// processor's time of the thread that does it, with the kernel's share of the sending.
func BenchmarkFrame(b *testing.B) {
	const n = 10_000
	h, s := NewHub(nil, nil), &session{picture: &picture{user: "ann", out: []string{"Blue"}}}
	ended := make(chan struct{})
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		u := websocket.Upgrader{WriteBufferSize: 4 << 10}
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		runtime.LockOSThread()
		l := &line{h: h, s: s, c: c}
		spent := time.Duration(0)
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			moveAll(h, n)
			b.StartTimer()
			began := ofThread(b)
			if !h.look(s, false, time.Now()) {
				b.Error("nothing moved")
			}
			if err := l.send(); err != nil {
				b.Error(err)
			}
			spent += ofThread(b) - began
		}
		b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
	}))
	site.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer site.Close()
	d := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	c, resp, err := d.DialContext(b.Context(), "wss"+site.URL[len("https"):], nil)
	if err != nil {
		b.Fatal(err)
	}
	_ = resp.Body.Close()
	raw := c.NetConn().(*tls.Conn).NetConn()
	_, _ = io.Copy(io.Discard, raw) // who decrypts is somebody else's processor
	_ = c.Close()
	<-ended
}

// ofThread is the processor's time that this thread has used.
func ofThread(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(1, &u); err != nil { // RUSAGE_THREAD
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
