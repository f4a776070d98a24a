package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"takd/cot"
	"takd/http/live"
)

func shapeIn(t *testing.T, typ, detail string) *live.Shape {
	t.Helper()
	text := `<event version="2.0" uid="U" type="` + typ + `" how="h-e" time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z" stale="2026-01-02T00:00:00Z"><point lat="50" lon="14" hae="0" ce="1" le="1"/><detail>` + detail + `</detail></event>`
	var ev cot.Event
	if _, err := cot.Scan([]byte(text), &ev); err != nil {
		t.Fatal(err)
	}
	return shapeOf(&ev)
}

func TestShapes(t *testing.T) {
	t.Parallel()
	colours := `<strokeColor value="-65536"/><strokeWeight value="3.5"/><fillColor value="-1761607681"/>`
	line := `<link point="50,14"/><link point="50.5, 14.5,100"/><link point="51,14"/>`
	s := shapeIn(t, "u-d-f", line+colours)
	if s == nil || s.Kind != "line" || !slices.Equal(s.At, []int32{14e7, 50e7, 145e6, 505e6, 14e7, 51e7}) || s.Stroke != 0xffff0000 || s.Fill != 0x96ffffff || s.Width != 3.5 {
		t.Errorf("%+v", s)
	}
	if s = shapeIn(t, "u-d-f", line+`<link point="50,14"/>`); s == nil || s.Kind != "area" {
		t.Errorf("closed: %+v", s)
	}
	if s = shapeIn(t, "u-d-r", line); s == nil || s.Kind != "area" {
		t.Errorf("rectangle: %+v", s)
	}
	if s = shapeIn(t, "u-d-c-c", `<shape><ellipse major="500" minor="250" angle="30"/></shape>`+colours); s == nil || s.Kind != "circle" || *s.Radius != [2]float64{500, 250} || s.Angle != 30 {
		t.Errorf("circle: %+v", s)
	}
	s = shapeIn(t, "b-m-r", `<link uid="1" callsign="SP" type="b-m-p-w" point="50,14,0" relation="c"/><link point="50.1,14.1,0" type="b-m-p-c"/><link_attr color="-1" method="Driving"/>`)
	if s == nil || s.Kind != "line" || s.Stroke != 0xffffffff || !slices.Equal(s.Points, []string{"SP", ""}) {
		t.Errorf("route: %+v", s)
	}
}

// What is no shape is a point, and what is too large becomes smaller.
func TestHostileShapes(t *testing.T) {
	t.Parallel()
	for _, detail := range []string{
		"", `<link point="50,14"/>`, `<link point="x"/><link point="1"/>`, `<link point="91,0"/><link point="0,181"/>`, `<link point="NaN,NaN"/><link point="Inf,1"/>`,
		`<shape><ellipse major="-1" minor="NaN"/></shape>`, `<shape><ellipse major="1e300" minor="1"/></shape>`, strings.Repeat(" ", maxDrawing),
	} {
		if s := shapeIn(t, "u-d-f", detail); s != nil {
			t.Errorf("%.60s: %+v", detail, s)
		}
	}
	var many strings.Builder
	for i := range 2*live.MaxPoints + 1 {
		fmt.Fprintf(&many, `<link point="%d.0,%d"/>`, i%90, i%180)
	}
	s := shapeIn(t, "u-d-f", many.String()+`<strokeColor value="99999999999"/><strokeWeight value="NaN"/>`)
	if s == nil || len(s.At) > 2*live.MaxPoints || s.At[len(s.At)-2] != int32(2*live.MaxPoints%180*1e7) || s.Stroke != 0 || s.Width != 0 {
		t.Errorf("%d of many: %+v", len(s.At), s.At[len(s.At)-2:])
	}
}
