package cot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// HasFlowTag reports whether detail/_flow-tags_ carries the attribute name.
func (ev *Event) HasFlowTag(name string) bool {
	for i := range ev.at.marks {
		if m := &ev.at.marks[i]; m.kind == flowTags && hasAttribute(ev.Raw[m.nameEnd:m.to], name) {
			return true
		}
	}
	return false
}

// FlowTags returns the names in detail/_flow-tags_, the servers that the event
// has passed, in order and at most limit of them. They are views of Raw.
func (ev *Event) FlowTags(limit int) [][]byte {
	var tags [][]byte
	for i := range ev.at.marks {
		if m := &ev.at.marks[i]; m.kind == flowTags {
			eachAttribute(ev.Raw[m.nameEnd:m.to], func(name []byte) bool {
				if len(tags) < limit {
					tags = append(tags, name)
				}
				return len(tags) < limit
			})
		}
	}
	return tags
}

// hasAttribute reports whether a start tag has an attribute of that name. The
// tag was scanned before; tag begins behind its name.
func hasAttribute(tag []byte, called string) (has bool) {
	eachAttribute(tag, func(name []byte) bool {
		has = string(name) == called
		return !has
	})
	return has
}

// eachAttribute calls fn with the names of the attributes of a start tag, as
// hasAttribute takes it, until fn returns false.
func eachAttribute(tag []byte, fn func(name []byte) bool) {
	for i := 0; ; {
		for class[tag[i]]&space != 0 {
			i++
		}
		from := i
		for class[tag[i]]&name != 0 {
			i++
		}
		if i == from || !fn(tag[from:i:i]) {
			return
		}
		for tag[i] != '"' && tag[i] != '\'' {
			i++
		}
		i += 1 + bytes.IndexByte(tag[i+1:], tag[i]) + 1
	}
}

// change replaces Raw[from:to] in what is appended.
type change struct {
	span
	text string
}

// AppendXML appends the event as XML for a client: without <marti>, with the
// flow tag of s, from "<event" through "</event>" and not a byte more, with no
// other "</event>" inside and no XML declaration. ATAK cuts its stream at those
// eight bytes. Times and numbers are rewritten where ATAK could not read them.
// s may be nil: then the event is only brought into that form.
func (ev *Event) AppendXML(dst []byte, s *Splice) ([]byte, error) {
	out, err := ev.appendXML(dst, s)
	if err == nil && s.tooBig(len(out)-len(dst)) {
		return ev.appendXML(out[:len(dst)], s.untagged())
	}
	return out, err
}

func (ev *Event) appendXML(dst []byte, s *Splice) ([]byte, error) {
	switch {
	case ev.at.badPoint:
		return dst, errPoint
	case ev.Format == Proto:
		return ev.appendXMLFromProto(dst, s), nil
	}
	return ev.splice(dst, s, nil), nil
}

// errPoint says why an event is not passed on, which is to be dropped.
var errPoint = fmt.Errorf("%w: lat or lon is not a number", ErrMalformed)

// tooBig reports whether n bytes with the flow tag are too many.
func (s *Splice) tooBig(n int) bool { return s != nil && s.Limit > 0 && n > s.Limit && s.FlowTag != "" }

// untagged is s without the flow tag.
func (s *Splice) untagged() *Splice { return &Splice{Millis: s.Millis} }

// splice is AppendXML for an event that is XML. The changes are in order and
// in the event's start tag.
func (ev *Event) splice(dst []byte, s *Splice, changes []change) []byte {
	pos := 0
	for _, c := range changes {
		dst = append(ev.appendWithout(dst, pos, c.from, edits{}), c.text...)
		pos = c.to
	}
	if ev.at.endTag == len(ev.Raw) { // <event/>: nothing in it, and no end tag
		dst = ev.appendWithout(dst, pos, len(ev.Raw)-len("/>"), edits{})
		return append(dst, "></event>"...)
	}
	switch tagged := s != nil && s.FlowTag != "" && ev.HasDetail; {
	case tagged && ev.at.emptyTag > 0:
		dst = ev.appendWithout(dst, pos, ev.at.emptyTag, edits{})
		dst = append(s.element(append(dst, '>')), "</detail>"...)
		pos = ev.at.detail.to
	case ev.HasDetail:
		dst = ev.appendWithout(dst, pos, ev.at.inner.from, edits{})
		dst = ev.appendInner(dst, s)
		pos = ev.at.inner.to
	}
	dst = ev.appendWithout(dst, pos, ev.at.endTag, edits{})
	return append(dst, "</event>"...)
}

