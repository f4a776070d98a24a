package cot_test

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"takd/cot"
)

// node is an element as encoding/xml reads it: the oracle of these tests.
type node struct {
	name  string
	attrs map[string]string
	kids  []*node
	text  string // all character data directly in it
}

// parse reads one element with encoding/xml.
func parse(in []byte) (*node, error) {
	d := xml.NewDecoder(bytes.NewReader(in))
	top := new(node)
	open := []*node{top}
	for {
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		cur := open[len(open)-1]
		switch tok := tok.(type) {
		case xml.StartElement:
			n := &node{name: joined(tok.Name), attrs: map[string]string{}}
			for _, a := range tok.Attr {
				n.attrs[joined(a.Name)] = a.Value
			}
			cur.kids = append(cur.kids, n)
			open = append(open, n)
		case xml.EndElement:
			if len(open) == 1 || joined(tok.Name) != cur.name {
				return nil, fmt.Errorf("end tag %s in %s", joined(tok.Name), cur.name)
			}
			open = open[:len(open)-1]
		case xml.CharData:
			cur.text += string(tok)
		}
	}
	if len(open) != 1 || len(top.kids) != 1 {
		return nil, fmt.Errorf("%d open, %d elements", len(open)-1, len(top.kids))
	}
	return top.kids[0], nil
}

func joined(n xml.Name) string {
	if n.Space != "" {
		return n.Space + ":" + n.Local
	}
	return n.Local
}

func (n *node) child(name string) *node {
	if n == nil {
		return nil
	}
	for _, k := range n.kids {
		if k.name == name {
			return k
		}
	}
	return nil
}

// without removes direct children of that name.
func (n *node) without(name string) *node {
	if n != nil {
		n.kids = slices.DeleteFunc(n.kids, func(k *node) bool { return k.name == name })
	}
	return n
}

// String is a canonical form: attributes sorted, everything quoted. Children of
// detail are sorted too: their order means nothing, and conversion changes it.
func (n *node) String() string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

func (n *node) write(b *strings.Builder) {
	fmt.Fprintf(b, "<%s", n.name)
	keys := make([]string, 0, len(n.attrs))
	for k := range n.attrs {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(b, " %s=%q", k, n.attrs[k])
	}
	b.WriteString(">")
	kids := make([]string, 0, len(n.kids))
	for _, k := range n.kids {
		kids = append(kids, k.String())
	}
	if n.name == "detail" {
		slices.Sort(kids)
	}
	b.WriteString(strings.Join(kids, ""))
	fmt.Fprintf(b, "%q</>", strings.TrimSpace(n.text))
}

var (
	readable = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$`)
	decimal  = regexp.MustCompile(`^[ \t\r\n]*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?[ \t\r\n]*$`)
)

// isNumber reports whether s is a finite decimal.
func isNumber(s string) bool {
	_, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return decimal.MatchString(s) && err == nil
}

// tidy does to n what AppendXML does to times and numbers that clients cannot read.
func tidy(n *node, ev *cot.Event) {
	for k, at := range map[string]cot.Instant{"time": ev.Time, "start": ev.Start, "stale": ev.Stale} {
		if ms, ok := at.UnixMilli(); ok && !readable.MatchString(n.attrs[k]) {
			n.attrs[k] = string(cot.AppendTime(nil, ms))
		}
	}
	if p := n.child("point"); p != nil {
		for _, k := range []string{"hae", "ce", "le"} {
			if v, ok := p.attrs[k]; ok && !isNumber(v) {
				p.attrs[k] = "9999999.0"
			}
		}
	}
	if d := n.child("detail"); d != nil {
		for _, k := range d.kids {
			for _, a := range []string{"speed", "course"} {
				if v, ok := k.attrs[a]; ok && k.name == "track" && !isNumber(v) {
					delete(k.attrs, a)
				}
			}
		}
	}
}

// hasBadPoint reports whether a position is there and is none.
func hasBadPoint(n *node) bool {
	p := n.child("point")
	if p == nil {
		return false
	}
	for _, k := range []string{"lat", "lon"} {
		if v, ok := p.attrs[k]; ok && !isNumber(v) {
			return true
		}
	}
	return false
}

// reasons counts the sentinels that err wraps.
func reasons(err error) int {
	n := 0
	for _, reason := range []error{cot.ErrMalformed, cot.ErrDTD, cot.ErrLimit} {
		if errors.Is(err, reason) {
			n++
		}
	}
	return n
}

// fromEvent cuts what is in front of "<event".
func fromEvent(s string) []byte {
	_, rest, _ := strings.Cut(s, "<event")
	return []byte("<event" + rest)
}

func scan(t testing.TB, in []byte) *cot.Event {
	t.Helper()
	ev := new(cot.Event)
	if n, err := cot.Scan(in, ev); n != len(in) || err != nil {
		t.Fatalf("Scan(%q) = %d, %v; want %d", in, n, err, len(in))
	}
	return ev
}

// unframe takes the stream frame off.
func unframe(t testing.TB, b []byte) []byte {
	t.Helper()
	if len(b) == 0 || b[0] != 0xBF {
		t.Fatalf("%q is not a frame", b)
	}
	size, n := binary.Uvarint(b[1:])
	if n <= 0 || int(size) != len(b)-1-n {
		t.Fatalf("frame says %d bytes and holds %d", size, len(b)-1-n)
	}
	return b[1+n:]
}

// toProto converts XML to a TakMessage.
func toProto(t testing.TB, in []byte) []byte {
	t.Helper()
	out, err := scan(t, in).AppendProto(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return unframe(t, out)
}

func scanText(t testing.TB, in string) *cot.Event {
	t.Helper()
	return scan(t, []byte(in))
}

func mustParse(t testing.TB, in string) *node {
	t.Helper()
	n, err := parse([]byte(in))
	if err != nil {
		t.Fatalf("encoding/xml: %v in %q", err, in)
	}
	return n
}
