package netcore_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"takd/netcore"
)

func TestClientsSeeEachOther(t *testing.T) {
	s := start(t, nil)
	ann := s.bound(t, "ann")
	bob := s.connect(t, "bob")
	// The newcomer gets the others' positions, then the offer.
	replayed := bob.expect(`uid="uid-ann"`)
	if !strings.Contains(replayed, "TAK-Server-"+serverID) {
		t.Errorf("no flow tag in %s", replayed)
	}
	bob.expect("t-x-takp-v", "TakProtocolSupport", `serverVersion="test"`)
	bob.send(sa("bob", "<remarks>hello</remarks>"))
	got := ann.expect(`uid="uid-bob"`, "<remarks>hello</remarks>")
	if !strings.HasPrefix(got, "<event") || !strings.HasSuffix(got, "</event>") {
		t.Errorf("ann got %q", got)
	}
	bob.ping()
	bob.never(`uid="uid-bob"`) // never an echo
	_ = bob.conn.Close()
	ann.expect("t-x-d-d", `uid="uid-bob"`, `relation="p-p"`, "a-f-G-U-C")
}

func TestManySeeEachOtherOnEveryLoop(t *testing.T) {
	s := start(t, nil)
	const n = 12
	var all []*phone
	for i := range n {
		all = append(all, s.bound(t, fmt.Sprintf("p%d", i)))
	}
	for i, p := range all {
		p.send(sa(p.name, fmt.Sprintf("<remarks>round %d</remarks>", i)))
	}
	for i, p := range all {
		for j, q := range all {
			if i != j {
				p.waitSeen(`uid="uid-`+q.name+`"`, fmt.Sprintf("<remarks>round %d</remarks>", j))
			}
		}
		p.never(`uid="uid-` + p.name + `"`)
	}
}

// waitSeen is expect that also looks at what came before.
func (p *phone) waitSeen(parts ...string) {
	p.t.Helper()
	for _, xml := range p.seen {
		if containsAll(xml, parts) {
			return
		}
	}
	p.expect(parts...)
}

func TestPing(t *testing.T) {
	s := start(t, nil)
	p := s.online(t, "ann")
	p.ping()
	p.negotiate()
	p.ping()
	other := s.online(t, "bob")
	p.ping()
	other.ping()
	other.never("t-x-c-t\"") // pings go nowhere
}

func TestProtobuf(t *testing.T) {
	s := start(t, nil)
	xml, pb, pb2 := s.bound(t, "xml"), s.bound(t, "pb"), s.bound(t, "pb2")
	pb.negotiate()
	pb2.negotiate()
	detail := `<remarks>a &amp; b</remarks><x y="1"/>`
	xml.send(sa("xml", detail))
	pb.expect(`uid="uid-xml"`, detail, `callsign="xml"`, `endpoint="*:-1:stcp"`)
	pb2.expect(`uid="uid-xml"`, detail)
	pb.send(sa("pb", detail))
	xml.expect(`uid="uid-pb"`, detail, `<__group name="Cyan" role="HQ"/>`, "TAK-Server-"+serverID)
	pb2.expect(`uid="uid-pb"`, detail, "TAK-Server-"+serverID)
	for _, c := range s.Clients() {
		if want := map[bool]string{true: "xml", false: "protobuf"}[c.Callsign == "xml"]; c.Protocol != want {
			t.Errorf("%s speaks %s, want %s", c.Callsign, c.Protocol, want)
		}
	}
	// A newcomer's replay reaches those who speak protobuf, too.
	_ = pb.conn.Close()
	xml.expect("t-x-d-d", "uid-pb")
	pb2.expect("t-x-d-d", "uid-pb")
}

// What follows the request in the same segment is protobuf already.
func TestNegotiationInOneSegment(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.online(t, "bob")
	request := event("n", "t-x-takp-q", `<TakControl><TakRequest version="1"/></TakControl>`)
	if _, err := bob.conn.Write(append([]byte(request+"\n"), protobuf(t, sa("bob", ""))...)); err != nil {
		t.Fatal(err)
	}
	ann.expect(`uid="uid-bob"`)
	bob.expect("t-x-takp-r", `uid="n"`, `status="true"`)
}

