package cot_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"takd/cot"
	"takd/cot/takpb"
)

// A group chat names each member in one tag, and a drawing has hundreds of children.
func TestLargeIsLegal(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const p = `lat="1" lon="2" hae="3" ce="4" le="5"`
	for name, detail := range map[string]string{
		"64 members":      `<__chat id="g"><chatgrp id="g"` + many(64, ` uid%d="ANDROID-x"`) + `/></__chat>`,
		"1000 members":    `<__chat id="g"><chatgrp id="g"` + many(1000, ` uid%d="ANDROID-x"`) + `/></__chat>`,
		"at the limit":    `<x` + many(cot.MaxAttrs, ` a%d=""`) + `/>`,
		"contacts":        many(2000, `<contact callsign="c%d"/>`),
		"statuses":        many(2000, `<status readiness="%d"/>`),
		"links":           many(2000, `<link uid="l%d"/>`),
		"tracks":          many(2000, `<track speed="%d" course="NaN"/>`),
		"all of them":     many(1000, `<contact a="%d"/><status/><link/><takv/><track/><precisionlocation/><__group/>`),
		"with flow tags":  many(1000, `<_flow-tags_ a%d="2026-01-01T00:00:00Z"/>`),
		"comments to cut": many(1000, `<!-- </event> %d -->`),
	} {
		t.Run(name, func(t *testing.T) {
			ev := scanText(t, timed(p, detail))
			if n := strings.Count(detail, " uid") - 1; strings.HasPrefix(detail, "<__chat") && len(ev.Chat.UIDs) != n+1 {
				t.Errorf("%d members, want %d", len(ev.Chat.UIDs), n+1)
			}
			out, err := ev.AppendProto(nil, splice)
			if err != nil {
				t.Fatal(err)
			}
			pv := new(cot.Event)
			if err := cot.ScanProto(unframe(t, out), pv); err != nil {
				t.Fatal(err)
			}
			before, after := mustParse(t, appendXML(t, ev, splice)), mustParse(t, appendXML(t, pv, nil))
			if want, got := len(before.child("detail").kids), len(after.child("detail").kids); want != got {
				t.Errorf("%d children became %d", want, got)
			}
		})
	}
}

// Names are compared by their hash when there are many: what takes a second with
// each compared to each takes some milliseconds.
func TestManyAttributesTwice(t *testing.T) {
	tag := "<x" + attributes(cot.MaxAttrs) + "/>"
	in := []byte(`<event><detail>` + strings.Repeat(tag, 20) + `</detail></event>`)
	start := time.Now()
	scan(t, in)
	if took := time.Since(start); took > time.Second {
		t.Errorf("%d tags of %d attributes took %v", 20, cot.MaxAttrs, took)
	}
	for _, n := range []int{1, 31, 32, 33, 34, 64, 500, cot.MaxAttrs - 1} {
		for _, k := range []int{0, n / 2, n - 1} {
			text := fmt.Sprintf(`<event><detail><y%s/><x%s a%d="2"/></detail></event>`, attributes(n), attributes(n), k)
			if _, err := cot.Scan([]byte(text), new(cot.Event)); !errors.Is(err, cot.ErrMalformed) {
				t.Errorf("attribute %d of %d twice: %v", k, n, err)
			}
		}
	}
}

func TestLengths(t *testing.T) {
	long := func(n int) string { return strings.Repeat("é", n/2) + strings.Repeat("x", n%2) }
	tests := map[string]struct {
		uid, callsign string
		field         string // "": fits
	}{
		"fits":         {long(cot.MaxUID), long(cot.MaxCallsign), ""},
		"uid":          {long(cot.MaxUID + 1), "c", "uid longer than 256 bytes"},
		"callsign":     {"u", long(cot.MaxCallsign + 1), "callsign longer than 128 bytes"},
		"uid, much":    {long(100_000), "c", "uid longer than 256 bytes"},
		"with entity":  {"u", long(cot.MaxCallsign-1) + "&", ""},
		"one too many": {"u", long(cot.MaxCallsign) + "&", "callsign longer than 128 bytes"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			escape := strings.NewReplacer("&", "&amp;")
			xml := `<event uid="` + escape.Replace(tc.uid) + `"><detail><contact phone="1" callsign="` + escape.Replace(tc.callsign) + `"/></detail></event>`
			ev := new(cot.Event)
			check := func(how string, err error) {
				t.Helper()
				if (err == nil) != (tc.field == "") || err != nil && (!errors.Is(err, cot.ErrLimit) || !strings.Contains(err.Error(), tc.field)) {
					t.Errorf("%s: %v, want %q", how, err, tc.field)
				}
			}
			_, err := cot.Scan([]byte(xml), ev)
			check("Scan", err)
			m := &takpb.TakMessage{CotEvent: &takpb.CotEvent{Uid: tc.uid, Detail: &takpb.Detail{Contact: &takpb.Contact{Callsign: tc.callsign}}}}
			check("typed", cot.ScanProto(marshal(t, m), ev))
			m.CotEvent.Detail = &takpb.Detail{XmlDetail: `<contact phone="1" callsign="` + escape.Replace(tc.callsign) + `"/>`}
			check("xmlDetail", cot.ScanProto(marshal(t, m), ev))
		})
	}
}

