package frame

import (
	"strings"
	"testing"

	"takd/cot"
)

// Fed byte by byte, the cutter goes on where it stopped: what it has not passed
// yet is never longer than one token, so the work is linear in the stream.
func TestCutterNeverGoesBack(t *testing.T) {
	in := []byte(`<event uid="a" how='b'><!-- c --><detail><a b="c>d">text<![CDATA[</event>]]><?pi x?></a ><b/>` +
		strings.Repeat(`<c d="e"/>`, 100) + `</detail></event >`)
	const token = len("<![CDATA[")
	var d Decoder
	var ev cot.Event
	for i := len("<event "); i < len(in); i++ {
		before := d.off
		kind, n, err := d.Next(in[:i], &ev)
		if kind != More || n != 0 || err != nil {
			t.Fatalf("Next(%q) = %d, %d, %v; want More", in[:i], kind, n, err)
		}
		if d.state == outside || d.off < before || i-d.off > token {
			t.Fatalf("after %d bytes: state %d, passed %d, then %d; want within %d bytes of the end", i, d.state, before, d.off, token)
		}
	}
	if kind, n, err := d.Next(in, &ev); kind != Event || n != len(in) || err != nil {
		t.Fatalf("Next = %d, %d, %v; want the event", kind, n, err)
	}
}
