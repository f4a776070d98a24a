package server

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"takd/cot"
	"takd/http/live"
)

// Bounds on what is read of a drawing.
const (
	maxDrawing = 512 << 10 // bytes of its event
	maxVertex  = 20_000    // points that are looked at
	maxNameLen = 64        // of a point
)

// drawn tells whether events of a type carry a shape: drawings and routes.
func drawn(typ []byte) bool {
	return bytes.HasPrefix(typ, []byte("u-d-")) || string(typ) == "b-m-r"
}

// shapeOf reads the geometry of a drawing or a route as ATAK writes it: link
// elements with points, colours as signed ARGB. nil where it has none.
func shapeOf(ev *cot.Event) *live.Shape {
	raw := ev.Raw
	if len(raw) > maxDrawing {
		return nil
	}
	if ev.Format != cot.XML {
		var err error
		if raw, err = ev.AppendXML(nil, nil); err != nil {
			return nil
		}
	}
	s := &live.Shape{Kind: "line"}
	d := xml.NewDecoder(bytes.NewReader(raw))
	var names []string
	var at []int32
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		switch a := attributes(e); e.Name.Local {
		case "link":
			if lon, lat, ok := vertex(a["point"]); ok && len(at) < 2*maxVertex {
				at, names = append(at, lon, lat), append(names, clipped(a["callsign"]))
			}
		case "ellipse":
			major, err1 := strconv.ParseFloat(a["major"], 64)
			minor, err2 := strconv.ParseFloat(a["minor"], 64)
			if s.Radius == nil && err1 == nil && err2 == nil && major > 0 && minor > 0 && major <= 2e7 && minor <= 2e7 {
				s.Kind, s.Radius, s.Angle = "circle", &[2]float64{major, minor}, finite(a["angle"])
			}
		case "strokeColor":
			s.Stroke = argb(a["value"])
		case "link_attr":
			if s.Stroke == 0 {
				s.Stroke = argb(a["color"])
			}
		case "fillColor":
			s.Fill = argb(a["value"])
		case "strokeWeight":
			s.Width = finite(a["value"])
		}
	}
	if s.Kind == "circle" {
		s.At = []int32{}
		return s
	}
	if len(at) < 4 {
		return nil
	}
	n := len(at)
	if string(ev.Type) == "u-d-r" || n > 6 && at[0] == at[n-2] && at[1] == at[n-1] {
		s.Kind = "area"
	}
	route := string(ev.Type) == "b-m-r"
	step := (n/2 + live.MaxPoints - 1) / live.MaxPoints
	for i := 0; i < n/2; i += step {
		if i+step >= n/2 {
			i = n/2 - 1 // the last stays
		}
		s.At = append(s.At, at[2*i], at[2*i+1])
		if route {
			s.Points = append(s.Points, names[i])
		}
	}
	return s
}

func attributes(e xml.StartElement) map[string]string {
	m := make(map[string]string, len(e.Attr))
	for _, a := range e.Attr {
		m[a.Name.Local] = a.Value
	}
	return m
}

// vertex reads "lat,lon" or "lat,lon,height" as 1e-7 degrees.
func vertex(text string) (lon, lat int32, ok bool) {
	parts := strings.SplitN(text, ",", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	y, err1 := strconv.ParseFloat(strings.TrimSpace(parts[0]), 64)
	x, err2 := strconv.ParseFloat(strings.TrimSpace(parts[1]), 64)
	if err1 != nil || err2 != nil || !(math.Abs(y) <= 90) || !(math.Abs(x) <= 180) {
		return 0, 0, false
	}
	return int32(math.Round(x * 1e7)), int32(math.Round(y * 1e7)), true
}

// argb reads a colour as Java prints it: a signed number of 32 bits.
func argb(text string) uint32 {
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < math.MinInt32 || v > math.MaxUint32 {
		return 0
	}
	return uint32(v)
}

func finite(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

func clipped(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxNameLen)], "") }
