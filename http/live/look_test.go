package live

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Whatever comes, goes, moves and is looked at in whatever order, pages end with what
// they may see, where it is.
func TestLooksMissNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	h := NewHub(nil, nil)
	groups := [][]string{{"Blue"}, {"Blue", "Green"}, {"Green"}, {"Red"}}
	pages := []*drawnPage{newDrawn("Blue"), newDrawn("Green", "Red")}
	now := time.Now()
	event := func(n int) *Event {
		return &Event{UID: fmt.Append(nil, "T-", n), Type: []byte("a-f-G"), User: fmt.Sprint(n % 7), Groups: groups[r.IntN(len(groups))], Lat: float64(r.IntN(80)), Lon: float64(r.IntN(170)), Received: now.UnixMilli(), Life: time.Duration(5+r.IntN(60)) * time.Second}
	}
	for range 2000 {
		switch r.IntN(12) {
		case 0:
			h.Gone(fmt.Append(nil, "T-", r.IntN(500)), groups[r.IntN(len(groups))], nil)
		case 1:
			now = now.Add(time.Second)
			h.Sweep(now)
		case 2:
			pages[r.IntN(len(pages))].view = nil
		case 3:
			pages[r.IntN(len(pages))].view = &box{0, 0, fixed(float64(r.IntN(170)), 180), fixed(float64(r.IntN(80)), 90)}
		case 4, 5:
			pages[r.IntN(len(pages))].take(t, h, now)
		default:
			for range r.IntN(20) {
				h.Move(event(r.IntN(500)))
			}
		}
	}
	for i, p := range pages {
		p.view = nil
		p.take(t, h, now)
		want := map[string]string{}
		for i, k := range h.spots {
			if k.born != 0 && slices.ContainsFunc(h.tracks[i].groups, func(g string) bool { return slices.Contains(p.out, g) }) {
				want[h.tracks[i].uid+h.tracks[i].user] = fmt.Sprint(k.lon, k.lat)
			}
		}
		got := map[string]string{}
		for tid, name := range p.names {
			got[name] = p.at[tid]
		}
		if len(want) < 20 || !maps.Equal(got, want) {
			t.Errorf("page %d has %d tracks, want %d: %v, want %v", i, len(got), len(want), got, want)
		}
		if h.look(p.session, false, now) {
			t.Error("something is new though nothing has changed")
		}
	}
}

// drawnPage is a session and what its page makes of it.
type drawnPage struct {
	*session

	names, at map[uint32]string
}

func newDrawn(out ...string) *drawnPage {
	return &drawnPage{&session{picture: &picture{user: "ann", out: out}}, map[uint32]string{}, map[uint32]string{}}
}

func (p *drawnPage) take(t *testing.T, h *Hub, now time.Time) {
	t.Helper()
	if !h.look(p.session, false, now) {
		return
	}
	le := binary.LittleEndian
	for i, b := range p.last {
		if p.text[i] {
			var m struct {
				List []struct {
					TID       uint32
					UID, User string
				}
			}
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			for _, m := range m.List {
				p.names[m.TID] = m.UID + m.User
			}
			continue
		}
		n := int(le.Uint32(b[16:]))
		for i := range n {
			tid := le.Uint32(b[headerLen+4*i:])
			if b[1] == kindGone {
				delete(p.names, tid)
			} else {
				p.at[tid] = fmt.Sprint(int32(le.Uint32(b[headerLen+4*(n+i):])), int32(le.Uint32(b[headerLen+4*(2*n+i):])))
			}
		}
	}
}

// moveAll moves n tracks of Blue.
func moveAll(h *Hub, n int) {
	now := time.Now().UnixMilli()
	for i := range n {
		h.Move(&Event{UID: fmt.Append(nil, "T-", i), Type: []byte("a-f-G"), User: fmt.Sprint(i % 8), Groups: blue, Lat: 50, Lon: float64(i) / 1000, Received: now, Life: time.Minute})
	}
}

var blue = []string{"Blue"}

// BenchmarkLook is one look of a page at 10,000 tracks that have all moved: what is
// gathered and encoded, without the moves themselves and without the socket.
func BenchmarkLook(b *testing.B) { benchmarkLook(b, 10_000, 10_000) }

// BenchmarkLookAtFew is one look at 100,000 tracks of which 100 have moved.
func BenchmarkLookAtFew(b *testing.B) { benchmarkLook(b, 100_000, 100) }

func benchmarkLook(b *testing.B, n, moving int) {
	b.Helper()
	h := NewHub(nil, nil)
	s := &session{picture: &picture{user: "ann", out: blue}}
	moveAll(h, n)
	for h.look(s, false, time.Now()) {
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		moveAll(h, moving)
		b.StartTimer()
		if !h.look(s, false, time.Now()) {
			b.Fatal("nothing moved")
		}
	}
}
