package cot_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"takd/cot"
	"takd/cot/cottest"
)

const full = `<event version='2.0' uid="u&amp;1" type = "a-f-G" how="m-g" time="2026-01-15T10:00:00.123Z"
	start="2026-01-15T10:00:00Z" stale="2026-01-15T10:01:00Z" access="open" qos="1-r-c" opex="e" caveat="c" releasableTo="r">
	<?pi x?><!-- comment --><point lat="48.5" lon='-11.25' hae="567" ce="9.5" le="9999999"/>
	<detail ><contact callsign="R&amp;D &lt;1&#62;" endpoint="*:-1:stcp" phone='"1"'/><__group name="Cyan" role="HQ"/>
	<takv device="d" platform="p" os="o" version="v"/><track speed="1.5" course="90"/><status battery="78"/>
	<precisionlocation geopointsrc="GPS" altsrc="DTED"/><archive/>
	<marti archive="false"><dest callsign="A"/><dest uid="&#x42;"/><dest group="C"/><dest mission="M" path="p" after="x"/>
	<dest mission-guid="G" publish="P"/></marti>
	<__chat id="i" chatroom="room" messageId="m" senderCallsign="s" parent="p"><chatgrp id="i" uid0="0" uid1="1"/></__chat>
	<emergency type="911 Alert" cancel="true">x</emergency><TakControl><TakRequest version="1"/></TakControl>
	<x><contact callsign="not me"/><marti><dest uid="nor me"/></marti></x></detail></event >`

// fields lists what the scanner has read.
func fields(ev *cot.Event) map[string]string {
	m := map[string]string{}
	put := func(k string, v []byte) {
		if v != nil {
			m[k] = string(v)
		}
	}
	num := func(k string, n cot.Number) {
		if v, ok := n.Float(); ok {
			m[k] = strconv.FormatFloat(v, 'g', -1, 64)
		}
	}
	at := func(k string, i cot.Instant) {
		if v, ok := i.UnixMilli(); ok {
			m[k] = strconv.FormatInt(v, 10)
		}
	}
	put("version", ev.Version)
	put("uid", ev.UID)
	put("type", ev.Type)
	put("how", ev.How)
	put("access", ev.Access)
	put("qos", ev.QOS)
	put("opex", ev.Opex)
	put("caveat", ev.Caveat)
	put("releasableTo", ev.ReleasableTo)
	at("time", ev.Time)
	at("start", ev.Start)
	at("stale", ev.Stale)
	num("lat", ev.Point.Lat)
	num("lon", ev.Point.Lon)
	num("hae", ev.Point.HAE)
	num("ce", ev.Point.CE)
	num("le", ev.Point.LE)
	put("contact/callsign", ev.Contact.Callsign)
	put("contact/endpoint", ev.Contact.Endpoint)
	put("group/name", ev.Group.Name)
	put("group/role", ev.Group.Role)
	put("takv/device", ev.Takv.Device)
	put("takv/platform", ev.Takv.Platform)
	put("takv/os", ev.Takv.OS)
	put("takv/version", ev.Takv.Version)
	num("track/speed", ev.Track.Speed)
	num("track/course", ev.Track.Course)
	put("battery", ev.Battery)
	put("geopointsrc", ev.Precision.GeopointSrc)
	put("altsrc", ev.Precision.AltSrc)
	put("chat/id", ev.Chat.ID)
	put("chat/room", ev.Chat.Room)
	put("chat/messageId", ev.Chat.MessageID)
	put("chat/sender", ev.Chat.SenderCallsign)
	put("chat/parent", ev.Chat.Parent)
	for i, uid := range ev.Chat.UIDs {
		put("chat/uid"+strconv.Itoa(i), uid)
	}
	put("emergency", ev.Emergency.Type)
	if ev.Emergency.Cancel {
		m["cancel"] = "true"
	}
	if ev.Archive {
		m["archive"] = "true"
	}
	for i, d := range ev.Dests {
		k := "dest" + strconv.Itoa(i)
		put(k+"/callsign", d.Callsign)
		put(k+"/uid", d.UID)
		put(k+"/group", d.Group)
		put(k+"/mission", d.Mission)
		put(k+"/guid", d.MissionGUID)
		put(k+"/path", d.Path)
		put(k+"/after", d.After)
		put(k+"/publish", d.Publish)
	}
	if ev.MartiArchive != cot.Unset {
		m["marti/archive"] = strconv.FormatBool(ev.MartiArchive == cot.Yes)
	}
	put("TakRequest", ev.TakRequest)
	return m
}

