package live

import (
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	maxRows   = 1 << 16 // of one MOVE: the rest comes with the next
	metaBatch = 500
	outside   = 5 // tracks outside the view are sent with every fifth look
)

// seen is what a page has of the track in one place of the hub.
type seen struct {
	born    uint64 // of the track it has, or looked at last
	aud     uint64
	moved   uint64
	named   uint64
	tid     uint32 // 0: it has none
	visible bool
}

// box is what the page shows, in 1e-7 degrees. west may be greater than east.
type box struct{ west, south, east, north int32 }

func (b box) holds(lon, lat int32) bool {
	if lat < b.south || lat > b.north {
		return false
	}
	if b.west <= b.east {
		return lon >= b.west && lon <= b.east
	}
	return lon >= b.west || lon <= b.east
}

// picture is what a page has been sent: what a session keeps when its
// connection breaks.
type picture struct {
	user string
	out  []string // groups that it was sent the tracks of
	seen []seen
	free []uint32 // tids
	next uint32   // the first that was never used
	seq  uint32
	last [][]byte // messages of seq, for a page that did not get them
	text []bool   // which of them are text

	looks int
}

// session is one page that is connected.
type session struct {
	*picture

	serial string
	view   *box // nil: everything
	paused bool
	replay bool

	woken chan struct{}
	ask   atomic.Bool // what it may see may be something else
}

// look gathers, into p.last, what the page does not have, and reports whether
// there is anything. all has it forget what it knew of groups.
func (h *Hub) look(s *session, all bool, now time.Time) bool {
	p := s.picture
	p.looks++
	p.last, p.text = p.last[:0:0], p.text[:0:0]
	ms := now.UnixMilli()
	wide := s.view == nil || p.looks%outside == 0
	var gone []uint32
	var moves []move
	var meta [][]byte

	h.mu.RLock()
	if n := len(h.tracks) - len(p.seen); n > 0 {
		p.seen = append(p.seen, make([]seen, n)...)
	}
	for i := range h.tracks {
		t, k := &h.tracks[i], &p.seen[i]
		if k.born != t.born || k.aud != t.aud || all {
			visible := t.born != 0 && slices.ContainsFunc(t.groups, func(g string) bool { return slices.Contains(s.out, g) })
			if k.tid != 0 && (k.born != t.born || !visible) {
				gone = append(gone, k.tid)
				p.free = append(p.free, k.tid)
				*k = seen{}
			}
			k.born, k.aud, k.visible = t.born, t.aud, visible
			if all {
				k.named = 0
			}
		}
		if !k.visible || k.moved == t.moved && k.named == t.named && k.tid != 0 || len(moves) == maxRows {
			continue
		}
		if k.tid != 0 && k.named == t.named && !wide && !s.view.holds(t.lon, t.lat) {
			continue
		}
		if k.tid == 0 {
			k.tid = p.number()
			k.named = 0
		}
		if k.named != t.named {
			meta = append(meta, t.asMeta(k.tid, s.out))
			k.named = t.named
		}
		k.moved = t.moved
		age := uint16(min(max(0, (ms-t.at)/1000), unknown-1))
		moves = append(moves, move{k.tid, t.lon, t.lat, t.course, t.speed, age, t.alt})
	}
	h.mu.RUnlock()
	if len(gone)+len(moves) == 0 {
		return false
	}
	h.compose(p, gone, meta, moves, ms)
	return true
}

// compose makes the messages of one look: what is gone, what is new, what moved.
// A tid that was given back may be another's at once, so this is their order.
func (h *Hub) compose(p *picture, gone []uint32, meta [][]byte, moves []move, ms int64) {
	p.seq++
	if len(gone) > 0 {
		b := appendHeader(make([]byte, 0, headerLen+4*len(gone)), kindGone, 0, p.seq, ms, len(gone), h.epoch)
		for _, tid := range gone {
			b = append(b, byte(tid), byte(tid>>8), byte(tid>>16), byte(tid>>24))
		}
		p.add(b, false)
	}
	for len(meta) > 0 {
		b, n := []byte(`{"t":"meta","list":[`), 0
		for ; n < min(len(meta), metaBatch) && len(b) < metaBytes; n++ {
			if n > 0 {
				b = append(b, ',')
			}
			b = append(b, meta[n]...)
		}
		p.add(append(b, "]}"...), true)
		meta = meta[n:]
	}
	p.add(appendMoves(appendHeader(make([]byte, 0, headerLen+rowLen*len(moves)), kindMove, flagLast, p.seq, ms, len(moves), h.epoch), moves), false)
}

func (p *picture) add(b []byte, text bool) { p.last, p.text = append(p.last, b), append(p.text, text) }

func (p *picture) number() uint32 {
	if n := len(p.free); n > 0 {
		tid := p.free[n-1]
		p.free = p.free[:n-1]
		return tid
	}
	p.next++
	return p.next
}

// asMeta is the track's meta for who receives from out. Of its groups it names
// those that he has, too.
func (t *track) asMeta(tid uint32, out []string) []byte {
	b := append(make([]byte, 0, len(t.meta)+64), `{"tid":`...)
	b = strconv.AppendUint(b, uint64(tid), 10)
	b = append(append(b, ','), t.meta...)
	b = append(b, `,"groups":[`...)
	first := true
	for _, g := range t.groups {
		if !slices.Contains(out, g) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendJSON(b, g)
	}
	return append(b, "]}"...)
}
