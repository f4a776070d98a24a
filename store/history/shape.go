package history

import (
	"bytes"
	"strconv"
	"sync"
	"time"
)

// Clients repeat themselves: what one report has of its own is a few numbers, and most
// of them are columns anyway. So an event is kept as a shape, which thousands of
// reports share, and a rest. In a shape, mark and a letter stand for what a column
// says, or for the next token of the rest:
//
//	u c      uid, callsign
//	t s x    time, start, stale, with milliseconds (in capitals: without)
//	a o h e l v r   lat, lon, hae, ce, le, speed, course; a letter follows that says how
//	               it is written: one of the constants below
//	n        the next token
//
// An event that does not come out of this byte for byte, or whose shape was not seen
// before, is kept as it is, with an empty shape.
const (
	mark = 1 // in no event that is XML
	stop = 2 // ends a token

	asFixed = 'F' // all digits of the column
	asShort = 'Q' // without zeros at the end, but for one behind the point
	asWhole = 'P' // without a point
	asMore  = 'R' // with more digits: how many is the first letter of a token, and the difference the rest of it

	maxShape  = 4 << 10 // bytes of a shape
	maxShapes = 4096    // that are remembered, twice
)

// cells are the columns that a shape speaks of, as they are stored.
type cells struct {
	uid, callsign      string
	time, start, stale int64 // milliseconds
	numbers            [7]int32
}

// figures are the numbers of cells: their letters, what attributes they are, and how
// many digits behind the point are stored.
var figures = [7]struct {
	letter byte
	name   string
	digits int
}{
	{'a', "lat", 7},
	{'o', "lon", 7},
	{'h', "hae", 1},
	{'e', "ce", 1},
	{'l', "le", 1},
	{'v', "speed", 2},
	{'r', "course", 1},
}

func (e *Event) cells() *cells {
	return &cells{
		uid: e.UID, callsign: e.Callsign,
		time: storable(e.Time).UnixMilli(), start: storable(e.Start).UnixMilli(), stale: storable(e.Stale).UnixMilli(),
		numbers: [7]int32{
			scaled(e.Lat, degree), scaled(e.Lon, degree), scaled(e.HAE, deci), scaled(e.CE, deci), scaled(e.LE, deci),
			scaled(e.Speed, centi), scaled(e.Course, deci),
		},
	}
}

// shaper takes events apart. It is safe for concurrent use.
type shaper struct {
	mu         sync.Mutex
	young, old map[string]string // shapes that were seen; the old ones are forgotten first
	shape      []byte
	rest       []byte
	check      []byte
	text       []byte
}

func newShaper() *shaper { return &shaper{young: map[string]string{}} }

