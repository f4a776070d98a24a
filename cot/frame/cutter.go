package frame

import (
	"bytes"
	"fmt"

	"takd/cot"
)

// state is where the cutter is. It looks at each byte once, however the stream
// is cut, and only at events that are not whole in one buffer, or malformed.
type state uint8

const (
	outside     state = iota // between events
	instruction              // between events, inside <?…?>
	comment                  // between events, inside <!--…-->

	ownTag   // in the event's own start tag
	ownQuote // in '' there
	ownDouble
	tag // in another start tag
	quote
	double
	text        // between tags
	inComment   // inside the event
	inCDATA     //
	inPI        //
	endTag      // after a name like </a: to its '>'
	lastTag     // after </event
	broken      // to </event> or the next <event
	brokenLast  // after </event
	refused     // to </event>
	refusedLast // after </event
)

// resume goes on with the event at buf[at:].
func (d *Decoder) resume(buf []byte, at int, ev *cot.Event) (Kind, int, error) {
	b := buf[at:]
	if d.state == instruction || d.state == comment {
		shut := "?>"
		if d.state == comment {
			shut = "-->"
		}
		i := bytes.Index(b, []byte(shut))
		if i < 0 {
			return More, at + max(0, len(b)-len(shut)+1), nil
		}
		d.state = outside
		return again, at + i + len(shut), nil
	}
	done := d.cut(b)
	switch {
	case done && d.err != nil:
		n, err := d.off, d.err
		d.state, d.off, d.err = outside, 0, nil
		return Bad, at + n, err
	case done:
		n := d.off
		d.state, d.off = outside, 0
		if m, err := cot.Scan(b[:n], ev); err != nil {
			return Bad, at + n, err
		} else if m != n {
			return Bad, at + n, fmt.Errorf("%w: elements do not close", cot.ErrMalformed)
		}
		return Event, at + n, nil
	}
	if d.err != nil { // nothing of it will be needed
		n := d.off
		d.off = 0
		return More, at + n, nil
	}
	return More, at, nil
}

// cut steps through b, the event so far, as far as it goes, and reports whether
// the event ends in it. At exactly cot.MaxSize bytes the event is given up.
func (d *Decoder) cut(b []byte) (done bool) {
	for {
		view := b
		if d.err == nil && len(b) > cot.MaxSize {
			view = b[:cot.MaxSize]
		}
		before, was := d.off, d.state
		if d.off < len(view) && d.step(view) {
			return true
		}
		if d.off != before || d.state != was {
			continue
		}
		if len(view) == len(b) {
			return false // a token is not whole
		}
		d.fail(fmt.Errorf("%w: longer than %d bytes", cot.ErrLimit, cot.MaxSize))
	}
}

// fail gives the event up.
func (d *Decoder) fail(err error) { d.state, d.err = broken, err }

// step moves on by one token of b and reports whether the event has ended, at
// d.off. Where a token may be cut off it moves nothing.
func (d *Decoder) step(b []byte) (done bool) {
	switch d.state {
	case ownTag, tag:
		return d.inTag(b)
	case ownQuote, quote:
		d.inQuote(b, '\'')
	case ownDouble, double:
		d.inQuote(b, '"')
	case text:
		d.inText(b)
	case inComment:
		d.to(b, "-->")
	case inCDATA:
		d.to(b, "]]>")
	case inPI:
		d.to(b, "?>")
	case endTag:
		d.inEndTag(b)
	case lastTag, brokenLast, refusedLast:
		return d.inLastTag(b)
	case broken, refused:
		return d.inBroken(b)
	}
	return false
}

// inTag reads a start tag outside quotes.
func (d *Decoder) inTag(b []byte) (done bool) {
	own := d.state == ownTag
	i := d.off
	for i < len(b) && b[i] != '>' && b[i] != '\'' && b[i] != '"' && b[i] != '<' {
		i++
	}
	d.off = i
	if i == len(b) {
		return false
	}
	switch b[i] {
	case '<':
		d.fail(fmt.Errorf("%w: < inside a tag", cot.ErrMalformed))
		return false
	case '>':
		d.off++
		d.state = text
		return own && b[i-1] == '/'
	case '\'':
		d.state = quote
	case '"':
		d.state = double
	}
	if own { // the own states stand one for one before the others
		d.state -= tag - ownTag
	}
	d.off++
	return false
}

