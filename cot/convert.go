package cot

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// unknown is how CoT says that a height or an error is not known. Zero would
// mean that it is known exactly.
const (
	unknown     = 9999999
	unknownText = "9999999.0"
)

// maxDeclared is how much longer namespaces may make an event: one long
// declaration, needed by many elements, would fill the memory.
const maxDeclared = 1 << 20

// AppendProto appends the event as a TakMessage in its stream frame (0xBF,
// varint length), without <marti> and with the flow tag of s. s may be nil. It
// uses scratch of the Event: one goroutine at a time.
func (ev *Event) AppendProto(dst []byte, s *Splice) ([]byte, error) {
	out, err := ev.appendProto(dst, s)
	if err == nil && s.tooBig(len(out)-len(dst)) {
		return ev.appendProto(out[:len(dst)], s.untagged())
	}
	return out, err
}

func (ev *Event) appendProto(dst []byte, s *Splice) ([]byte, error) {
	switch {
	case ev.at.badPoint:
		return dst, errPoint
	case ev.Format == Proto:
		return ev.spliceProto(dst, s), nil
	case len(ev.ns) > 0 && !ev.declarable():
		return dst, fmt.Errorf("%w: namespaces would add more than %d bytes", ErrLimit, maxDeclared)
	}
	detail := ev.appendDetail(ev.buf[0][:0], s)
	ev.buf[0] = keepSmall(detail)
	body, err := ev.appendEvent(ev.buf[1][:0], detail)
	ev.buf[1] = keepSmall(body)
	if err != nil {
		return dst, err
	}
	size := 1 + uvarintLen(len(body)) + len(body)
	if s != nil && s.Millis > 0 {
		size += 2 * (1 + protowire.SizeVarint(uint64(s.Millis)))
	}
	dst = appendFrame(dst, size)
	dst = appendBytes(dst, 2, body)
	if s != nil && s.Millis > 0 {
		dst = appendVarint(dst, 3, uint64(s.Millis))
		dst = appendVarint(dst, 4, uint64(s.Millis))
	}
	return dst, nil
}

func keepSmall(b []byte) []byte {
	if cap(b) > keepScratch {
		return nil
	}
	return b
}

// declarable reports whether the namespaces are few and short enough to stand
// on each child of detail.
func (ev *Event) declarable() bool {
	n := 0
	for i := range ev.ns {
		n += ev.ns[i].value.to - ev.ns[i].name.from
	}
	children := 0
	for i := range ev.at.marks {
		if ev.at.marks[i].nameEnd > 0 {
			children++
		}
	}
	return n*children <= maxDeclared
}

func appendBytes(dst []byte, num protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, num, protowire.BytesType), b)
}

// appendText leaves out empty strings, as proto3 does.
func appendText(dst []byte, num protowire.Number, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	return appendBytes(dst, num, b)
}

