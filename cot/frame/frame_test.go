package frame_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"takd/cot"
	"takd/cot/cottest"
	"takd/cot/frame"
)

const (
	a = `<event version="2.0" uid="a" type="t" time="2026-01-01T00:00:00Z"><point lat="1" lon="2" hae="0" ce="1" le="1"/></event>`
	b = `<event uid='b'><point lat="1" lon="2"/><detail><x/></detail></event>`
)

func proto(t testing.TB, xml string) string {
	t.Helper()
	var ev cot.Event
	if _, err := cot.Scan([]byte(xml), &ev); err != nil {
		t.Fatal(err)
	}
	out, err := ev.AppendProto(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// reason names what err wraps; "unclear" is more or less than one of them.
func reason(err error) string {
	found := ""
	for name, sentinel := range map[string]error{"bad": cot.ErrMalformed, "dtd": cot.ErrDTD, "limit": cot.ErrLimit, "too big": frame.ErrTooBig} {
		switch {
		case errors.Is(err, sentinel) && found != "":
			return "unclear"
		case errors.Is(err, sentinel):
			found = name
		}
	}
	if found == "" {
		return "unclear"
	}
	return found
}

// feed gives the decoder the stream in pieces of size and returns what it finds.
func feed(d *frame.Decoder, stream []byte, size int) (found []string, kept int) {
	var buf []byte
	var ev cot.Event
	for len(stream) > 0 {
		n := min(size, len(stream))
		buf = append(buf, stream[:n]...)
		stream = stream[n:]
		for {
			kind, n, err := d.Next(buf, &ev)
			switch kind {
			case frame.Event:
				found = append(found, string(ev.UID))
			case frame.Auth:
				found = append(found, fmt.Sprintf("auth %s/%s/%s", d.Auth.User, d.Auth.Password, d.Auth.UID))
			case frame.Bad:
				found = append(found, reason(err))
				if errors.Is(err, frame.ErrTooBig) {
					return found, kept
				}
			}
			buf = buf[n:]
			if kind == frame.More {
				break
			}
		}
		kept = max(kept, len(buf))
	}
	return found, kept
}

func TestNext(t *testing.T) {
	timed := strings.Replace(b, "uid='b'", `uid="p" type="x" time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z" stale="2026-01-01T00:00:00Z"`, 1)
	tests := map[string]struct {
		in   string
		want []string
	}{
		"one":                    {a, []string{"a"}},
		"two":                    {a + b, []string{"a", "b"}},
		"newlines between":       {"\n" + a + "\r\n\n" + b + "\n", []string{"a", "b"}},
		"declarations":           {`<?xml version="1.0"?>` + "\n" + a + `<?xml version='1.0' encoding='UTF-8' standalone='yes'?>` + b, []string{"a", "b"}},
		"BOM":                    {"\xEF\xBB\xBF" + a, []string{"a"}},
		"comment between":        {"<!-- <event/> </event> -->" + a, []string{"a"}},
		"garbage between":        {"hello </event> & \xBF\x01 <b" + a + "!!" + b, []string{"a", "b"}},
		"end tag with space":     {strings.Replace(a, "</event>", "</event \n>", 1) + b, []string{"a", "b"}},
		"self-closing":           {`<event uid="s"/>` + b, []string{"s", "b"}},
		"no content":             {`<event uid="s" ></event>` + b, []string{"s", "b"}},
		"end tag in CDATA":       {strings.Replace(b, "<x/>", "<x><![CDATA[</event>]]></x>", 1) + a, []string{"b", "a"}},
		"end tag in comment":     {strings.Replace(b, "<x/>", "<!-- </event> -->", 1) + a, []string{"b", "a"}},
		"end tag in instruction": {strings.Replace(b, "<x/>", "<?p </event>?>", 1) + a, []string{"b", "a"}},
		"greater in value":       {strings.Replace(b, "<x/>", `<x y="/>"/>`, 1) + a, []string{"b", "a"}},
		"quote in quote":         {strings.Replace(b, "<x/>", `<x y="it's" z='say "hi"'/>`, 1) + a, []string{"b", "a"}},
		"less in value":          {strings.Replace(b, "<x/>", `<x y="a<b"/>`, 1) + a, []string{"bad", "a"}},
		"bare ampersand":         {strings.Replace(b, "<x/>", `<x y="a&b"/>`, 1) + a, []string{"bad", "a"}},
		"unknown entity":         {strings.Replace(b, "<x/>", `<x>&nbsp;</x>`, 1) + a, []string{"bad", "a"}},
		"not balanced":           {strings.Replace(b, "<x/>", `<x>`, 1) + a, []string{"bad", "a"}},
		"cut off":                {b[:30] + a, []string{"bad", "a"}},
		"cut off in text":        {b[:45] + a, []string{"bad", "a"}},
		"event in event":         {`<event uid="o"><event uid="i"></event>` + a, []string{"bad", "i", "a"}},
		"other name":             {"<events><eventful/>" + a, []string{"a"}},
		"DTD before":             {`<!DOCTYPE x [<!ENTITY l "lol">]><event uid="l">&l;</event>` + a, []string{"dtd", "a"}},
		"DTD inside":             {`<event uid="l"><!DOCTYPE x></event>` + a, []string{"dtd", "a"}},
		"not UTF-8":              {strings.Replace(b, "<x/>", "<x y='\xff'/>", 1) + a, []string{"bad", "a"}},
		"NUL":                    {strings.Replace(b, "<x/>", "\x00", 1) + a, []string{"bad", "a"}},
		"characters":             {strings.Replace(b, "<x/>", "<x y='é€𝄞'>日本</x>", 1) + a, []string{"b", "a"}},
		"auth": {
			`<?xml version="1.0"?>` + "\n" + `<auth><cot username="bob" password='p&amp;"w' uid="u1"/></auth><?xml version="1.0"?>` + a,
			[]string{`auth bob/p&"w/u1`, "a"},
		},
		"not auth":     {"<auth></auth>" + a, []string{"a"}},
		"endless auth": {"<auth>" + strings.Repeat("x", 5000) + a, []string{"a"}},
		"protobuf":     {proto(t, timed) + proto(t, timed), []string{"p", "p"}},
		"mixed":        {a + "\n" + proto(t, timed) + b + proto(t, timed), []string{"a", "p", "b", "p"}},
		"empty frames": {"\xbf\x00\xbf\x00" + proto(t, timed), []string{"p"}},
		"bad message":  {"\xbf\x03abc" + proto(t, timed) + a, []string{"bad", "p", "a"}},
		"instruction":  {strings.Repeat("<?a b?>", 3) + a, []string{"a"}},
		"auth at the limit": {
			"<auth>" + strings.Repeat(" ", 4090-len(`<cot username="u"/>`)) + `<cot username="u"/></auth>` + a, []string{"auth u//", "a"},
		},
		"auth over the limit": {
			"<auth>" + strings.Repeat(" ", 4091-len(`<cot username="u"/>`)) + `<cot username="u"/></auth>` + a, []string{"a"},
		},
		"frame too big":   {"\xbf" + string(binary.AppendUvarint(nil, cot.MaxSize+1)), []string{"too big"}},
		"length too long": {"\xbf" + strings.Repeat("\xff", 11), []string{"too big"}},
		"nested too deep": {`<event uid="d"><detail>` + strings.Repeat("<a>", 10_000) + strings.Repeat("</a>", 10_000) + `</detail></event>` + a, []string{"limit", "a"}},
		"many attributes": {`<event uid="d"><detail><x ` + manyAttributes(cot.MaxAttrs+1) + `/></detail></event>` + a, []string{"limit", "a"}},
		"attribute twice": {`<event uid="d" uid="e"></event>` + a, []string{"bad", "a"}},
		"uid too long":    {`<event uid="` + strings.Repeat("x", cot.MaxUID+1) + `"></event>` + a, []string{"limit", "a"}},
		"callsign too long": {
			`<event><detail><contact callsign="` + strings.Repeat("x", cot.MaxCallsign+1) + `"/></detail></event>` + a, []string{"limit", "a"},
		},
		"no numbers":       {strings.NewReplacer(`"0"`, `"NaN"`, `"1"`, `"48,1"`).Replace(a) + b, []string{"a", "b"}},
		"many destination": {`<event uid="d"><detail><marti>` + strings.Repeat(`<dest uid="x"/>`, cot.MaxDests+1) + `</marti></detail></event>` + a, []string{"limit", "a"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 7, 64, 1 << 20} {
				got, _ := feed(new(frame.Decoder), []byte(tc.in), size)
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("in pieces of %d: Next(%.80q) (-want +got):\n%s", size, tc.in, diff)
				}
			}
		})
	}
}

