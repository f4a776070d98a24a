package cot_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"takd/cot"
	"takd/cot/cottest"
)

// What Scan takes, encoding/xml takes too and reads the same from it; what is
// passed on is one event that ends where ATAK looks for the end.
func FuzzScan(f *testing.F) {
	for _, s := range cottest.Samples() {
		f.Add(fromEvent(s.XML))
	}
	f.Add([]byte(full))
	addOdd(f)
	f.Add([]byte(`<event uid='&#x41;'><?a </event>?><!----><detail/></event >`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var ev cot.Event
		n, err := cot.Scan(in, &ev)
		if n < 0 || n > len(in) || err != nil && (n != 0 || reasons(err) != 1) {
			t.Fatalf("Scan = %d of %d, %v", n, len(in), err)
		}
		if n == 0 {
			return
		}
		if string(ev.Raw) != string(in[:n]) {
			t.Fatalf("Raw = %q, want %q", ev.Raw, in[:n])
		}
		want, err := parse(ev.Raw)
		if err != nil {
			if strings.Contains(err.Error(), "name") || strings.Contains(err.Error(), "expected ") {
				return // it has its own opinion on names: no colon twice, only some letters
			}
			t.Fatalf("Scan takes %q, encoding/xml does not: %v", ev.Raw, err)
		}
		checkScan(t, ev.Raw, &ev)
		out, err := ev.AppendXML(nil, splice)
		if tidy(want, &ev); hasBadPoint(want) {
			if ev.HasPoint || !errors.Is(err, cot.ErrMalformed) {
				t.Fatalf("AppendXML(%q) = %v", ev.Raw, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(out), "</event>") != 1 || !strings.HasPrefix(string(out), "<event") || !strings.HasSuffix(string(out), "</event>") {
			t.Fatalf("AppendXML(%q) = %q: not in the form that ATAK cuts", ev.Raw, out)
		}
		after := scan(t, out)
		if after.HasMarti || after.HasDetail != ev.HasDetail || after.HasFlowTag(tag) != ev.HasDetail {
			t.Fatalf("AppendXML(%q) = %q: marti %v, flow tag %v", ev.Raw, out, after.HasMarti, after.HasFlowTag(tag))
		}
		want.child("detail").without("marti").without("_flow-tags_")
		got := mustParse(t, string(out))
		got.child("detail").without("_flow-tags_")
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Fatalf("AppendXML(%q) (-before +after):\n%s", ev.Raw, diff)
		}
	})
}

// addOdd adds events whose numbers and times are none, or not for every client,
// and with namespaces.
func addOdd(f *testing.F) {
	for _, v := range []string{"NaN", "48,137", "", "1e5", "-1.5", "&#49;"} {
		f.Add([]byte(timed(`lat="1" lon="2" hae="`+v+`" ce='`+v+`' le="5"`, `<track speed="`+v+`" course="1"/><status battery="`+v+`"/>`)))
		f.Add([]byte(timed(`lat="`+v+`" lon="2"`, "")))
	}
	for _, v := range []string{"2026-01-01T10:00Z", "2026-01-01T10:00:00.123456-0530", "2026-01-01t10:00:00+01", "2026-01-01 10:00:00"} {
		f.Add([]byte(`<event xmlns:k="urn:k" time="` + v + `" start='` + v + `' stale="` + v + `"><detail xmlns:l="x"><k:a l:b=">"/><_flow-tags_ a=">" ` + tag + `="x"/></detail></event>`))
	}
}

// XML to protobuf to XML: the fields and the children of detail stay.
func FuzzRoundTrip(f *testing.F) {
	addOdd(f)
	for _, s := range cottest.Samples() {
		f.Add(fromEvent(s.XML))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var first, second cot.Event
		if n, err := cot.Scan(in, &first); n == 0 || err != nil {
			return
		}
		msg, err := first.AppendProto(nil, nil)
		if err != nil {
			return // its times are none
		}
		if _, err := first.AppendXML(nil, nil); err != nil {
			t.Fatalf("%q has protobuf and no XML: %v", first.Raw, err)
		}
		before := fields(&first)
		if err := cot.ScanProto(unframe(t, msg), &second); err != nil {
			t.Fatalf("AppendProto(%q): %v", first.Raw, err)
		}
		if !second.HasPoint {
			t.Fatalf("AppendProto(%q) has no position", first.Raw)
		}
		got := fields(&second)
		for k := range before {
			if strings.HasPrefix(k, "dest") || k == "marti/archive" || k == "version" {
				delete(before, k)
			}
		}
		forget(before, got)
		if diff := cmp.Diff(before, got); diff != "" {
			t.Fatalf("AppendProto(%q) (-before +after):\n%s", first.Raw, diff)
		}
		out, err := second.AppendXML(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		third := fields(scan(t, out))
		forget(got, third)
		delete(third, "version")
		if diff := cmp.Diff(got, third); diff != "" {
			t.Fatalf("AppendXML of AppendProto(%q) = %q (-before +after):\n%s", first.Raw, out, diff)
		}
	})
}

// forget removes what is empty, and the defaults that protobuf puts in.
func forget(a, b map[string]string) {
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			if v == "" {
				delete(m, k)
			}
		}
	}
	for _, k := range []string{"lat", "lon", "hae", "ce", "le", "track/speed", "track/course", "battery"} {
		if a[k] == "" || a[k] == "-0" {
			delete(a, k)
			delete(b, k)
		}
	}
}
