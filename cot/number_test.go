package cot_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"takd/cot"
	"takd/cot/takpb"
)

// notNumbers are the ways in which clients say that they do not know, or get it wrong.
var notNumbers = []string{
	"NaN", "nan", "-NaN", "Infinity", "-Infinity", "inf", "", " ", "48,137", "48.1.2", "--1", "-", ".", "+", "e5", "1e", "1e999", "-1e999", "0x1p4",
	"1_000", "48.1°", "N48", "null", "?", "48 137", "٤٨", "1-2", "4:30", "12345678.12345678.1", strings.Repeat("9", 400), "1&#65;", "&#78;aN", "1/2",
}

var areNumbers = []string{
	"0", "-0", "48.137", "-48.137", "+48", "48.", ".5", "-.5", "1e1", "1.5E-3", " 48 ", "9999999.0", "12345678", "1234567.", "48.13723411",
	"1234567890.12345", "12345678.1234567", "48.137234567890123456", "&#52;8.1", "00048.1",
}

// timed is an event with this point's attributes and detail.
func timed(point, detail string) string {
	return `<event uid="u" type="a-f" how="m-g" time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z" stale="2026-01-01T00:01:00Z"><point ` +
		point + `/><detail>` + detail + `</detail></event>`
}

func TestPositionIsANumber(t *testing.T) {
	check := func(in string, want bool) {
		t.Helper()
		for _, point := range []string{`lat="` + in + `" lon="11"`, `lat="48" lon='` + in + `' hae="5"`} {
			ev := scanText(t, timed(point, ""))
			if ev.HasPoint != want {
				t.Errorf("HasPoint of %s = %v, want %v", point, ev.HasPoint, want)
			}
			for f, pass := range map[string]func([]byte, *cot.Splice) ([]byte, error){"XML": ev.AppendXML, "protobuf": ev.AppendProto} {
				if out, err := pass([]byte("x"), nil); want != (err == nil) || err != nil && (string(out) != "x" || !errors.Is(err, cot.ErrMalformed)) {
					t.Errorf("%s as %s = %q, %v", point, f, out, err)
				}
			}
			if _, err := ev.AppendAt(nil, cot.XML, 1000, 1000); want != (err == nil) {
				t.Errorf("AppendAt of %s = %v", point, err)
			}
		}
	}
	for _, in := range notNumbers {
		check(in, false)
	}
	for _, in := range areNumbers {
		check(in, true)
	}
	for _, in := range []string{`lat="1"`, `lon="1"`, `Lat="1" lon="2"`, ``} {
		if ev := scanText(t, timed(in, "")); ev.HasPoint {
			t.Errorf("HasPoint of %s", in)
		}
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, e := range []*takpb.CotEvent{{Uid: "u", Lat: v, Lon: 1}, {Uid: "u", Lat: 1, Lon: v}} {
			ev := scanProto(t, &takpb.TakMessage{CotEvent: e})
			_, errX := ev.AppendXML(nil, nil)
			_, errP := ev.AppendProto(nil, nil)
			if ev.HasPoint || !errors.Is(errX, cot.ErrMalformed) || !errors.Is(errP, cot.ErrMalformed) {
				t.Errorf("protobuf at %v, %v: HasPoint %v, %v, %v", e.Lat, e.Lon, ev.HasPoint, errX, errP)
			}
		}
	}
}

