package cot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/bits"
)

// startTag reads "<name attributes>" and moves behind it.
func (s *scanner) startTag() error {
	b, i := s.b, s.pos+1
	from := i
	for i < len(b) && class[b[i]]&name != 0 {
		i++
	}
	if i == len(b) {
		return errShort
	}
	if i == from || !nameStart(b[from]) {
		return fmt.Errorf("%w: bad name", ErrMalformed)
	}
	s.tag, s.n, s.names, s.indexed = span{from, i}, 0, 0, 0
	i = s.plainAttributes(i)
	for {
		blank := i
		for i < len(b) && class[b[i]]&space != 0 {
			i++
		}
		if i == len(b) {
			return errShort
		}
		switch b[i] {
		case '>':
			s.pos, s.empty = i+1, false
			return nil
		case '/':
			if i+1 == len(b) {
				return errShort
			}
			if b[i+1] != '>' {
				return fmt.Errorf("%w: bad tag", ErrMalformed)
			}
			s.pos, s.empty = i+2, true
			return nil
		}
		if i == blank {
			return fmt.Errorf("%w: bad tag", ErrMalformed)
		}
		var err error
		if i, err = s.attribute(i); err != nil {
			return err
		}
	}
}

// plainAttributes reads attributes from i on for as long as they are written as
// clients write them, a blank, a name, ="text", and returns where they end. What
// is different, or wrong, is left to attribute. It is attribute and startTag in
// one loop: half of the time of a scan is spent here.
func (s *scanner) plainAttributes(i int) int {
	b, n, names, attrs := s.b, 0, uint64(0), s.attrs
	for n < len(attrs) && i+1 < len(b) && b[i] == ' ' {
		from := i + 1
		c := b[from]
		if class[c]&first == 0 {
			break
		}
		k := from + 1
		for k < len(b) && class[b[k]]&name != 0 {
			k++
		}
		if k+1 >= len(b) || b[k] != '=' || (b[k+1] != '"' && b[k+1] != '\'') {
			break
		}
		v := k + 2
		end := v
		if v+8 <= len(b) { // the first word of valueEnd, without the call
			end += bits.TrailingZeros64(stops(binary.LittleEndian.Uint64(b[v:v+8]))) / 8
		}
		if end >= len(b) || class[b[end]]&valueStop == 0 {
			end = valueEnd(b, end)
		}
		bit := nameBit(b[from:k])
		if end >= len(b) || b[end] != b[k+1] || names&bit != 0 {
			break
		}
		names |= bit
		attrs[n] = attribute{name: span{from, k}, value: span{v, end}}
		n++
		i = end + 1
	}
	s.n, s.names = n, names
	return i
}

// stops returns the top bit of the bytes of w that may end the fast walk through
// a value: quotes and & (which, with #, have all but two bits in common), < and
// control characters. The lowest bit of it is right.
func stops(w uint64) uint64 {
	q, lt, ctrl := (w|0x05*eight)^0x27*eight, w^'<'*eight, w&(0xE0*eight)
	return ((q-eight)&^q | (lt-eight)&^lt | (ctrl-eight)&^ctrl) & (0x80 * eight)
}

// valueEnd returns where the fast walk through the value at i ends: at the first
// byte of class valueStop. It looks at eight bytes at a time.
func valueEnd(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		if stop := stops(binary.LittleEndian.Uint64(b[i : i+8])); stop != 0 {
			i += bits.TrailingZeros64(stop) / 8
			if b[i] != '#' {
				return i
			}
			i -= 7
		}
	}
	for i < len(b) && class[b[i]]&valueStop == 0 {
		i++
	}
	return i
}

// nameBit is a bit in which almost all names of one tag differ, so that few
// have to be compared: those that clients send in one tag all do.
func nameBit(name []byte) uint64 {
	n := uint(len(name))
	return 1 << ((name[0] ^ name[n-1] ^ name[n/2]<<3 ^ byte(n)<<1) & 63)
}

func nameStart(c byte) bool { return class[c]&first != 0 }