func appendVarint(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

func appendDouble(dst []byte, num protowire.Number, v float64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendFixed64(protowire.AppendTag(dst, num, protowire.Fixed64Type), math.Float64bits(v))
}

// appendEvent appends the fields of CotEvent.
func (ev *Event) appendEvent(dst, detail []byte) ([]byte, error) {
	dst = appendText(dst, 1, ev.Type)
	dst = appendText(dst, 2, ev.Access)
	dst = appendText(dst, 3, ev.QOS)
	dst = appendText(dst, 4, ev.Opex)
	dst = appendText(dst, 5, ev.UID)
	for i, t := range [...]Instant{ev.Time, ev.Start, ev.Stale} {
		ms, ok := t.UnixMilli()
		if !ok || ms < 0 {
			return dst, fmt.Errorf("%w: time, start or stale is not a time", ErrMalformed)
		}
		dst = appendVarint(dst, protowire.Number(6+i), uint64(ms))
	}
	dst = appendText(dst, 9, ev.How)
	dst = appendDouble(dst, 10, ev.Point.Lat.or(0))
	dst = appendDouble(dst, 11, ev.Point.Lon.or(0))
	dst = appendDouble(dst, 12, ev.Point.HAE.or(unknown))
	dst = appendDouble(dst, 13, ev.Point.CE.or(unknown))
	dst = appendDouble(dst, 14, ev.Point.LE.or(unknown))
	if ev.HasDetail {
		dst = appendBytes(dst, 15, detail)
	}
	dst = appendText(dst, 16, ev.Caveat)
	return appendText(dst, 17, ev.ReleasableTo), nil
}

// appendDetail appends the fields of Detail: an element becomes a typed field
// if it occurs once, has exactly that field's attributes and nothing in it;
// everything else stays XML. That is ATAK's own rule.
func (ev *Event) appendDetail(dst []byte, s *Splice) []byte {
	if !ev.HasDetail {
		return dst
	}
	var seen [kinds]int
	marks := ev.at.marks
	for i := range marks {
		seen[marks[i].kind]++
	}
	isTyped := func(m *mark) bool {
		return m.kind >= contact && m.kind <= track && m.exact && seen[m.kind] == 1 && ev.convertible(m.kind)
	}
	// xmlDetail first: its length is known only when it is written.
	xml := ev.appendXMLDetail(dst, s, isTyped)
	n := len(xml) - len(dst)
	head := 0
	if n > 0 {
		head = 1 + uvarintLen(n)
		xml = append(xml, make([]byte, head)...)
		copy(xml[len(dst)+head:], xml[len(dst):len(dst)+n])
		xml[len(dst)] = 1<<3 | byte(protowire.BytesType)
		binary.PutUvarint(xml[len(dst)+1:], uint64(n))
	}
	dst = xml
	for i := range marks {
		if isTyped(&marks[i]) {
			dst = ev.appendTyped(dst, marks[i].kind)
		}
	}
	return dst
}

// appendXMLDetail appends the children of detail that are not typed.
func (ev *Event) appendXMLDetail(dst []byte, s *Splice, isTyped func(*mark) bool) []byte {
	tag := s != nil && s.FlowTag != ""
	marks := ev.at.marks
	for i := range marks {
		if tag && marks[i].kind == flowTags {
			tag = false
		}
	}
	if tag {
		dst, s = s.element(dst), nil
	} else if s != nil && s.FlowTag == "" {
		s = nil
	}
	e := edits{tag: s, declare: len(ev.ns) > 0}
	from, to := ev.at.inner.from, ev.at.inner.to
	if ev.at.emptyTag > 0 {
		from, to = 0, 0
	}
	for i := range marks {
		m := &marks[i]
		if m.from < from || m.to > to || !isTyped(m) {
			continue
		}
		dst = ev.appendWithout(dst, from, m.from, e)
		from = m.to
	}
	return ev.appendWithout(dst, from, to, e)
}

// convertible reports whether the values of a typed element fit their fields.
func (ev *Event) convertible(k kind) bool {
	switch k {
	case status:
		_, ok := ev.battery()
		return ok
	case track:
		_, ok1 := ev.Track.Speed.Float()
		_, ok2 := ev.Track.Course.Float()
		return ok1 && ok2
	}
	return true
}

func (ev *Event) battery() (uint64, bool) {
	v, err := strconv.ParseUint(view(ev.Battery), 10, 32)
	return v, err == nil && (ev.Battery[0] != '0' || len(ev.Battery) == 1) // "07" would come back as "7"
}

// appendTyped appends one typed field of Detail.
func (ev *Event) appendTyped(dst []byte, k kind) []byte {
	b := ev.buf[1][:0]
	num := protowire.Number(k + 1) // contact is field 2, and the others follow in order
	switch k {
	case contact:
		b = appendText(appendText(appendText(b, 1, ev.Contact.Endpoint), 2, ev.Contact.Callsign), 3, ev.at.wire.altEndpoints)
	case team:
		b = appendText(appendText(b, 1, ev.Group.Name), 2, ev.Group.Role)
	case precision:
		b = appendText(appendText(b, 1, ev.Precision.GeopointSrc), 2, ev.Precision.AltSrc)
	case status:
		v, _ := ev.battery()
		b = appendVarint(b, 1, v)
	case takv:
		b = appendText(appendText(b, 1, ev.Takv.Device), 2, ev.Takv.Platform)
		b = appendText(appendText(b, 3, ev.Takv.OS), 4, ev.Takv.Version)
	case track:
		b = appendDouble(appendDouble(b, 1, ev.Track.Speed.or(0)), 2, ev.Track.Course.or(0))
	}
	ev.buf[1] = keepSmall(b)
	return appendBytes(dst, num, b)
}

// spliceProto is AppendProto for an event that is protobuf: xmlDetail and the
// lengths around it change, and numbers that are none; every other byte stays.
func (ev *Event) spliceProto(dst []byte, s *Splice) []byte {
	w := &ev.at.wire
	tag := s != nil && s.FlowTag != "" && ev.HasDetail
	if !tag && !ev.HasMarti && !w.odd {
		return append(appendFrame(dst, len(ev.Raw)), ev.Raw...)
	}
	if !ev.HasDetail {
		return ev.appendFields(appendFrame(dst, len(ev.Raw)), 0, len(ev.Raw))
	}
	xml := ev.buf[0][:0]
	if w.badTrack && !ev.hasMark(track) {
		xml = ev.appendTrack(xml)
	}
	at := nested{w.detail.to, w.detail.to, w.detail.to} // a new field at the end of detail
	if w.xml.set() {
		at = w.xml
		xml = ev.appendInner(xml, s)
	} else if tag {
		xml = s.element(xml)
	}
	ev.buf[0] = keepSmall(xml)

	field := func(n int) int { return 1 + uvarintLen(n) + n }
	detail := w.detail.to - w.detail.from - (at.to - at.key) - w.dropped
	if len(xml) > 0 || w.xml.set() {
		detail += field(len(xml))
	}
	event := w.event.to - w.event.from - (w.detail.to - w.detail.key) + field(detail)
	msg := len(ev.Raw) - (w.event.to - w.event.key) + field(event)

	dst = appendFrame(dst, msg)
	dst = append(dst, ev.Raw[:w.event.key]...)
	dst = appendHead(dst, 2, event)
	dst = ev.appendFields(dst, w.event.from, w.detail.key)
	dst = appendHead(dst, 15, detail)
	dst = ev.appendFields(dst, w.detail.from, at.key)
	if len(xml) > 0 || w.xml.set() {
		dst = append(appendHead(dst, 1, len(xml)), xml...)
	}
	if !w.odd {
		return append(dst, ev.Raw[at.to:]...)
	}
	dst = ev.appendFields(dst, at.to, w.detail.to)
	dst = ev.appendFields(dst, w.detail.to, w.event.to)
	return append(dst, ev.Raw[w.event.to:]...)
}

// appendFields appends fields of protobuf, mended if they have to be.
func (ev *Event) appendFields(dst []byte, from, to int) []byte {
	if !ev.at.wire.odd {
		return append(dst, ev.Raw[from:to]...)
	}
	return ev.appendWithout(dst, from, to, edits{})
}

func (ev *Event) hasMark(k kind) bool {
	for i := range ev.at.marks {
		if ev.at.marks[i].kind == k {
			return true
		}
	}
	return false
}

// appendTrack appends what is known of the track as an element.
func (ev *Event) appendTrack(dst []byte) []byte {
	speed, ok1 := ev.Track.Speed.Float()
	course, ok2 := ev.Track.Course.Float()
	if !ok1 && !ok2 {
		return dst
	}
	dst = append(dst, "<track"...)
	if ok1 {
		dst = append(appendFloat(append(dst, ` speed="`...), speed), '"')
	}
	if ok2 {
		dst = append(appendFloat(append(dst, ` course="`...), course), '"')
	}
	return append(dst, "/>"...)
}

func appendHead(dst []byte, num protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.BytesType), uint64(n))
}