// element appends the whole _flow-tags_ element.
func (s *Splice) element(dst []byte) []byte {
	dst = append(dst, "<_flow-tags_"...)
	return append(s.attribute(dst), "/>"...)
}

func (s *Splice) attribute(dst []byte) []byte {
	dst = append(append(append(dst, ' '), s.FlowTag...), `="`...)
	return append(append(dst, s.Stamp...), '"')
}

// appendInner appends what is between the tags of detail: without marti, and
// with the flow tag of s if that is not nil and names one.
func (ev *Event) appendInner(dst []byte, s *Splice) []byte {
	if s == nil || s.FlowTag == "" {
		return ev.appendWithout(dst, ev.at.inner.from, ev.at.inner.to, edits{})
	}
	for i := range ev.at.marks {
		if ev.at.marks[i].kind == flowTags {
			return ev.appendWithout(dst, ev.at.inner.from, ev.at.inner.to, edits{tag: s})
		}
	}
	return ev.appendWithout(s.element(dst), ev.at.inner.from, ev.at.inner.to, edits{})
}

// edits is what appendWithout adds.
type edits struct {
	tag     *Splice // whose flow tag to add to the first _flow-tags_; nil: to none
	declare bool    // the namespaces of event and detail, on the children of detail
}

// appendWithout appends Raw[from:to] without marti, with what would end the
// event early, or is not readable, rewritten, and with what e adds.
func (ev *Event) appendWithout(dst []byte, from, to int, e edits) []byte {
	for i := range ev.at.marks {
		m := &ev.at.marks[i]
		if m.kind < marti && !e.declare {
			continue
		}
		if m.from < from || m.to > to {
			continue // elsewhere, or inside what was left out
		}
		switch {
		case m.kind == marti:
			dst = append(dst, ev.Raw[from:m.from]...)
			from = m.to
		case m.kind >= rewrite:
			dst = append(dst, ev.Raw[from:m.from]...)
			dst = ev.appendRewritten(dst, m)
			from = m.to
		case m.kind == flowTags && e.tag != nil:
			dst = append(dst, ev.Raw[from:m.nameEnd]...)
			if !ev.HasFlowTag(e.tag.FlowTag) { // twice would be malformed
				dst = e.tag.attribute(dst)
			}
			from, e.tag = m.nameEnd, nil
		}
		if e.declare && m.nameEnd >= from && m.nameEnd > 0 {
			dst = append(dst, ev.Raw[from:m.nameEnd]...)
			dst = ev.appendDeclarations(dst, m)
			from = m.nameEnd
		}
	}
	return append(dst, ev.Raw[from:to]...)
}

// appendDeclarations appends the namespaces of event and detail that the child
// of detail at m uses and does not declare: in protobuf it stands alone. The
// declaration of detail counts if both have one.
func (ev *Event) appendDeclarations(dst []byte, m *mark) []byte {
	child, attrs := ev.Raw[m.from:m.to], ev.Raw[m.nameEnd:m.to]
	for i := len(ev.ns) - 1; i >= 0; i-- {
		key := ev.Raw[ev.ns[i].name.from:ev.ns[i].name.to]
		prefix := key[len(xmlns):]
		if !hasPrefix(child, prefix) || hasAttribute(attrs, view(key)) || ev.redeclared(i, key) {
			continue
		}
		// From its name to behind the other quote.
		dst = append(append(dst, ' '), ev.Raw[ev.ns[i].name.from:ev.ns[i].value.to+1]...)
	}
	return dst
}

// hasPrefix reports whether "prefix:" is in b, as a name or as any other text.
func hasPrefix(b, prefix []byte) bool {
	var buf [64]byte
	return bytes.Contains(b, append(append(buf[:0], prefix...), ':'))
}

// redeclared reports whether a later declaration has the same key.
func (ev *Event) redeclared(i int, key []byte) bool {
	for _, later := range ev.ns[i+1:] {
		if bytes.Equal(ev.Raw[later.name.from:later.name.to], key) {
			return true
		}
	}
	return false
}

