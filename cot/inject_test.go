package cot_test

import (
	"strings"
	"testing"

	"takd/cot"
)

// Whatever an event's form, the elements come last in its detail, once, and it
// stays readable.
func TestAppendInjected(t *testing.T) {
	const head = `<event version='2.0' uid='u' type='a-f-G' how='m-g' time='2026-01-01T00:00:00Z' start='2026-01-01T00:00:00Z' stale='2026-01-01T00:01:00Z'>` +
		`<point lat='1' lon='2' hae='0' ce='9' le='9'/>`
	for name, detail := range map[string]string{
		"detail": `<detail><contact callsign='A'/><marti><dest uid='x'/></marti></detail>`, "empty": `<detail></detail>`, "empty tag": `<detail/>`, "none": ``,
	} {
		t.Run(name, func(t *testing.T) {
			var ev, proto, again cot.Event
			if _, err := cot.Scan([]byte(head+detail+`</event>`), &ev); err != nil {
				t.Fatal(err)
			}
			framed, err := ev.AppendProto(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := cot.ScanProto(unframe(t, framed), &proto); err != nil {
				t.Fatal(err)
			}
			for _, from := range []*cot.Event{&ev, &proto} {
				out, err := from.AppendInjected(nil, `<x a="1"/>`)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := cot.Scan(out, &again); err != nil || strings.Count(string(out), `<x a="1"/></detail>`) != 1 || strings.Contains(string(out), "marti") {
					t.Errorf("%v: %s", err, out)
				}
			}
		})
	}
}