// appendXMLFromProto converts. Typed fields come first; where xmlDetail has the
// same element, that one is meant.
func (ev *Event) appendXMLFromProto(dst []byte, s *Splice) []byte {
	dst = append(dst, `<event version="2.0"`...)
	dst = appendAttr(dst, "uid", ev.UID)
	dst = appendAttr(dst, "type", ev.Type)
	dst = appendAttr(dst, "how", ev.How)
	dst = append(AppendTime(append(dst, ` time="`...), ev.Time.ms), '"')
	dst = append(AppendTime(append(dst, ` start="`...), ev.Start.ms), '"')
	dst = append(AppendTime(append(dst, ` stale="`...), ev.Stale.ms), '"')
	dst = appendOptional(dst, "caveat", ev.Caveat)
	dst = appendOptional(dst, "releasableTo", ev.ReleasableTo)
	dst = appendOptional(dst, "opex", ev.Opex)
	dst = appendOptional(dst, "qos", ev.QOS)
	dst = appendOptional(dst, "access", ev.Access)
	dst = appendFloat(append(dst, `><point lat="`...), ev.Point.Lat.or(0))
	dst = appendFloat(append(dst, `" lon="`...), ev.Point.Lon.or(0))
	dst = appendFloat(append(dst, `" hae="`...), ev.Point.HAE.or(0))
	dst = appendFloat(append(dst, `" ce="`...), ev.Point.CE.or(0))
	dst = appendFloat(append(dst, `" le="`...), ev.Point.LE.or(0))
	dst = append(dst, `"/>`...)
	if ev.HasDetail {
		dst = append(dst, "<detail>"...)
		dst = ev.appendTypedXML(dst)
		switch {
		case ev.at.wire.xml.set():
			dst = ev.appendInner(dst, s)
		case s != nil && s.FlowTag != "":
			dst = s.element(dst)
		}
		dst = append(dst, "</detail>"...)
	}
	return append(dst, "</event>"...)
}