func (d *Decoder) inQuote(b []byte, q byte) {
	i := d.off
	for i < len(b) && b[i] != q && b[i] != '<' {
		i++
	}
	d.off = i
	if i == len(b) {
		return
	}
	if b[i] == '<' {
		d.fail(fmt.Errorf("%w: < in a value", cot.ErrMalformed))
		return
	}
	d.off++
	if d.state == ownQuote || d.state == ownDouble {
		d.state = ownTag
	} else {
		d.state = tag
	}
}

// inText finds the next '<' and tells what it begins.
func (d *Decoder) inText(b []byte) {
	i := bytes.IndexByte(b[d.off:], '<')
	if i < 0 {
		d.off = len(b)
		return
	}
	d.off += i
	rest := b[d.off:]
	for _, t := range [...]struct {
		open string
		to   state
	}{{"<!--", inComment}, {"<![CDATA[", inCDATA}, {"<?", inPI}} {
		if begins(rest, t.open) {
			if len(rest) >= len(t.open) {
				d.off += len(t.open)
				d.state = t.to
			}
			return
		}
	}
	for _, t := range [...]struct {
		open string
		end  bool
	}{{"<event", false}, {"</event", true}} {
		if !begins(rest, t.open) {
			continue
		}
		if len(rest) <= len(t.open) {
			return
		}
		switch c := rest[len(t.open)]; {
		case t.end && (isSpace(c) || c == '>'):
			d.off += len(t.open)
			d.state = lastTag
			return
		case !t.end && (isSpace(c) || c == '>' || c == '/'):
			d.fail(fmt.Errorf("%w: event inside an event", cot.ErrMalformed))
			return
		}
	}
	switch {
	case len(rest) < 2:
	case rest[1] == '!':
		d.state, d.err = refused, fmt.Errorf("%w inside an event", cot.ErrDTD)
	case rest[1] == '/':
		d.off += 2
		d.state = endTag
	default:
		d.off++
		d.state = tag
	}
}

// to moves behind the token that ends what the cutter is in.
func (d *Decoder) to(b []byte, shut string) {
	i := bytes.Index(b[d.off:], []byte(shut))
	if i < 0 {
		d.off = max(d.off, len(b)-len(shut)+1)
		return
	}
	d.off += i + len(shut)
	d.state = text
}

func (d *Decoder) inEndTag(b []byte) {
	i := bytes.IndexAny(b[d.off:], "<>")
	if i < 0 {
		d.off = len(b)
		return
	}
	d.off += i
	if b[d.off] == '<' {
		d.fail(fmt.Errorf("%w: < inside a tag", cot.ErrMalformed))
		return
	}
	d.off++
	d.state = text
}

// inLastTag reads what is between "</event" and its '>'.
func (d *Decoder) inLastTag(b []byte) (done bool) {
	for d.off < len(b) && isSpace(b[d.off]) {
		d.off++
	}
	if d.off == len(b) {
		return false
	}
	if b[d.off] == '>' {
		d.off++
		return true
	}
	switch d.state {
	case refusedLast:
		d.state = refused
	case brokenLast:
		d.state = broken
	default:
		d.fail(fmt.Errorf("%w: end tag does not match", cot.ErrMalformed))
	}
	return false
}

// inBroken looks for where a broken event ends.
func (d *Decoder) inBroken(b []byte) (done bool) {
	i := bytes.IndexByte(b[d.off:], '<')
	if i < 0 {
		d.off = len(b)
		return false
	}
	d.off += i
	rest := b[d.off:]
	const end, start = "</event", "<event"
	switch {
	case begins(rest, end) && len(rest) <= len(end), begins(rest, start) && len(rest) <= len(start):
		return false // cut off
	case begins(rest, end) && (isSpace(rest[len(end)]) || rest[len(end)] == '>'):
		d.off += len(end)
		d.state += brokenLast - broken
	case d.state == broken && begins(rest, start) && (isSpace(rest[len(start)]) || rest[len(start)] == '>' || rest[len(start)] == '/'):
		return true // the next event begins here
	default:
		d.off++
	}
	return false
}
