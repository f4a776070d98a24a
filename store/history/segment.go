package history

import (
	"encoding/binary"
	"fmt"
	"time"
)

// What is in a segment, all numbers as varints: the number of batches; of each its ID,
// table and number of rows; of each row what pack writes. A short text is a number
// where it was there before (1 is the first of them), else 0, its length and itself.

// packer writes a segment.
type packer struct {
	to    []byte
	known map[string]uint64
}

func (p *packer) number(v int64) { p.to = binary.AppendVarint(p.to, v) }
func (p *packer) count(n int)    { p.to = binary.AppendUvarint(p.to, uint64(n)) }
func (p *packer) bytes(b []byte) { p.count(len(b)); p.to = append(p.to, b...) }
func (p *packer) long(s string)  { p.count(len(s)); p.to = append(p.to, s...) }
func (p *packer) list(l []string) {
	p.count(len(l))
	for _, s := range l {
		p.text(s)
	}
}

func (p *packer) text(s string) {
	if n, ok := p.known[s]; ok {
		p.to = binary.AppendUvarint(p.to, n)
		return
	}
	p.known[s] = uint64(len(p.known) + 1)
	p.count(0)
	p.long(s)
}

// pack is g as bytes. Its batches are split.
func (g *group) pack() []byte {
	p := &packer{to: make([]byte, 0, 64*g.rows+int(g.bytes/8)), known: map[string]uint64{}}
	p.count(len(g.Batches))
	for _, b := range g.Batches {
		p.to = binary.AppendUvarint(p.to, b.ID)
		p.text(b.Table)
		p.count(len(b.Rows))
		for i, e := range b.Rows {
			p.row(e, b.shapes[i], b.rests[i])
		}
	}
	return p.to
}

func (p *packer) row(e *Event, shape string, rest []byte) {
	c := e.cells()
	p.number(storable(e.Received).UnixMilli())
	p.number(c.time)
	p.number(c.start - c.time)
	p.number(c.stale - c.time)
	for _, n := range c.numbers {
		p.number(int64(n))
	}
	for _, s := range [...]string{e.UID, e.Callsign, e.Type, e.How, e.Team, e.Role, e.User, e.Sender, e.Source, e.Mission, e.Room, shape} {
		p.text(s)
	}
	p.list(e.Groups)
	p.list(e.Dests)
	p.list(e.Flow)
	p.long(e.Text)
	p.bytes(rest)
}

// unpacker reads a segment; what it says is of no use once bad is set.
type unpacker struct {
	left  []byte
	all   string // the same bytes, for texts
	known []string
	bad   bool
}

func (u *unpacker) number() int64    { return varint(u, binary.Varint) }
func (u *unpacker) unsigned() uint64 { return varint(u, binary.Uvarint) }

func varint[T int64 | uint64](u *unpacker, read func([]byte) (T, int)) T {
	v, n := read(u.left)
	if n <= 0 {
		u.bad, u.left = true, nil
		return 0
	}
	u.left = u.left[n:]
	return v
}

// count is a number of things that take a byte each or more.
func (u *unpacker) count() int {
	n := u.unsigned()
	if n > uint64(len(u.left)) {
		u.bad, u.left = true, nil
		return 0
	}
	return int(n)
}

func (u *unpacker) bytes() []byte {
	n := u.count()
	b := u.left[:n:n]
	u.left = u.left[n:]
	return b
}

func (u *unpacker) long() string {
	n := u.count()
	from := len(u.all) - len(u.left)
	u.left = u.left[n:]
	if u.bad {
		return ""
	}
	return u.all[from : from+n]
}

func (u *unpacker) text() string {
	n := u.unsigned()
	if n == 0 {
		s := u.long()
		u.known = append(u.known, s)
		return s
	}
	if n > uint64(len(u.known)) {
		u.bad, u.left = true, nil
		return ""
	}
	return u.known[n-1]
}

func (u *unpacker) list() []string {
	n := u.count()
	if n == 0 {
		return nil
	}
	l := make([]string, 0, min(n, 1024))
	for range n {
		l = append(l, u.text())
	}
	return l
}

// unpack reads what pack has written.
func unpack(plain []byte) (*group, error) {
	u := &unpacker{left: plain, all: string(plain)}
	g := new(group)
	for range u.count() {
		b := &batch{ID: u.unsigned(), Table: u.text()}
		rows := u.count()
		b.shapes = make([]string, 0, min(rows, 1<<16))
		for range rows {
			if u.bad {
				break
			}
			e, shape := u.row()
			b.Rows, b.shapes, b.rests = append(b.Rows, e), append(b.shapes, shape), append(b.rests, u.bytes())
		}
		g.Batches = append(g.Batches, b)
		if u.bad {
			break
		}
	}
	if u.bad || len(u.left) > 0 {
		return nil, fmt.Errorf("%w: no rows", errCorrupt)
	}
	return g, nil
}

func (u *unpacker) row() (e *Event, shape string) {
	e = new(Event)
	received := u.number()
	at, start, stale := u.number(), u.number(), u.number()
	e.Received, e.Time, e.Start, e.Stale = utc(received), utc(at), utc(at+start), utc(at+stale)
	for i, to := range [7]*float64{&e.Lat, &e.Lon, &e.HAE, &e.CE, &e.LE, &e.Speed, &e.Course} {
		*to = float64(u.number()) / float64(pow10[figures[i].digits])
	}
	for _, to := range [...]*string{&e.UID, &e.Callsign, &e.Type, &e.How, &e.Team, &e.Role, &e.User, &e.Sender, &e.Source, &e.Mission, &e.Room, &shape} {
		*to = u.text()
	}
	e.Groups, e.Dests, e.Flow = u.list(), u.list(), u.list()
	e.Text = u.long()
	return e, shape
}

func utc(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