func manyAttributes(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `a%d="" `, i)
	}
	return s.String()
}

func TestNextProtoOnly(t *testing.T) {
	timed := strings.Replace(a, ">", ` start="2026-01-01T00:00:00Z" stale="2026-01-01T00:00:00Z">`, 1)
	in := "\n junk <event" + proto(t, timed) + "more" + proto(t, timed)
	for _, size := range []int{1, 5, 1 << 20} {
		got, _ := feed(&frame.Decoder{ProtoOnly: true}, []byte(in), size)
		if diff := cmp.Diff([]string{"a", "a"}, got); diff != "" {
			t.Errorf("in pieces of %d (-want +got):\n%s", size, diff)
		}
	}
}

// An event that is too long is given up at the same byte however it is cut, and
// what comes behind it is found.
func TestNextTooLong(t *testing.T) {
	const fits = cot.MaxSize - len(`<event how="x"/>`) + 1
	tests := map[string]struct {
		in   string
		want []string
	}{
		"just fits":    {`<event how="` + strings.Repeat("x", fits) + `"/>` + a, []string{"", "a"}},
		"one too many": {`<event how="` + strings.Repeat("x", fits+1) + `"/>` + a, []string{"limit", "a"}},
		"in a comment": {`<event><!--` + strings.Repeat("x", cot.MaxSize) + `<event uid="i"/>--></event>` + a, []string{"limit", "i", "a"}},
		"in CDATA":     {`<event><a><![CDATA[` + strings.Repeat("</a>", cot.MaxSize/4) + `</event>]]></a></event>` + a, []string{"limit", "a"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{64 << 10, 100_003, len(tc.in)} {
				got, _ := feed(new(frame.Decoder), []byte(tc.in), size)
				for i := range got {
					got[i] = strings.TrimLeft(got[i], "x")
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("in pieces of %d (-want +got):\n%s", size, diff)
				}
			}
		})
	}
}