// One large event does not make an Event large for ever.
func TestEventStaysSmall(t *testing.T) {
	if size := unsafe.Sizeof(cot.Event{}); size > 4<<10 {
		t.Errorf("an Event is %d bytes", size)
	}
	large := map[string][]byte{
		"destinations": []byte(`<event><detail><marti>` + strings.Repeat(`<dest uid="&lt;"/>`, cot.MaxDests) + `</marti></detail></event>`),
		"attributes":   []byte(`<event><detail><x` + attributes(cot.MaxAttrs) + `/></detail></event>`),
		"members": []byte(`<event><detail><__chat>` + strings.Repeat(`<chatgrp`+strings.ReplaceAll(attributes(cot.MaxAttrs), " a", " uid")+`/>`, 30) +
			`</__chat></detail></event>`),
		"marks":    []byte(`<event><detail>` + strings.Repeat("<status/>", 16_000) + `</detail></event>`),
		"entities": []byte(`<event how="` + strings.Repeat("&lt;", 1<<20) + `"/>`),
		"text": []byte(`<event time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z" stale="2026-01-01T00:00:00Z"><detail>` +
			strings.Repeat("x", 4<<20) + `</detail></event>`),
	}
	small := []byte(`<event uid="u"/>`)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const n = 4
	evs := make([]cot.Event, n)
	for name, in := range large {
		clear(evs)
		before := heap()
		for i := range evs {
			own := bytes.Clone(in)
			scanInto(t, own, &evs[i])
			if name == "text" {
				if _, err := evs[i].AppendProto(nil, splice); err != nil {
					t.Fatal(err)
				}
			}
			scanInto(t, small, &evs[i])
		}
		if kept := (int64(heap()) - int64(before)) / n; kept > 256<<10 {
			t.Errorf("%s: %d bytes kept after %d", name, kept, len(in))
		}
		runtime.KeepAlive(evs)
	}
}

func scanInto(t *testing.T, in []byte, ev *cot.Event) {
	t.Helper()
	if n, err := cot.Scan(in, ev); n != len(in) || err != nil {
		t.Fatal(n, err)
	}
}

// An event as large as a client can receive is passed on, if need be without the
// flow tag.
func TestLimit(t *testing.T) {
	build := func(n int) string {
		s := timed(`lat="1" lon="2" hae="3" ce="4" le="5"`, `<remarks>@</remarks><marti/>`)
		return strings.Replace(s, "@", strings.Repeat("x", n-len(s)+len("@<marti/>")), 1)
	}
	const limit = cot.ClientSize
	added := len(`<_flow-tags_ TAK-Server-feed="2026-01-01T00:00:00Z"/>`)
	for size, tagged := range map[int]bool{1000: true, limit - added: true, limit - added + 1: false, limit: false, limit + 1: false} {
		s := &cot.Splice{FlowTag: tag, Stamp: "2026-01-01T00:00:00Z", Limit: limit}
		ev := scanText(t, build(size))
		got := appendXML(t, ev, s)
		if strings.Contains(got, tag) != tagged || len(got) != size && !tagged || len(got) != size+added && tagged || strings.Contains(got, "marti") {
			t.Errorf("%d bytes became %d, tagged: %v", size, len(got), strings.Contains(got, tag))
		}
		s.Limit = 0
		if got := appendXML(t, ev, s); !strings.Contains(got, tag) {
			t.Errorf("%d bytes without a limit: no flow tag", size)
		}
	}
	for _, from := range []cot.Format{cot.XML, cot.Proto} {
		ev := scanText(t, build(5000))
		if from == cot.Proto {
			pv := new(cot.Event)
			if err := cot.ScanProto(toProto(t, ev.Raw), pv); err != nil {
				t.Fatal(err)
			}
			ev = pv
		}
		s := &cot.Splice{FlowTag: tag, Stamp: "2026-01-01T00:00:00Z", Millis: 5}
		for name, pass := range map[string]func([]byte, *cot.Splice) ([]byte, error){"XML": ev.AppendXML, "protobuf": ev.AppendProto} {
			s.Limit = 0
			whole, _ := pass(nil, s)
			s.Limit = len(whole)
			same, err := pass([]byte("before"), s)
			s.Limit--
			less, err2 := pass([]byte("before"), s)
			bare, _ := pass(nil, &cot.Splice{Millis: 5})
			if string(same) != "before"+string(whole) || string(less) != "before"+string(bare) || !strings.Contains(string(whole), tag) || err != nil || err2 != nil {
				t.Errorf("%d to %s: %d bytes, at the limit %d, over it %d, want %d", from, name, len(whole), len(same)-6, len(less)-6, len(bare))
			}
		}
	}
}