func TestNegotiationRefused(t *testing.T) {
	s := start(t, nil)
	p := s.online(t, "ann")
	p.send(event("n", "t-x-takp-q", `<TakControl><TakRequest version="2"/></TakControl>`))
	p.expect("t-x-takp-r", `status="false"`)
	p.ping() // still XML
}

// PyTAK sends protobuf without asking, and reads XML.
func TestProtobufWithoutNegotiation(t *testing.T) {
	s := start(t, nil)
	ann, feeder := s.bound(t, "ann"), s.online(t, "feeder")
	if _, err := feeder.conn.Write(protobuf(t, sa("feeder", ""))); err != nil {
		t.Fatal(err)
	}
	ann.expect(`uid="uid-feeder"`)
	ann.send(sa("ann", "<remarks>xml</remarks>"))
	feeder.expect("<remarks>xml</remarks>") // read fails the test on protobuf
}

func TestGroups(t *testing.T) {
	s := start(t, map[string]string{
		"red1": "red", "red2": "red", "blue": "blue", "both": "red,blue", "listener": "out:red", "speaker": "in:red",
	})
	red1, red2, blue := s.bound(t, "red1"), s.bound(t, "red2"), s.bound(t, "blue")
	both, listener, speaker := s.bound(t, "both"), s.bound(t, "listener"), s.bound(t, "speaker")

	red1.send(sa("red1", "<remarks>red only</remarks>"))
	red2.expect("red only")
	both.expect("red only")
	listener.expect("red only")
	speaker.send(sa("speaker", "<remarks>spoken</remarks>"))
	red2.expect("spoken")
	both.send(sa("both", `<remarks>to blue</remarks><marti><dest group="blue"/></marti>`))
	blue.expect("to blue")
	both.send(sa("both", `<remarks>to both</remarks><marti><dest group="blue"/><dest group="red"/></marti>`))
	blue.expect("to both")
	red1.expect("to both")
	red1.send(sa("red1", `<remarks>not mine</remarks><marti><dest group="blue"/></marti>`))
	listener.send(sa("listener", "<remarks>mute</remarks>"))
	for _, p := range []*phone{red1, red2, blue, both, listener, speaker} {
		p.ping()
	}
	red1.send(sa("red1", "<remarks>fence</remarks>"))
	both.expect("fence")
	both.send(event("fence2", "a-f-G", "<remarks>fence2</remarks>"))
	for _, p := range []*phone{red2, blue, listener} {
		p.expect("fence2")
	}
	blue.never("red only")
	blue.never("not mine")
	blue.never("uid-red1")
	red2.never("to blue")
	red2.never("mute")
	speaker.never("red only")
	listener.never("uid-blue")
}

func TestDirect(t *testing.T) {
	s := start(t, map[string]string{"stranger": "other"})
	ann, bob, eve, stranger := s.bound(t, "ann"), s.bound(t, "bob"), s.bound(t, "eve"), s.bound(t, "stranger")
	bob.negotiate()
	ann.send(event("m1", "b-t-f", "<remarks>by callsign</remarks>"+dest("bob")))
	if got := bob.expect("by callsign"); strings.Contains(got, "marti") {
		t.Errorf("marti was passed on: %s", got)
	}
	ann.send(event("m2", "b-t-f", `<remarks>by uid</remarks><marti><dest uid="uid-bob"/></marti>`))
	bob.expect("by uid")
	ann.send(event("m3", "b-t-f", "<remarks>twice</remarks>"+dest("bob", "bob", "eve", "nobody")))
	bob.expect("twice")
	eve.expect("twice")
	ann.send(event("m4", "b-t-f", "<remarks>all</remarks>"+dest("All Streaming", "bob")))
	eve.expect("all")
	bob.expect("all")
	ann.send(event("m5", "b-t-f", "<remarks>unreachable</remarks>"+dest("stranger")))
	ann.expect("b-t-f-s", "unreachable")
	ann.send(event("m6", "b-t-f", "<remarks>unknown</remarks>"+dest("nobody")))
	ann.expect("b-t-f-s", "unknown")
	ann.send(event("m7", "a-f-G", "<remarks>stored</remarks>"+dest("ffffffff-ffff-ffff-ffff-ffffffffffff")))
	ann.send(event("m8", "a-f-G", "<remarks>fence</remarks>"))
	bob.expect("fence")
	eve.expect("fence")
	bob.never("stored")
	eve.never("by callsign")
	eve.never("by uid")
	stranger.ping()
	stranger.never("unreachable")
	if n := strings.Count(strings.Join(bob.seen, ""), "twice"); n != 1 {
		t.Errorf("bob got a message to him and him %d times, want once", n)
	}
}

