package live

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkLook is one look of a page at 10,000 tracks that have all moved: what is
// gathered and encoded, without the moves themselves and without the socket.
func BenchmarkLook(b *testing.B) {
	const n = 10_000
	h := NewHub(nil, nil)
	uids := make([][]byte, n)
	for i := range uids {
		uids[i] = fmt.Append(nil, "T-", i)
	}
	groups := []string{"Blue", "Green"}
	move := func() {
		for i := range uids {
			h.Move(&Event{UID: uids[i], Type: []byte("a-f-G"), User: "ann", Groups: groups, Lat: 50, Lon: float64(i) / 100, Received: time.Now().UnixMilli(), Life: time.Minute})
		}
	}
	s := &session{picture: &picture{user: "ann", out: groups}}
	move()
	h.look(s, false, time.Now())
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		move()
		b.StartTimer()
		if !h.look(s, false, time.Now()) {
			b.Fatal("nothing moved")
		}
	}
}