// attribute reads name="value" at i and returns where it ends.
func (s *scanner) attribute(i int) (int, error) {
	if s.n == MaxAttrs {
		return 0, fmt.Errorf("%w: more than %d attributes", ErrLimit, MaxAttrs)
	}
	if s.n == len(s.attrs) {
		s.attrs = append(s.attrs, make([]attribute, max(fewAttrs, s.n))...)
	}
	b, a := s.b, &s.attrs[s.n]
	from := i
	for uint(i) < uint(len(b)) && class[b[i]]&name != 0 {
		i++
	}
	a.name, a.amp = span{from, i}, false
	quote := byte(0)
	if i+1 < len(b) && b[i] == '=' && (b[i+1] == '"' || b[i+1] == '\'') {
		quote = b[i+1]
		i += 2
	} else {
		var err error
		if quote, i, err = s.openQuote(i); err != nil {
			return 0, err
		}
	}
	if from == a.name.to || !nameStart(b[from]) {
		return 0, fmt.Errorf("%w: bad attribute", ErrMalformed)
	}
	a.value.from = i
	i = valueEnd(b, i)
	if i < len(b) && b[i] == quote {
		a.value.to = i
		i++
	} else {
		var err error
		if i, err = s.attrValue(a, i, quote); err != nil {
			return 0, err
		}
	}
	bit := nameBit(b[from:a.name.to])
	if s.names&bit != 0 && s.has(b[from:a.name.to]) {
		return 0, fmt.Errorf("%w: attribute twice", ErrMalformed)
	}
	s.names |= bit
	s.n++
	return i, nil
}

// has reports whether the tag has an attribute of that name already.
func (s *scanner) has(name []byte) bool {
	if s.n > fewAttrs {
		return s.hasIndexed(name)
	}
	for k := range s.n {
		if o := s.attrs[k].name; bytes.Equal(s.b[o.from:o.to], name) {
			return true
		}
	}
	return false
}

// fewAttrs is how many attributes are compared one by one.
const fewAttrs = 32

var seed = maphash.MakeSeed()

// hasIndexed is has for many attributes: a hash table, made when it is first
// needed in a tag. The hash is seeded: nobody can choose names that collide.
func (s *scanner) hasIndexed(name []byte) bool {
	const size = 2 * MaxAttrs
	if s.indexed == 0 {
		if s.index == nil {
			s.index = make([]uint16, size)
		}
		clear(s.index)
	}
	for ; s.indexed < s.n; s.indexed++ {
		o := s.attrs[s.indexed].name
		at, _ := s.find(s.b[o.from:o.to])
		s.index[at] = uint16(s.indexed + 1)
	}
	_, ok := s.find(name)
	return ok
}

// find returns where name is in the index, or would be.
func (s *scanner) find(name []byte) (at int, ok bool) {
	mask := len(s.index) - 1
	for at = int(maphash.Bytes(seed, name)) & mask; s.index[at] != 0; at = (at + 1) & mask {
		if o := s.attrs[s.index[at]-1].name; bytes.Equal(s.b[o.from:o.to], name) {
			return at, true
		}
	}
	return at, false
}

// openQuote reads what is between an attribute's name and its value, at i.
func (s *scanner) openQuote(i int) (quote byte, end int, err error) {
	b := s.b
	for i < len(b) && class[b[i]]&space != 0 {
		i++
	}
	if i == len(b) {
		return 0, 0, errShort
	}
	if b[i] != '=' {
		return 0, 0, fmt.Errorf("%w: bad attribute", ErrMalformed)
	}
	for i++; i < len(b) && class[b[i]]&space != 0; i++ {
	}
	if i == len(b) {
		return 0, 0, errShort
	}
	if b[i] != '"' && b[i] != '\'' {
		return 0, 0, fmt.Errorf("%w: attribute without quotes", ErrMalformed)
	}
	return b[i], i + 1, nil
}

// attrValue reads a value on from i and returns what is behind its quote.
func (s *scanner) attrValue(a *attribute, i int, quote byte) (int, error) {
	b := s.b
	for {
		for uint(i) < uint(len(b)) && class[b[i]]&valueStop == 0 {
			i++
		}
		if uint(i) >= uint(len(b)) {
			return 0, errShort
		}
		switch b[i] {
		case quote:
			a.value.to = i
			return i + 1, nil
		case '"', '\'':
			i++
		case '&':
			n, err := entity(b[i:])
			if err != nil {
				return 0, err
			}
			a.amp = true
			i += n
		default:
			return 0, fmt.Errorf("%w: < or a control character in a value", ErrMalformed)
		}
	}
}
