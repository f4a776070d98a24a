package cot_test

import (
	"math"
	"testing"
	"time"

	"takd/cot"
	"takd/cot/cottest"
	"takd/cot/takpb"
)

// sa is a position as a phone sends it, from "<event", and as a TakMessage.
func sa(t testing.TB) (xml, msg []byte) {
	t.Helper()
	xml = cottest.SA("ANDROID-589520ccfcd20f01", "HOPE", "Cyan", "Team Member", 48.1372345, 11.5755321, time.UnixMilli(1768471200123))
	xml = fromEvent(string(xml))
	return xml, toProto(t, xml)
}

func BenchmarkScan(b *testing.B) {
	xml, _ := sa(b)
	drawing := fromEvent(string(cottest.Drawing("d", "HOPE", 48, 11, time.UnixMilli(0))))
	for name, in := range map[string][]byte{"SA": xml, "drawing": drawing} {
		b.Run(name, func(b *testing.B) {
			var ev cot.Event
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if n, err := cot.Scan(in, &ev); n != len(in) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkScanProto(b *testing.B) {
	_, msg := sa(b)
	var ev cot.Event
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if err := cot.ScanProto(msg, &ev); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend measures passing one event on, in each pair of encodings.
func BenchmarkAppend(b *testing.B) {
	for name, f := range appends(b) {
		b.Run(name, func(b *testing.B) {
			dst := make([]byte, 0, 4096)
			out, err := f(dst)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(out)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = f(dst)
			}
		})
	}
}

// appends returns the four ways to pass a position on, with a flow tag.
func appends(t testing.TB) map[string]func(dst []byte) ([]byte, error) {
	t.Helper()
	xml, msg := sa(t)
	var x, p cot.Event
	if _, err := cot.Scan(xml, &x); err != nil {
		t.Fatal(err)
	}
	if err := cot.ScanProto(msg, &p); err != nil {
		t.Fatal(err)
	}
	s := &cot.Splice{FlowTag: "TAK-Server-0123456789abcdef0123456789abcdef", Stamp: "2026-01-15T10:00:00Z", Millis: 1768471200456}
	return map[string]func([]byte) ([]byte, error){
		"XML-XML":     func(dst []byte) ([]byte, error) { return x.AppendXML(dst, s) },
		"XML-proto":   func(dst []byte) ([]byte, error) { return x.AppendProto(dst, s) },
		"proto-XML":   func(dst []byte) ([]byte, error) { return p.AppendXML(dst, s) },
		"proto-proto": func(dst []byte) ([]byte, error) { return p.AppendProto(dst, s) },
	}
}

func TestNothingAllocates(t *testing.T) {
	xml, msg := sa(t)
	entities := fromEvent(cottest.Samples()[1].XML)
	odd := []byte(`<event xmlns:k="urn:k" time="2026-01-01T00:00:00.1234+01:00" start="2026-01-01T00:00Z" stale="2026-01-01T00:00:00Z">` +
		`<point lat="1" lon="2" hae="NaN" ce="" le="1,5"/><detail><k:a/><track speed="NaN" course="5"/></detail></event>`)
	many := []byte(`<event><detail><x` + attributes(500) + `/></detail></event>`)
	var ev, pv, ov, op, mv cot.Event
	if err := cot.ScanProto(marshal(t, &takpb.TakMessage{CotEvent: &takpb.CotEvent{Hae: math.NaN(), Detail: &takpb.Detail{
		XmlDetail: "<a/>", Track: &takpb.Track{Speed: math.Inf(1), Course: 2},
	}}}), &op); err != nil {
		t.Fatal(err)
	}
	scanInto(t, odd, &ov)
	dst := make([]byte, 0, 4096)
	funcs := map[string]func(){
		"Scan":               func() { _, _ = cot.Scan(xml, &ev) },
		"Scan with entities": func() { _, _ = cot.Scan(entities, &ev) },
		"Scan of a part":     func() { _, _ = cot.Scan(xml[:len(xml)/2], &ev) },
		"ScanProto":          func() { _ = cot.ScanProto(msg, &pv) },
		"HasFlowTag":         func() { ev.HasFlowTag("TAK-Server-x") },
		"Scan of no numbers": func() { _, _ = cot.Scan(odd, &ov) },
		"namespaces":         func() { _, _ = ov.AppendProto(dst, nil) },
		"mended, XML":        func() { _, _ = ov.AppendXML(dst, nil) },
		"mended, protobuf":   func() { _, _ = op.AppendProto(dst, splice) },
		"over the limit":     func() { _, _ = ov.AppendXML(dst, &cot.Splice{FlowTag: tag, Limit: 1}) },
		"many attributes":    func() { _, _ = cot.Scan(many, &mv) },
		"pong, XML":          func() { cot.AppendPong(dst, cot.XML, 1768471200123) },
		"pong, protobuf":     func() { cot.AppendPong(dst, cot.Proto, 1768471200123) },
	}
	for name, f := range appends(t) {
		funcs[name] = func() { _, _ = f(dst) }
	}
	for name, f := range funcs {
		f()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
