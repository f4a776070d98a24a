package cot

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"
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

// Instant is a time as the event carries it: text in XML, milliseconds in
// protobuf. It is parsed only when asked for.
type Instant struct {
	text []byte
	ms   int64
	set  bool
}

// At returns the instant at ms, in Unix milliseconds.
func At(ms int64) Instant { return Instant{ms: ms, set: true} }

// UnixMilli returns the instant, false when it is absent or not a CoT time.
func (i Instant) UnixMilli() (int64, bool) {
	if i.text == nil {
		return i.ms, i.set
	}
	return parseTime(i.text)
}

// parseTime reads 2006-01-02T15:04:05 with any fraction, and Z, an offset, or
// nothing, which means UTC.
func parseTime(b []byte) (int64, bool) {
	const layout = "2006-01-02T15:04:05"
	if len(b) < len(layout) || b[4] != '-' || b[7] != '-' || (b[10] != 'T' && b[10] != ' ') || b[13] != ':' || b[16] != ':' {
		return 0, false
	}
	ok := true
	num := func(from, to int) int {
		v := 0
		for _, c := range b[from:to] {
			if c < '0' || c > '9' {
				ok = false
			}
			v = v*10 + int(c-'0')
		}
		return v
	}
	year, month, day := num(0, 4), num(5, 7), num(8, 10)
	hour, minute, second := num(11, 13), num(14, 16), num(17, 19)
	if !ok || month < 1 || month > 12 || day < 1 || day > 31 || hour > 24 || minute > 59 || second > 60 {
		return 0, false
	}
	ms := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC).UnixMilli()
	i := len(layout)
	if i < len(b) && (b[i] == '.' || b[i] == ',') {
		scale := int64(100)
		for i++; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
			ms += int64(b[i]-'0') * scale
			scale /= 10
		}
	}
	switch rest := b[i:]; {
	case len(rest) == 0 || string(rest) == "Z" || string(rest) == "z":
		return ms, true
	case len(rest) == 6 && rest[3] == ':' && (rest[0] == '+' || rest[0] == '-'):
		off := int64(num(i+1, i+3)*60+num(i+4, i+6)) * 60_000
		if rest[0] == '+' {
			off = -off
		}
		return ms + off, ok
	}
	return 0, false
}

// The years that a CoT time can name, in Unix milliseconds.
const (
	firstMilli = -62135596800000
	lastMilli  = 253402300799999
)

// AppendTime appends ms, Unix milliseconds, as a CoT time. It always ends in
// Z, the only form that ATAK takes, and has milliseconds only if there are any.
func AppendTime(dst []byte, ms int64) []byte {
	ms = min(max(ms, firstMilli), lastMilli)
	t := time.UnixMilli(ms).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(digits2(digits2(dst, year/100), year%100), '-')
	dst = append(digits2(dst, int(month)), '-')
	dst = append(digits2(dst, day), 'T')
	dst = append(digits2(dst, hour), ':')
	dst = append(digits2(dst, minute), ':')
	dst = digits2(dst, second)
	if milli := t.Nanosecond() / 1_000_000; milli != 0 {
		dst = digits2(append(dst, '.', byte('0'+milli/100)), milli%100)
	}
	return append(dst, 'Z')
}

func digits2(dst []byte, v int) []byte { return append(dst, byte('0'+v/10), byte('0'+v%10)) }

// Number is a decimal as the event carries it, parsed only when asked for.
type Number struct {
	text []byte
	v    float64
	set  bool
}

// Float returns the number, false when it is absent or not a finite decimal.
func (n Number) Float() (float64, bool) {
	if n.text == nil {
		return n.v, n.set
	}
	v, err := strconv.ParseFloat(view(bytes.TrimSpace(n.text)), 64)
	return v, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
}

// or returns the number, or v where there is none.
func (n Number) or(v float64) float64 {
	if f, ok := n.Float(); ok {
		return f
	}
	return v
}

func appendFloat(dst []byte, v float64) []byte { return strconv.AppendFloat(dst, v, 'f', -1, 64) }

// Attributes returns, as plain text, the attributes with these names of the
// start tag that tag begins with; nil for those that it does not have.
func Attributes(tag []byte, names ...string) ([][]byte, error) {
	var ev Event
	s := &ev.scan
	s.b = tag
	if len(tag) == 0 || tag[0] != '<' {
		return nil, fmt.Errorf("%w: no tag", ErrMalformed)
	}
	if err := s.startTag(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
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
