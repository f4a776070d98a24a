package cot

import (
	"bytes"
	"fmt"
	"unsafe"
)

// element handles the start tag that was just read; at is where its '<' is.
func (ev *Event) element(at int) error {
	s := &ev.scan
	tag := s.b[s.tag.from:s.tag.to]
	if string(tag) == "event" {
		return fmt.Errorf("%w: event inside an event", ErrMalformed)
	}
	if s.depth >= MaxDepth {
		return fmt.Errorf("%w: nested deeper than %d", ErrLimit, MaxDepth)
	}
	var err error
	switch {
	case s.depth == 1 && string(tag) == "point":
		err = ev.point()
	case s.depth == 1 && string(tag) == "detail":
		err = ev.openDetail(at)
	case s.depth >= 2 && ev.at.inner.from > 0 && ev.at.inner.to == 0:
		if s.depth == 2 {
			err = ev.child(at, tag)
		} else {
			ev.content()
			if s.depth == 3 {
				err = ev.grandchild(tag)
			}
		}
	}
	if err != nil {
		return err
	}
	if !s.empty {
		s.stack[s.depth] = s.tag
		s.depth++
	} else if s.depth == 2 {
		ev.closeChild()
	}
	return nil
}

// endTag reads "</name >".
func (ev *Event) endTag() error {
	s := &ev.scan
	at := s.pos
	i := at + 2
	for i < len(s.b) && class[s.b[i]]&name != 0 {
		i++
	}
	end := i
	for i < len(s.b) && class[s.b[i]]&space != 0 {
		i++
	}
	if i == len(s.b) {
		return errShort
	}
	open := s.stack[s.depth-1]
	if s.b[i] != '>' || !bytes.Equal(s.b[at+2:end], s.b[open.from:open.to]) {
		return fmt.Errorf("%w: end tag does not match", ErrMalformed)
	}
	s.pos = i + 1
	s.depth--
	switch s.depth {
	case 0:
		ev.at.endTag = at
	case 1:
		if ev.at.inner.from > 0 && ev.at.inner.to == 0 {
			ev.at.inner.to, ev.at.detail.to = at, s.pos
		}
	case 2:
		ev.closeChild()
	}
	return nil
}

func (ev *Event) openDetail(at int) error {
	if ev.HasDetail {
		return fmt.Errorf("%w: two details", ErrMalformed)
	}
	ev.HasDetail = true
	s := &ev.scan
	ev.at.detail.from, ev.at.inner.from = at, s.pos
	if s.empty {
		ev.at.emptyTag = s.pos - len("/>")
		ev.at.inner.to, ev.at.detail.to = s.pos, s.pos
	}
	for i := range s.n {
		a := &s.attrs[i]
		if err := ev.namespace(a, s.b[a.name.from:a.name.to]); err != nil {
			return err
		}
	}
	return nil
}

func (ev *Event) closeChild() {
	if ev.at.child > 0 {
		ev.at.marks[ev.at.child-1].to = ev.scan.pos
		ev.at.child = 0
	}
	ev.at.childKind = other
}

// mark notes something of interest. It writes in place: each event has several.
func (ev *Event) mark(k kind, from, to, nameEnd int) error {
	n := len(ev.at.marks)
	switch {
	case n == maxMarks:
		return fmt.Errorf("%w: more than %d known elements in detail", ErrLimit, maxMarks)
	case n == cap(ev.at.marks):
		ev.at.marks = append(ev.at.marks, mark{})
	default:
		ev.at.marks = ev.at.marks[:n+1]
	}
	m := &ev.at.marks[n]
	m.kind, m.exact, m.from, m.to, m.nameEnd = k, true, from, to, nameEnd
	return nil
}

func (ev *Event) point() error {
	if ev.at.sawPoint {
		return fmt.Errorf("%w: two points", ErrMalformed)
	}
	ev.at.sawPoint = true
	s := &ev.scan
	for i := range s.n {
		a := &s.attrs[i]
		var n *Number
		degrees := false
		switch string(s.b[a.name.from:a.name.to]) {
		case "lat":
			n, degrees = &ev.Point.Lat, true
		case "lon":
			n, degrees = &ev.Point.Lon, true
		case "hae":
			n = &ev.Point.HAE
		case "ce":
			n = &ev.Point.CE
		case "le":
			n = &ev.Point.LE
		default:
			continue
		}
		n.text, n.set, n.plain = ev.value(a), true, s.plainNumber(a)
		if n.plain {
			continue
		}
		if _, ok := n.Float(); ok {
			continue
		}
		if degrees {
			ev.at.badPoint = true
			continue
		}
		*n = Number{v: unknown, set: true}
		if err := ev.mark(number, a.value.from, a.value.to, 0); err != nil {
			return err
		}
	}
	ev.HasPoint = ev.Point.Lat.set && ev.Point.Lon.set && !ev.at.badPoint
	return nil
}

