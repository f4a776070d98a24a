package cot_test

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"takd/cot"
	"takd/cot/takpb"
)

func marshal(t testing.TB, m *takpb.TakMessage) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What stands in xmlDetail must be whole without the event around it.
func TestNamespaces(t *testing.T) {
	const k, l = ` xmlns:k="urn:k"`, ` xmlns:l='urn:&lt;l'`
	const point, f = `<point lat="1" lon="2"/>`, `<_flow-tags_ TAK-Server-feed="2026-01-01T00:00:00Z"/>`
	const times = ` time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z" stale="2026-01-01T00:00:00Z"`
	tests := map[string]struct{ event, detail, in, want string }{
		"on event":         {k, "", `<k:a k:b="1">x</k:a>`, `<k:a` + k + ` k:b="1">x</k:a>`},
		"on detail":        {"", k, `<k:a/>`, `<k:a` + k + `/>`},
		"on both":          {` xmlns:k="other"`, k, `<k:a/>`, `<k:a` + k + `/>`},
		"of an attribute":  {k, "", `<a k:b="1"/>`, `<a` + k + ` k:b="1"/>`},
		"deep inside":      {k, "", `<a><b><k:c/></b></a>`, `<a` + k + `><b><k:c/></b></a>`},
		"two":              {k, l, `<k:a><l:b/></k:a><c/><l:d></l:d>`, `<k:a` + l + k + `><l:b/></k:a><c/><l:d` + l + `></l:d>`},
		"declares it":      {k, "", `<k:a xmlns:k='mine'/><k:b/>`, `<k:a xmlns:k='mine'/><k:b` + k + `/>`},
		"not needed":       {k, l, `<a b="kl"/><kl/>`, `<a b="kl"/><kl/>`},
		"longer prefix":    {k, "", `<kk:a xmlns:kk="x"/>`, `<kk:a` + k + ` xmlns:kk="x"/>`},
		"spaces":           {` xmlns:k = "a>b"`, "", `<k:a />`, `<k:a xmlns:k = "a>b" />`},
		"known element":    {k, "", `<contact k:a="1" callsign="c"/>`, `<contact` + k + ` k:a="1" callsign="c"/>`},
		"typed":            {k, "", `<contact callsign="c"/><k:a/>`, `<k:a` + k + `/>`},
		"flow tag":         {k, "", `<_flow-tags_ k:a="1"/>`, `<_flow-tags_ TAK-Server-feed="2026-01-01T00:00:00Z"` + k + ` k:a="1"/>`},
		"number":           {k, "", `<track speed="NaN" course="1" k:a="1"/>`, `<track` + k + ` course="1" k:a="1"/>`},
		"marti":            {k, "", `<marti><k:dest/></marti><k:a/>`, `<k:a` + k + `/>`},
		"chat":             {k, "", `<__chat id="i"><k:a/></__chat>`, `<__chat` + k + ` id="i"><k:a/></__chat>`},
		"text and comment": {k, "", `t<!-- k: --><k:a/>`, `t<!-- k: --><k:a` + k + `/>`},
		"CDATA":            {k, "", `<k:a><![CDATA[</event>]]></k:a>`, `<k:a` + k + `>&lt;/event&gt;</k:a>`},
		"default":          {` xmlns="urn:d"`, ` xmlns="urn:e"`, `<a/>`, `<a/>`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			text := `<event uid="u"` + tc.event + times + `>` + point + `<detail` + tc.detail + `>` + tc.in + `</detail></event>`
			ev := scanText(t, text)
			want := tc.want
			if !strings.Contains(want, tag) {
				want = f + want
			}
			got := asMessage(t, ev, splice).CotEvent.Detail.XmlDetail
			if got != want {
				t.Errorf("%s\n got %s\nwant %s", tc.in, got, want)
			}
			checkNamespaces(t, got)
			checkNamespaces(t, asMessage(t, ev, nil).CotEvent.Detail.XmlDetail)
			if got := appendXML(t, ev, nil); !strings.Contains(got, `<event uid="u"`+tc.event+times) || !strings.Contains(got, "<detail"+tc.detail+">") {
				t.Errorf("XML lost a namespace: %s", got)
			}
		})
	}
}

