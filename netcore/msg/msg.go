// Package msg holds one event on its way from a sender to its receivers: the
// bytes to send, counted references, and who may have it.
//
// A Msg comes from a pool. Whoever holds a reference may read it; its bytes are
// immutable once it was published. Release gives one reference back, and after
// the last one nothing of the Msg may be touched.
package msg

import (
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"

	"takd/cot"
	"takd/netcore/group"
)

// keep is the largest buffer that goes back to the pool with its Msg.
const keep = 64 << 10

// Class decides what a slow client may lose.
type Class uint8

// Positions may be replaced by newer ones of the same uid; the rest is kept.
const (
	Position Class = iota
	Chat
	Control
)

// Origin says where a message came from. It is immutable.
type Origin struct {
	User     string
	UID      string // of the client, not of the event
	Callsign string
	Input    string
	Groups   []string // the sender's IN groups
}

// Bill is a meter to which deliveries are charged. The zero value is nobody's.
type Bill struct {
	Paid *atomic.Int64 // nanoseconds: when everything is paid for
	Cost int64         // nanoseconds of one delivery
}

// Msg is one published event.
type Msg struct {
	Format   cot.Format // the encoding it came in
	Class    Class
	Sender   uint64     // session that it is never sent back to; 0: none
	In       group.Bits // receivers share one of these groups
	Except   group.Bits // and none of these; usually nil
	Received int64      // Unix milliseconds
	UID      []byte     // of the event, where Class is Position; its own memory

	Bills [3]Bill // of the sender, its user and its address

	// For taps.
	Origin    *Origin
	NoArchive bool     // the history does not want it
	Local     bool     // federated servers do not get it
	Oversize  bool     // too large for clients: taps only
	Kept      bool     // for the server alone, or a mission: taps only
	Missions  []string // mission destinations: names, or "guid:" and a GUID
	dests     []byte   // each ended by a zero byte

	Direct   bool // for named clients: they, or the sender, hear of it in any case
	Narrowed bool // In is less than its sender may send to

	Superseded atomic.Bool // a newer position of the same uid was published

	refs  atomic.Int32
	mu    sync.Mutex
	bytes [2][]byte // by cot.Format; Proto in its stream frame
	bad   bool      // the other encoding cannot be made
	bits  group.Bits
}

var pool = sync.Pool{New: func() any { return new(Msg) }}

// Get returns an empty message with one reference.
func Get() *Msg {
	m := pool.Get().(*Msg)
	m.refs.Store(1)
	return m
}

// Hold adds a reference and returns m.
func (m *Msg) Hold() *Msg {
	m.refs.Add(1)
	return m
}

// Release gives one reference back.
func (m *Msg) Release() {
	n := m.refs.Add(-1)
	if n > 0 {
		return
	}
	if n < 0 {
		panic("msg: released twice")
	}
	for i, b := range m.bytes {
		if cap(b) > keep {
			b = nil
		}
		m.bytes[i] = b[:0]
	}
	m.Format, m.Class, m.Sender, m.In, m.Except, m.Received = 0, 0, 0, nil, nil, 0
	m.Origin, m.NoArchive, m.Local, m.Oversize, m.Missions, m.bad = nil, false, false, false, nil, false
	m.Direct, m.Narrowed, m.Kept = false, false, false
	m.dests = m.dests[:0]
	m.UID = m.UID[:0]
	m.Bills = [3]Bill{}
	m.Superseded.Store(false)
	pool.Put(m)
}

// Charge bills n deliveries, in KiB begun.
func (m *Msg) Charge(n int) {
	n *= 1 + m.Size()>>10
	for i := range m.Bills {
		if b := &m.Bills[i]; b.Paid != nil {
			b.Paid.Add(int64(n) * b.Cost)
		}
	}
}

// Encode fills m from ev, spliced by s, in ev's own encoding.
func (m *Msg) Encode(ev *cot.Event, s *cot.Splice) error {
	m.Format = ev.Format
	var err error
	if ev.Format == cot.Proto {
		m.bytes[cot.Proto], err = ev.AppendProto(m.bytes[cot.Proto][:0], s)
	} else {
		m.bytes[cot.XML], err = ev.AppendXML(m.bytes[cot.XML][:0], s)
	}
	return err
}

// SetXML fills m with an event made by the server.
func (m *Msg) SetXML(b []byte) {
	m.Format = cot.XML
	m.bytes[cot.XML] = append(m.bytes[cot.XML][:0], b...)
}

// SetRaw fills m with ev just as it came, <marti> and all, for later.
func (m *Msg) SetRaw(ev *cot.Event) {
	m.Format = ev.Format
	b := m.bytes[ev.Format][:0]
	if ev.Format == cot.Proto {
		b = binary.AppendUvarint(append(b, 0xBF), uint64(len(ev.Raw)))
	}
	m.bytes[ev.Format] = append(b, ev.Raw...)
}

// Scan reads m into ev, which aliases it.
func (m *Msg) Scan(ev *cot.Event) error {
	if m.Format == cot.Proto {
		return cot.ScanProto(payload(m.bytes[cot.Proto]), ev)
	}
	_, err := cot.Scan(m.bytes[cot.XML], ev)
	return err
}

// Size is the length of the event as it came.
func (m *Msg) Size() int { return len(m.bytes[m.Format]) }

// Source returns the event as it came: XML, or a TakMessage in its stream frame.
func (m *Msg) Source() []byte { return m.bytes[m.Format] }

// AddDest notes a callsign or uid that m is for.
func (m *Msg) AddDest(name []byte) { m.dests = append(append(m.dests, name...), 0) }

// Dests returns the callsigns and uids that m is for; none: everybody in reach.
func (m *Msg) Dests() []string {
	if len(m.dests) == 0 {
		return nil
	}
	return strings.Split(string(m.dests[:len(m.dests)-1]), "\x00")
}

// Narrow restricts m to the groups of in that are also in one of the dests and
// reports whether any is left.
func (m *Msg) Narrow(in group.Bits, dests ...group.Bits) bool {
	m.bits = m.bits[:0]
	for _, d := range dests {
		m.bits = group.AppendOr(m.bits, d)
	}
	var some bool
	m.bits, some = group.AppendAnd(m.bits, m.bits, in)
	m.In, m.Narrowed = m.bits, true
	return some
}

// Bytes returns the event in format f, converting it on first need; every
// receiver shares the result. nil means that it cannot be converted.
func (m *Msg) Bytes(f cot.Format) []byte {
	if f == m.Format {
		return m.bytes[f]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.bytes[f]) == 0 && !m.bad {
		b, err := m.convert(f)
		m.bytes[f], m.bad = b, err != nil
	}
	if m.bad {
		return nil
	}
	return m.bytes[f]
}

var events = sync.Pool{New: func() any { return new(cot.Event) }}

func (m *Msg) convert(f cot.Format) ([]byte, error) {
	ev := events.Get().(*cot.Event)
	defer events.Put(ev)
	dst := m.bytes[f][:0]
	if err := m.Scan(ev); err != nil {
		return dst, err
	}
	if f == cot.Proto {
		return ev.AppendProto(dst, &cot.Splice{Millis: m.Received})
	}
	return ev.AppendXML(dst, nil)
}

// payload is the TakMessage in one stream frame: 0xBF, varint length, message.
func payload(frame []byte) []byte {
	_, n := binary.Uvarint(frame[1:])
	return frame[1+n:]
}
