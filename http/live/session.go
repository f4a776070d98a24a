package live

import (
	"encoding/binary"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	maxRows   = 1 << 16 // of one MOVE: the rest comes with the next
	metaBatch = 500
	outside   = 5       // tracks outside the view are sent with every fifth look
	keepBuf   = 1 << 16 // bytes that a picture keeps for its frames, though they got small
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
	buf  []byte   // of those that are not

	done  uint64 // clock of the hub up to which nothing was left out
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
// there is anything. all has it forget what it knew of groups. The messages of the
// look before are overwritten: the page has answered them.
func (h *Hub) look(s *session, all bool, now time.Time) bool {
	p := s.picture
	p.looks++
	clear(p.last) // metas go
	p.last, p.text = p.last[:0], p.text[:0]
	g, _ := h.rows.Get().(*[]move)
	if g == nil {
		g = new([]move)
	}
	l := gathering{wide: s.view == nil || p.looks%outside == 0, all: all, ms: now.UnixMilli(), moves: (*g)[:0]}
	h.mu.RLock()
	if n := len(h.spots) - len(p.seen); n > 0 {
		p.seen = append(p.seen, make([]seen, n)...)
	}
	for b, clock := range h.blocks {
		if clock > p.done || all {
			h.gather(s, &l, b*block, min((b+1)*block, len(h.spots)))
		}
	}
	if !l.left {
		p.done = h.clock
	}
	h.mu.RUnlock()
	news := len(l.gone)+len(l.moves) > 0
	if news {
		h.compose(p, &l)
	}
	*g = l.moves
	h.rows.Put(g)
	return news
}

// gathering is one look under way.
type gathering struct {
	wide, all bool
	left      bool // something was left for the next look
	ms        int64
	gone      []uint32
	meta      [][]byte
	moves     []move
}

// gather looks at the places from..to.
func (h *Hub) gather(s *session, l *gathering, from, to int) {
	p := s.picture
	for i := from; i < to; i++ {
		t, k := &h.spots[i], &p.seen[i]
		if k.born != t.born || k.aud != t.aud || l.all {
			visible := t.born != 0 && slices.ContainsFunc(h.tracks[i].groups, func(g string) bool { return slices.Contains(s.out, g) })
			if k.tid != 0 && (k.born != t.born || !visible) {
				l.gone = append(l.gone, k.tid)
				p.free = append(p.free, k.tid)
				*k = seen{}
			}
			k.born, k.aud, k.visible = t.born, t.aud, visible
			if l.all {
				k.named = 0
			}
		}
		if !k.visible || k.moved == t.moved && k.named == t.named && k.tid != 0 {
			continue
		}
		if len(l.moves) == maxRows || k.tid != 0 && k.named == t.named && !l.wide && !s.view.holds(t.lon, t.lat) {
			l.left = true
			continue
		}
		if k.tid == 0 {
			k.tid = p.number()
			k.named = 0
		}
		if k.named != t.named {
			l.meta = append(l.meta, h.tracks[i].asMeta(k.tid, s.out))
			k.named = t.named
		}
		k.moved = t.moved
		age := uint16(min(max(0, (l.ms-t.at)/1000), unknown-1))
		l.moves = append(l.moves, move{k.tid, t.lon, t.lat, t.course, t.speed, age, t.alt})
	}
}

// compose makes the messages of one look: what is gone, what is new, what moved.
// A tid that was given back may be another's at once, so this is their order.
func (h *Hub) compose(p *picture, l *gathering) {
	p.seq++
	size := headerLen + rowLen*len(l.moves)
	if len(l.gone) > 0 {
		size += headerLen + 4*len(l.gone)
	}
	if cap(p.buf) < size || cap(p.buf) > max(8*size, keepBuf) {
		p.buf = make([]byte, 0, size)
	}
	b := p.buf[:0]
	if len(l.gone) > 0 {
		b = appendHeader(b, kindGone, 0, p.seq, l.ms, len(l.gone), h.epoch)
		for _, tid := range l.gone {
			b = binary.LittleEndian.AppendUint32(b, tid)
		}
		p.add(b, false)
		b = b[len(b):]
	}
	for meta := l.meta; len(meta) > 0; {
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
	p.add(appendMoves(appendHeader(b, kindMove, flagLast, p.seq, l.ms, len(l.moves), h.epoch), l.moves), false)
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
