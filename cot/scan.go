package cot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// errShort means that the buffer ends inside the event.
var errShort = errors.New("cot: short")

// Classes of bytes.
const (
	space     = 1 << iota // white space
	name                  // may stand in a name; every byte of a multi-byte character may
	valueStop             // ends the fast walk through an attribute value
	textStop              // ends the fast walk through text
	first                 // may begin a name
)

var class = func() (t [256]uint8) {
	for c := range 256 {
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			t[c] = space
		case c < ' ':
			t[c] = valueStop | textStop
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '_' || c == '-' || c == '.' || c == ':' || c >= 0x80:
			t[c] = name
		case c == '<' || c == '&':
			t[c] = valueStop | textStop
		case c == '"' || c == '\'':
			t[c] = valueStop
		case c == ']':
			t[c] = textStop
		}
		if t[c]&name != 0 && c != '-' && c != '.' && (c < '0' || c > '9') {
			t[c] |= first
		}
	}
	return t
}()

// span is a stretch of Raw.
type span struct{ from, to int }

// scanner is the state of one scan; it lives in the Event so that it needs no memory.
type scanner struct {
	b     []byte
	pos   int
	depth int // open elements
	stack [MaxDepth]span
	tag   span        // name of the last start tag
	empty bool        // it was "<a/>"
	attrs []attribute // as long as there is memory for; n are in use
	n     int         // attributes of it
	names uint64      // a bit for each of their names

	index   []uint16 // the first indexed of attrs, by the hash of their names
	indexed int
}

type attribute struct {
	name, value span
	amp         bool // the value has entities
}

// spans is where things are in Raw.
type spans struct {
	typ, time, start, stale span // attribute values

	detail    span // the element; to is 0 while it is open
	inner     span // what is between its tags
	emptyTag  int  // "/>" of <detail/>; 0: it has an end tag
	endTag    int  // "</event"
	marks     []mark
	child     int // the open child of detail is marks[child-1]; 0: none of interest
	wire      wire
	sawPoint  bool
	badPoint  bool // lat or lon is not a number
	childKind kind
}

// maxMarks bounds the elements of interest: clients send at most a handful, and
// drawings some hundreds.
const maxMarks = 16 << 10

// maxPrefixes bounds the namespaces of one event, which become attributes of
// every child of detail that uses them.
const maxPrefixes = 64

const xmlns = "xmlns:"

// mark is an element of detail that the codec knows, or a stretch to rewrite.
type mark struct {
	kind     kind
	exact    bool // has exactly the attributes of its typed field, and no content
	from, to int
	nameEnd  int // where an attribute can be added; 0: it is no element
}

type kind uint8

const (
	other kind = iota
	contact
	team
	precision
	status
	takv
	track
	marti
	flowTags
	chat
	takControl
	rewrite // comment, CDATA or instruction with "</event" in it
	number  // value of an attribute: not a number, to become unknown
	double  // the same in protobuf: eight bytes
	instant // value of time, start or stale in a form that ATAK does not read
	gone    // to be left out: an attribute, or a field of protobuf
	kinds
)

// Scan reads the one event that buf begins with ("<event" for XML) into ev and
// returns its length. n == 0 with a nil error means buf holds only part of it.
// An error means the event is to be skipped; frame.Decoder knows how far.
func Scan(buf []byte, ev *Event) (n int, err error) {
	ev.reset(XML)
	if len(buf) == 0 {
		return 0, nil
	}
	if buf[0] != '<' {
		return 0, fmt.Errorf("%w: no tag", ErrMalformed)
	}
	s := &ev.scan
	s.b, s.pos, s.depth = buf, 0, 0
	if err := ev.root(); err != nil {
		return short(err)
	}
	for s.depth > 0 {
		if err := ev.next(); err != nil {
			return short(err)
		}
	}
	n = s.pos
	if ev.at.endTag == 0 {
		ev.at.endTag = n
	}
	ev.Raw = buf[:n:n]
	if !legal(ev.Raw) {
		return 0, fmt.Errorf("%w: not UTF-8, or a character that XML forbids", ErrMalformed)
	}
	return n, nil
}