// checkNamespaces reads a fragment with a parser that knows namespaces: a prefix
// that is not declared stays a prefix, and urn:… is what the tests declare.
func checkNamespaces(t *testing.T, fragment string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader("<detail>" + fragment + "</detail>"))
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%v in %s", err, fragment)
		}
		if e, ok := tok.(xml.StartElement); ok && slices.Contains([]string{"k", "l"}, e.Name.Space) {
			t.Errorf("prefix %s is not declared in %s", e.Name.Space, fragment)
		}
	}
}

// A namespace must not be a way to fill the memory of the server.
func TestNamespacesAreBounded(t *testing.T) {
	const head = `<event time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z" stale="2026-01-01T00:00:00Z"`
	ev := scanText(t, head+` xmlns:k="`+strings.Repeat("x", 30_000)+`"><detail>`+strings.Repeat("<k:a/>", 5000)+`</detail></event>`)
	if out, err := ev.AppendProto(nil, nil); !errors.Is(err, cot.ErrLimit) || len(out) != 0 {
		t.Errorf("AppendProto = %d bytes, %v", len(out), err)
	}
	many := strings.ReplaceAll(attributes(100), " a", " xmlns:a")
	if _, err := cot.Scan([]byte(head+many+"/>"), new(cot.Event)); !errors.Is(err, cot.ErrLimit) {
		t.Errorf("Scan of 100 prefixes: %v", err)
	}
}

// What is about the event as a whole survives there and back.
func TestEventAttributesStay(t *testing.T) {
	const in = `<event version="2.0" uid="u" type="a" how="m-g" time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z" stale="2026-01-01T00:00:00Z" ` +
		`caveat="FOUO" releasableTo="NATO &amp; &lt;EU&gt;" opex="e" qos="1-r-c" access="Unclassified"><point lat="1" lon="2" hae="3" ce="4" le="5"/><detail></detail></event>`
	ev := new(cot.Event)
	if err := cot.ScanProto(toProto(t, []byte(in)), ev); err != nil {
		t.Fatal(err)
	}
	if got := appendXML(t, ev, nil); got != in {
		t.Errorf("\n got %s\nwant %s", got, in)
	}
	again := new(cot.Event)
	out, err := ev.AppendProto(nil, splice)
	if err != nil || cot.ScanProto(unframe(t, out), again) != nil || string(again.ReleasableTo) != "NATO & <EU>" || string(again.QOS) != "1-r-c" {
		t.Errorf("passed on as %q, %v", out, err)
	}
}

func TestHasFlowTag(t *testing.T) {
	tests := map[string]struct {
		in   string
		want bool
	}{
		"greater in another value": {`<_flow-tags_ a=">" TAK-Server-feed="x"/>`, true},
		"end in another value":     {`<_flow-tags_ a='/>' TAK-Server-feed="x"/>`, true},
		"quote in another value":   {`<_flow-tags_ a='"' TAK-Server-feed="x"/>`, true},
		"spaces":                   {"<_flow-tags_\n\tTAK-Server-feed\t= 'x' ></_flow-tags_>", true},
		"second element":           {`<_flow-tags_ a=">"/><_flow-tags_ TAK-Server-feed="x"/>`, true},
		"in a value":               {`<_flow-tags_ a=" TAK-Server-feed='x' "/>`, false},
		"in a value, with >":       {`<_flow-tags_ a="> TAK-Server-feed='x' "/>`, false},
		"longer name":              {`<_flow-tags_ TAK-Server-feed2="x"/>`, false},
		"other end of the name":    {`<_flow-tags_ x-TAK-Server-feed="x"/>`, false},
		"inside":                   {`<_flow-tags_ a="1"><b TAK-Server-feed="x"/></_flow-tags_>`, false},
		"behind":                   {`<_flow-tags_/><b TAK-Server-feed="x"/>`, false},
		"no attributes":            {`<_flow-tags_></_flow-tags_>`, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			ev := scanText(t, timed(`lat="1" lon="2"`, tc.in))
			pv := scanProto(t, &takpb.TakMessage{CotEvent: &takpb.CotEvent{Uid: "u", Detail: &takpb.Detail{XmlDetail: tc.in}}})
			if got, inProto := ev.HasFlowTag(tag), pv.HasFlowTag(tag); got != tc.want || inProto != tc.want {
				t.Errorf("HasFlowTag = %v, in protobuf %v, want %v", got, inProto, tc.want)
			}
			if tags := ev.FlowTags(4); tc.want != slices.ContainsFunc(tags, func(b []byte) bool { return string(b) == tag }) || len(ev.FlowTags(1)) > 1 {
				t.Errorf("FlowTags = %q, want ours: %v", tags, tc.want)
			}
			out := appendXML(t, ev, splice)
			once := 0
			for _, k := range mustParse(t, out).child("detail").kids {
				if _, ok := k.attrs[tag]; ok && k.name == "_flow-tags_" {
					once++
				}
			}
			if again := scanText(t, out); once != 1 || !again.HasFlowTag(tag) || tc.want && !strings.Contains(out, tc.in) {
				t.Errorf("AppendXML = %s", out)
			}
		})
	}
}