func TestCallsignChange(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	bob.send(strings.Replace(sa("bob", ""), `callsign="bob"`, `callsign="Robert &amp; Co"`, 1))
	ann.expect("Robert &amp; Co")
	ann.send(event("m1", "b-t-f", "<remarks>new name</remarks>"+dest("Robert &amp; Co")))
	bob.expect("new name")
	ann.send(event("m2", "b-t-f", "<remarks>old name</remarks>"+dest("bob")))
	ann.expect("b-t-f-s", "old name")
}

func TestAbsent(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	_ = bob.conn.Close()
	ann.expect("t-x-d-d", "uid-bob")
	ann.send(event("m1", "b-t-f", "<remarks>first</remarks>"+dest("bob")))
	ann.send(event("m2", "b-t-f", `<remarks>second</remarks><marti><dest uid="uid-bob"/></marti>`))
	ann.ping()
	ann.never("b-t-f-s")
	// Somebody else who takes bob's callsign and uid gets none of it.
	thief := s.online(t, "thief")
	thief.send(sa("bob", ""))
	thief.ping()
	_ = thief.conn.Close()
	ann.expect("t-x-d-d", "uid-bob")
	until(t, "thief is gone", func() bool { return len(s.Clients()) == 1 })
	thief.never("first")
}

func TestAbsentReturns(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	_ = bob.conn.Close()
	ann.expect("t-x-d-d", "uid-bob")
	ann.send(event("m1", "b-t-f", "<remarks>first</remarks>"+dest("bob")))
	ann.send(event("m2", "b-t-f", "<remarks>second</remarks>"+dest("bob")))
	ann.ping()
	bob = s.bound(t, "bob")
	bob.waitSeen("first")
	bob.waitSeen("second")
}

// An emergency is repeated, by the rules that held for it, until somebody ends it
// who has it on his map.
func TestEmergency(t *testing.T) {
	s := start(t, map[string]string{"far": "elsewhere"}, func(o *netcore.Options) { o.EmergencyPeriod = time.Second })
	raise := event("911", "b-a-o-tbl", `<emergency type="911 Alert">ann</emergency>`)
	cancel := event("911", "b-a-o-can", `<emergency cancel="true">ann</emergency>`)
	ended := func() bool { return s.metric("takd_emergencies") == 0 }
	ann, bob, far := s.bound(t, "ann"), s.bound(t, "bob"), s.bound(t, "far")
	ann.send(raise)
	first := bob.expect("911 Alert")
	_ = ann.conn.Close()
	again := bob.expect("911 Alert") // though its sender has left
	if first == again {
		t.Error("the repetition has no fresh times")
	}
	far.send(cancel) // who does not get it cannot end it
	far.ping()
	if ended() {
		t.Error("somebody outside has cancelled the emergency")
	}
	ann = s.bound(t, "ann")
	bob.expect("911 Alert")
	ann.ping()
	if strings.Contains(strings.Join(ann.seen, ""), "911 Alert") {
		t.Error("who raised it, and has connected again, gets it back")
	}
	ann.send(cancel)
	until(t, "its own user ends it", ended)
	ann.send(raise)
	bob.expect("911 Alert")
	bob.send(cancel)
	until(t, "a receiver ends it", ended)
	ann.send(raise)
	bob.expect("911 Alert")
	if all := s.Alarms(); len(all) != 1 || all[0].User != "ann" || all[0].Callsign != "ann" {
		t.Errorf("Alarms = %+v", all)
	}
	if !s.CancelAlarm("911") || s.CancelAlarm("911") {
		t.Error("CancelAlarm does not end it once")
	}
	bob.expect("b-a-o-can", `cancel="true"`)
}

