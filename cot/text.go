package cot

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// longestEntity is "&#x10FFFF;" with a few zeros to spare.
const longestEntity = 16

// entity returns the length of the entity that b begins with. Only the five
// of XML itself and characters by number exist: there is no document type.
func entity(b []byte) (int, error) {
	end := bytes.IndexByte(b[:min(len(b), longestEntity)], ';')
	if end < 0 {
		if len(b) < longestEntity && !bytes.ContainsAny(b[1:], "<>\"' \t\n\r&") {
			return 0, errShort
		}
		return 0, fmt.Errorf("%w: & without an entity", ErrMalformed)
	}
	if _, ok := character(b[1:end]); !ok {
		return 0, fmt.Errorf("%w: unknown entity", ErrMalformed)
	}
	return end + 1, nil
}

// character resolves what stands between '&' and ';'.
func character(e []byte) (rune, bool) {
	switch string(e) {
	case "amp":
		return '&', true
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	if len(e) < 2 || e[0] != '#' {
		return 0, false
	}
	digits, base := e[1:], 10
	if digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(view(digits), base, 32)
	if err != nil || len(digits) == 0 || digits[0] == '+' {
		return 0, false
	}
	r := rune(n)
	ok := n <= utf8.MaxRune && utf8.ValidRune(r) && r != 0xFFFE && r != 0xFFFF && (r >= ' ' || r == '\t' || r == '\n' || r == '\r')
	return r, ok
}

// view is b as a string for as long as b does not change.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// value returns the text of an attribute: a view of the buffer, or of scratch
// where entities had to be resolved.
func (ev *Event) value(a *attribute) []byte {
	raw := ev.scan.b[a.value.from:a.value.to:a.value.to]
	if !a.amp {
		return raw
	}
	from := len(ev.text)
	for {
		i := bytes.IndexByte(raw, '&')
		if i < 0 {
			ev.text = append(ev.text, raw...)
			return ev.text[from:len(ev.text):len(ev.text)]
		}
		ev.text = append(ev.text, raw[:i]...)
		end := i + bytes.IndexByte(raw[i:], ';')
		r, _ := character(raw[i+1 : end]) // the scanner has checked it
		ev.text = utf8.AppendRune(ev.text, r)
		raw = raw[end+1:]
	}
}

// appendEscaped appends text as the value of a double-quoted attribute.
func appendEscaped(dst, text []byte) []byte {
	from := 0
	for i, c := range text {
		var e string
		switch c {
		case '&':
			e = "&amp;"
		case '<':
			e = "&lt;"
		case '>':
			e = "&gt;"
		case '"':
			e = "&quot;"
		case '\t':
			e = "&#9;"
		case '\n':
			e = "&#10;"
		case '\r':
			e = "&#13;"
		default:
			continue
		}
		dst = append(append(dst, text[from:i]...), e...)
		from = i + 1
	}
	return append(dst, text[from:]...)
}

// Attributes returns, as plain text, the attributes with these names of the
// start tag that tag begins with; nil for those that it does not have.
func Attributes(tag []byte, names ...string) ([][]byte, error) {
	var ev Event
	s := &ev.scan
	s.b = tag
	if len(tag) == 0 || tag[0] != '<' {
		return nil, fmt.Errorf("%w: no tag", ErrMalformed)
	}
	if err := s.startTag(); err == errShort { //nolint:errorlint // never wrapped
		return nil, fmt.Errorf("%w: the tag does not end", ErrMalformed)
	} else if err != nil {
		return nil, err
	}
	values := make([][]byte, len(names))
	for i := range s.n {
		a := &s.attrs[i]
		for k, name := range names {
			if string(s.b[a.name.from:a.name.to]) == name {
				values[k] = ev.value(a)
			}
		}
	}
	return values, nil
}
