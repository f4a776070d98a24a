package cot

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// wire is where the nested messages of a TakMessage are, so that one can be
// changed without decoding the others.
type wire struct {
	event, detail, xml nested
	altEndpoints       []byte
	typed              uint8 // bit n: Detail field n is present
	fragment           bool  // scanning xmlDetail
	odd                bool  // a number is none: the message cannot be passed on as it is
	badTrack           bool  // one of the track: that field is dropped
	dropped            int   // bytes of the fields of detail that are
}

// nested is one length-delimited field: its key, its length, its body.
type nested struct{ key, from, to int }

func (n nested) set() bool { return n.to > 0 }

// ScanProto reads one whole TakMessage (no stream frame) into ev. A message
// without an event is malformed. What this package does not know is kept.
func ScanProto(msg []byte, ev *Event) error {
	ev.reset(Proto)
	ev.Raw = msg
	ev.scan.b = msg
	err := walk(msg, 0, len(msg), func(num protowire.Number, typ protowire.Type, f nested, _ uint64) error {
		if num == 2 && typ == protowire.BytesType {
			return once(&ev.at.wire.event, f)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w := &ev.at.wire
	if !w.event.set() {
		return fmt.Errorf("%w: no event in the message", ErrMalformed)
	}
	if err := walk(msg, w.event.from, w.event.to, ev.eventField); err != nil {
		return err
	}
	if len(ev.UID) > MaxUID {
		return tooLong("uid", MaxUID)
	}
	ev.protoPoint()
	if !w.detail.set() {
		return nil
	}
	ev.HasDetail = true
	if err := walk(msg, w.detail.from, w.detail.to, ev.detailField); err != nil {
		return err
	}
	if len(ev.Contact.Callsign) > MaxCallsign {
		return tooLong("callsign", MaxCallsign)
	}
	if w.badTrack {
		if err := walk(msg, w.detail.from, w.detail.to, ev.dropTrack); err != nil {
			return err
		}
	}
	if !w.xml.set() {
		return nil
	}
	return ev.scanFragment(w.xml)
}

// protoPoint makes what the numbers mean of what they are: absent ones are zero.
func (ev *Event) protoPoint() {
	p := &ev.Point
	p.Lat.set, p.Lon.set = true, true
	ev.HasPoint = finite(p.Lat.v) && finite(p.Lon.v)
	ev.at.badPoint = !ev.HasPoint
	for _, n := range [...]*Number{&p.HAE, &p.CE, &p.LE} {
		n.set = true
		if !finite(n.v) {
			n.v = unknown
		}
	}
}

// dropTrack notes each track field: more than one are one message to protobuf.
func (ev *Event) dropTrack(num protowire.Number, typ protowire.Type, f nested, _ uint64) error {
	if num != 7 || typ != protowire.BytesType {
		return nil
	}
	ev.at.wire.dropped += f.to - f.key
	return ev.mark(gone, f.key, f.to, 0)
}

func once(dst *nested, f nested) error {
	if dst.set() {
		return fmt.Errorf("%w: a message field twice", ErrMalformed)
	}
	*dst = f
	return nil
}

// walk calls f for each field in b[from:to]: the place of length-delimited
// ones, the value of the others.
func walk(b []byte, from, to int, f func(num protowire.Number, typ protowire.Type, at nested, v uint64) error) error {
	for pos := from; pos < to; {
		num, typ, n := protowire.ConsumeTag(b[pos:to])
		if n < 0 {
			return fmt.Errorf("%w: protobuf", ErrMalformed)
		}
		at, v := nested{key: pos}, uint64(0)
		pos += n
		size := 0
		switch typ {
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(b[pos:to])
		case protowire.Fixed64Type:
			v, size = protowire.ConsumeFixed64(b[pos:to])
			at.from, at.to = pos, pos+size
		case protowire.BytesType:
			var body []byte
			body, size = protowire.ConsumeBytes(b[pos:to])
			at.to = pos + size
			at.from = at.to - len(body)
		default:
			size = protowire.ConsumeFieldValue(num, typ, b[pos:to])
		}
		if size < 0 {
			return fmt.Errorf("%w: protobuf", ErrMalformed)
		}
		pos += size
		if err := f(num, typ, at, v); err != nil {
			return err
		}
	}
	return nil
}

// str returns a string field's text.
func (ev *Event) str(f nested) ([]byte, error) {
	b := ev.Raw[f.from:f.to:f.to]
	if !legalText(b) {
		return nil, fmt.Errorf("%w: text that XML cannot carry", ErrMalformed)
	}
	return b, nil
}

func (ev *Event) eventField(num protowire.Number, typ protowire.Type, f nested, v uint64) (err error) {
	switch {
	case typ == protowire.BytesType:
		switch num {
		case 1:
			ev.Type, err = ev.str(f)
		case 2:
			ev.Access, err = ev.str(f)
		case 3:
			ev.QOS, err = ev.str(f)
		case 4:
			ev.Opex, err = ev.str(f)
		case 5:
			ev.UID, err = ev.str(f)
		case 9:
			ev.How, err = ev.str(f)
		case 15:
			err = once(&ev.at.wire.detail, f)
		case 16:
			ev.Caveat, err = ev.str(f)
		case 17:
			ev.ReleasableTo, err = ev.str(f)
		}
	case typ == protowire.VarintType && num >= 6 && num <= 8:
		if v > lastMilli {
			return fmt.Errorf("%w: time after the year 9999", ErrMalformed)
		}
		switch num {
		case 6:
			ev.Time = At(int64(v))
		case 7:
			ev.Start = At(int64(v))
		case 8:
			ev.Stale = At(int64(v))
		}
	case typ == protowire.Fixed64Type && num >= 10 && num <= 14:
		n := float(v)
		if !finite(n.v) {
			ev.at.wire.odd = true
			if err := ev.mark(double, f.from, f.to, 0); err != nil {
				return err
			}
		}
		switch num {
		case 10:
			ev.Point.Lat = n
		case 11:
			ev.Point.Lon = n
		case 12:
			ev.Point.HAE = n
		case 13:
			ev.Point.CE = n
		case 14:
			ev.Point.LE = n
		}
	}
	return err
}

func float(bits uint64) Number { return Number{v: math.Float64frombits(bits), set: true} }

// detailField reads the typed fields of Detail.
func (ev *Event) detailField(num protowire.Number, typ protowire.Type, f nested, _ uint64) error {
	if typ != protowire.BytesType {
		return nil
	}
	var to [4]*[]byte
	switch num {
	case 1:
		return once(&ev.at.wire.xml, f)
	case 2:
		to = [4]*[]byte{&ev.Contact.Endpoint, &ev.Contact.Callsign, &ev.at.wire.altEndpoints}
	case 3:
		to = [4]*[]byte{&ev.Group.Name, &ev.Group.Role}
	case 4:
		to = [4]*[]byte{&ev.Precision.GeopointSrc, &ev.Precision.AltSrc}
	case 5:
		if ev.Battery == nil {
			ev.Battery = zeroText // what is absent is zero
		}
	case 7:
		ev.Track.Speed.set, ev.Track.Course.set = true, true
	case 6:
		to = [4]*[]byte{&ev.Takv.Device, &ev.Takv.Platform, &ev.Takv.OS, &ev.Takv.Version}
	default:
		return nil
	}
	ev.at.wire.typed |= 1 << num
	return walk(ev.Raw, f.from, f.to, func(n protowire.Number, typ protowire.Type, at nested, v uint64) (err error) {
		switch {
		case num == 5 && n == 1 && typ == protowire.VarintType:
			ev.Battery = ev.decimal(uint64(uint32(v))) // as protobuf decodes it
		case num == 7 && n <= 2 && typ == protowire.Fixed64Type:
			x := float(v)
			if !finite(x.v) {
				ev.at.wire.odd, ev.at.wire.badTrack = true, true
			}
			if n == 1 {
				ev.Track.Speed = x
			} else {
				ev.Track.Course = x
			}
		case typ == protowire.BytesType && n <= 4 && to[n-1] != nil:
			*to[n-1], err = ev.str(at)
		}
		return err
	})
}

var zeroText = []byte("0")

// decimal returns v as text in scratch.
func (ev *Event) decimal(v uint64) []byte {
	from := len(ev.text)
	ev.text = strconv.AppendUint(ev.text, v, 10)
	return ev.text[from:len(ev.text):len(ev.text)]
}

// scanFragment reads xmlDetail: the children of detail, without its tags. What
// is in it wins over the typed fields.
func (ev *Event) scanFragment(f nested) error {
	s := &ev.scan
	if !legal(ev.Raw[f.from:f.to]) {
		return fmt.Errorf("%w: xmlDetail is not UTF-8", ErrMalformed)
	}
	s.b, s.pos, s.depth = ev.Raw[:f.to], f.from, 2
	s.stack[0], s.stack[1] = span{}, span{} // never closed in here
	ev.at.inner = span{f.from, 0}
	ev.at.wire.fragment = true
	for s.pos < f.to {
		err := ev.next()
		if err == errShort { //nolint:errorlint // never wrapped
			if s.depth == 2 && trailingText(s.b[s.pos:]) {
				break
			}
			err = fmt.Errorf("%w: xmlDetail ends early", ErrMalformed)
		}
		if err != nil {
			return err
		}
		if s.depth < 2 {
			return fmt.Errorf("%w: end tag does not match", ErrMalformed)
		}
	}
	if s.depth != 2 {
		return fmt.Errorf("%w: xmlDetail ends early", ErrMalformed)
	}
	ev.at.inner.to = f.to
	return nil
}

// trailingText reports whether b is text to the end, and legal.
func trailingText(b []byte) bool {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '<' || c < ' ' && class[c]&space == 0:
			return false
		case c == '&':
			n, err := entity(b[i:])
			if err != nil {
				return false
			}
			i += n - 1
		}
	}
	return true
}

// uvarintLen is the length of v as a varint.
func uvarintLen(v int) int { return protowire.SizeVarint(uint64(v)) }

// magic begins a stream frame.
const magic = 0xBF

// appendFrame appends the head of a stream frame with n bytes in it.
func appendFrame(dst []byte, n int) []byte {
	return binary.AppendUvarint(append(dst, magic), uint64(n))
}