// An emergency for somebody goes to him alone, each time; and where its sender
// may send to, then.
func TestEmergencyKeepsItsReceivers(t *testing.T) {
	s := start(t, map[string]string{"ann": "red,blue", "bob": "red", "eve": "red", "blue": "blue"},
		func(o *netcore.Options) { o.EmergencyPeriod = time.Second })
	ann, bob, eve, blue := s.bound(t, "ann"), s.bound(t, "bob"), s.bound(t, "eve"), s.bound(t, "blue")
	ann.send(event("one", "b-a-o-tbl", `<emergency type="For Bob">ann</emergency><marti><dest callsign="bob"/></marti>`))
	for range 2 {
		bob.expect("For Bob")
	}
	eve.never("For Bob")
	ann.send(event("all", "b-a-o-tbl", `<emergency type="For All">ann</emergency>`))
	blue.expect("For All")
	s.SetGroups("ann", []string{"red"}, []string{"red"})
	blue.expect("t-x-d-d", "uid-ann")
	blue.seen = nil
	eve.expect("For All")
	eve.expect("For All")
	blue.never("For All")
}

// The emergency of somebody who is away goes where he may send to now.
func TestEmergencyOfTheAbsentFollowsHisGroups(t *testing.T) {
	s := start(t, map[string]string{"ann": "red", "bob": "red", "blue": "blue"}, func(o *netcore.Options) { o.EmergencyPeriod = time.Second })
	ann, bob, blue := s.bound(t, "ann"), s.bound(t, "bob"), s.bound(t, "blue")
	ann.send(event("911", "b-a-o-tbl", `<emergency type="911 Alert">ann</emergency>`))
	bob.expect("911 Alert")
	_ = ann.conn.Close()
	bob.expect("t-x-d-d", "uid-ann")
	if n := s.SetGroups("ann", []string{"blue"}, []string{"blue"}); n != 0 {
		t.Fatalf("%d sessions of who has left", n)
	}
	blue.expect("911 Alert")
	bob.seen = nil
	blue.expect("911 Alert")
	bob.never("911 Alert")
}

// What has passed is dropped when it comes back, an edit of it is not.
func TestLoopsAreDropped(t *testing.T) {
	s := start(t, nil)
	ann, bob, eve := s.bound(t, "ann"), s.bound(t, "bob"), s.bound(t, "eve")
	ann.send(event("l1", "a-f-G", `<remarks>first</remarks>`))
	passed := bob.expect("first")
	if !strings.Contains(passed, "TAK-Server-"+serverID) {
		t.Fatalf("no flow tag: %s", passed)
	}
	eve.expect("first")
	bob.send(passed) // a bridge
	before, rest, _ := strings.Cut(passed, ` time="`)
	edited := before + ` time="2030-01-01T00:00:00.000Z` + rest[strings.IndexByte(rest, '"'):]
	edited = strings.Replace(edited, "first", "edited", 1)
	bob.send(edited)
	eve.seen = nil
	eve.expect("edited")
	eve.never("first")
	bob.send(event("l2", "a-f-G", `<remarks>other</remarks><_flow-tags_ TAK-Server-f00="2026-01-01T00:00:00Z"/>`))
	if got := eve.expect("other"); !strings.Contains(got, "TAK-Server-f00") || !strings.Contains(got, "TAK-Server-"+serverID) {
		t.Errorf("flow tags are not both there: %s", got)
	}
}