// What is too long, or between events, is never gathered.
func TestNextBoundsMemory(t *testing.T) {
	long := strings.Repeat("x", 3*cot.MaxSize)
	for name, in := range map[string]string{
		"attribute":   `<event uid="` + long + `"/>` + a,
		"garbage":     long + a,
		"comment":     "<!--" + long + "-->" + a,
		"instruction": "<?x " + long + "?>" + a,
		"text":        "<event>" + long + "</event>" + a,
	} {
		t.Run(name, func(t *testing.T) {
			found, kept := feed(new(frame.Decoder), []byte(in), 1<<20)
			if limit := cot.MaxSize + 2<<20; kept > limit {
				t.Errorf("kept %d bytes, want at most %d", kept, limit)
			}
			if len(found) == 0 || found[len(found)-1] != "a" {
				t.Errorf("found %q, want the event behind it too", found)
			}
		})
	}
}

// A decoder keeps nothing of the preamble once it is read.
func TestAuthIsForgotten(t *testing.T) {
	var d frame.Decoder
	var ev cot.Event
	in := []byte(`<auth><cot password="p"/></auth>` + a)
	kind, n, err := d.Next(in, &ev)
	if kind != frame.Auth || string(d.Auth.Password) != "p" || err != nil {
		t.Fatalf("Next = %d, %v; password %q", kind, err, d.Auth.Password)
	}
	if kind, _, err := d.Next(in[n:], &ev); kind != frame.Event || d.Auth.Password != nil || err != nil {
		t.Errorf("then Next = %d, %v; password %q", kind, err, d.Auth.Password)
	}
}