func short(err error) (int, error) {
	if err == errShort { //nolint:errorlint // never wrapped
		return 0, nil
	}
	return 0, err
}

// legal reports whether b is UTF-8 without U+FFFE and U+FFFF. Control
// characters are the scanner's to find.
func legal(b []byte) bool {
	if ascii(b) {
		return true
	}
	if !utf8.Valid(b) {
		return false
	}
	for {
		i := bytes.IndexByte(b, 0xEF)
		if i < 0 {
			return true
		}
		if b[i+1] == 0xBF && b[i+2] >= 0xBE {
			return false
		}
		b = b[i+3:]
	}
}

// ascii reports whether b is ASCII, 32 bytes at a time.
func ascii(b []byte) bool {
	for ; len(b) >= 32; b = b[32:] {
		le := binary.LittleEndian
		if (le.Uint64(b)|le.Uint64(b[8:])|le.Uint64(b[16:])|le.Uint64(b[24:]))&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// legalText is legal for text from protobuf, control characters included.
func legalText(b []byte) bool {
	plain := true
	for _, c := range b {
		plain = plain && c >= ' ' && c < utf8.RuneSelf
	}
	if plain {
		return true
	}
	for _, c := range b {
		if c < ' ' && class[c]&space == 0 {
			return false
		}
	}
	return legal(b)
}

// root reads the start tag of the event.
func (ev *Event) root() error {
	s := &ev.scan
	if err := s.startTag(); err != nil {
		return err
	}
	if string(s.b[s.tag.from:s.tag.to]) != "event" {
		return fmt.Errorf("%w: no <event>", ErrMalformed)
	}
	for i := range s.n {
		a := &s.attrs[i]
		switch key := s.b[a.name.from:a.name.to]; string(key) {
		case "version":
			ev.Version = ev.value(a)
		case "uid":
			ev.UID = ev.value(a)
		case "type":
			ev.Type, ev.at.typ = ev.value(a), a.value
		case "how":
			ev.How = ev.value(a)
		case "time":
			ev.Time, ev.at.time = ev.instant(a), a.value
		case "start":
			ev.Start, ev.at.start = ev.instant(a), a.value
		case "stale":
			ev.Stale, ev.at.stale = ev.instant(a), a.value
		case "access":
			ev.Access = ev.value(a)
		case "qos":
			ev.QOS = ev.value(a)
		case "opex":
			ev.Opex = ev.value(a)
		case "caveat":
			ev.Caveat = ev.value(a)
		case "releasableTo":
			ev.ReleasableTo = ev.value(a)
		default:
			if err := ev.namespace(a, key); err != nil {
				return err
			}
		}
	}
	if len(ev.UID) > MaxUID {
		return tooLong("uid", MaxUID)
	}
	if !s.empty {
		s.stack[0] = s.tag
		s.depth = 1
	}
	return nil
}

// instant reads a time, and notes it if ATAK could not.
func (ev *Event) instant(a *attribute) Instant {
	text := ev.value(a)
	if !plainTime(text) {
		if _, ok := parseTime(text); ok {
			_ = ev.mark(instant, a.value.from, a.value.to, 0) // the first ones fit
		}
	}
	return Instant{text: text, set: true}
}

// namespace notes an attribute, called key, that declares a prefix.
func (ev *Event) namespace(a *attribute, key []byte) error {
	if len(key) <= len(xmlns) || string(key[:len(xmlns)]) != xmlns {
		return nil
	}
	if len(ev.ns) == maxPrefixes {
		return fmt.Errorf("%w: more than %d namespace prefixes", ErrLimit, maxPrefixes)
	}
	ev.ns = append(ev.ns, *a)
	return nil
}

func tooLong(field string, limit int) error {
	return fmt.Errorf("%w: %s longer than %d bytes", ErrLimit, field, limit)
}

// next reads up to and including the next tag, comment, CDATA or instruction.
func (ev *Event) next() error {
	s := &ev.scan
	if s.pos == len(s.b) || s.b[s.pos] != '<' {
		if err := s.skipText(); err != nil {
			return err
		}
		ev.content()
	}
	if s.pos+1 >= len(s.b) {
		return errShort
	}
	switch s.b[s.pos+1] {
	case '/':
		return ev.endTag()
	case '!':
		return ev.declaration()
	case '?':
		return ev.instruction()
	}
	at := s.pos
	if err := s.startTag(); err != nil {
		return err
	}
	return ev.element(at)
}

// content notes that the open child of detail is more than its attributes.
func (ev *Event) content() {
	if ev.at.child > 0 {
		ev.at.marks[ev.at.child-1].exact = false
	}
}

// skipText moves to the next '<'.
func (s *scanner) skipText() error {
	b, i := s.b, s.pos
	for {
		for i < len(b) && class[b[i]]&textStop == 0 {
			i++
		}
		if i == len(b) {
			return errShort
		}
		switch b[i] {
		case '<':
			s.pos = i
			return nil
		case '&':
			n, err := entity(b[i:])
			if err != nil {
				return err
			}
			i += n
		case ']':
			if i+2 >= len(b) {
				return errShort
			}
			if b[i+1] == ']' && b[i+2] == '>' {
				return fmt.Errorf("%w: ]]> in text", ErrMalformed)
			}
			i++
		default:
			return fmt.Errorf("%w: control character", ErrMalformed)
		}
	}
}

// instruction skips "<?…?>". An XML declaration inside an event is malformed.
func (ev *Event) instruction() error {
	s := &ev.scan
	rest := s.b[s.pos+2:]
	end := bytes.Index(rest, []byte("?>"))
	if end < 0 {
		return errShort
	}
	if len(rest) >= 4 && bytes.EqualFold(rest[:3], []byte("xml")) && (class[rest[3]]&space != 0 || rest[3] == '?') {
		return fmt.Errorf("%w: XML declaration inside an event", ErrMalformed)
	}
	if hasControl(rest[:end]) || end == 0 || !nameStart(rest[0]) {
		return fmt.Errorf("%w: bad processing instruction", ErrMalformed)
	}
	return ev.skipped(2+end+2, rest[:end])
}

func hasControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' && class[c]&space == 0 {
			return true
		}
	}
	return false
}

