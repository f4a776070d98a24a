// Package cottest holds events as real clients send them, for tests, fuzz
// seeds and load.
package cottest

import (
	"fmt"
	"strings"
	"time"
)

// Sample is one event.
type Sample struct{ Name, XML string }

const (
	times = `time="2026-01-15T10:00:00.123Z" start="2026-01-15T10:00:00.123Z" stale="2026-01-15T10:06:15.123Z"`
	point = `<point lat="48.13723" lon="11.57553" hae="567.2" ce="9.5" le="9999999"/>`
	zero  = `<point lat="0" lon="0" hae="0" ce="9999999" le="9999999"/>`
)

// event builds a sample; detail is without its tags, "" for no detail.
func event(uid, typ, how, point, detail string) string {
	s := `<event version="2.0" uid="` + uid + `" type="` + typ + `" how="` + how + `" ` + times + `>` + point
	if detail != "" {
		s += "<detail>" + detail + "</detail>"
	}
	return s + "</event>"
}

// Samples returns one of every kind.
func Samples() []Sample {
	const self = "ANDROID-589520ccfcd20f01"
	contact := `<contact endpoint="*:-1:stcp" callsign="HOPE"/>`
	return []Sample{
		{"SA ATAK", `<event version="2.0" uid="` + self + `" type="a-f-G-U-C" how="m-g" ` + times + `>` + point +
			`<detail><takv os="34" version="5.5.0.11 (ab12cd34).1700000000-CIV" device="SAMSUNG SM-G781B" platform="ATAK-CIV"/>` +
			`<contact endpoint="*:-1:stcp" callsign="HOPE"/><uid Droid="HOPE"/><precisionlocation altsrc="GPS" geopointsrc="GPS"/>` +
			`<__group role="Team Member" name="Cyan"/><status battery="78"/><track course="173.4" speed="1.2"/></detail></event>`},
		{"SA ATAK rich", event(self, "a-f-G-U-C", "m-g", point, `<takv os="34" version="5.5.0.11" device="SM" platform="ATAK-CIV"/>`+
			`<contact phone="+491234" endpoint="*:-1:stcp" callsign="R&amp;D &lt;1&gt;"/><status battery="78" readiness="true"/>`+
			`<__group abbr="TM" role="Team Member" name="Cyan"/><track course="173.4" eCourse="2" speed="1.2"/><remarks>hej å 日本</remarks>`)},
		{"SA iTAK", event("5E3A6B1C-2F41-4A", "a-f-G-E-V-C", "m-g", point, `<contact callsign="JUPITER" endpoint="*:-1:stcp"/>`+
			`<__group name="Yellow" role="HQ"/><precisionlocation altsrc="???" geopointsrc="???"/><status battery="100"/>`+
			`<takv device="iPhone" os="17.4" platform="iTAK" version="2.12.3.787"/><track speed="0.0" course="0.0"/><uid Droid="JUPITER"/>`)},
		{"SA WinTAK", "<?xml version='1.0' encoding='UTF-8' standalone='yes'?>\n" + event("S-1-5-21-1004336348", "a-f-G-U-C-I", "h-g-i-g-o", point,
			"\n    <takv version=\"5.3.0.155\" platform=\"WinTAK-CIV\" os=\"Microsoft Windows 11\" device=\"Dell Inc.\"/>\n    "+contact+
				"\n    <uid Droid=\"HOPE\"/><__group name=\"Red\" role=\"Team Lead\"/><track course=\"0.00000000\" speed=\"0.00000000\"/>\n  ")},
		{"SA CloudTAK", event("ANDROID-CloudTAK-bob@example.com", "a-f-G-E-V-C", "m-g", point, `<takv device="Macintosh" platform="CloudTAK" os="Firefox" version="13.70.0"/>`+
			`<contact endpoint="*:-1:stcp" callsign="Bob"/><__group name="Blue" role="Team Member"/><track slope="0" course="9999999.0" speed="0"/>`)},
		{"sensor without detail", event("sensor-7", "a-f-G-E-S", "m-g", point, "")},
		{"aircraft", event("ICAO-4CA7B3", "a-n-A-C-F", "m-g", point, `<contact callsign="RYR12AB"/><track course="271.5" speed="231.2"/><remarks>B738 EI-DCL squawk 2241</remarks><__source name="adsb"/>`)},
		{"chat all", event("GeoChat."+self+".All Chat Rooms.1f0e", "b-t-f", "h-g-i-g-o", point, chat("All Chat Rooms", "All Chat Rooms", self, "HOPE", "hello &amp; good morning", ""))},
		{"chat direct", event("GeoChat."+self+".ANDROID-peer.2a1b", "b-t-f", "h-g-i-g-o", point, chat("ANDROID-peer", "JUPITER", self, "HOPE", "where are you?", `<marti><dest callsign="JUPITER"/></marti>`))},
		{"chat group", event("GeoChat."+self+".d34d.3c2d", "b-t-f", "h-g-i-g-o", point,
			`<__chat parent="UserGroups" groupOwner="true" chatroom="Bravo" id="d34d" messageId="3c2d" senderCallsign="HOPE">`+
				`<chatgrp id="d34d" uid0="`+self+`" uid1="ANDROID-x" uid2="ANDROID-y"/><hierarchy><group uid="UserGroups" name="Groups"/></hierarchy></__chat>`+
				`<link uid="`+self+`" type="a-f-G-U-C" relation="p-p"/><remarks source="BAO.F.ATAK.`+self+`" time="2026-01-15T10:00:00Z">move</remarks>`+
				`<marti><dest callsign="X"/><dest callsign="Y"/></marti>`)},
		{"receipt delivered", event("2a1b", "b-t-f-d", "m-g", point, `<__chatreceipt parent="RootContactGroup" groupOwner="false" chatroom="HOPE" id="`+self+`" messageId="2a1b" senderCallsign="JUPITER">`+
			`<chatgrp id="`+self+`" uid0="ANDROID-peer" uid1="`+self+`"/></__chatreceipt><link uid="ANDROID-peer" type="a-f-G-U-C" relation="p-p"/><marti><dest callsign="HOPE"/></marti>`)},
		{"receipt read", event("2a1b", "b-t-f-r", "m-g", point, `<__chatreceipt chatroom="HOPE" id="`+self+`" messageId="2a1b" senderCallsign="JUPITER"/><marti><dest callsign="HOPE"/></marti>`)},
		{"file share", event("6d1a8e2c", "b-f-t-r", "h-e", point, `<fileshare filename="plan.zip" senderUrl="https://10.0.0.1:8443/Marti/sync/content?hash=ab&amp;x=1" sizeInBytes="50207" sha256="e3b0c442" senderUid="`+self+`" senderCallsign="HOPE" name="plan"/>`+
			`<ackrequest uid="44aa" ackrequested="true" tag="plan"/><marti><dest callsign="JUPITER"/></marti>`)},
		{"file acknowledged", event("77bb", "b-f-t-a", "m-g", point, `<ackresponse uid="44aa" senderUid="ANDROID-peer" success="true" tag="plan" reason="" sha256="e3b0c442" sizeInBytes="50207"/><marti><dest callsign="HOPE"/></marti>`)},
		{"route", event("route-1", "b-m-r", "h-e", zero, route()+`<contact callsign="Route 1"/><link_attr color="-1" method="Walking" direction="Infil" routetype="Primary" order="Ascending Check Points"/><archive/>`)},
		{"drawing shape", event("shape-1", "u-d-f", "h-e", point, `<link point="48.1,11.5"/><link point="48.2,11.6"/><link point="48.3,11.5"/><strokeColor value="-65536"/><strokeWeight value="3.0"/><fillColor value="1358888960"/><contact callsign="Area 1"/><labels_on value="true"/><archive/>`)},
		{"drawing circle", event("circle-1", "u-d-c-c", "h-e", point, `<shape><ellipse major="250" minor="250" angle="360"/><link uid="circle-1.Style" type="b-x-KmlStyle" relation="p-c"><Style><LineStyle><color>ffffffff</color><width>3.0</width></LineStyle></Style></link></shape><contact callsign="Circle"/>`)},
		{"drawing rectangle", event("rect-1", "u-d-r", "h-e", point, `<link point="48.1,11.5"/><link point="48.2,11.5"/><link point="48.2,11.6"/><link point="48.1,11.6"/><contact callsign="Box"/><tog enabled="0"/>`)},
		{"marker", event("marker-1", "a-h-G-U-C-A", "h-g-i-g-o", point, `<status readiness="true"/><archive/><link uid="`+self+`" production_time="2026-01-15T10:00:00Z" type="a-f-G-U-C" parent_callsign="HOPE" relation="p-p"/><contact callsign="U.1"/><remarks/><color argb="-65536"/><usericon iconsetpath="COT_MAPPING_2525B/a-h/a-h-G"/>`)},
		{"CASEVAC", event("med-1", "b-r-f-h-c", "h-g-i-g-o", point, `<contact callsign="MED.15.100000"/><_medevac_ title="MED.15.100000" casevac="true" freq="38.90" urgent="1" litter="1" security="0" hlz_marking="3" zone_prot_selection="0" terrain_none="true"><zMistsMap><zMist z="fracture" m="fall" i="leg" s="stable" t="splint" title="ZMIST1"/></zMistsMap></_medevac_><archive/>`)},
		{"emergency", event(self+"-9-1-1", "b-a-o-tbl", "m-g", point, `<link uid="`+self+`" type="a-f-G-U-C" relation="p-p"/><contact callsign="HOPE-Alert"/><emergency type="911 Alert">HOPE</emergency>`)},
		{"emergency cancelled", event(self+"-9-1-1", "b-a-o-can", "m-g", point, `<link uid="`+self+`" type="a-f-G-U-C" relation="p-p"/><contact callsign="HOPE-Alert"/><emergency cancel="true">HOPE</emergency>`)},
		{"tasking", event("task-1", "t-s-v-e", "h-e", point, `<request notify="192.168.1.1:4242:tcp" wilco="true"/><link uid="marker-1" relation="p-p" type="a-h-G"/><marti><dest uid="ANDROID-peer"/></marti>`)},
		{"ping", `<?xml version="1.0"?>` + "\n" + `<event version="2.0" uid="` + self + `-ping" type="t-x-c-t" how="m-g" ` + times + `>` + zero + `<detail/></event>`},
		{"negotiation offer", event("neg-1", "t-x-takp-v", "m-g", zero, `<TakControl><TakProtocolSupport version="1"/><TakServerVersionInfo serverVersion="takd" apiVersion="3"/></TakControl>`)},
		{"negotiation request", `<?xml version="1.0"?>` + "\n" + event("neg-1", "t-x-takp-q", "m-g", zero, `<TakControl><TakRequest version="1"/></TakControl>`)},
		{"negotiation reply", event("neg-1", "t-x-takp-r", "m-g", zero, `<TakControl><TakResponse status="true"/></TakControl>`)},
		{"left", event("del-1", "t-x-d-d", "h-g-i-g-o", zero, `<link uid="`+self+`" type="a-f-G-U-C" relation="p-p"/><__forcedelete/>`)},
		{"sensor view", event("cam-1", "b-m-p-s-p-loc", "m-g", point, `<sensor elevation="0.0" vfov="45" fov="62.5" azimuth="273" range="500" displayMagneticReference="0" hideFov="false" fovRed="1.0" fovGreen="1.0" fovBlue="1.0" fovAlpha="0.3"/><contact callsign="CAM 1"/>`)},
		{"video", event("vid-1", "b-i-v", "h-e", zero, `<__video url="rtsp://10.0.0.5:554/live"><ConnectionEntry networkTimeout="12000" uid="vid-1" path="/live" protocol="rtsp" bufferTime="-1" address="10.0.0.5" port="554" roverPort="-1" rtspReliable="0" ignoreEmbeddedKLV="false" alias="Drone"/></__video><contact callsign="Drone"/>`)},
		{"geofence", event("fence-1", "u-d-f", "h-e", point, `<link point="48.1,11.5"/><link point="48.2,11.6"/><__geofence elevationMonitored="false" minElevation="NaN" monitor="All" trigger="Both" tracking="false" maxElevation="NaN" boundingSphere="75000.0"/><contact callsign="Fence"/>`)},
		{"mission", event("marker-2", "a-u-G", "h-g-i-g-o", point, `<contact callsign="M.2"/><marti><dest mission="Search &amp; Rescue" path="layer-1" after=""/><dest mission-guid="9b2f4c1e-0000-4000-8000-000000000001"/></marti>`)},
		{"from another server", event("ANDROID-far", "a-f-G-U-C", "m-g", point, contact+`<_flow-tags_ TAK-Server-0123456789abcdef0123456789abcdef="2026-01-15T10:00:00Z"/>`)},
		{"empty detail", event("e-1", "a-f-G", "m-g", point, " ")},
		{"detail closed at once", `<event version='2.0' uid='e-2' type='a-f-G' how='m-g' ` + times + `>` + point + `<detail/></event>`},
		{"CDATA", event("e-3", "a-f-G", "m-g", point, `<remarks><![CDATA[1 < 2 && </event> ]]></remarks><!-- a comment </event> --><contact callsign="e"/>`)},
	}
}

