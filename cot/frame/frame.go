// Package frame cuts the byte stream of one TAK client into events.
//
// A stream may hold XML events with anything between them (declarations,
// comments, white space, garbage), or protobuf messages in stream frames
// (0xBF, varint length, TakMessage), or, from clients that never negotiate,
// either of them at each boundary.
//
// An XML event begins at "<event" and ends at the first "</event>" that is not
// inside quotes, a comment, CDATA or an instruction, or at the "/>" of its own
// tag. A '<' inside an attribute value, a document type, or another "<event"
// means that the event is broken: it is skipped to its end tag or to the next
// event, whichever comes first.
package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"takd/cot"
)

// Kind says what Next found.
type Kind uint8

// What Next can find.
const (
	More  Kind = iota // nothing whole yet: discard n bytes, keep the rest, come back with more
	Event             // ev holds an event
	Auth              // the <auth> preamble; see Decoder.Auth
	Bad               // a malformed, refused or oversized event was skipped; err says why

	again // Next looks on
)

// ErrTooBig is fatal for the connection: a protobuf frame longer than cot.MaxSize.
// An XML event of that length is skipped, and wraps cot.ErrLimit.
var ErrTooBig = errors.New("frame: too big")

const (
	magic   = 0xBF
	maxAuth = 4 << 10 // longest <auth> preamble
)

// Credentials are those of the <auth> preamble; the fields alias buf.
type Credentials struct{ User, Password, UID []byte }

// Decoder cuts one stream. The zero value reads XML and protobuf alike. It
// holds no bytes of the stream, only where it stopped looking.
type Decoder struct {
	ProtoOnly bool        // set after negotiation: bytes before 0xBF are skipped
	Auth      Credentials // valid after kind Auth, until buf changes or Next is called again

	state state
	off   int   // how far the current event was looked at
	dirty bool  // garbage since the last event: 0xBF is not a frame
	err   error // why the event is broken
}

// Next looks at buf, which begins where the last call's n ended. The caller
// discards n bytes after every call and calls again until it gets More.
// However the stream is cut, the same events come out; the work is linear in
// the length of the stream. A nil err accompanies every kind but Bad. With Bad,
// err wraps exactly one of cot.ErrMalformed, cot.ErrDTD, cot.ErrLimit and
// ErrTooBig; the last means that the stream cannot go on.
//
// ev aliases buf: it is valid until the caller discards those bytes.
func (d *Decoder) Next(buf []byte, ev *cot.Event) (kind Kind, n int, err error) {
	if a := &d.Auth; a.User != nil || a.Password != nil || a.UID != nil {
		d.Auth = Credentials{} // it would keep the buffer
	}
	for {
		kind, used, err := d.next(buf[n:], ev)
		n += used
		if kind != again {
			return kind, n, err
		}
	}
}

func (d *Decoder) next(buf []byte, ev *cot.Event) (kind Kind, n int, err error) {
	if d.ProtoOnly {
		skip := bytes.IndexByte(buf, magic)
		if skip < 0 {
			return More, len(buf), nil
		}
		return d.frame(buf, skip, ev)
	}
	if d.state != outside {
		return d.resume(buf, 0, ev)
	}
	for pos := 0; ; {
		found, at := d.boundary(buf, pos)
		switch found {
		case nothing:
			return More, at, nil
		case aFrame:
			return d.frame(buf, at, ev)
		case anAuth:
			if kind, n, more := d.auth(buf, at); kind == Auth || more {
				return kind, n, nil
			}
			pos, d.dirty = at+1, true
		case aDTD:
			d.state, d.off, d.err = refused, 2, fmt.Errorf("%w", cot.ErrDTD)
			return d.resume(buf, at, ev)
		case anEvent:
			d.dirty = false
			if n, err := cot.Scan(buf[at:], ev); n > 0 && err == nil && n <= cot.MaxSize {
				return Event, at + n, nil
			}
			d.state, d.off = ownTag, len("<event")
			return d.resume(buf, at, ev)
		case skipped:
			pos = at
		}
	}
}

// frame reads one protobuf frame at buf[at:].
func (d *Decoder) frame(buf []byte, at int, ev *cot.Event) (Kind, int, error) {
	size, n := binary.Uvarint(buf[at+1:])
	switch {
	case n == 0 && len(buf)-at-1 < binary.MaxVarintLen64:
		return More, at, nil
	case n <= 0 || size > cot.MaxSize:
		return Bad, len(buf), fmt.Errorf("%w: limit %d", ErrTooBig, cot.MaxSize)
	}
	from := at + 1 + n
	end := from + int(size)
	switch {
	case len(buf) < end:
		return More, at, nil
	case size == 0:
		return again, end, nil
	}
	d.dirty = false
	if err := cot.ScanProto(buf[from:end:end], ev); err != nil {
		return Bad, end, err
	}
	return Event, end, nil
}