// kindOf names the children of detail that the codec knows.
func kindOf(tag []byte) kind {
	switch string(tag) {
	case "contact":
		return contact
	case "__group":
		return team
	case "precisionlocation":
		return precision
	case "status":
		return status
	case "takv":
		return takv
	case "track":
		return track
	case "marti":
		return marti
	case "_flow-tags_":
		return flowTags
	case "__chat":
		return chat
	case "TakControl":
		return takControl
	}
	return other
}

// child handles the start tag of a child of detail.
func (ev *Event) child(at int, tag []byte) error {
	k := kindOf(tag)
	ev.at.childKind = k
	switch {
	case k != other && k != takControl && k != chat:
		if err := ev.openChild(k, at); err != nil {
			return err
		}
		return ev.typed(k, &ev.at.marks[ev.at.child-1])
	case len(ev.ns) > 0: // it may need the declarations
		if err := ev.openChild(other, at); err != nil {
			return err
		}
	}
	switch {
	case k == chat:
		ev.Chat = Chat{UIDs: ev.Chat.UIDs[:0]}
		ev.fields(field{"id", &ev.Chat.ID}, field{"chatroom", &ev.Chat.Room}, field{"messageId", &ev.Chat.MessageID},
			field{"senderCallsign", &ev.Chat.SenderCallsign}, field{"parent", &ev.Chat.Parent})
	case string(tag) == "emergency":
		var cancel []byte
		ev.Emergency = Emergency{Set: true}
		ev.fields(field{"type", &ev.Emergency.Type}, field{"cancel", &cancel})
		ev.Emergency.Cancel = string(cancel) == "true"
	case string(tag) == "link" && ev.Link == nil:
		ev.fields(field{"uid", &ev.Link})
	case string(tag) == "archive":
		ev.Archive = true
	}
	return nil
}

// openChild marks the child of detail that begins at at.
func (ev *Event) openChild(k kind, at int) error {
	err := ev.mark(k, at, 0, ev.scan.tag.to)
	ev.at.child = len(ev.at.marks)
	return err
}

// field is an attribute to read into a text.
type field struct {
	name string
	to   *[]byte
}

// fields reads attributes of the last start tag and reports whether it has
// exactly these.
func (ev *Event) fields(fs ...field) bool {
	s := &ev.scan
	known := 0
	for i := range s.n {
		a := &s.attrs[i]
		key := s.b[a.name.from:a.name.to]
		for k := range fs {
			if string(key) == fs[k].name {
				*fs[k].to = ev.value(a)
				known++
				break
			}
		}
	}
	return known == s.n
}

// typed reads the elements that have a typed field in protobuf, and decides
// whether this one may become one: exactly its attributes and nothing in it.
func (ev *Event) typed(k kind, m *mark) error {
	switch k {
	case contact:
		var alt []byte
		ev.Contact = Contact{}
		m.exact = ev.fields(field{"callsign", &ev.Contact.Callsign}, field{"endpoint", &ev.Contact.Endpoint}, field{"altendpoints", &alt}) &&
			ev.Contact.Callsign != nil
		ev.at.wire.altEndpoints = alt
		if len(ev.Contact.Callsign) > MaxCallsign {
			return tooLong("callsign", MaxCallsign)
		}
	case team:
		ev.Group = Group{}
		m.exact = ev.fields(field{"name", &ev.Group.Name}, field{"role", &ev.Group.Role}) && ev.scan.n == 2
	case precision:
		ev.Precision = Precision{}
		m.exact = ev.fields(field{"geopointsrc", &ev.Precision.GeopointSrc}, field{"altsrc", &ev.Precision.AltSrc}) && ev.scan.n == 2
	case status:
		ev.Battery = nil
		m.exact = ev.fields(field{"battery", &ev.Battery}) && ev.Battery != nil
	case takv:
		t := &ev.Takv
		*t = Takv{}
		m.exact = ev.fields(field{"device", &t.Device}, field{"platform", &t.Platform}, field{"os", &t.OS}, field{"version", &t.Version}) && ev.scan.n == 4
	case track:
		return ev.track()
	case marti:
		var archive []byte
		ev.HasMarti = true
		ev.fields(field{"archive", &archive})
		switch string(archive) {
		case "true":
			ev.MartiArchive = Yes
		case "false":
			ev.MartiArchive = No
		}
	}
	return nil
}

