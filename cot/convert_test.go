package cot_test

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"takd/cot"
	"takd/cot/cottest"
	"takd/cot/takpb"
)

const tag = "TAK-Server-feed"

var splice = &cot.Splice{FlowTag: tag, Stamp: "2026-01-01T00:00:00Z", Millis: 1234}

func appendXML(t testing.TB, ev *cot.Event, s *cot.Splice) string {
	t.Helper()
	out, err := ev.AppendXML([]byte("before"), s)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(string(out), "before")
}

func asMessage(t testing.TB, ev *cot.Event, s *cot.Splice) *takpb.TakMessage {
	t.Helper()
	out, err := ev.AppendProto(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	m := new(takpb.TakMessage)
	if err := proto.Unmarshal(unframe(t, out), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func scanProto(t testing.TB, m *takpb.TakMessage) *cot.Event {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	ev := new(cot.Event)
	if err := cot.ScanProto(b, ev); err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestSpliceSamples(t *testing.T) {
	for _, s := range cottest.Samples() {
		t.Run(s.Name, func(t *testing.T) {
			text := string(fromEvent(s.XML))
			ev := scanText(t, text)
			if ev.HasFlowTag(tag) {
				t.Error("has the flow tag before it was added")
			}
			got := appendXML(t, ev, splice)
			if !strings.HasPrefix(got, "<event") || !strings.HasSuffix(got, "</event>") || strings.Count(got, "</event") != 1 {
				t.Errorf("not in the form that ATAK cuts: %s", got)
			}
			if again := scanText(t, got); again.HasFlowTag(tag) != again.HasDetail || again.HasMarti {
				t.Errorf("flow tag %v, marti %v in %s", again.HasFlowTag(tag), again.HasMarti, got)
			}
			want := mustParse(t, text)
			want.child("detail").without("marti").without("_flow-tags_")
			have := mustParse(t, got)
			have.child("detail").without("_flow-tags_")
			if diff := cmp.Diff(want.String(), have.String()); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
		})
	}
}

func TestSplice(t *testing.T) {
	const f = `<_flow-tags_ TAK-Server-feed="2026-01-01T00:00:00Z"/>`
	tests := map[string]struct{ in, want string }{
		"no detail":      {`<event uid="a"></event>`, `<event uid="a"></event>`},
		"empty":          {`<event uid="a"/>`, `<event uid="a"></event>`},
		"detail":         {`<event><detail><a/></detail></event>`, `<event><detail>` + f + `<a/></detail></event>`},
		"empty detail":   {`<event><detail /></event>`, `<event><detail >` + f + `</detail></event>`},
		"end with space": {"<event><detail></detail></event\n>", `<event><detail>` + f + `</detail></event>`},
		"flow tags": {
			`<event><detail><_flow-tags_ x="1"/></detail></event>`,
			`<event><detail><_flow-tags_ TAK-Server-feed="2026-01-01T00:00:00Z" x="1"/></detail></event>`,
		},
		"marti": {
			`<event><detail>a<marti><dest uid="x"/></marti>b<marti/>c</detail></event>`,
			`<event><detail>` + f + `abc</detail></event>`,
		},
		"CDATA": {
			`<event><detail><r><![CDATA[<a> & </event >]]></r></detail></event>`,
			`<event><detail>` + f + `<r>&lt;a&gt; &amp; &lt;/event &gt;</r></detail></event>`,
		},
		"comment":                        {`<event><!-- </event> --><detail><!-- keep --></detail></event>`, `<event><detail>` + f + `<!-- keep --></detail></event>`},
		"instruction":                    {`<event><?a </event>?><detail/></event>`, `<event><detail>` + f + `</detail></event>`},
		"comment before an empty detail": {`<event><!--</event>--><detail/></event>`, `<event><detail>` + f + `</detail></event>`},
		"ours already": {
			`<event><detail><_flow-tags_ TAK-Server-feed='x'/></detail></event>`, `<event><detail><_flow-tags_ TAK-Server-feed='x'/></detail></event>`,
		},
		"marti elsewhere": {
			`<event><marti/><detail><a><marti/></a></detail></event>`, `<event><marti/><detail>` + f + `<a><marti/></a></detail></event>`,
		},
		"CDATA in marti": {
			`<event><detail><marti><![CDATA[</event>]]></marti></detail></event>`, `<event><detail>` + f + `</detail></event>`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := appendXML(t, scanText(t, tc.in), splice); got != tc.want {
				t.Errorf("AppendXML(%s)\n got %s\nwant %s", tc.in, got, tc.want)
			}
		})
	}
}

// The attribute rule of ATAK: typed only with exactly the mapped attributes.
func TestToProto(t *testing.T) {
	const head = `<event version="2.0" uid="u" type="a-f" how="m-g" time="2026-01-01T00:00:00.5Z" start="2026-01-01T00:00:01Z" stale="2026-01-01T00:00:02Z"`
	const end = `</detail></event>`
	wrap := func(detail string) string {
		return head + `><point lat="1.5" lon="-2" hae="3" ce="4" le="5"/><detail>` + detail + end
	}
	base := func(d *takpb.Detail) *takpb.TakMessage {
		return &takpb.TakMessage{SubmissionTime: 1234, CreationTime: 1234, CotEvent: &takpb.CotEvent{
			Type: "a-f", Uid: "u", How: "m-g", SendTime: 1767225600500, StartTime: 1767225601000, StaleTime: 1767225602000,
			Lat: 1.5, Lon: -2, Hae: 3, Ce: 4, Le: 5, Detail: d,
		}}
	}
	tests := map[string]struct {
		detail string
		want   *takpb.Detail
	}{
		"all typed": {
			`<contact endpoint="e" callsign="c &amp; d"/><__group role="r" name="n"/><precisionlocation altsrc="a" geopointsrc="g"/>` +
				`<status battery="7"/><takv device="d" platform="p" os="o" version="v"/><track speed="1.5" course="2"></track>`,
			&takpb.Detail{
				Contact: &takpb.Contact{Endpoint: "e", Callsign: "c & d"}, Group: &takpb.Group{Name: "n", Role: "r"},
				PrecisionLocation: &takpb.PrecisionLocation{Geopointsrc: "g", Altsrc: "a"}, Status: &takpb.Status{Battery: 7},
				Takv: &takpb.Takv{Device: "d", Platform: "p", Os: "o", Version: "v"}, Track: &takpb.Track{Speed: 1.5, Course: 2},
			},
		},
		"callsign alone":     {`<contact callsign="c"/>`, &takpb.Detail{Contact: &takpb.Contact{Callsign: "c"}}},
		"altendpoints":       {`<contact callsign="c" altendpoints="x"/>`, &takpb.Detail{Contact: &takpb.Contact{Callsign: "c", Altendpoints: "x"}}},
		"no callsign":        {`<contact endpoint="e"/>`, &takpb.Detail{XmlDetail: `<contact endpoint="e"/>`}},
		"phone":              {`<contact callsign="c" phone="1"/>`, &takpb.Detail{XmlDetail: `<contact callsign="c" phone="1"/>`}},
		"content":            {`<contact callsign="c"><a/></contact>`, &takpb.Detail{XmlDetail: `<contact callsign="c"><a/></contact>`}},
		"text":               {`<contact callsign="c">x</contact>`, &takpb.Detail{XmlDetail: `<contact callsign="c">x</contact>`}},
		"twice":              {`<contact callsign="c"/><contact callsign="d"/>`, &takpb.Detail{XmlDetail: `<contact callsign="c"/><contact callsign="d"/>`}},
		"readiness":          {`<status battery="7" readiness="true"/>`, &takpb.Detail{XmlDetail: `<status battery="7" readiness="true"/>`}},
		"battery below zero": {`<status battery="-7"/>`, &takpb.Detail{XmlDetail: `<status battery="-7"/>`}},
		"battery with zeros": {`<status battery="07"/>`, &takpb.Detail{XmlDetail: `<status battery="07"/>`}},
		"half a group":       {`<__group name="n"/>`, &takpb.Detail{XmlDetail: `<__group name="n"/>`}},
		"track not a number": {`<track speed="x" course="2"/>`, &takpb.Detail{XmlDetail: `<track course="2"/>`}},
		"track eCourse":      {`<track speed="1" course="2" eCourse="1"/>`, &takpb.Detail{XmlDetail: `<track speed="1" course="2" eCourse="1"/>`}},
		"mixed": {
			`<a x="&lt;"/><contact callsign="c"/><b>t</b><marti><dest uid="x"/></marti><c/>`,
			&takpb.Detail{Contact: &takpb.Contact{Callsign: "c"}, XmlDetail: `<a x="&lt;"/><b>t</b><c/>`},
		},
		"empty": {``, &takpb.Detail{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := asMessage(t, scanText(t, wrap(tc.detail)), &cot.Splice{Millis: 1234})
			if diff := cmp.Diff(base(tc.want), got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	unknown := asMessage(t, scanText(t, head+`><point lat="1" lon="2"/></event>`), nil)
	if e := unknown.CotEvent; e.Hae != 9999999 || e.Ce != 9999999 || e.Le != 9999999 || e.Detail != nil {
		t.Errorf("what is not known became %v", e)
	}
	if _, err := scanText(t, `<event uid="u" time="now"/>`).AppendProto(nil, nil); err == nil {
		t.Error("an event without times was converted")
	}
}

func TestFromProto(t *testing.T) {
	m := &takpb.TakMessage{CotEvent: &takpb.CotEvent{
		Type: "a-f", Uid: `u"<&`, How: "m-g", SendTime: 1767225600500, StartTime: 1767225601000, StaleTime: 1767225602000,
		Lat: 1.5, Lon: -2, Hae: 9999999, Ce: 4, Le: 5, Access: "Undefined", Caveat: "FOUO", ReleaseableTo: "NATO",
		Detail: &takpb.Detail{
			XmlDetail: `<contact callsign="wins" phone="1"/><marti><dest callsign="x"/></marti><remarks>hi</remarks>`,
			Contact:   &takpb.Contact{Callsign: "loses", Endpoint: "e"}, Group: &takpb.Group{Name: "Cyan", Role: "HQ"},
			Status: &takpb.Status{Battery: 50}, Track: &takpb.Track{Speed: 0, Course: 90},
		},
	}}
	ev := scanProto(t, m)
	if string(ev.Contact.Callsign) != "wins" || string(ev.Contact.Endpoint) != "" || string(ev.UID) != `u"<&` || string(ev.Battery) != "50" ||
		len(ev.Dests) != 1 || string(ev.Dests[0].Callsign) != "x" {
		t.Errorf("scanned contact %q, uid %q, dests %v", ev.Contact, ev.UID, ev.Dests)
	}
	want := `<event version="2.0" uid="u&quot;&lt;&amp;" type="a-f" how="m-g" time="2026-01-01T00:00:00.500Z" start="2026-01-01T00:00:01Z" ` +
		`stale="2026-01-01T00:00:02Z" caveat="FOUO" releasableTo="NATO" access="Undefined"><point lat="1.5" lon="-2" hae="9999999" ce="4" le="5"/>` +
		`<detail><__group name="Cyan" role="HQ"/><status battery="50"/><track speed="0" course="90"/>` +
		`<_flow-tags_ TAK-Server-feed="2026-01-01T00:00:00Z"/><contact callsign="wins" phone="1"/><remarks>hi</remarks></detail></event>`
	if got := appendXML(t, ev, splice); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// Splicing protobuf changes xmlDetail, and no byte of anything else.
func TestSpliceProto(t *testing.T) {
	m := &takpb.TakMessage{SubmissionTime: 5, CotEvent: &takpb.CotEvent{
		Uid: "u", Type: "a-f", StaleTime: 9, Detail: &takpb.Detail{
			XmlDetail: `<a/><marti><dest uid="x"/></marti><b/>`, Contact: &takpb.Contact{Callsign: "c"},
			ExtensionDetails: [][]byte{{1, 2, 3}, {4}},
		},
	}}
	m.ProtoReflect().SetUnknown([]byte{0xF8, 0x07, 0x01})          // field 127
	m.CotEvent.ProtoReflect().SetUnknown([]byte{0xF8, 0x07, 0x02}) // in the event
	m.CotEvent.Detail.ProtoReflect().SetUnknown([]byte{0xF8, 0x07, 0x03})
	got := asMessage(t, scanProto(t, m), splice)
	m.CotEvent.Detail.XmlDetail = `<_flow-tags_ TAK-Server-feed="2026-01-01T00:00:00Z"/><a/><b/>`
	if diff := cmp.Diff(m, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, d := range map[string]*takpb.Detail{"no xmlDetail": {Contact: &takpb.Contact{Callsign: "c"}}, "empty detail": {}} {
		m.CotEvent.Detail = d
		got = asMessage(t, scanProto(t, m), splice)
		d.XmlDetail = `<_flow-tags_ TAK-Server-feed="2026-01-01T00:00:00Z"/>`
		if diff := cmp.Diff(m, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	m.CotEvent.Detail = nil
	if diff := cmp.Diff(m, asMessage(t, scanProto(t, m), splice), protocmp.Transform()); diff != "" {
		t.Errorf("no detail (-want +got):\n%s", diff)
	}
}

func TestScanProtoErrors(t *testing.T) {
	event := func(f func(*takpb.CotEvent)) []byte {
		e := &takpb.CotEvent{Uid: "u", Detail: &takpb.Detail{}}
		f(e)
		b, err := (proto.MarshalOptions{AllowPartial: true}).Marshal(&takpb.TakMessage{CotEvent: e})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	detail := func(xml string) []byte { return event(func(e *takpb.CotEvent) { e.Detail.XmlDetail = xml }) }
	whole := event(func(*takpb.CotEvent) {})
	tests := map[string][]byte{
		"empty": {}, "control only": {0x0a, 0x00}, "cut off": whole[:len(whole)-1], "twice": append(whole, whole...),
		"control character": event(func(e *takpb.CotEvent) { e.Uid = "a\x00b" }),
		"late":              event(func(e *takpb.CotEvent) { e.StaleTime = 1 << 62 }),
		"declaration":       detail(`<?xml version="1.0"?><a/>`), "not closed": detail(`<a>`), "end tag": detail(`</detail>`),
		"event inside": detail(`<event/>`), "DTD": detail(`<!DOCTYPE a>`), "entity": detail(`<a>&lol;</a>`), "ampersand": detail(`a & b`),
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			if err := cot.ScanProto(in, new(cot.Event)); err == nil {
				t.Errorf("ScanProto(%q) succeeded", in)
			}
		})
	}
}

// XML, to protobuf, to XML: the same meaning.
func TestRoundTripSamples(t *testing.T) {
	for _, s := range cottest.Samples() {
		t.Run(s.Name, func(t *testing.T) {
			first := scanText(t, string(fromEvent(s.XML)))
			b, err := first.AppendProto(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			ev := new(cot.Event)
			if err := cot.ScanProto(unframe(t, b), ev); err != nil {
				t.Fatal(err)
			}
			got, want := mustParse(t, appendXML(t, ev, nil)), mustParse(t, appendXML(t, first, nil))
			if diff := cmp.Diff(meaning(want), meaning(got)); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
		})
	}
}

// meaning is an event as a map: the order of detail's children does not matter,
// nor how a number of a typed field is written.
func meaning(n *node) map[string]int {
	m := make(map[string]int)
	for k, v := range n.attrs {
		m[k+"="+v]++
	}
	if d := n.child("detail"); d != nil {
		for _, c := range d.kids {
			if c.name == "track" {
				for k, v := range c.attrs {
					if f, err := strconv.ParseFloat(v, 64); err == nil {
						c.attrs[k] = fmt.Sprint(f)
					}
				}
			}
			m[c.String()]++
		}
	}
	return m
}

func FuzzProto(f *testing.F) {
	for _, s := range cottest.Samples() {
		b, err := scanText(f, string(fromEvent(s.XML))).AppendProto(nil, splice)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(unframe(f, b))
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), 5} {
		f.Add(marshal(f, &takpb.TakMessage{CotEvent: &takpb.CotEvent{Uid: "u", Lat: 1, Hae: v, Le: v, Detail: &takpb.Detail{
			XmlDetail: `<a/>`, Track: &takpb.Track{Speed: v, Course: 1},
		}}}))
		f.Add(marshal(f, &takpb.TakMessage{CotEvent: &takpb.CotEvent{Uid: "u", Lat: v, Detail: &takpb.Detail{XmlDetail: `<track speed="NaN"/><marti/>`}}}))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		ev := new(cot.Event)
		if err := cot.ScanProto(in, ev); err != nil {
			if reasons(err) != 1 {
				t.Fatal(err)
			}
			return
		}
		want := new(takpb.TakMessage)
		if err := proto.Unmarshal(in, want); err != nil {
			return // stricter than we are about fields that we do not read
		}
		checkProto(t, ev, want.GetCotEvent())
		// Unchanged, it is the same message; spliced, it is one with the tag.
		out, err := ev.AppendProto(nil, nil)
		if !ev.HasPoint {
			if !errors.Is(err, cot.ErrMalformed) {
				t.Fatalf("AppendProto without a position: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		checkPassedOn(t, ev, want, unframe(t, out))
		tagged, err := ev.AppendProto(nil, splice)
		if err != nil {
			t.Fatal(err)
		}
		again := new(cot.Event)
		if err := cot.ScanProto(unframe(t, tagged), again); err != nil || again.HasFlowTag(tag) != again.HasDetail || again.HasMarti {
			t.Fatalf("spliced: %v, tag %v, marti %v", err, again.HasFlowTag(tag), again.HasMarti)
		}
		xml := appendXML(t, ev, splice)
		if strings.Count(xml, "</event>") != 1 {
			t.Fatalf("not in the form that ATAK cuts: %q", xml)
		}
		if n, err := cot.Scan([]byte(xml), again); err != nil || n != len(xml) || string(again.UID) != string(ev.UID) {
			t.Fatalf("as XML: %v in %q", err, xml)
		}
	})
}

// checkProto compares what was scanned with what the generated types read.
func checkProto(t *testing.T, ev *cot.Event, want *takpb.CotEvent) {
	t.Helper()
	texts := map[string][2]string{
		"uid": {string(ev.UID), want.GetUid()}, "type": {string(ev.Type), want.GetType()}, "how": {string(ev.How), want.GetHow()},
		"access": {string(ev.Access), want.GetAccess()}, "caveat": {string(ev.Caveat), want.GetCaveat()},
	}
	d := want.GetDetail()
	if d.GetXmlDetail() == "" {
		texts["callsign"] = [2]string{string(ev.Contact.Callsign), d.GetContact().GetCallsign()}
		texts["endpoint"] = [2]string{string(ev.Contact.Endpoint), d.GetContact().GetEndpoint()}
		texts["team"] = [2]string{string(ev.Group.Name), d.GetGroup().GetName()}
		texts["platform"] = [2]string{string(ev.Takv.Platform), d.GetTakv().GetPlatform()}
		if d.GetStatus() != nil {
			texts["battery"] = [2]string{string(ev.Battery), fmt.Sprint(d.GetStatus().GetBattery())}
		}
	}
	for name, v := range texts {
		if v[0] != v[1] {
			t.Fatalf("%s = %q, want %q", name, v[0], v[1])
		}
	}
	stale, _ := ev.Stale.UnixMilli()
	lat, ok := ev.Point.Lat.Float()
	_, ok2 := ev.Point.Lon.Float()
	if ev.HasPoint != (ok && ok2) || ok == (math.IsNaN(want.GetLat()) || math.IsInf(want.GetLat(), 0)) {
		t.Fatalf("has a point: %v; want %v", ev.HasPoint, want)
	}
	if stale != int64(want.GetStaleTime()) || ok && lat != want.GetLat() || ev.HasDetail != (d != nil) {
		t.Fatalf("stale %d, lat %v, detail %v; want %v", stale, lat, ev.HasDetail, want)
	}
}

func TestControl(t *testing.T) {
	const now = 1767225600999
	check := func(name string, b []byte, parts ...string) {
		t.Helper()
		var ev cot.Event
		if b[0] == 0xBF {
			if err := cot.ScanProto(unframe(t, b), &ev); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			b = []byte(appendXML(t, &ev, nil))
		}
		n := mustParse(t, string(b))
		for _, a := range []string{"lat", "lon", "hae", "ce", "le"} {
			if n.child("point").attrs[a] == "" {
				t.Errorf("%s has no point/@%s", name, a)
			}
		}
		for _, part := range append(parts, `time="2026-01-01T00:00:00Z"`, `version="2.0"`) {
			if !strings.Contains(string(b), part) {
				t.Errorf("%s lacks %s: %s", name, part, b)
			}
		}
	}
	for _, f := range []cot.Format{cot.XML, cot.Proto} {
		check("pong", cot.AppendPong(nil, f, now), `uid="takPong"`, `type="t-x-c-t-r"`, `stale="2026-01-01T00:00:20Z"`)
		check("left", cot.AppendDisconnect(nil, f, "e", "u&1", "a-f-G", now), `type="t-x-d-d"`, `uid="u&amp;1"`, `relation="p-p"`, `type="a-f-G"`)
		check("groups", cot.AppendGroupsChanged(nil, f, "e", now), `type="t-x-g-c"`, `uid="e"`)
	}
	check("offer", cot.AppendProtocolOffer(nil, "o", "takd 1", now), `t-x-takp-v`, `<TakProtocolSupport version="1"/>`, `serverVersion="takd 1"`, `apiVersion="3"`)
	check("reply", cot.AppendProtocolReply(nil, "o", true, now), `t-x-takp-r`, `<TakResponse status="true"/>`)
	check("refusal", cot.AppendProtocolReply(nil, "o", false, now), `<TakResponse status="false"/>`)
}

func TestChanged(t *testing.T) {
	const in = `<event stale='2026-01-01T00:00:00Z' uid="a" type='b-t-f' time="x" start="y"><point lat="1" lon="2"/><detail><a/><marti/></detail></event>`
	ev := scanText(t, in)
	got, err := ev.AppendUndelivered(nil, cot.XML)
	if want := strings.NewReplacer("b-t-f", "b-t-f-s", "<marti/>", "").Replace(in); string(got) != want || err != nil {
		t.Errorf("AppendUndelivered = %s, %v; want %s", got, err, want)
	}
	got, err = ev.AppendAt(nil, cot.XML, 1767225600000, 20_000)
	want := `<event stale='2026-01-01T00:00:20Z' uid="a" type='b-t-f' time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z"><point lat="1" lon="2"/><detail><a/></detail></event>`
	if string(got) != want || err != nil {
		t.Errorf("AppendAt = %s, %v; want %s", got, err, want)
	}
	pb, err := ev.AppendAt(nil, cot.Proto, 1767225600000, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	again := new(cot.Event)
	if err := cot.ScanProto(unframe(t, pb), again); err != nil {
		t.Fatal(err)
	}
	if got, err := again.AppendUndelivered(nil, cot.Proto); err != nil || !strings.Contains(string(got), "b-t-f-s") {
		t.Errorf("AppendUndelivered = %q, %v", got, err)
	}
}

// A changed protobuf event keeps what nobody here knows.
func TestChangedProto(t *testing.T) {
	m := &takpb.TakMessage{SubmissionTime: 5, CotEvent: &takpb.CotEvent{
		Uid: "u", Type: "b-t-f", SendTime: 1, StartTime: 2, StaleTime: 9, How: "m-g", Lat: 1, Detail: &takpb.Detail{
			XmlDetail: `<a/><marti><dest uid="x"/></marti>`, ExtensionDetails: [][]byte{{1, 2, 3}},
		},
	}}
	m.CotEvent.ProtoReflect().SetUnknown([]byte{0xF8, 0x07, 0x02})
	check := func(name string, out []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(name, err)
		}
		got := new(takpb.TakMessage)
		if err := proto.Unmarshal(unframe(t, out), got); err != nil {
			t.Fatal(name, err)
		}
		if diff := cmp.Diff(m, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	ev := scanProto(t, m)
	m.CotEvent.Detail.XmlDetail = "<a/>"
	out, err := ev.AppendAt(nil, cot.Proto, 1000, 500)
	m.CotEvent.SendTime, m.CotEvent.StartTime, m.CotEvent.StaleTime = 1000, 1000, 1500
	check("AppendAt", out, err)
	out, err = ev.AppendUndelivered(nil, cot.Proto)
	m.CotEvent.SendTime, m.CotEvent.StartTime, m.CotEvent.StaleTime, m.CotEvent.Type = 1, 2, 9, "b-t-f-s"
	check("AppendUndelivered", out, err)
}
