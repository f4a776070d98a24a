package cot

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// HasFlowTag reports whether detail/_flow-tags_ carries the attribute name.
func (ev *Event) HasFlowTag(name string) bool {
	for _, m := range ev.at.marks[:ev.at.n] {
		if m.kind != flowTags {
			continue
		}
		tag := ev.Raw[m.nameEnd:m.to]
		if end := bytes.IndexByte(tag, '>'); end >= 0 {
			tag = tag[:end] // a flow tag's value is a time: it holds no '>'
		}
		for {
			i := bytes.Index(tag, []byte(name))
			if i < 0 {
				break
			}
			after := tag[i+len(name):]
			if i > 0 && class[tag[i-1]]&space != 0 && len(bytes.TrimLeft(after, " \t\r\n")) > 0 && bytes.TrimLeft(after, " \t\r\n")[0] == '=' {
				return true
			}
			tag = after
		}
	}
	return false
}

// change replaces Raw[from:to] in what is appended.
type change struct {
	span
	text string
}

// AppendXML appends the event as XML for a client: without <marti>, with the
// flow tag of s, from "<event" through "</event>" and not a byte more, with no
// other "</event>" inside and no XML declaration. ATAK cuts its stream at those
// eight bytes. s may be nil: then the event is only brought into that form.
func (ev *Event) AppendXML(dst []byte, s *Splice) ([]byte, error) {
	if ev.Format == Proto {
		return ev.appendXMLFromProto(dst, s)
	}
	return ev.splice(dst, s, nil)
}

// splice is AppendXML for an event that is XML. The changes are in order and
// in the event's start tag.
func (ev *Event) splice(dst []byte, s *Splice, changes []change) ([]byte, error) {
	pos := 0
	for _, c := range changes {
		dst = append(append(dst, ev.Raw[pos:c.from]...), c.text...)
		pos = c.to
	}
	if ev.at.endTag == len(ev.Raw) { // <event/>: nothing in it, and no end tag
		dst = append(dst, ev.Raw[pos:len(ev.Raw)-len("/>")]...)
		return append(dst, "></event>"...), nil
	}
	switch tagged := s != nil && s.FlowTag != "" && ev.HasDetail; {
	case tagged && ev.at.emptyTag > 0:
		dst = ev.appendWithout(dst, pos, ev.at.emptyTag, nil)
		dst = append(s.element(append(dst, '>')), "</detail>"...)
		pos = ev.at.detail.to
	case ev.HasDetail:
		dst = ev.appendWithout(dst, pos, ev.at.inner.from, nil)
		dst = ev.appendInner(dst, s)
		pos = ev.at.inner.to
	}
	dst = ev.appendWithout(dst, pos, ev.at.endTag, nil)
	return append(dst, "</event>"...), nil
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
		return ev.appendWithout(dst, ev.at.inner.from, ev.at.inner.to, nil)
	}
	for i := range ev.at.marks[:ev.at.n] {
		if ev.at.marks[i].kind == flowTags {
			return ev.appendWithout(dst, ev.at.inner.from, ev.at.inner.to, s)
		}
	}
	return ev.appendWithout(s.element(dst), ev.at.inner.from, ev.at.inner.to, nil)
}

// appendWithout appends Raw[from:to] without marti, with s added to the first
// _flow-tags_ if s is not nil, and with what would end the event early rewritten.
func (ev *Event) appendWithout(dst []byte, from, to int, s *Splice) []byte {
	for i := range ev.at.marks[:ev.at.n] {
		m := &ev.at.marks[i]
		if m.from < from || m.to > to {
			continue // elsewhere, or inside what was left out
		}
		switch {
		case m.kind == marti:
			dst = append(dst, ev.Raw[from:m.from]...)
			from = m.to
		case m.kind == rewrite:
			dst = append(dst, ev.Raw[from:m.from]...)
			dst = appendRewritten(dst, ev.Raw[m.from:m.to])
			from = m.to
		case m.kind == flowTags && s != nil:
			dst = append(dst, ev.Raw[from:m.nameEnd]...)
			if !ev.HasFlowTag(s.FlowTag) { // twice would be malformed
				dst = s.attribute(dst)
			}
			from, s = m.nameEnd, nil
		}
	}
	return append(dst, ev.Raw[from:to]...)
}

// appendRewritten appends a CDATA section as escaped text; all else goes.
func appendRewritten(dst, b []byte) []byte {
	if text, ok := bytes.CutPrefix(b, []byte("<![CDATA[")); ok {
		return appendEscaped(dst, text[:len(text)-len("]]>")])
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
	if ev.Format == Proto {
		msg, err := ev.changedMessage(typ, now, life)
		if err != nil {
			return dst, err
		}
		if err := ScanProto(msg, &fresh); err != nil {
			return dst, fmt.Errorf("change: %w", err)
		}
	} else {
		xml, err := ev.splice(nil, nil, ev.changes(typ, now, life))
		if err != nil || f == XML {
			return append(dst, xml...), err
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