// declaration handles "<!…": comments and CDATA are fine, all else is refused.
func (ev *Event) declaration() error {
	s := &ev.scan
	rest := s.b[s.pos:]
	open, shut := "<!--", "-->"
	switch {
	case bytes.HasPrefix(rest, []byte("<!--")):
	case bytes.HasPrefix(rest, []byte("<![CDATA[")):
		open, shut = "<![CDATA[", "]]>"
		ev.content()
	case beginsToken(rest, "<!--"), beginsToken(rest, "<![CDATA["):
		return errShort
	default:
		return fmt.Errorf("%w inside an event", ErrDTD)
	}
	end := bytes.Index(rest[len(open):], []byte(shut))
	if end < 0 {
		return errShort
	}
	body := rest[len(open) : len(open)+end]
	if hasControl(body) || (shut == "-->" && (bytes.Contains(body, []byte("--")) || bytes.HasSuffix(body, []byte("-")))) {
		return fmt.Errorf("%w: bad comment or CDATA", ErrMalformed)
	}
	return ev.skipped(len(open)+end+len(shut), body)
}

// skipped moves behind a comment, CDATA or instruction of that size, and notes
// it if a client that looks only for "</event>" would cut there.
func (ev *Event) skipped(size int, body []byte) error {
	from := ev.scan.pos
	ev.scan.pos += size
	if !bytes.Contains(body, []byte("</event")) {
		return nil
	}
	return ev.mark(rewrite, from, from+size, 0)
}

// beginsToken reports whether b is a beginning of token.
func beginsToken(b []byte, token string) bool {
	return len(b) < len(token) && string(b) == token[:len(b)]
}