// A destination that names nobody is one all the same: what carries it must not
// go to everybody.
func TestDestinations(t *testing.T) {
	tests := map[string]struct {
		in     string
		nobody []bool // one for each destination
	}{
		"none":           {`<marti/>`, nil},
		"callsign":       {`<marti><dest callsign="A"/></marti>`, []bool{false}},
		"all":            {`<marti><dest uid="a"/><dest group="a"/><dest mission="a"/><dest mission-guid="a"/></marti>`, []bool{false, false, false, false}},
		"no attributes":  {`<marti><dest/><dest></dest></marti>`, []bool{true, true}},
		"empty":          {`<marti><dest callsign=""/><dest uid=""/><dest group=''/><dest mission=""/><dest mission-guid=""/></marti>`, []bool{true, true, true, true, true}},
		"misspelt":       {`<marti><dest Callsign="A"/><dest calsign="A"/><dest UID="a"/><dest missionGuid="g"/></marti>`, []bool{true, true, true, true}},
		"how, not whom":  {`<marti><dest path="p"/><dest after="a"/><dest publish="x"/></marti>`, []bool{true, true, true}},
		"how and whom":   {`<marti><dest path="p" mission="m"/></marti>`, []bool{false}},
		"one of two":     {`<marti><dest callsign="" uid="u"/><dest callsign=""/></marti>`, []bool{false, true}},
		"several martis": {`<marti><dest callsign=""/></marti><a/><marti><dest uid="u"/></marti><marti> <dest/> </marti>`, []bool{true, false, true}},
		"with content":   {`<marti><!-- --><dest callsign="">x<y/></dest><z/><dest uid="u"><dest uid="v"/></dest></marti>`, []bool{true, false}},
		"elsewhere":      {`<x><marti><dest/></marti></x><dest/>`, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			check := func(ev *cot.Event) {
				t.Helper()
				var got []bool
				for i := range ev.Dests {
					got = append(got, ev.Dests[i].Nobody())
				}
				if !slices.Equal(got, tc.nobody) {
					t.Errorf("%s: nobody: %v, want %v", tc.in, got, tc.nobody)
				}
			}
			check(scanText(t, timed(`lat="1" lon="2"`, tc.in)))
			check(scanProto(t, &takpb.TakMessage{CotEvent: &takpb.CotEvent{Uid: "u", Detail: &takpb.Detail{XmlDetail: tc.in}}}))
		})
	}
}

func TestServerOnly(t *testing.T) {
	for typ, want := range map[string]bool{
		"t-x-g-c": true, "t-x-takp-v": true, "t-x-takp-r": true, "t-x-m-c": true, "t-x-m-n": true, "t-x-m-c-l": true, "t-x-m-": true,
		"t-x-takp-q": false, "t-x-c-t": false, "t-x-d-d": false, "t-x-m": false, "t-x-mx": false, "t-x-g": false, "t-x-g-c-x": false, "a-f-G": false, "": false,
	} {
		if got := cot.ServerOnly([]byte(typ)); got != want {
			t.Errorf("ServerOnly(%q) = %v, want %v", typ, got, want)
		}
	}
}