func TestMalformedEventsAreSkipped(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	for _, bad := range []string{
		`<event uid="x"`, ">", `</event>`, `<event uid="a&b" type="a"><point lat="1" lon="1"/></event>`,
		`<!DOCTYPE x [<!ENTITY a "b">]><event uid="dtd" type="a"><point lat="1" lon="1"/></event>`,
		`<event uid="nopoint" type="a-f"/>`, `<event type="a-f" uid=""><point lat="1" lon="1"/></event>`, "garbage",
	} {
		ann.send(bad)
	}
	ann.send(sa("ann", "<remarks>still here</remarks>"))
	bob.expect("still here")
	bob.never("dtd")
	if s.metric("takd_events_malformed_total") < 4 {
		t.Errorf("malformed = %d, want at least 4", s.metric("takd_events_malformed_total"))
	}
}

func TestOversizeIsNotSent(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	ann.send(event("big", "a-f-G", "<remarks>"+strings.Repeat("x", 70_000)+"</remarks>"))
	ann.send(event("small", "a-f-G", "<remarks>"+strings.Repeat("y", 60_000)+"</remarks>"))
	bob.expect(`uid="small"`)
	bob.never(`uid="big"`)
	if n := s.metric("takd_events_oversize_total"); n != 1 {
		t.Errorf("oversize = %d, want 1", n)
	}
}

func TestSetGroups(t *testing.T) {
	s := start(t, map[string]string{"ann": "red", "bob": "red", "cid": "blue"})
	ann, bob, cid := s.bound(t, "ann"), s.bound(t, "bob"), s.bound(t, "cid")
	ann.waitSeen(`uid="uid-bob"`)
	if n := s.SetGroups("bob", []string{"blue"}, []string{"blue"}); n != 1 {
		t.Fatalf("SetGroups = %d, want 1", n)
	}
	ann.expect("t-x-d-d", "uid-bob")
	cid.expect(`uid="uid-bob"`)
	bob.expect("t-x-g-c")
	bob.expect(`uid="uid-cid"`)
	cid.send(sa("cid", "<remarks>blue now</remarks>"))
	bob.expect("blue now")
	ann.send(sa("ann", "<remarks>red still</remarks>"))
	ann.ping()
	bob.ping()
	bob.never("red still")
}

// Who has cleared its map gets the picture once more.
func TestReplay(t *testing.T) {
	s := start(t, map[string]string{"far": "elsewhere"})
	ann, far := s.bound(t, "ann"), s.bound(t, "far")
	bob := s.bound(t, "bob")
	bob.waitSeen(`uid="uid-ann"`)
	bob.seen = nil
	if n := s.Replay(netcore.Who{User: "bob"}); n != 1 {
		t.Errorf("%d clients got it, want 1", n)
	}
	bob.expect(`uid="uid-ann"`)
	ann.send(event("fence", "a-f-G", ""))
	bob.expect(`uid="fence"`)
	bob.never(`uid="uid-far"`, "t-x-takp-v")
	_ = far
}

func TestKick(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	for _, w := range []netcore.Who{{User: "nobody"}, {}} {
		if n := s.Kick(w, "test"); n != 0 {
			t.Errorf("Kick(%+v) = %d, want 0", w, n)
		}
	}
	if n := s.Kick(netcore.Who{Callsign: "bob"}, "test"); n != 1 {
		t.Errorf("Kick = %d, want 1", n)
	}
	bob.gone()
	ann.expect("t-x-d-d", "uid-bob")
	if n := s.Kick(netcore.Who{User: "ann"}, "test"); n != 1 {
		t.Errorf("Kick = %d, want 1", n)
	}
	ann.gone()
}