// auth reads the <auth> element at buf[at:]. Neither Auth nor more means that
// it is none.
func (d *Decoder) auth(buf []byte, at int) (kind Kind, n int, more bool) {
	end := bytes.Index(buf[at:], []byte("</auth>"))
	if end < 0 {
		return More, at, len(buf)-at < maxAuth+len("</auth>")
	}
	if end > maxAuth {
		return Bad, at, false
	}
	body := buf[at : at+end]
	i := bytes.Index(body, []byte("<cot"))
	if i < 0 {
		return Bad, at, false
	}
	c, err := cot.Attributes(body[i:], "username", "password", "uid")
	if err != nil {
		return Bad, at, false
	}
	d.Auth = Credentials{User: c[0], Password: c[1], UID: c[2]}
	d.dirty = false
	return Auth, at + end + len("</auth>"), false
}

// what boundary found.
type finding uint8

const (
	nothing finding = iota // more bytes are needed; those before at can go
	skipped                // look again at at
	aFrame
	anEvent
	anAuth
	aDTD
)

// boundary looks, between events, for the next thing at or after pos.
func (d *Decoder) boundary(buf []byte, pos int) (finding, int) {
	for pos < len(buf) && isSpace(buf[pos]) {
		pos++
	}
	if pos == len(buf) {
		return nothing, pos
	}
	rest := buf[pos:]
	switch {
	case rest[0] == magic && !d.dirty:
		return aFrame, pos
	case rest[0] == 0xEF && !d.dirty:
		if bom := "\xEF\xBB\xBF"; begins(rest, bom) {
			if len(rest) < len(bom) {
				return nothing, pos
			}
			return skipped, pos + len(bom)
		}
	}
	if rest[0] != '<' {
		d.dirty = true
		i := bytes.IndexByte(rest, '<')
		if i < 0 {
			return nothing, len(buf)
		}
		return skipped, pos + i
	}
	return d.markup(buf, pos)
}

// markup tells what the '<' at pos begins.
func (d *Decoder) markup(buf []byte, pos int) (finding, int) {
	rest := buf[pos:]
	switch {
	case len(rest) == 1:
		return nothing, pos
	case rest[1] == '?':
		return d.skipTo(buf, pos, "<?", "?>")
	case begins(rest, "<!--"):
		if len(rest) < len("<!--") {
			return nothing, pos
		}
		return d.skipTo(buf, pos, "<!--", "-->")
	case rest[1] == '!':
		return aDTD, pos
	}
	for _, t := range [...]struct {
		tag   string
		found finding
	}{{"<event", anEvent}, {"<auth", anAuth}} {
		if !begins(rest, t.tag) {
			continue
		}
		if len(rest) <= len(t.tag) {
			return nothing, pos
		}
		if c := rest[len(t.tag)]; isSpace(c) || c == '>' || c == '/' {
			return t.found, pos
		}
	}
	d.dirty = true
	return skipped, pos + 1
}

// skipTo passes over an instruction or a comment, which may end in a later buffer.
func (d *Decoder) skipTo(buf []byte, pos int, open, shut string) (finding, int) {
	i := bytes.Index(buf[pos+len(open):], []byte(shut))
	if i >= 0 {
		return skipped, pos + len(open) + i + len(shut)
	}
	// What was looked at can go, but for the opening and what may be half of
	// the end: the opening is needed to know, next time, what this is.
	d.state, d.off = instruction, 0
	if open == "<!--" {
		d.state = comment
	}
	return nothing, max(pos+len(open), len(buf)-len(shut)+1)
}

// begins reports whether b begins with token, or is a beginning of it.
func begins(b []byte, token string) bool {
	n := min(len(b), len(token))
	return string(b[:n]) == token[:n]
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// EachInMesh reads one UDP datagram: XML events, any number of them, or 0xBF,
// version 1, 0xBF, TakMessage. It scans each into ev, which aliases datagram, and
// calls f, with an error where there is no event.
func EachInMesh(datagram []byte, ev *cot.Event, f func(error)) {
	if len(datagram) > 3 && datagram[0] == magic {
		if datagram[1] != 1 || datagram[2] != magic {
			f(fmt.Errorf("%w: mesh protocol version %d: want 1", cot.ErrMalformed, datagram[1]))
			return
		}
		f(cot.ScanProto(datagram[3:], ev))
		return
	}
	var d Decoder
	for buf, some := datagram, false; ; {
		kind, n, err := d.Next(buf, ev)
		switch kind {
		case Event:
			some = true
			f(nil)
		case Bad:
			some = true
			f(err)
		case More:
			if !some || len(bytes.TrimSpace(buf[n:])) > 0 {
				f(fmt.Errorf("%w: no whole event in the datagram", cot.ErrMalformed))
			}
			return
		case Auth:
		}
		buf = buf[n:]
	}
}
