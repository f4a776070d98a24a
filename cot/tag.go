package cot

import (
	"bytes"
	"fmt"
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
	s.tag, s.n, s.names = span{from, i}, 0, 0
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

func nameStart(c byte) bool { return class[c]&first != 0 }

// attribute reads name="value" at i and returns where it ends.
func (s *scanner) attribute(i int) (int, error) {
	if s.n == MaxAttrs {
		return 0, fmt.Errorf("%w: more than %d attributes", ErrLimit, MaxAttrs)
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
	for uint(i) < uint(len(b)) && class[b[i]]&valueStop == 0 {
		i++
	}
	if i < len(b) && b[i] == quote {
		a.value.to = i
		i++
	} else {
		var err error
		if i, err = s.attrValue(a, i, quote); err != nil {
			return 0, err
		}
	}
	// Almost all names of a tag differ in this bit, so that few are compared.
	bit := uint64(1) << ((b[from]<<1 ^ b[a.name.to-1]<<3 ^ byte(a.name.to-from)) & 63)
	if s.names&bit != 0 && s.has(b[from:a.name.to]) {
		return 0, fmt.Errorf("%w: attribute twice", ErrMalformed)
	}
	s.names |= bit
	s.n++
	return i, nil
}

// has reports whether the tag has an attribute of that name already.
func (s *scanner) has(name []byte) bool {
	for k := range s.n {
		if o := s.attrs[k].name; bytes.Equal(s.b[o.from:o.to], name) {
			return true
		}
	}
	return false
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