// track reads the attributes of track; those that are no numbers are to go.
func (ev *Event) track() error {
	s := &ev.scan
	ev.Track = Track{}
	known := 0
	for i := range s.n {
		a := &s.attrs[i]
		n := &ev.Track.Speed
		switch string(s.b[a.name.from:a.name.to]) {
		case "speed":
		case "course":
			n = &ev.Track.Course
		default:
			continue
		}
		n.text, n.set, n.plain = ev.value(a), true, s.plainNumber(a)
		if !n.plain {
			if _, ok := n.Float(); !ok {
				*n = Number{}
				ev.at.wire.odd = true
				if err := ev.mark(gone, s.before(a), a.value.to+1, 0); err != nil {
					return err
				}
				continue
			}
		}
		known++
	}
	ev.at.marks[ev.at.child-1].exact = known == 2 && s.n == 2
	return nil
}

// before is where the white space in front of an attribute begins.
func (s *scanner) before(a *attribute) int {
	i := a.name.from
	for class[s.b[i-1]]&space != 0 {
		i--
	}
	return i
}

// grandchild handles the elements inside marti, __chat and TakControl.
func (ev *Event) grandchild(tag []byte) error {
	s := &ev.scan
	switch {
	case ev.at.childKind == marti && string(tag) == "dest":
		if len(ev.Dests) == MaxDests {
			return fmt.Errorf("%w: more than %d destinations", ErrLimit, MaxDests)
		}
		ev.Dests = append(ev.Dests, Dest{})
		d := &ev.Dests[len(ev.Dests)-1]
		ev.fields(field{"callsign", &d.Callsign}, field{"uid", &d.UID}, field{"group", &d.Group}, field{"mission", &d.Mission},
			field{"mission-guid", &d.MissionGUID}, field{"path", &d.Path}, field{"after", &d.After}, field{"publish", &d.Publish})
	case ev.at.childKind == chat && string(tag) == "chatgrp":
		for i := range s.n {
			a := &s.attrs[i]
			if bytes.HasPrefix(s.b[a.name.from:a.name.to], []byte("uid")) {
				ev.Chat.UIDs = append(ev.Chat.UIDs, ev.value(a))
			}
		}
	case ev.at.childKind == takControl && string(tag) == "TakRequest":
		ev.fields(field{"version", &ev.TakRequest})
	}
	return nil
}

// reset makes ev ready for the next event and keeps its memory.
func (ev *Event) reset(f Format) {
	ev.Format, ev.Raw = f, nil
	ev.Version, ev.UID, ev.Type, ev.How = nil, nil, nil, nil
	ev.Access, ev.QOS, ev.Opex, ev.Caveat, ev.ReleasableTo = nil, nil, nil, nil, nil
	ev.Time, ev.Start, ev.Stale = Instant{}, Instant{}, Instant{}
	ev.HasPoint, ev.Point, ev.HasDetail = false, Point{}, false
	ev.Contact, ev.Group, ev.Takv, ev.Track = Contact{}, Group{}, Takv{}, Track{}
	ev.Battery, ev.Precision, ev.Emergency, ev.Archive = nil, Precision{}, Emergency{}, false
	ev.Chat = Chat{UIDs: shrinkViews(ev.Chat.UIDs)}
	ev.HasMarti, ev.Dests, ev.MartiArchive = false, shrinkViews(ev.Dests), Unset
	ev.TakRequest, ev.Link = nil, nil
	at := &ev.at
	at.typ, at.time, at.start, at.stale = span{}, span{}, span{}, span{}
	at.detail, at.inner, at.emptyTag, at.endTag = span{}, span{}, 0, 0
	at.child, at.sawPoint, at.badPoint, at.childKind, at.wire = 0, false, false, other, wire{}
	ev.text, at.marks, ev.ns = shrink(ev.text), shrink(at.marks), ev.ns[:0]
	ev.scan.attrs = shrink(ev.scan.attrs)
	ev.scan.attrs = ev.scan.attrs[:cap(ev.scan.attrs)]
}

// shrink empties s, and forgets its memory if that is much. What pointers may be
// in it must be cleared by the caller.
func shrink[T any](s []T) []T {
	if uintptr(cap(s))*unsafe.Sizeof(*new(T)) > keepScratch {
		return nil
	}
	return s[:0]
}

// shrinkViews is shrink for what points to the last event: that may be large,
// and is not needed any more.
func shrinkViews[T any](s []T) []T {
	clear(s)
	return shrink(s)
}

// keepScratch is the most memory of each kind that an Event keeps between events.
const keepScratch = 64 << 10