func TestScanReadsEveryField(t *testing.T) {
	want := map[string]string{
		"version": "2.0", "uid": "u&1", "type": "a-f-G", "how": "m-g", "access": "open", "qos": "1-r-c", "opex": "e", "caveat": "c", "releasableTo": "r",
		"time": "1768471200123", "start": "1768471200000", "stale": "1768471260000",
		"lat": "48.5", "lon": "-11.25", "hae": "567", "ce": "9.5", "le": "9.999999e+06",
		"contact/callsign": "R&D <1>", "contact/endpoint": "*:-1:stcp", "group/name": "Cyan", "group/role": "HQ",
		"takv/device": "d", "takv/platform": "p", "takv/os": "o", "takv/version": "v", "track/speed": "1.5", "track/course": "90",
		"battery": "78", "geopointsrc": "GPS", "altsrc": "DTED", "archive": "true", "marti/archive": "false",
		"dest0/callsign": "A", "dest1/uid": "B", "dest2/group": "C", "dest3/mission": "M", "dest3/path": "p", "dest3/after": "x",
		"dest4/guid": "G", "dest4/publish": "P",
		"chat/id": "i", "chat/room": "room", "chat/messageId": "m", "chat/sender": "s", "chat/parent": "p", "chat/uid0": "0", "chat/uid1": "1",
		"emergency": "911 Alert", "cancel": "true", "TakRequest": "1",
	}
	ev := scan(t, []byte(full))
	if diff := cmp.Diff(want, fields(ev)); diff != "" {
		t.Errorf("Scan (-want +got):\n%s", diff)
	}
	// Conversion keeps them all, but for marti, which is for the server only.
	for k := range want {
		if strings.HasPrefix(k, "dest") || k == "marti/archive" {
			delete(want, k)
		}
	}
	var pv cot.Event
	if err := cot.ScanProto(toProto(t, []byte(full)), &pv); err != nil {
		t.Fatal(err)
	}
	want["version"] = "" // protobuf has none
	got := fields(&pv)
	got["version"] = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ScanProto (-want +got):\n%s", diff)
	}
	// An event that is scanned into again forgets everything.
	if _, err := cot.Scan([]byte(`<event/>`), ev); err != nil || len(fields(ev)) != 0 || ev.HasDetail || ev.HasMarti || ev.HasPoint || ev.Emergency.Set {
		t.Errorf("Scan(<event/>) = %v, kept %v", err, fields(ev))
	}
}