// split takes events apart, each into a shape and a rest.
func (s *shaper) split(events []*Event) (shapes []string, rests [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shapes, rests = make([]string, len(events)), make([][]byte, len(events))
	var arena []byte
	for i, e := range events {
		rests[i] = e.Raw
		if !s.cut(e.Raw, e.cells()) {
			continue
		}
		known, ok := s.seen()
		if !ok {
			continue
		}
		if cap(arena)-len(arena) < len(s.rest) {
			arena = make([]byte, 0, max(64<<10, len(s.rest)))
		}
		from := len(arena)
		arena = append(arena, s.rest...)
		shapes[i], rests[i] = known, arena[from:len(arena):len(arena)]
	}
	return shapes, rests
}

// seen tells whether the shape was seen before, and remembers it.
func (s *shaper) seen() (string, bool) {
	if known, ok := s.young[string(s.shape)]; ok {
		return known, true
	}
	known, ok := s.old[string(s.shape)]
	if !ok {
		known = string(s.shape)
	}
	if len(s.young) >= maxShapes {
		s.young, s.old = make(map[string]string, maxShapes), s.young
	}
	s.young[known] = known
	return known, ok
}

// cut puts the shape and the rest of an event into s, if it comes out of them again.
func (s *shaper) cut(raw []byte, c *cells) bool {
	s.shape, s.rest = s.shape[:0], s.rest[:0]
	if len(raw) == 0 || bytes.IndexByte(raw, mark) >= 0 || bytes.IndexByte(raw, stop) >= 0 {
		return false
	}
	left := raw
	for {
		i := bytes.IndexByte(left, '=')
		if i < 0 || i+2 >= len(left) {
			break
		}
		quote := left[i+1]
		if quote != '"' && quote != '\'' {
			s.shape, left = append(s.shape, left[:i+1]...), left[i+1:]
			continue
		}
		n := bytes.IndexByte(left[i+2:], quote)
		if n < 0 {
			break
		}
		s.shape = append(s.shape, left[:i+2]...)
		s.value(left[:i], left[i+2:i+2+n], c)
		s.shape, left = append(s.shape, quote), left[i+2+n+1:]
		if len(s.shape) > maxShape {
			return false
		}
	}
	s.shape = append(s.shape, left...)
	if len(s.shape) > maxShape {
		return false
	}
	var ok bool
	s.check, ok = join(s.check[:0], string(s.shape), s.rest, c)
	return ok && bytes.Equal(s.check, raw)
}

// value adds the value of an attribute; before is what stands in front of it.
func (s *shaper) value(before, v []byte, c *cells) {
	switch {
	case len(v) > 0 && string(v) == c.uid:
		s.shape = append(s.shape, mark, 'u')
	case len(v) > 0 && string(v) == c.callsign:
		s.shape = append(s.shape, mark, 'c')
	case !numeric(v):
		s.shape = append(s.shape, v...)
	case (len(v) == 24 || len(v) == 20) && v[10] == 'T' && s.moment(v, c):
	case s.number(before, v, c):
	default:
		s.shape = append(s.shape, mark, 'n')
		s.rest = append(append(s.rest, v...), stop)
	}
}

// numeric tells whether v is made of what numbers and times are made of.
func numeric(v []byte) bool {
	if len(v) == 0 || len(v) > 40 {
		return false
	}
	digit := false
	for _, b := range v {
		switch {
		case b >= '0' && b <= '9':
			digit = true
		case b == '.' || b == '-' || b == ':' || b == 'T' || b == 'Z' || b == 'E':
		default:
			return false
		}
	}
	return digit
}

func (s *shaper) moment(v []byte, c *cells) bool {
	for i, ms := range [3]int64{c.time, c.start, c.stale} {
		s.text = moment(s.text[:0], ms, len(v) == 24)
		if string(s.text) == string(v) {
			letter := "tsx"[i]
			if len(v) != 24 {
				letter -= 'a' - 'A'
			}
			s.shape = append(s.shape, mark, letter)
			return true
		}
	}
	return false
}

func moment(to []byte, ms int64, fine bool) []byte {
	t := time.UnixMilli(ms).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	to = append(padded(to, year, 4), '-')
	to = append(padded(to, int(month), 2), '-')
	to = append(padded(to, day, 2), 'T')
	to = append(padded(to, hour, 2), ':')
	to = append(padded(to, minute, 2), ':')
	to = padded(to, second, 2)
	if fine {
		to = padded(append(to, '.'), int(ms-t.Unix()*1000), 3)
	}
	return append(to, 'Z')
}

// padded adds a number that is not negative, with zeros before it.
func padded(to []byte, n, digits int) []byte {
	for unit := pow10[digits-1]; unit > 0; unit /= 10 {
		to = append(to, byte('0'+int64(n)/unit%10))
	}
	return to
}

var pow10 = func() (p [16]int64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

// number adds the value of an attribute that is a column.
func (s *shaper) number(before, v []byte, c *cells) bool {
	for i, f := range figures {
		if !bytes.HasSuffix(before, []byte(f.name)) || len(before) == len(f.name) || before[len(before)-len(f.name)-1] != ' ' {
			continue
		}
		all, digits, ok := decimal(v)
		if !ok {
			return false
		}
		column, unit := int64(c.numbers[i]), f.digits
		how := byte(0)
		switch {
		case digits == unit && all == column:
			how = asFixed
		case digits == 0 && all*pow10[unit] == column:
			how = asWhole
		case digits > 0 && digits < unit && all*pow10[unit-digits] == column && (digits == 1 || all%10 != 0):
			how = asShort
		case digits > unit:
			step := pow10[digits-unit]
			diff := all - column*step
			if diff > step || diff < -step {
				return false
			}
			how = asMore
			s.rest = append(s.rest, 'A'+byte(digits))
			s.rest = append(strconv.AppendInt(s.rest, diff, 10), stop)
		default:
			return false
		}
		s.shape = append(s.shape, mark, f.letter, how)
		return true
	}
	return false
}

// decimal reads a number without its point, and how many digits are behind that.
func decimal(v []byte) (all int64, digits int, ok bool) {
	negative := v[0] == '-'
	if negative {
		v = v[1:]
	}
	point := bytes.IndexByte(v, '.')
	switch {
	case len(v) == 0 || len(v) > 16 || point == 0 || point == len(v)-1:
		return 0, 0, false
	case point > 0:
		digits = len(v) - 1 - point
	}
	if digits > 13 || v[0] == '0' && len(v) > 1 && point != 1 {
		return 0, 0, false
	}
	for i, b := range v {
		if i == point {
			continue
		}
		if b < '0' || b > '9' {
			return 0, 0, false
		}
		all = all*10 + int64(b-'0')
	}
	if negative {
		return -all, digits, all != 0
	}
	return all, digits, true
}

// written adds a number that decimal has read.
func written(to []byte, all int64, digits int) []byte {
	if all < 0 {
		to, all = append(to, '-'), -all
	}
	to = strconv.AppendInt(to, all/pow10[digits], 10)
	if digits > 0 {
		to = append(to, '.')
		for unit := pow10[digits-1]; unit > 0; unit /= 10 {
			to = append(to, byte('0'+all/unit%10))
		}
	}
	return to
}

// join adds an event to a buffer; false means that shape and rest do not fit.
func join(to []byte, shape string, rest []byte, c *cells) ([]byte, bool) {
	token := func() (t []byte, ok bool) {
		t, rest, ok = bytes.Cut(rest, []byte{stop})
		return t, ok
	}
	for i := 0; i < len(shape); i++ {
		if shape[i] != mark {
			from := i
			for i < len(shape) && shape[i] != mark {
				i++
			}
			to = append(to, shape[from:i]...)
			if i == len(shape) {
				break
			}
		}
		if i++; i == len(shape) {
			return to, false
		}
		switch letter := shape[i]; letter {
		case 'u':
			to = append(to, c.uid...)
		case 'c':
			to = append(to, c.callsign...)
		case 't', 'T':
			to = moment(to, c.time, letter == 't')
		case 's', 'S':
			to = moment(to, c.start, letter == 's')
		case 'x', 'X':
			to = moment(to, c.stale, letter == 'x')
		case 'n':
			t, ok := token()
			if !ok {
				return to, false
			}
			to = append(to, t...)
		default:
			if i++; i == len(shape) {
				return to, false
			}
			var ok bool
			if to, ok = figure(to, letter, shape[i], c, token); !ok {
				return to, false
			}
		}
	}
	return to, len(rest) == 0
}

// figure adds the number that a letter stands for.
func figure(to []byte, letter, how byte, c *cells, token func() ([]byte, bool)) ([]byte, bool) {
	for i, f := range figures {
		if f.letter != letter {
			continue
		}
		all, digits := int64(c.numbers[i]), f.digits
		switch how {
		case asFixed:
		case asWhole:
			all, digits = all/pow10[digits], 0
		case asShort:
			for digits > 1 && all%10 == 0 {
				all, digits = all/10, digits-1
			}
		case asMore:
			t, ok := token()
			if !ok || len(t) < 2 || t[0] <= byte('A'+digits) || t[0] > 'A'+13 {
				return to, false
			}
			diff, err := strconv.ParseInt(string(t[1:]), 10, 64)
			if err != nil {
				return to, false
			}
			more := int(t[0] - 'A')
			all, digits = all*pow10[more-digits]+diff, more
		default:
			return to, false
		}
		return written(to, all, digits), true
	}
	return to, false
}