func TestCertificates(t *testing.T) {
	s := start(t, nil)
	s.people.ban("mallory")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			conn, err := tls.Dial("tcp", s.addr, clientTLS("ann", version))
			if err != nil {
				t.Fatal(err)
			}
			newPhone(t, "ann", conn).expect("t-x-takp-v")
			refused := map[string]*tls.Config{
				"revoked":        clientTLS("mallory", version),
				"no certificate": {RootCAs: ca().pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12, MaxVersion: version},
			}
			for name, cfg := range refused {
				conn, err := tls.Dial("tcp", s.addr, cfg)
				if err == nil { // TLS 1.3 tells with the first read
					_ = conn.SetReadDeadline(time.Now().Add(patience))
					_, err = conn.Read(make([]byte, 1))
					_ = conn.Close()
				}
				if err == nil || !strings.Contains(err.Error(), "remote error: tls") {
					t.Errorf("%s: err = %v, want an alert", name, err)
				}
			}
		})
	}
	if _, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: ca().pool, ServerName: "127.0.0.1", MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

// A resumed session is refused when its certificate was revoked since.
func TestResumption(t *testing.T) {
	s := start(t, nil)
	cfg := clientTLS("ann", tls.VersionTLS13)
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	dial := func() (*phone, *tls.Conn) {
		conn, err := tls.Dial("tcp", s.addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return newPhone(t, "ann", conn), conn
	}
	first, _ := dial()
	first.expect("t-x-takp-v")
	second, conn := dial()
	second.expect("t-x-takp-v")
	if !conn.ConnectionState().DidResume {
		t.Error("the session was not resumed")
	}
	s.people.ban("ann")
	conn3, err := tls.Dial("tcp", s.addr, cfg)
	if err == nil {
		_ = conn3.SetReadDeadline(time.Now().Add(patience))
		_, err = conn3.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "remote error: tls") {
		t.Errorf("resumed with a revoked certificate: err = %v, want an alert", err)
	}
}

func TestStop(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.SoftLimit = 1 << 20 }) // nobody is called slow here
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	const n = 500
	for i := range n {
		ann.send(sa("ann", fmt.Sprintf("<remarks>n%d.</remarks>", i)))
	}
	ann.ping()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	for i := range n {
		bob.waitSeen(fmt.Sprintf("<remarks>n%d.</remarks>", i))
	}
	bob.gone()
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("still accepts")
	}
	if err := s.Stop(ctx); err != nil {
		t.Errorf("stopped twice: %v", err)
	}
}

// What waits because its sender is beyond his share was taken in, too.
func TestStopServes(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.LimitClient.Events = 50 })
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	const n = 500
	for i := range n {
		ann.send(event(fmt.Sprintf("m%d", i), "a-h-G", ""))
	}
	ann.ping()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	for i := range n {
		bob.waitSeen(fmt.Sprintf(`uid="m%d"`, i))
	}
	bob.gone()
}

// Nobody can move another user's live client on the map, or take its messages.
func TestUIDOfAnother(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	eve := s.online(t, "eve")
	theft := strings.Replace(sa("bob", "<remarks>stolen</remarks>"), `callsign="bob"`, `callsign="eve"`, 1)
	eve.send(theft)
	eve.send(sa("eve", "<remarks>honest</remarks>"))
	ann.expect("honest")
	ann.never("stolen")
	ann.send(event("m", "b-t-f", `<remarks>to bob</remarks><marti><dest uid="uid-bob"/></marti>`))
	bob.expect("to bob")
	eve.ping()
	eve.never("to bob")
	if n := s.metric("takd_uids_refused_total"); n != 1 {
		t.Errorf("refused = %d, want 1", n)
	}
	// The same user on a second connection is the same client.
	again := s.online(t, "bob")
	again.send(sa("bob", "<remarks>from the new network</remarks>"))
	ann.expect("from the new network")
	// What others send about a uid that is nobody's client passes.
	o, _ := options(nil)
	o.Inputs[0].Address, o.UIDPolicy = s.addr, netcore.UIDAllow
	if _, err := s.Apply(o); err != nil {
		t.Fatal(err)
	}
	eve.send(theft)
	ann.expect("stolen")
}