func TestScan(t *testing.T) {
	in := func(s string) string { return `<event uid="e"><detail>` + s + `</detail></event>` }
	tests := map[string]struct {
		in  string
		err error // nil: scanned whole
	}{
		"every kind of markup":     {full, nil},
		"comment at the end":       {in("<!---->"), nil},
		"greater in text":          {in("a > b ]] ]>"), nil},
		"colon, dot in names":      {in(`<a:b.c-d _e="1"/>`), nil},
		"spaces around":            {in("<a b = \"1\"\n\tc='2' />") + "", nil},
		"slash in value":           {in(`<a b="x/>y"/>`), nil},
		"characters of 2, 3, 4":    {in("é€𝄞<é/>"), nil},
		"character by number":      {in("&#x10FFFF;&#9;&#65;"), nil},
		"at the depth limit":       {in(strings.Repeat("<a>", cot.MaxDepth-2) + strings.Repeat("</a>", cot.MaxDepth-2)), nil},
		"CDATA":                    {in("<![CDATA[ <a> & ]] > ]]>"), nil},
		"no attributes":            {"<event></event>", nil},
		"no root":                  {"<events/>", cot.ErrMalformed},
		"no quotes":                {in("<a b=1/>"), cot.ErrMalformed},
		"no value":                 {in("<a b/>"), cot.ErrMalformed},
		"no space":                 {in(`<a b="1"c="2"/>`), cot.ErrMalformed},
		"no name":                  {in(`<a ="1"/>`), cot.ErrMalformed},
		"digit first":              {in(`<1a/>`), cot.ErrMalformed},
		"less in value":            {in(`<a b="<"/>`), cot.ErrMalformed},
		"ampersand":                {in(`a & b`), cot.ErrMalformed},
		"unknown entity":           {in(`&nbsp;`), cot.ErrMalformed},
		"entity too long":          {in(`&#00000000000000000065;`), cot.ErrMalformed},
		"number of NUL":            {in(`&#0;`), cot.ErrMalformed},
		"number of a control":      {in(`<a b="&#x1;"/>`), cot.ErrMalformed},
		"number of a surrogate":    {in(`&#xD800;`), cot.ErrMalformed},
		"number of no character":   {in(`&#xFFFF;&#x110000;`), cot.ErrMalformed},
		"huge number":              {in(`&#x1FFFFFFFFF;`), cot.ErrMalformed},
		"signed number":            {in(`&#+65;`), cot.ErrMalformed},
		"capital X":                {in(`&#X41;`), cot.ErrMalformed},
		"end of CDATA in text":     {in(`]]>`), cot.ErrMalformed},
		"dashes in comment":        {in(`<!-- a -- b -->`), cot.ErrMalformed},
		"dash ends comment":        {in(`<!-- a --->`), cot.ErrMalformed},
		"NUL in comment":           {in("<!-- \x00 -->"), cot.ErrMalformed},
		"NUL in CDATA":             {in("<![CDATA[\x00]]>"), cot.ErrMalformed},
		"NUL in instruction":       {in("<?a \x00?>"), cot.ErrMalformed},
		"NUL in value":             {in("<a b='\x00'/>"), cot.ErrMalformed},
		"NUL in text":              {in("\x00"), cot.ErrMalformed},
		"NUL in a tag":             {in("<a\x00/>"), cot.ErrMalformed},
		"NUL in an end tag":        {in("<a></a\x00>"), cot.ErrMalformed},
		"escape":                   {in("\x1b[31m"), cot.ErrMalformed},
		"U+FFFE":                   {in("\uFFFE"), cot.ErrMalformed},
		"overlong UTF-8":           {in("\xc0\xaf"), cot.ErrMalformed},
		"half a character":         {in("\xe2\x82"), cot.ErrMalformed},
		"surrogate in UTF-8":       {in("\xed\xa0\x80"), cot.ErrMalformed},
		"wrong end tag":            {in("<a></b>"), cot.ErrMalformed},
		"end tag without a name":   {in("<a></>"), cot.ErrMalformed},
		"end tag with attributes":  {in(`<a></a b="1">`), cot.ErrMalformed},
		"event in an event":        {in("<event/>"), cot.ErrMalformed},
		"two points":               {"<event><point/><point/></event>", cot.ErrMalformed},
		"two details":              {"<event><detail/><detail/></event>", cot.ErrMalformed},
		"attribute twice":          {`<event uid="1" uid='2'/>`, cot.ErrMalformed},
		"unread attribute twice":   {in(`<a b="1" b="1"/>`), cot.ErrMalformed},
		"declaration":              {in(`<?xml version="1.0"?>`), cot.ErrMalformed},
		"no target":                {in(`<? a?>`), cot.ErrMalformed},
		"document type":            {in(`<!DOCTYPE a>`), cot.ErrDTD},
		"entity declaration":       {`<event><!ENTITY a "b"></event>`, cot.ErrDTD},
		"conditional section":      {in(`<![INCLUDE[x]]>`), cot.ErrDTD},
		"over the depth limit":     {in(strings.Repeat("<a>", cot.MaxDepth-1)), cot.ErrLimit},
		"over the attribute limit": {in("<a" + attributes(cot.MaxAttrs+1) + "/>"), cot.ErrLimit},
		"too many destinations":    {in("<marti>" + strings.Repeat("<dest/>", cot.MaxDests+1) + "</marti>"), cot.ErrLimit},
		"too many known elements":  {in(strings.Repeat("<contact/>", 20_000)), cot.ErrLimit},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var ev cot.Event
			n, err := cot.Scan([]byte(tc.in+"<event/>"), &ev)
			switch {
			case !errors.Is(err, tc.err):
				t.Errorf("Scan(%q) = %v, want %v", tc.in, err, tc.err)
			case err == nil && (n != len(tc.in) || string(ev.Raw) != tc.in):
				t.Errorf("Scan(%q) = %d, Raw %q; want %d and all of it", tc.in, n, ev.Raw, len(tc.in))
			case err != nil && n != 0:
				t.Errorf("Scan(%q) = %d with an error, want 0", tc.in, n)
			}
			// Cut anywhere, an event is short, never wrong.
			for i := range len(tc.in) {
				if tc.err != nil || i > 4096 {
					break
				}
				if n, err := cot.Scan([]byte(tc.in[:i]), &ev); n != 0 || err != nil {
					t.Fatalf("Scan(%q) = %d, %v; want 0, nil", tc.in[:i], n, err)
				}
			}
		})
	}
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(" a" + strconv.Itoa(i) + `=""`)
	}
	return b.String()
}

