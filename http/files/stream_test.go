package files_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// noise is so many bytes that do not repeat.
func noise(n int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), n) }

func rss(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var all, resident int64
	if _, err := fmt.Sscan(string(text), &all, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

// A large file goes to disk and back without being in memory: client and server
// are both in this process.
func TestLargeFileIsStreamed(t *testing.T) {
	s := newSite(t)
	const size, limit = 64 << 20, 32 << 20
	s.pack("ann", "warm", bytes.Repeat([]byte("x"), 1<<20), "")
	runtime.GC()
	debug.FreeOSMemory()
	before := rss(t)
	var high atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				high.Store(max(high.Load(), rss(t)))
			}
		}
	}()
	h := sha256.New()
	got := s.Send("ann", "POST", "/Marti/sync/upload?name=large", io.TeeReader(noise(size), h))
	hash := hex.EncodeToString(h.Sum(nil))
	if got.Status != 200 || !bytes.Contains([]byte(got.Body), []byte(hash)) {
		t.Fatalf("upload: %d %s", got.Status, got.Body)
	}
	back := sha256.New()
	if n := s.stream("bob", "/Marti/sync/content?hash="+hash, back, nil); n != size || hex.EncodeToString(back.Sum(nil)) != hash {
		t.Errorf("download: %d bytes, other than what was uploaded", n)
	}
	close(stop)
	<-done
	if grown := high.Load() - before; grown > limit {
		t.Errorf("memory grew by %d MiB for a file of %d MiB", grown>>20, size>>20)
	}
}

// stream reads a file into w; middle is called after the first bytes.
func (s *site) stream(user, path string, w io.Writer, middle func()) int64 {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+user)
	resp, err := s.Client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.CopyN(w, resp.Body, 1000)
	if middle != nil {
		middle()
	}
	if err == nil {
		var more int64
		more, err = io.Copy(w, resp.Body)
		n += more
	}
	if err != nil {
		s.Error(err)
	}
	return n
}

func TestDeleteDuringDownload(t *testing.T) {
	s := newSite(t)
	data, err := io.ReadAll(noise(16 << 20))
	if err != nil {
		t.Fatal(err)
	}
	hash := s.pack("ann", "p", data, "")
	h := sha256.New()
	n := s.stream("bob", "/Marti/sync/content?hash="+hash, h, func() {
		s.want(200, "Deleted: 1", "ann", "DELETE", "/Marti/sync/delete?hash="+hash, "")
		s.want(404, "", "bob", "GET", "/Marti/sync/content?hash="+hash, "")
	})
	if n != int64(len(data)) || hex.EncodeToString(h.Sum(nil)) != hash {
		t.Errorf("%d of %d bytes, or others", n, len(data))
	}
}

func TestSameFileAtOnce(t *testing.T) {
	s := newSite(t)
	data := bytes.Repeat([]byte("the same"), 100_000)
	users := []string{"ann", "bob", "both"}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() { s.pack(users[i%3], "p", data, "") })
	}
	wg.Wait()
	if _, total := s.store.Usage(""); s.count() != 3 || int(total) != len(data) {
		t.Errorf("%d rows, %d bytes; want a row for each user and %d bytes", s.count(), total, len(data))
	}
}

// Client and server share the processors: each byte is encrypted, decrypted and hashed here.
func BenchmarkTransfer(b *testing.B) {
	s := newSite(b)
	data, _ := io.ReadAll(noise(32 << 20))
	for _, what := range []string{"upload", "download"} {
		b.Run(what, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			hash := s.pack("ann", "p", data, "")
			for b.Loop() {
				if what == "upload" {
					s.Send("ann", "POST", "/Marti/sync/upload?name=p&uid=U", bytes.NewReader(data))
				} else {
					s.stream("bob", "/Marti/sync/content?hash="+hash, io.Discard, nil)
				}
			}
		})
	}
}