// appendTypedXML appends the typed fields as elements.
func (ev *Event) appendTypedXML(dst []byte) []byte {
	typed := ev.at.wire.typed
	for _, m := range ev.at.marks {
		if m.kind >= contact && m.kind <= track {
			typed &^= 1 << (m.kind + 1)
		}
	}
	if typed&(1<<2) != 0 {
		dst = appendAttr(append(dst, "<contact"...), "callsign", ev.Contact.Callsign)
		dst = appendOptional(dst, "endpoint", ev.Contact.Endpoint)
		dst = append(appendOptional(dst, "altendpoints", ev.at.wire.altEndpoints), "/>"...)
	}
	if typed&(1<<3) != 0 {
		dst = appendAttr(append(dst, "<__group"...), "name", ev.Group.Name)
		dst = append(appendAttr(dst, "role", ev.Group.Role), "/>"...)
	}
	if typed&(1<<4) != 0 {
		dst = appendAttr(append(dst, "<precisionlocation"...), "geopointsrc", ev.Precision.GeopointSrc)
		dst = append(appendAttr(dst, "altsrc", ev.Precision.AltSrc), "/>"...)
	}
	if typed&(1<<5) != 0 {
		dst = append(appendAttr(append(dst, "<status"...), "battery", ev.Battery), "/>"...)
	}
	if typed&(1<<6) != 0 {
		dst = appendAttr(append(dst, "<takv"...), "device", ev.Takv.Device)
		dst = appendAttr(dst, "platform", ev.Takv.Platform)
		dst = appendAttr(dst, "os", ev.Takv.OS)
		dst = append(appendAttr(dst, "version", ev.Takv.Version), "/>"...)
	}
	if typed&(1<<7) != 0 {
		dst = ev.appendTrack(dst)
	}
	return dst
}

func appendAttr(dst []byte, key string, v []byte) []byte {
	dst = append(append(append(dst, ' '), key...), `="`...)
	return append(appendEscaped(dst, v), '"')
}

func appendOptional(dst []byte, key string, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	return appendAttr(dst, key, v)
}