// The five entities would allow no laughs, but a document type would.
func TestScanRefusesLaughs(t *testing.T) {
	in := `<event><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><detail>&b;</detail></event>`
	var ev cot.Event
	if n, err := cot.Scan([]byte(in), &ev); n != 0 || !errors.Is(err, cot.ErrDTD) {
		t.Errorf("Scan(%q) = %d, %v; want 0, %v", in, n, err, cot.ErrDTD)
	}
}

// Growing the scratch for entities must not change values resolved before.
func TestScanResolvesManyEntities(t *testing.T) {
	var in strings.Builder
	in.WriteString(`<event uid="&#x75;&amp;"><detail><marti>`)
	for i := range 1000 {
		in.WriteString(`<dest callsign="&lt;` + strconv.Itoa(i) + `&gt;"/>`)
	}
	in.WriteString("</marti></detail></event>")
	ev := scan(t, []byte(in.String()))
	if string(ev.UID) != "u&" {
		t.Errorf("uid = %q, want u&", ev.UID)
	}
	for i, d := range ev.Dests {
		if want := "<" + strconv.Itoa(i) + ">"; string(d.Callsign) != want {
			t.Fatalf("callsign = %q, want %q", d.Callsign, want)
		}
	}
}

func TestInstant(t *testing.T) {
	tests := map[string]struct {
		in string
		ms int64
		ok bool
	}{
		"seconds":         {"2026-01-15T10:00:00Z", 1768471200000, true},
		"tenths":          {"2026-01-15T10:00:00.1Z", 1768471200100, true},
		"milliseconds":    {"2026-01-15T10:00:00.123Z", 1768471200123, true},
		"microseconds":    {"2026-01-15T10:00:00.123456Z", 1768471200123, true},
		"nanoseconds":     {"2026-01-15T10:00:00.123999999Z", 1768471200123, true},
		"offset":          {"2026-01-15T12:00:00.5+02:00", 1768471200500, true},
		"negative offset": {"2026-01-15T08:30:00-01:30", 1768471200000, true},
		"no zone":         {"2026-01-15T10:00:00", 1768471200000, true},
		"before 1970":     {"1969-12-31T23:59:59Z", -1000, true},
		"no time":         {"2026-01-15", 0, false},
		"month 13":        {"2026-13-15T10:00:00Z", 0, false},
		"letters":         {"2026-01-15T1o:00:00Z", 0, false},
		"junk behind":     {"2026-01-15T10:00:00Zebra", 0, false},
		"bad offset":      {"2026-01-15T10:00:00+0x:00", 0, false},
		"empty":           {"", 0, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			ev := scan(t, []byte(`<event time="`+tc.in+`"/>`))
			if ms, ok := ev.Time.UnixMilli(); ok != tc.ok || ok && ms != tc.ms {
				t.Errorf("UnixMilli(%q) = %d, %v; want %d, %v", tc.in, ms, ok, tc.ms, tc.ok)
			}
		})
	}
	for ms, want := range map[int64]string{
		0: "1970-01-01T00:00:00Z", 1768471200123: "2026-01-15T10:00:00.123Z", 1768471200000: "2026-01-15T10:00:00Z",
		1<<63 - 1: "9999-12-31T23:59:59.999Z", -1 << 63: "0001-01-01T00:00:00Z",
	} {
		if got := string(cot.AppendTime(nil, ms)); got != want {
			t.Errorf("AppendTime(%d) = %s, want %s", ms, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	tests := map[string]struct {
		v  float64
		ok bool
	}{
		"1": {1, true}, "-0.5": {-0.5, true}, "9999999.0": {9999999, true}, "1e3": {1000, true}, "2\x20": {2, true},
		"": {0, false}, "NaN": {0, false}, "Inf": {0, false}, "-infinity": {0, false}, "1e999": {0, false}, "1,5": {0, false},
	}
	for in, tc := range tests {
		ev := scan(t, []byte(`<event><point lat="`+in+`" lon="1"/></event>`))
		if v, ok := ev.Point.Lat.Float(); ok != tc.ok || ok && v != tc.v {
			t.Errorf("Float(%q) = %v, %v; want %v, %v", in, v, ok, tc.v, tc.ok)
		}
	}
}

func TestAttributes(t *testing.T) {
	got, err := cot.Attributes([]byte(`<cot username='a"&amp;' uid="1"/>rest`), "username", "password", "uid")
	if err != nil || string(got[0]) != `a"&` || got[1] != nil || string(got[2]) != "1" {
		t.Errorf("Attributes = %q, %v", got, err)
	}
	for _, in := range []string{"", "<", "<cot", "<cot a", "<cot a=b>", `<cot a="<">`} {
		if _, err := cot.Attributes([]byte(in), "a"); !errors.Is(err, cot.ErrMalformed) {
			t.Errorf("Attributes(%q) = %v, want %v", in, err, cot.ErrMalformed)
		}
	}
}

// Every sample scans, and the oracle reads the same from it.
func TestScanSamples(t *testing.T) {
	for _, s := range cottest.Samples() {
		t.Run(s.Name, func(t *testing.T) {
			in := fromEvent(s.XML)
			checkScan(t, in, scan(t, in))
		})
	}
}

// checkScan compares what was scanned with what encoding/xml reads.
func checkScan(t *testing.T, in []byte, ev *cot.Event) {
	t.Helper()
	n, err := parse(in)
	if err != nil {
		t.Fatalf("Scan takes %q, encoding/xml does not: %v", in, err)
	}
	same := func(what string, got []byte, n *node, attr string) {
		want, ok := "", false
		if n != nil {
			want, ok = n.attrs[attr]
		}
		if ok != (got != nil) || unlined(string(got)) != unlined(want) {
			t.Errorf("%s = %q, want %q, %v in %q", what, got, want, ok, in)
		}
	}
	for what, got := range map[string][]byte{
		"version": ev.Version, "uid": ev.UID, "type": ev.Type, "how": ev.How, "access": ev.Access,
		"qos": ev.QOS, "opex": ev.Opex, "caveat": ev.Caveat, "releasableTo": ev.ReleasableTo,
	} {
		same(what, got, n, what)
	}
	d := n.child("detail")
	if (d != nil) != ev.HasDetail || (d.child("marti") != nil) != ev.HasMarti || (d.child("archive") != nil) != ev.Archive {
		t.Errorf("detail, marti or archive are wrong in %q", in)
	}
	if d == nil {
		return
	}
	last := func(name string) (found *node) {
		for _, k := range d.kids {
			if k.name == name {
				found = k
			}
		}
		return found
	}
	same("callsign", ev.Contact.Callsign, last("contact"), "callsign")
	same("endpoint", ev.Contact.Endpoint, last("contact"), "endpoint")
	same("team", ev.Group.Name, last("__group"), "name")
	same("battery", ev.Battery, last("status"), "battery")
	same("messageId", ev.Chat.MessageID, last("__chat"), "messageId")
	i := 0
	for _, k := range d.kids {
		if k.name != "marti" {
			continue
		}
		for _, k := range k.kids {
			if k.name == "dest" {
				same("dest", ev.Dests[i].Callsign, k, "callsign")
				i++
			}
		}
	}
	if i != len(ev.Dests) {
		t.Errorf("%d destinations, want %d in %q", len(ev.Dests), i, in)
	}
}

// unlined makes line ends equal: encoding/xml reads \r\n and \r as \n.
func unlined(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}