func chat(id, room, self, callsign, text, marti string) string {
	return `<__chat parent="RootContactGroup" groupOwner="false" messageId="1f0e" chatroom="` + room + `" id="` + id + `" senderCallsign="` + callsign + `">` +
		`<chatgrp uid0="` + self + `" uid1="` + id + `" id="` + id + `"/></__chat><link uid="` + self + `" type="a-f-G-U-C" relation="p-p"/>` +
		`<__serverdestination destinations="10.0.0.2:4242:tcp:` + self + `"/>` +
		`<remarks source="BAO.F.ATAK.` + self + `" to="` + id + `" time="2026-01-15T10:00:00.123Z">` + text + `</remarks>` + marti
}

func route() string {
	var s strings.Builder
	for i := range 12 {
		fmt.Fprintf(&s, `<link uid="wp-%d" callsign="CP%d" type="b-m-p-w" point="48.%02d,11.%02d" remarks="" relation="c"/>`, i, i, i, i)
	}
	return s.String()
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func build(uid, typ, how string, lat, lon float64, now time.Time, life time.Duration, detail string) []byte {
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>`+"\n"+
		`<event version="2.0" uid="%s" type="%s" how="%s" time="%s" start="%s" stale="%s" access="Undefined">`+
		`<point lat="%.7f" lon="%.7f" hae="567.213" ce="9.5" le="9999999.0"/><detail>%s</detail></event>`,
		uid, typ, how, stamp(now), stamp(now), stamp(now.Add(life)), lat, lon, detail)
}

// SA is the position of an ATAK phone, about 700 bytes. Arguments go into the
// XML as they are.
func SA(uid, callsign, team, role string, lat, lon float64, now time.Time) []byte {
	return build(uid, "a-f-G-U-C", "m-g", lat, lon, now, 75*time.Second,
		`<takv os="34" version="5.5.0.11 (ab12cd34).1700000000-CIV" device="SAMSUNG SM-G781B" platform="ATAK-CIV"/>`+
			`<contact endpoint="*:-1:stcp" callsign="`+callsign+`"/><uid Droid="`+callsign+`"/>`+
			`<precisionlocation altsrc="GPS" geopointsrc="GPS"/><__group role="`+role+`" name="`+team+`"/>`+
			`<status battery="78"/><track course="173.45" speed="1.25"/>`)
}

// Chat is a message to everybody in the room "All Chat Rooms".
func Chat(uid, callsign, id, text string, lat, lon float64, now time.Time) []byte {
	return build("GeoChat."+uid+".All Chat Rooms."+id, "b-t-f", "h-g-i-g-o", lat, lon, now, 24*time.Hour,
		chat("All Chat Rooms", "All Chat Rooms", uid, callsign, text, ""))
}

// DirectChat is a message to the client with the uid and callsign to.
func DirectChat(uid, callsign, toUID, toCallsign, id, text string, lat, lon float64, now time.Time) []byte {
	return build("GeoChat."+uid+"."+toUID+"."+id, "b-t-f", "h-g-i-g-o", lat, lon, now, 24*time.Hour,
		chat(toUID, toCallsign, uid, callsign, text, `<marti><dest callsign="`+toCallsign+`"/></marti>`))
}

// Drawing is a freehand shape.
func Drawing(uid, callsign string, lat, lon float64, now time.Time) []byte {
	var links strings.Builder
	for i := range 8 {
		fmt.Fprintf(&links, `<link point="%.6f,%.6f"/>`, lat+float64(i)*1e-4, lon+float64(i%3)*1e-4)
	}
	return build(uid, "u-d-f", "h-e", lat, lon, now, 24*time.Hour,
		links.String()+`<strokeColor value="-65536"/><strokeWeight value="3.0"/><contact callsign="`+callsign+`"/><archive/>`)
}

// Ping is what ATAK sends when it has received nothing for 15 s.
func Ping(uid string, now time.Time) []byte {
	return build(uid+"-ping", "t-x-c-t", "m-g", 0, 0, now, 10*time.Second, "")
}

// ProtocolRequest is the answer to a t-x-takp-v with this uid: protobuf, please.
func ProtocolRequest(uid string, now time.Time) []byte {
	return build(uid, "t-x-takp-q", "m-g", 0, 0, now, time.Minute, `<TakControl><TakRequest version="1"/></TakControl>`)
}