// A height or an error that is no number is unknown, in every pair of encodings.
func TestNotNumbers(t *testing.T) {
	for _, in := range notNumbers {
		text := timed(`lat="48.5" hae="`+in+`" lon='11.5' ce='`+in+`' le ="`+in+`"`, `<a hae="NaN"/>`)
		want := strings.NewReplacer(`hae="`+in+`" lon`, `hae="9999999.0" lon`, `'`+in+`'`, `'9999999.0'`, `le ="`+in+`"`, `le ="9999999.0"`).Replace(text)
		ev := scanText(t, text)
		if got := appendXML(t, ev, nil); got != want || !ev.HasPoint {
			t.Errorf("AppendXML(%s)\n got %s\nwant %s", text, got, want)
		}
		if e := asMessage(t, ev, nil).CotEvent; e.Lat != 48.5 || e.Lon != 11.5 || e.Hae != 9999999 || e.Ce != 9999999 || e.Le != 9999999 {
			t.Errorf("%q became %v", in, e)
		}
	}
	for _, in := range areNumbers {
		text := timed(`lat="48.5" lon='11.5' hae="`+in+`" ce='`+in+`' le ="`+in+`"`, ``)
		if got := appendXML(t, scanText(t, text), nil); got != text {
			t.Errorf("AppendXML(%s) = %s, want it unchanged", text, got)
		}
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		m := &takpb.TakMessage{CotEvent: &takpb.CotEvent{
			Uid: "u", Type: "b-t-f-a", Lat: 48.5, Lon: 11.5, Hae: v, Ce: v, Le: v, Detail: &takpb.Detail{XmlDetail: "<a/>", ExtensionDetails: [][]byte{{1}}},
		}}
		m.CotEvent.ProtoReflect().SetUnknown([]byte{0xF8, 0x07, 0x02})
		for _, detail := range []*takpb.Detail{m.CotEvent.Detail, {}, nil} {
			m.CotEvent.Detail = detail
			m.CotEvent.Hae, m.CotEvent.Ce, m.CotEvent.Le = v, v, v
			ev := scanProto(t, m)
			m.CotEvent.Hae, m.CotEvent.Ce, m.CotEvent.Le = 9999999, 9999999, 9999999
			if got := asMessage(t, ev, nil); !ev.HasPoint || !proto.Equal(m, got) {
				t.Errorf("passed on as %v, want %v", got, m)
			}
			if got := appendXML(t, ev, nil); !strings.Contains(got, `<point lat="48.5" lon="11.5" hae="9999999" ce="9999999" le="9999999"/>`) {
				t.Errorf("as XML: %s", got)
			}
		}
	}
}

// What is not known of speed and course is left out.
func TestTrackNotNumbers(t *testing.T) {
	for _, in := range notNumbers {
		tests := map[string]struct{ in, want string }{
			"speed":    {`<track speed="` + in + `" course="90"/>`, `<track course="90"/>`},
			"course":   {`<track speed='1' course = '` + in + `'/>`, `<track speed='1'/>`},
			"both":     {`<track  speed="` + in + "\"\n\tcourse=\"" + in + `" ></track>`, `<track ></track>`},
			"more":     {`<track speed="` + in + `" eCourse="NaN" course="` + in + `"/>`, `<track eCourse="NaN"/>`},
			"two":      {`<track speed="` + in + `"/><b/><track course="` + in + `"/>`, `<track/><b/><track/>`},
			"no track": {`<track2 speed="` + in + `"/><b><track speed="` + in + `"/></b>`, `<track2 speed="` + in + `"/><b><track speed="` + in + `"/></b>`},
		}
		for name, tc := range tests {
			const p = `lat="1" lon="2" hae="3" ce="4" le="5"`
			ev := scanText(t, timed(p, "<a/>"+tc.in+"<marti/>"))
			if got, want := appendXML(t, ev, nil), timed(p, "<a/>"+tc.want); got != want {
				t.Errorf("%s: AppendXML\n got %s\nwant %s", name, got, want)
			}
			if d := asMessage(t, ev, nil).CotEvent.Detail; d.Track != nil || d.XmlDetail != "<a/>"+tc.want {
				t.Errorf("%s: became %v, want %s", name, d, tc.want)
			}
			// The same in xmlDetail.
			pv := scanProto(t, &takpb.TakMessage{CotEvent: &takpb.CotEvent{Uid: "u", Detail: &takpb.Detail{XmlDetail: "<a/>" + tc.in}}})
			if d := asMessage(t, pv, nil).CotEvent.Detail; d.XmlDetail != "<a/>"+tc.want {
				t.Errorf("%s: passed on as %v, want %s", name, d, tc.want)
			}
			if got := appendXML(t, pv, nil); !strings.Contains(got, "<detail><a/>"+tc.want+"</detail>") {
				t.Errorf("%s: as XML %s, want %s", name, got, tc.want)
			}
		}
	}
}

