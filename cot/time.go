package cot

import (
	"bytes"
	"encoding/binary"
	"time"
)

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

// parseTime reads 2006-01-02T15:04:05 with or without seconds, with any
// fraction, and with Z, an offset, or nothing, which means UTC.
func parseTime(b []byte) (int64, bool) {
	if plainTime(b) {
		ms, ok := unixMilli(two(b)*100+two(b[2:]), two(b[5:]), two(b[8:]), two(b[11:]), two(b[14:]), two(b[17:]))
		if len(b) > len("2006-01-02T15:04:05Z") {
			frac, _ := fraction(b[20:])
			ms += frac
		}
		return ms, ok
	}
	const layout, short = "2006-01-02T15:04:05", "2006-01-02T15:04"
	b = bytes.TrimSpace(b)
	if len(b) < len(short) || b[4] != '-' || b[7] != '-' || (b[10] != 'T' && b[10] != 't' && b[10] != ' ') || b[13] != ':' {
		return 0, false
	}
	var d digits
	year, month, day := d.read(b[:4]), d.read(b[5:7]), d.read(b[8:10])
	hour, minute, second := d.read(b[11:13]), d.read(b[14:16]), 0
	rest := b[len(short):]
	if len(rest) > 0 && rest[0] == ':' {
		if len(b) < len(layout) {
			return 0, false
		}
		second = d.read(b[17:19])
		rest = b[len(layout):]
	}
	ms, ok := unixMilli(year, month, day, hour, minute, second)
	if d.bad || !ok {
		return 0, false
	}
	if len(rest) > 0 && (rest[0] == '.' || rest[0] == ',') {
		var frac int64
		frac, rest = fraction(rest[1:])
		ms += frac
	}
	off, ok := parseZone(rest)
	return ms - off, ok
}

// two is the number of two digits that b begins with.
func two(b []byte) int { return int(b[0]-'0')*10 + int(b[1]-'0') }

// fraction reads digits behind a point and returns milliseconds.
func fraction(b []byte) (ms int64, rest []byte) {
	scale := int64(100)
	for ; len(b) > 0 && b[0] >= '0' && b[0] <= '9'; b = b[1:] {
		ms += int64(b[0]-'0') * scale
		scale /= 10
	}
	return ms, b
}

// unixMilli is the instant in UTC. A day that the month does not have is in the
// next one, as time.Date reads it.
func unixMilli(year, month, day, hour, minute, second int) (int64, bool) {
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 24 || minute > 59 || second > 60 {
		return 0, false
	}
	// Years that begin in March have their leap day at the end.
	const epoch = 719468 + 146097 // days before 1970 of a calendar that begins 400 years early
	year += 400
	if month -= 3; month < 0 {
		year, month = year-1, month+12
	}
	days := year*365 + year/4 - year/100 + year/400 + (153*month+2)/5 + day - 1 - epoch
	return int64(days*86400+hour*3600+minute*60+second) * 1000, true
}

// parseZone reads Z, +01, +0100, +01:00, or nothing, and returns milliseconds.
func parseZone(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) == 1 && (b[0] == 'Z' || b[0] == 'z') {
		return 0, true
	}
	if b[0] != '+' && b[0] != '-' {
		return 0, false
	}
	var d digits
	off := 0
	switch {
	case len(b) == len("+01"):
		off = d.read(b[1:]) * 60
	case len(b) == len("+0100"):
		off = d.read(b[1:3])*60 + d.read(b[3:])
	case len(b) == len("+01:00") && b[3] == ':':
		off = d.read(b[1:3])*60 + d.read(b[4:])
	default:
		return 0, false
	}
	if b[0] == '-' {
		off = -off
	}
	return int64(off) * 60_000, !d.bad
}

// digits reads numbers; bad notes what was none.
type digits struct{ bad bool }

func (d *digits) read(b []byte) int {
	v := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			d.bad = true
		}
		v = v*10 + int(c-'0')
	}
	return v
}

// eight is each byte of a word.
const eight = 0x0101010101010101

// notDigits returns the top bit of each byte of w that is not a digit.
func notDigits(w uint64) uint64 {
	w ^= '0' * eight
	return ((w & (0x7F * eight)) + 0x76*eight | w) & (0x80 * eight)
}

// plainTime reports whether b is in a form that every ATAK reads:
// 2006-01-02T15:04:05Z, with a fraction of up to three digits. Whether there is
// such a day is not looked at. It is read in words: each event has three.
func plainTime(b []byte) bool {
	if len(b) < len("2006-01-02T15:04:05Z") || len(b) > len("2006-01-02T15:04:05.000Z") {
		return false
	}
	const (
		date, dateMask = '-'<<32 | '-'<<56, 0xFF<<32 | 0xFF<<56         // 2006-01-
		hour, hourMask = 'T'<<16 | ':'<<40, uint64(0xFF<<16 | 0xFF<<40) // 02T15:04
		zeros          = '0' * eight
	)
	a, c := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if a&dateMask != date || c&hourMask != hour || b[16] != ':' {
		return false
	}
	a = a&^dateMask | zeros&dateMask
	c = c&^hourMask | zeros&hourMask
	if notDigits(a)|notDigits(c) != 0 {
		return false
	}
	end := len(b) - 1
	if b[end] != 'Z' || b[17]-'0' > 9 || b[18]-'0' > 9 || end > 19 && (b[19] != '.' || end == 20) {
		return false
	}
	for i := 20; i < end; i++ {
		if b[i]-'0' > 9 {
			return false
		}
	}
	return true
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