func TestEachInMesh(t *testing.T) {
	timed := strings.Replace(a, ">", ` start="2026-01-01T00:00:00Z" stale="2026-01-01T00:00:00Z">`, 1)
	stream := proto(t, timed)
	_, n := binary.Uvarint([]byte(stream[1:]))
	message := stream[1+n:]
	tests := map[string]struct {
		in          string
		events, bad int
	}{
		"XML":         {a, 1, 0},
		"declaration": {`<?xml version="1.0"?>` + a, 1, 0},
		"two":         {a + "\n" + a, 2, 0},
		"one is cut":  {a + a[:40], 1, 1},
		"line end":    {a + "\r\n", 1, 0},
		"protobuf":    {"\xbf\x01\xbf" + message, 1, 0},
		"version 2":   {"\xbf\x02\xbf" + message, 0, 1},
		"cut":         {a[:40], 0, 1},
		"empty":       {"", 0, 1},
		"junk":        {"hello", 0, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var ev cot.Event
			events, bad := 0, 0
			frame.EachInMesh([]byte(tc.in), &ev, func(err error) {
				if err != nil {
					bad++
				} else if string(ev.UID) == "a" {
					events++
				}
			})
			if events != tc.events || bad != tc.bad {
				t.Errorf("EachInMesh(%q) gave %d events, %d errors; want %d, %d", tc.in, events, bad, tc.events, tc.bad)
			}
		})
	}
}

// However the stream is cut, the same events come out.
func FuzzNext(f *testing.F) {
	for _, s := range cottest.Samples() {
		f.Add([]byte(s.XML+"\n"+a), uint8(5))
	}
	f.Add([]byte("\xbf\x03abc\xbf\x00"+a), uint8(2))
	f.Add([]byte("<!DOCTYPE x><event></event><event a='<'></event>"), uint8(3))
	for _, s := range cottest.Samples() {
		_, event, _ := strings.Cut(s.XML, "<event")
		message := proto(f, "<event"+event)
		f.Add([]byte(message+message), uint8(7))
		f.Add([]byte("junk"+message+a), uint8(200))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		only, size := cut >= 128, int(cut&127)+1
		want, _ := feed(&frame.Decoder{ProtoOnly: only}, in, len(in)+1)
		if slices.Contains(want, "unclear") {
			t.Fatalf("an error without one reason in %q", want)
		}
		got, _ := feed(&frame.Decoder{ProtoOnly: only}, in, size)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("in pieces of %d (-whole +cut):\n%s", size, diff)
		}
	})
}

func TestNextDoesNotAllocate(t *testing.T) {
	var d frame.Decoder
	var ev cot.Event
	in := bytes.Repeat([]byte(cottest.Samples()[0].XML), 3)
	whole := func() {
		for rest := in; len(rest) > 0; {
			_, n, _ := d.Next(rest, &ev)
			rest = rest[n:]
		}
	}
	cutUp := func() {
		for _, n := range []int{100, 300, len(in) / 3} {
			_, _, _ = d.Next(in[:n], &ev)
		}
	}
	for name, f := range map[string]func(){"whole": whole, "cut": cutUp} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	xml := bytes.Repeat([]byte(cottest.Samples()[0].XML), 20)
	framed := bytes.Repeat([]byte(proto(b, cottest.Samples()[0].XML)), 20)
	for name, in := range map[string][]byte{"XML": xml, "protobuf": framed} {
		b.Run(name, func(b *testing.B) {
			var d frame.Decoder
			var ev cot.Event
			events := 0
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				for rest := in; len(rest) > 0; events++ {
					kind, n, err := d.Next(rest, &ev)
					if kind != frame.Event {
						b.Fatal(kind, err)
					}
					rest = rest[n:]
				}
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