func TestTypedTrackNotNumbers(t *testing.T) {
	nan := math.NaN()
	tests := map[string]struct {
		track *takpb.Track
		xml   string // xmlDetail before
		want  string // and after
	}{
		"both":        {&takpb.Track{Speed: nan, Course: math.Inf(1)}, "<a/>", "<a/>"},
		"alone":       {&takpb.Track{Speed: nan, Course: nan}, "", ""},
		"speed":       {&takpb.Track{Speed: nan, Course: 90.5}, "<a/>", `<track course="90.5"/><a/>`},
		"course":      {&takpb.Track{Course: nan}, "", `<track speed="0"/>`},
		"XML has one": {&takpb.Track{Speed: nan, Course: 90}, `<track speed="1"/>`, `<track speed="1"/>`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &takpb.TakMessage{SubmissionTime: 3, CotEvent: &takpb.CotEvent{Uid: "u", Hae: 1, Detail: &takpb.Detail{
				XmlDetail: tc.xml, Contact: &takpb.Contact{Callsign: "c"}, Track: tc.track, ExtensionDetails: [][]byte{{1}},
			}}}
			ev := scanProto(t, m)
			m.CotEvent.Detail.Track, m.CotEvent.Detail.XmlDetail = nil, tc.want
			if got := asMessage(t, ev, nil); !proto.Equal(m, got) {
				t.Errorf("passed on as %v, want %v", got, m)
			}
			if got := appendXML(t, ev, nil); !strings.Contains(got, `<detail><contact callsign="c"/>`+tc.want+`</detail>`) {
				t.Errorf("as XML %s, want %s", got, tc.want)
			}
			m.CotEvent.Detail.XmlDetail = `<_flow-tags_ TAK-Server-feed="2026-01-01T00:00:00Z"/>` + tc.want
			got := asMessage(t, ev, splice)
			if d := got.CotEvent.Detail; d.Track != nil || strings.Count(d.XmlDetail, "<track") != strings.Count(tc.want, "<track") || !strings.Contains(d.XmlDetail, tag) {
				t.Errorf("with the flow tag %v", got)
			}
		})
	}
	// Two track fields are one message; a number that a later one replaces is none of it.
	for _, tracks := range [][]*takpb.Track{{{Speed: nan}, {Course: 5}}, {{Course: 5}, {Speed: nan}}, {{Speed: nan, Course: 4}, {Speed: 2, Course: 5}}} {
		var detail []byte
		for _, track := range tracks {
			b, err := proto.Marshal(&takpb.Detail{Track: track})
			if err != nil {
				t.Fatal(err)
			}
			detail = append(detail, b...)
		}
		m := new(takpb.TakMessage)
		in := append([]byte{0x12, byte(len(detail) + 2), 0x7a, byte(len(detail))}, detail...)
		ev := new(cot.Event)
		if err := cot.ScanProto(in, ev); err != nil {
			t.Fatal(err)
		}
		out, err := ev.AppendProto(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(unframe(t, out), m); err != nil {
			t.Fatal(err)
		}
		if d := m.CotEvent.Detail; d.Track != nil || !strings.Contains(d.XmlDetail, `course="5"`) || strings.Contains(d.XmlDetail, "NaN") {
			t.Errorf("%v became %v", tracks, d)
		}
	}
}