// appendRewritten appends what stands for the stretch at m.
func (ev *Event) appendRewritten(dst []byte, m *mark) []byte {
	switch m.kind {
	case number:
		return append(dst, unknownText...)
	case double:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(unknown))
	case instant:
		t := ev.Time
		if m.from == ev.at.start.from {
			t = ev.Start
		} else if m.from == ev.at.stale.from {
			t = ev.Stale
		}
		ms, _ := t.UnixMilli()
		return AppendTime(dst, ms)
	case rewrite: // CDATA becomes text; a comment or an instruction goes
		if text, ok := bytes.CutPrefix(ev.Raw[m.from:m.to], []byte("<![CDATA[")); ok {
			return appendEscaped(dst, text[:len(text)-len("]]>")])
		}
	}
	return dst
}

// AppendUndelivered appends, in format f, a copy of the chat ev with type
// b-t-f-s, without <marti>: nobody could receive it.
func (ev *Event) AppendUndelivered(dst []byte, f Format) ([]byte, error) {
	return ev.appendChanged(dst, f, "b-t-f-s", 0, 0)
}

// AppendAt appends, in format f, the event with time and start set to now and
// stale to now+life, Unix milliseconds and milliseconds: for emergencies, which
// are repeated until cancelled.
func (ev *Event) AppendAt(dst []byte, f Format, now, life int64) ([]byte, error) {
	return ev.appendChanged(dst, f, "", now, life)
}

// appendChanged is for what happens seldom: it allocates.
func (ev *Event) appendChanged(dst []byte, f Format, typ string, now, life int64) ([]byte, error) {
	var fresh Event
	if ev.at.badPoint {
		return dst, errPoint
	}
	if ev.Format == Proto {
		msg, err := ev.changedMessage(typ, now, life)
		if err != nil {
			return dst, err
		}
		if err := ScanProto(msg, &fresh); err != nil {
			return dst, fmt.Errorf("change: %w", err)
		}
	} else {
		xml := ev.splice(nil, nil, ev.changes(typ, now, life))
		if f == XML {
			return append(dst, xml...), nil
		}
		if _, err := Scan(xml, &fresh); err != nil {
			return dst, fmt.Errorf("change: %w", err)
		}
	}
	if f == XML {
		return fresh.AppendXML(dst, nil)
	}
	return fresh.AppendProto(dst, nil)
}

// changes lists, in order, what appendChanged puts into the start tag.
func (ev *Event) changes(typ string, now, life int64) []change {
	var list []change
	add := func(at span, text string) {
		if at.to != 0 {
			list = append(list, change{at, text})
		}
	}
	if typ != "" {
		add(ev.at.typ, typ)
	}
	if now != 0 {
		add(ev.at.time, string(AppendTime(nil, now)))
		add(ev.at.start, string(AppendTime(nil, now)))
		add(ev.at.stale, string(AppendTime(nil, now+life)))
	}
	slices.SortFunc(list, func(a, b change) int { return a.from - b.from })
	return list
}

// changedMessage is the TakMessage of ev with another type or other times;
// every other field stays as it is, known or not.
func (ev *Event) changedMessage(typ string, now, life int64) ([]byte, error) {
	var body []byte
	if typ != "" {
		body = appendBytes(body, 1, []byte(typ))
	}
	if now != 0 {
		body = appendVarint(body, 6, uint64(now))
		body = appendVarint(body, 7, uint64(now))
		body = appendVarint(body, 8, uint64(now+life))
	}
	w := &ev.at.wire
	last := nested{key: w.event.from}
	err := walk(ev.Raw, w.event.from, w.event.to, func(num protowire.Number, _ protowire.Type, at nested, _ uint64) error {
		keep(&body, ev.Raw, last, at.key)
		last = at
		if num == 1 && typ != "" || num >= 6 && num <= 8 && now != 0 {
			last.key = -1
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	keep(&body, ev.Raw, last, w.event.to)
	msg := append([]byte(nil), ev.Raw[:w.event.key]...)
	msg = append(appendHead(msg, 2, len(body)), body...)
	return append(msg, ev.Raw[w.event.to:]...), nil
}

// keep appends the field that begins at last, unless it is to go.
func keep(dst *[]byte, raw []byte, last nested, end int) {
	if last.key >= 0 {
		*dst = append(*dst, raw[last.key:end]...)
	}
}
