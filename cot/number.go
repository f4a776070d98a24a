package cot

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
)

// Number is a decimal as the event carries it, parsed only when asked for.
type Number struct {
	text  []byte
	v     float64
	set   bool
	plain bool // text is a decimal, as scanner.plainNumber has seen
}

// Float returns the number, false when it is absent or not a finite decimal.
func (n Number) Float() (float64, bool) {
	if n.text == nil {
		return n.v, n.set && finite(n.v)
	}
	b := n.text
	if !n.plain {
		if b = bytes.TrimSpace(b); !isDecimal(b) {
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(view(b), 64)
	return v, err == nil
}

// isDecimal reports whether b is written as a decimal: a sign, digits with a
// point, an exponent. strconv reads more than others do, such as 0x1p4, and its
// errors take memory.
func isDecimal(b []byte) bool {
	b = unsigned(b)
	whole := digitsOf(b)
	b = b[whole:]
	part := 0
	if len(b) > 0 && b[0] == '.' {
		part = digitsOf(b[1:])
		b = b[1+part:]
	}
	if whole+part == 0 {
		return false
	}
	if len(b) > 0 && (b[0] == 'e' || b[0] == 'E') {
		b = unsigned(b[1:])
		return len(b) > 0 && digitsOf(b) == len(b)
	}
	return len(b) == 0
}

// unsigned is b without its sign.
func unsigned(b []byte) []byte {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		return b[1:]
	}
	return b
}

// digitsOf is how many digits b begins with.
func digitsOf(b []byte) int {
	i := 0
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

func finite(v float64) bool { return v*0 == 0 }

// or returns the number, or v where there is none.
func (n Number) or(v float64) float64 {
	if f, ok := n.Float(); ok {
		return f
	}
	return v
}

func appendFloat(dst []byte, v float64) []byte { return strconv.AppendFloat(dst, v, 'f', -1, 64) }

// plainNumber reports that the value of a is a decimal as clients write it: a
// sign, digits, a point. What is different is for Number.Float to judge. It is
// read in words: each position has seven.
func (s *scanner) plainNumber(a *attribute) bool {
	from, n := a.value.from, a.value.to-a.value.from
	if n > 0 && s.b[from] == '-' {
		from, n = from+1, n-1
	}
	if n == 0 || n > 16 || from+16 > len(s.b) {
		return false
	}
	b := s.b[from : from+16]
	lo, hi := binary.LittleEndian.Uint64(b), uint64('0'*eight)
	if n < 8 {
		lo = firstBytes(lo, n)
	} else {
		hi = firstBytes(binary.LittleEndian.Uint64(b[8:]), n-8)
	}
	x, y := notDigits(lo), notDigits(hi)
	if x|y == 0 {
		return true
	}
	at := bits.TrailingZeros64(x) / 8
	if x == 0 {
		at = 8 + bits.TrailingZeros64(y)/8
	}
	return x&(x-1)|y&(y-1) == 0 && (x == 0 || y == 0) && b[at] == '.' && n > 1
}

// firstBytes is w with all but its first n bytes made zeros, as digits.
func firstBytes(w uint64, n int) uint64 {
	mask := uint64(1)<<(8*n) - 1
	return w&mask | '0'*eight&^mask
}