// Every way to write an instant is the same instant to all, and XML clients get
// one that ATAK reads; what it reads already stays as it is.
func TestTimes(t *testing.T) {
	const ten = 1768471200000 // 2026-01-15T10:00:00Z
	tests := map[string]struct {
		ms   int64
		want string // "": unchanged
	}{
		"2026-01-15T10:00:00Z": {ten, ""}, "2026-01-15T10:00:00.1Z": {ten + 100, ""}, "2026-01-15T10:00:00.12Z": {ten + 120, ""},
		"2026-01-15T10:00:00.000Z": {ten, ""}, "2026-01-15T10:00:00.1234Z": {ten + 123, "2026-01-15T10:00:00.123Z"},
		"2026-01-15T10:00:00.123456Z":    {ten + 123, "2026-01-15T10:00:00.123Z"},
		"2026-01-15T10:00:00.123456789Z": {ten + 123, "2026-01-15T10:00:00.123Z"},
		"2026-01-15T10:00:00.Z":          {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T10:00:00,5Z":         {ten + 500, "2026-01-15T10:00:00.500Z"},
		"2026-01-15T10:00:00+0000":       {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T10:00:00+00":         {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T10:00:00+00:00":      {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T10:00:00-00:00":      {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T11:00:00.25+01:00":   {ten + 250, "2026-01-15T10:00:00.250Z"},
		"2026-01-15T04:30:00-0530":       {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T12:00:00+02":         {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T12:00+02":            {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T10:00Z":              {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T10:00":               {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T10:00:00":            {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T10:00:00.123":        {ten + 123, "2026-01-15T10:00:00.123Z"},
		"2026-01-15T10:00:00z":           {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15t10:00:00z":           {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15 10:00:00Z":           {ten, "2026-01-15T10:00:00Z"},
		" 2026-01-15T10:00:00Z ":         {ten, "2026-01-15T10:00:00Z"},
		"2026-01-15T10&#58;00:00Z":       {ten, ""},
		// No times: as they are.
		"": {-1, ""}, "now": {-1, ""}, "2026-01-15": {-1, ""}, "1768471200": {-1, ""}, "2026-13-15T10:00:00Z": {-1, ""}, "2026-01-15T10:0a:00Z": {-1, ""},
		"2026-01-15T10:00:00+1": {-1, ""}, "2026-01-15T10:00:00+01:0": {-1, ""}, "2026-01-15T10:00:00 UTC": {-1, ""}, "2026-01-15T10:00:": {-1, ""},
		"2026-01-15T10:00:00+0a00": {-1, ""}, "2026-01-15T10:00:00+01.00": {-1, ""}, "15.01.2026 10:00:00": {-1, ""},
	}
	for in, tc := range tests {
		t.Run(in, func(t *testing.T) {
			if tc.want == "" {
				tc.want = in
			}
			text := func(v string) string {
				return `<event time="` + v + `" uid="u" start='` + v + `' type="a" stale="` + v + `"><point lat="1" lon="2"/><detail t="` + in + `" time="` + in + `"/></event>`
			}
			ev := scanText(t, text(in))
			want := strings.Replace(text(tc.want), "/></event>", "></detail></event>", 1)
			if got := strings.Replace(appendXML(t, ev, nil), "/></event>", "></detail></event>", 1); got != want {
				t.Errorf("AppendXML\n got %s\nwant %s", got, want)
			}
			out, err := ev.AppendProto(nil, nil)
			if tc.ms < 0 {
				if !errors.Is(err, cot.ErrMalformed) {
					t.Errorf("AppendProto = %q, %v", out, err)
				}
				return
			}
			if e := asMessage(t, ev, nil).CotEvent; int64(e.SendTime) != tc.ms || int64(e.StartTime) != tc.ms || int64(e.StaleTime) != tc.ms {
				t.Errorf("in protobuf %d, %d, %d; want %d", e.SendTime, e.StartTime, e.StaleTime, tc.ms)
			}
			// With other changes in the same tag.
			again, err := ev.AppendUndelivered(nil, cot.XML)
			if err != nil || !strings.HasPrefix(string(again), `<event time="`+tc.want+`" uid="u" start='`+tc.want+`' type="b-t-f-s" stale="`+tc.want+`">`) {
				t.Errorf("AppendUndelivered = %s, %v", again, err)
			}
			if again, err = ev.AppendAt(nil, cot.XML, 1000, 1000); err != nil || strings.Count(string(again), "1970-01-01T00:00:0") != 3 {
				t.Errorf("AppendAt = %s, %v", again, err)
			}
		})
	}
}

func TestEveryDay(t *testing.T) {
	for year := 0; year <= 9999; year += 1 + year%29 {
		for month := time.Month(1); month <= 12; month++ {
			for _, day := range []int{1, 28, 29, 30, 31} {
				want := time.Date(year, month, day, 23, 59, 58, 0, time.UTC).UnixMilli()
				for _, form := range []string{"%04d-%02d-%02dT23:59:58Z", "%04d-%02d-%02d 23:59:58"} {
					ev := scanText(t, `<event time="`+fmt.Sprintf(form, year, month, day)+`"/>`)
					if got, ok := ev.Time.UnixMilli(); got != want || !ok {
						t.Fatalf("%04d-%02d-%02d is %d, %v; want %d", year, month, day, got, ok, want)
					}
				}
			}
		}
	}
}

// The check in words agrees with a plain one, wherever a wrong byte stands.
func TestTimesByteByByte(t *testing.T) {
	for _, good := range []string{"2026-01-15T10:00:00Z", "2026-01-15T10:00:00.1Z", "2026-01-15T10:00:00.123Z"} {
		for i := range good {
			for c := byte(' '); c < 0x7F; c++ {
				if c == '<' || c == '&' || c == '"' {
					continue
				}
				in := good[:i] + string(c) + good[i+1:]
				ev := scanText(t, `<event time="`+in+`"/>`)
				got := appendXML(t, ev, nil)
				_, isTime := ev.Time.UnixMilli()
				if unchanged := got == `<event time="`+in+`"></event>`; unchanged != (!isTime || readable.MatchString(in)) {
					t.Errorf("%q became %s", in, got)
				}
			}
		}
	}
}

// The check in words agrees with a plain one for every short text.
func TestNumbersByteByByte(t *testing.T) {
	const some = "0-.+e5N,"
	for n := range 8 * 8 * 8 * 8 {
		text := ""
		for k := n; k > 0; k /= 8 {
			text += some[k%8 : k%8+1]
		}
		for _, in := range []string{text, "1234" + text, "123456789" + text} {
			ev := scanText(t, `<event><point lat="`+in+`" lon="1"/></event>`)
			if ev.HasPoint != isNumber(in) {
				t.Fatalf("HasPoint of %q = %v", in, ev.HasPoint)
			}
		}
	}
}

// checkPassedOn checks that no byte was changed if there was no need to, and
// otherwise that every number is one.
func checkPassedOn(t *testing.T, ev *cot.Event, was *takpb.TakMessage, out []byte) {
	t.Helper()
	got := new(takpb.TakMessage)
	if err := proto.Unmarshal(out, got); err != nil {
		t.Fatal(err)
	}
	all := func(m *takpb.TakMessage) []float64 {
		e, tr := m.GetCotEvent(), m.GetCotEvent().GetDetail().GetTrack()
		return []float64{e.GetLat(), e.GetLon(), e.GetHae(), e.GetCe(), e.GetLe(), tr.GetSpeed(), tr.GetCourse()}
	}
	odd := slices.ContainsFunc(all(was), func(v float64) bool { return v-v != 0 })
	if slices.ContainsFunc(all(got), func(v float64) bool { return v-v != 0 }) {
		t.Fatalf("passed on: %v", got)
	}
	// A track in xmlDetail, and a number that a later field replaces, are for TestNotNumbers.
	if !odd && !ev.HasMarti && !strings.Contains(was.GetCotEvent().GetDetail().GetXmlDetail(), "<track") &&
		proto.Size(was) == len(ev.Raw) && string(out) != string(ev.Raw) {
		t.Fatal("passing on changes bytes")
	}
}
