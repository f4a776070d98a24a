package netcore_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"takd/netcore"
)

// paused brings a client that has stopped reading; resume lets it read again.
func (s *server) paused(t *testing.T, name string) (p *phone, resume func()) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addr, clientTLS(name, tls.VersionTLS13))
	if err != nil {
		t.Fatal(err)
	}
	gate := &gated{Conn: conn, open: make(chan struct{}, 1)}
	gate.open <- struct{}{}
	p = newPhone(t, name, gate)
	p.expect("t-x-takp-v")
	p.send(sa(name, ""))
	p.ping()
	<-gate.open
	return p, func() { gate.open <- struct{}{} }
}

func small(o *netcore.Options) { o.SoftLimit, o.SendBuffer = 32<<10, 16<<10 }

// fill sends positions of that many uids until who does not read has fallen behind.
func (s *server) fill(t *testing.T, from *phone, uids int) {
	t.Helper()
	text := "<remarks>" + strings.Repeat("x", 500) + "</remarks>"
	for round := 0; s.metric("takd_clients_fell_behind_total") < 1; round++ {
		if round > 200 {
			t.Fatal("nobody falls behind")
		}
		for u := range uids {
			from.send(event(fmt.Sprintf("fill-%d", u), "a-f-G", text))
		}
		from.ping()
	}
}

// What deletes a marker does not overtake it: no ghosts.
func TestDeletionComesAfterWhatItDeletes(t *testing.T) {
	s := start(t, nil, small)
	ann := s.bound(t, "ann")
	slow, resume := s.paused(t, "slow")
	s.fill(t, ann, 100)
	ann.send(event("ghost", "a-h-G", "<remarks>ghost</remarks>"))
	ann.send(event("del", "t-x-d-d", `<link uid="ghost" relation="none" type="none"/><__forcedelete/>`))
	ann.send(event("more", "a-f-G", "<remarks>more</remarks>"))
	ann.ping()
	resume()
	slow.expect(`uid="ghost"`)
	slow.expect("t-x-d-d", "ghost")
	slow.expect(`uid="more"`)
	slow.seen = nil
	ann.send(event("end", "a-f-G", ""))
	slow.expect(`uid="end"`)
	slow.never(`uid="ghost"`)
}

// Positions do not count against hard_limit: of any number of uids.
func TestManyUIDsCloseNobody(t *testing.T) {
	s := start(t, nil, small, func(o *netcore.Options) { o.HardLimit = 256 << 10 })
	ann := s.bound(t, "ann")
	slow, resume := s.paused(t, "slow")
	s.fill(t, ann, 100)
	for u := range 2000 {
		ann.send(event(fmt.Sprintf("many-%d", u), "a-f-G", "<remarks>"+strings.Repeat("y", 400)+"</remarks>"))
	}
	ann.ping()
	resume()
	slow.waitSeen(`uid="many-1999"`)
	if n := strings.Count(strings.Join(slow.seen, ""), `uid="many-`); n != 2000 {
		t.Errorf("%d of 2000 uids came", n)
	}
}

// After a change of groups nothing of the old ones comes any more.
func TestRegroupWhileBehind(t *testing.T) {
	s := start(t, map[string]string{"ann": "red", "bea": "blue", "slow": "red"}, small)
	ann, bea := s.bound(t, "ann"), s.bound(t, "bea")
	slow, resume := s.paused(t, "slow")
	s.fill(t, ann, 100)
	ann.send(event("secret", "a-f-G", "<remarks>of red</remarks>"))
	ann.ping()
	s.SetGroups("slow", []string{"blue"}, []string{"blue"})
	bea.send(event("news", "a-f-G", "<remarks>of blue</remarks>"))
	bea.ping()
	resume()
	slow.waitSeen("of blue")
	changed := false
	for _, e := range slow.seen {
		changed = changed || strings.Contains(e, "t-x-g-c")
		if changed && (strings.Contains(e, "fill-") || strings.Contains(e, "of red")) {
			t.Fatalf("after t-x-g-c came %s", e)
		}
	}
	if !changed {
		t.Error("no t-x-g-c")
	}
}

// Who asks for protobuf before he was told of it gets no XML afterwards.
func TestNegotiationBeforeTheOffer(t *testing.T) {
	s := start(t, nil)
	for i := range 20 {
		p := s.connect(t, fmt.Sprintf("early-%d", i))
		p.negotiate() // reads strictly from the reply on
		p.send(sa(p.name, ""))
		p.ping()
		p.never("t-x-takp-v", `uid="late"`)
	}
}

// Chat that a client was owed when it ended comes when it is back, before newer chat.
func TestOwedChatIsKept(t *testing.T) {
	s := start(t, nil, small)
	ann := s.bound(t, "ann")
	slow, _ := s.paused(t, "slow")
	s.fill(t, ann, 100)
	const letters = 20
	for i := range letters {
		ann.send(event(fmt.Sprintf("l%d", i), "b-t-f", fmt.Sprintf("<remarks>letter %d.</remarks>", i)+dest("slow")))
	}
	ann.send(event("group", "b-t-f", "<remarks>to all.</remarks>"))
	ann.ping()
	for range 2 { // ann's loop has passed it on, slow's has it
		s.Clients()
	}
	_ = slow.conn.Close()
	ann.expect("t-x-d-d", "uid-slow")
	ann.send(event("after", "b-t-f", "<remarks>letter 20.</remarks>"+dest("slow")))
	ann.ping()
	back := s.connect(t, "slow")
	back.send(sa("slow", ""))
	ann.expect(`uid="uid-slow"`)
	ann.send(event("now", "b-t-f", "<remarks>letter 21.</remarks>"+dest("slow")))
	back.waitSeen("letter 21.")
	next := 0
	for _, e := range back.seen {
		if strings.Contains(e, fmt.Sprintf("letter %d.", next)) {
			next++
		}
	}
	if next != 22 {
		var order []string
		for _, e := range back.seen {
			if _, rest, ok := strings.Cut(e, "letter "); ok {
				order = append(order, rest[:strings.IndexByte(rest, 46)])
			}
		}
		t.Errorf("letters came in order up to %d, want 22: %s", next, order)
	}
	if !strings.Contains(strings.Join(back.seen, ""), "to all.") {
		t.Error("chat to all, which it was owed, is lost")
	}
	ann.never("b-t-f-s")
}

// Who takes the callsign or the uid of somebody who is away gets none of his
// mail and destroys none.
func TestMailIsTheHolders(t *testing.T) {
	s := start(t, nil)
	ann := s.bound(t, "ann")
	leave := func(p *phone) {
		_ = p.conn.Close()
		ann.expect("t-x-d-d")
	}
	named := func(user, uid, callsign string) *phone {
		p := s.connect(t, user)
		p.send(event(uid, "a-f-G-U-C", `<contact callsign="`+callsign+`" endpoint="*:-1:stcp"/>`))
		p.ping()
		return p
	}
	leave(named("bob", "bobs-uid", "BOB"))
	ann.send(event("m1", "b-t-f", "<remarks>for bob</remarks>"+dest("BOB")))
	ann.ping()
	thief := named("eve", "eves-uid", "BOB")
	leave(thief)
	thief2 := named("eve", "bobs-uid", "EVE")
	leave(thief2)
	again := named("eve", "eves-uid", "BOB")
	again.ping()
	for _, p := range []*phone{thief, thief2, again} {
		p.never("for bob")
	}
	bob := named("bob", "bobs-uid", "BOB")
	bob.waitSeen("for bob")
}

// Chat that finds no room any more comes back to its sender.
func TestFullBoxIsTold(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.AbsentPerUser = 3 })
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	_ = bob.conn.Close()
	ann.expect("t-x-d-d")
	for i := range 4 {
		ann.send(event(fmt.Sprintf("m%d", i), "b-t-f", fmt.Sprintf("<remarks>letter %d</remarks>", i)+dest("bob")))
	}
	ann.expect("b-t-f-s", "letter 3")
}

// shelf is a Letterbox that outlives an engine.
type shelf struct {
	mu      sync.Mutex
	away    map[netcore.Device]netcore.Absentee
	letters []netcore.Letter
	broken  bool
}

func (s *shelf) Load(context.Context) (away []netcore.Absentee, _ []netcore.Letter, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.away {
		away = append(away, a)
	}
	return away, append([]netcore.Letter(nil), s.letters...), nil
}

func (s *shelf) Save(_ context.Context, c netcore.LetterChanges) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errors.New("disk full")
	}
	if s.away == nil {
		s.away = make(map[netcore.Device]netcore.Absentee)
	}
	for _, a := range c.Left {
		s.away[a.Device] = a
	}
	for _, d := range c.Back {
		delete(s.away, d)
	}
	gone := make(map[uint64]bool)
	for _, id := range c.Gone {
		gone[id] = true
	}
	kept := s.letters[:0]
	for _, l := range append(s.letters, c.New...) {
		if !gone[l.ID] {
			kept = append(kept, l)
		}
	}
	s.letters = kept
	return nil
}

func (s *shelf) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.letters)
}

// Letters survive a restart, also those for clients that were here until then.
func TestLettersSurviveARestart(t *testing.T) {
	box := new(shelf)
	keep := func(o *netcore.Options) { o.Letters = box }
	s := start(t, nil, keep)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	_ = bob.conn.Close()
	ann.expect("t-x-d-d", "uid-bob")
	box.mu.Lock()
	box.broken = true // for a while
	box.mu.Unlock()
	ann.send(event("m1", "b-t-f", "<remarks>one</remarks>"+dest("bob")))
	ann.ping()
	time.Sleep(700 * time.Millisecond)
	box.mu.Lock()
	box.broken = false
	box.mu.Unlock()
	until(t, "the letter is saved", func() bool { return box.count() == 1 })
	ann.send(event("m2", "b-t-f", "<remarks>two</remarks>"+dest("bob")))
	ann.ping()
	stop(t, s)

	s = start(t, nil, keep)
	eve := s.bound(t, "eve")
	eve.send(event("m3", "b-t-f", "<remarks>three</remarks>"+dest("ann"))) // who was here at the end
	eve.ping()
	eve.never("b-t-f-s")
	bob = s.bound(t, "bob")
	bob.waitSeen("<remarks>one")
	bob.waitSeen("<remarks>two")
	ann = s.bound(t, "ann")
	ann.waitSeen("three")
	until(t, "what was handed over is forgotten", func() bool { return box.count() == 0 })
}

func stop(t *testing.T, s *server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// Who connects, sends and closes at once is heard, though takd writes to him
// meanwhile: TLS and TCP alike.
func TestOneShotSenders(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) {
		o.Inputs = append(o.Inputs, netcore.Input{Name: "tcp", Protocol: netcore.TCP, Address: "127.0.0.1:0"})
	})
	ann := s.bound(t, "ann")
	for i := range 30 {
		s.bound(t, fmt.Sprintf("other-%d", i))
	}
	const shots = 50
	for i := range shots {
		for kind, dial := range map[string]func() (net.Conn, error){
			"tls": func() (net.Conn, error) { return tls.Dial("tcp", s.addr, clientTLS("shooter", tls.VersionTLS13)) },
			"tcp": func() (net.Conn, error) { return net.Dial("tcp", s.Listeners()["tcp"].String()) },
		} {
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte(event(fmt.Sprintf("shot-%s-%d", kind, i), "a-f-G", ""))); err != nil {
				t.Fatal(err)
			}
			if c, ok := conn.(*tls.Conn); ok {
				conn = c.NetConn() // no closing alert
			}
			_ = conn.(*net.TCPConn).SetLinger(-1)
			_ = conn.Close()
		}
	}
	for i := range shots {
		ann.waitSeen(fmt.Sprintf(`uid="shot-tls-%d"`, i))
		ann.waitSeen(fmt.Sprintf(`uid="shot-tcp-%d"`, i))
	}
}

// A destination that names nobody reaches nobody, and those beside it work.
func TestDestinationsThatNameNobody(t *testing.T) {
	for _, encoding := range []string{"xml", "protobuf"} {
		t.Run(encoding, func(t *testing.T) {
			s := start(t, map[string]string{"ann": "red,blue", "bob": "red", "eve": "red", "blue": "blue"})
			ann, bob, eve, blue := s.bound(t, "ann"), s.bound(t, "bob"), s.bound(t, "eve"), s.bound(t, "blue")
			if encoding == "protobuf" {
				ann.negotiate()
			}
			for i, d := range []string{
				`callsign=""`, `uid=""`, `group=""`, `mission=""`, `mission-guid=""`, `calsign="bob"`, `Callsign="bob"`, ``, `callsign="NOBODY"`, `uid="none"`,
				`mission="m"`, `group="none"`, `publish="x"`, `callsign="ffffffff-ffff-ffff-ffff-ffffffffffff"`,
			} {
				ann.send(event(fmt.Sprintf("n%d", i), "b-t-f", "<remarks>private</remarks><marti><dest "+d+"/></marti>"))
				ann.send(event(fmt.Sprintf("p%d", i), "a-f-G", "<remarks>private</remarks><marti><dest "+d+"/></marti>"))
			}
			ann.send(event("both", "a-f-G", `<remarks>for bob</remarks><marti><dest callsign=""/><dest callsign="bob"/></marti>`))
			bob.expect("for bob")
			ann.send(event("group", "a-f-G", `<remarks>for blue</remarks><marti><dest uid=""/><dest group="blue"/><dest mission="m"/></marti>`))
			blue.expect("for blue")
			ann.send(event("all", "a-f-G", `<remarks>for all</remarks><marti><dest callsign=""/><dest callsign="All Streaming"/></marti>`))
			for _, p := range []*phone{bob, eve, blue} {
				p.expect("for all")
				p.never("private")
			}
			bob.never("for blue")
			eve.never("for bob")
			ann.expect("b-t-f-s")
		})
	}
}

// What a newcomer gets is what he would have got: nothing that was for others.
func TestReplayKnowsDestinations(t *testing.T) {
	s := start(t, map[string]string{"ann": "red,blue", "bob": "red", "eve": "red", "blue": "blue"})
	ann := s.bound(t, "ann")
	ann.send(sa("ann", "<remarks>for all</remarks>"))
	ann.send(sa("ann", `<remarks>for bob alone</remarks><marti><dest callsign="bob"/></marti>`))
	ann.ping()
	eve := s.bound(t, "eve")
	eve.waitSeen("for all")
	eve.never("for bob alone")
	ann.send(sa("ann", `<remarks>for blue alone</remarks><marti><dest group="blue"/></marti>`))
	ann.ping()
	blue, bob := s.bound(t, "blue"), s.bound(t, "bob")
	blue.waitSeen("for blue alone")
	bob.never("for blue alone")
	s.SetGroups("bob", []string{"red"}, []string{"red", "blue"})
	bob.waitSeen("for blue alone")
}

// What only a server may say is not passed on from clients.
func TestServerOnly(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	bob.seen = nil
	for _, typ := range []string{"t-x-g-c", "t-x-takp-v", "t-x-takp-r", "t-x-m-c", "t-x-m-i", "t-x-m-n"} {
		ann.send(event("forged", typ, ""))
	}
	ann.send(event("fence", "a-f-G", ""))
	bob.expect(`uid="fence"`)
	bob.never("forged")
}

// Nothing that is about the live client of another user is believed.
func TestUIDOfAnotherInEveryForm(t *testing.T) {
	s := start(t, nil)
	ann, bob, eve := s.bound(t, "ann"), s.bound(t, "bob"), s.bound(t, "eve")
	eve.seen = nil
	ann.send(event("uid-bob", "a-f-G-U-C", "<remarks>moved</remarks>"))
	ann.send(event("uid-bob", "b-t-f", "<remarks>forged</remarks>"))
	ann.send(event("x", "t-x-d-d", `<link uid="uid-bob" relation="p-p" type="a-f-G"/><remarks>deleted</remarks>`))
	ann.send(event("y", "t-x-d-d", `<link uid="a-marker" relation="p-p" type="a-f-G"/><remarks>legal</remarks>`))
	eve.expect("legal")
	for _, text := range []string{"moved", "forged", "deleted"} {
		eve.never(text)
	}
	if n := s.metric("takd_uids_refused_total"); n != 3 {
		t.Errorf("refused = %d, want 3", n)
	}
	_ = bob
}

// Chat to a node behind a gateway goes to the gateway; newcomers get its nodes,
// and they leave with it.
func TestGateway(t *testing.T) {
	s := start(t, nil)
	ann, gate := s.bound(t, "ann"), s.bound(t, "gate")
	stale := time.Now().Add(time.Minute).UTC().Format("2006-01-02T15:04:05.000Z")
	node := func(uid, callsign string) string {
		e := event(uid, "a-f-G-U-C", `<contact callsign="`+callsign+`" endpoint="*:-1:stcp"/>`)
		at := strings.Index(e, ` stale="`)
		return e[:at] + ` stale="` + stale + `"` + e[at+len(` stale="`)+len(stale)+1:]
	}
	gate.send(node("!node1", "NODE1"))
	gate.send(node("!node2", "NODE2"))
	ann.expect("!node2")
	ann.send(event("c1", "b-t-f", "<remarks>by uid</remarks><marti><dest uid=\"!node1\"/></marti>"))
	ann.send(event("c2", "b-t-f", "<remarks>by callsign</remarks>"+dest("NODE2")))
	gate.expect("by uid")
	gate.expect("by callsign")
	late := s.bound(t, "late")
	late.waitSeen("!node1")
	late.waitSeen("!node2")
	_ = gate.conn.Close()
	late.waitSeen("t-x-d-d", "!node1")
	late.waitSeen("t-x-d-d", "!node2")
	ann.send(event("c3", "b-t-f", "<remarks>too late</remarks>"+dest("NODE2")))
	ann.expect("b-t-f-s", "too late")
}

// Everything that comes with the preamble is served, however much it is.
func TestBacklogBehindAuth(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) {
		o.Inputs = append(o.Inputs, netcore.Input{Name: "pass", Protocol: netcore.TCP, Address: "127.0.0.1:0", Auth: netcore.AuthPassword})
	})
	bob := s.bound(t, "bob")
	conn, err := net.Dial("tcp", s.Listeners()["pass"].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var b strings.Builder
	b.WriteString(`<auth><cot username="ann" password="secret ann"/></auth>`)
	for i := range 500 {
		b.WriteString(event(fmt.Sprintf("back-%d", i), "a-f-G", "<remarks>"+strings.Repeat("z", 300)+"</remarks>"))
	}
	if _, err := conn.Write([]byte(b.String())); err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		bob.waitSeen(fmt.Sprintf(`uid="back-%d"`, i))
	}
}

// Stop keeps its deadline though somebody reads nothing.
func TestStopKeepsItsDeadline(t *testing.T) {
	s := start(t, nil, small)
	ann := s.bound(t, "ann")
	_, resume := s.paused(t, "slow")
	defer resume()
	s.fill(t, ann, 100)
	for i := range 300 {
		ann.send(event(fmt.Sprintf("c%d", i), "b-m-p", strings.Repeat("x", 500)))
	}
	ann.ping()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := s.Stop(ctx)
	if err == nil || ctx.Err() != nil {
		t.Errorf("Stop = %v, context %v; want an error before the deadline", err, ctx.Err())
	}
}

// Anonymous clients are known by their uid: mail for one waits for it.
func TestMailOfAnonymousClients(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) {
		o.Inputs = append(o.Inputs, netcore.Input{Name: "tcp", Protocol: netcore.TCP, Address: "127.0.0.1:0"})
	})
	ann := s.bound(t, "ann")
	sensor := func() *phone {
		conn, err := net.Dial("tcp", s.Listeners()["tcp"].String())
		if err != nil {
			t.Fatal(err)
		}
		p := newPhone(t, "sensor", conn)
		p.send(sa("sensor", ""))
		return p
	}
	first := sensor()
	ann.expect(`uid="uid-sensor"`)
	_ = first.conn.Close()
	ann.expect("t-x-d-d", "uid-sensor")
	ann.send(event("m", "b-t-f", "<remarks>for the sensor</remarks>"+dest("sensor")))
	ann.ping()
	sensor().waitSeen("for the sensor")
}

// An event of exactly the size that ATAK can receive is passed on, with no tag
// that would make it too large.
func TestLargestEvent(t *testing.T) {
	for _, encoding := range []string{"xml", "protobuf"} {
		s := start(t, nil)
		ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
		if encoding == "protobuf" {
			bob.negotiate() // as it is larger in XML, it fits
		}
		frame := len(event("large", "b-m-p", ""))
		ann.send(event("large", "b-m-p", strings.Repeat("x", 65536-frame)))
		got := bob.expect(`uid="large"`)
		if encoding == "xml" && (len(got) != 65536 || strings.Contains(got, "_flow-tags_")) {
			t.Errorf("%d bytes came, want 65536 without a flow tag", len(got))
		}
		ann.send(event("larger", "b-m-p", strings.Repeat("x", 65537-frame)))
		ann.send(event("fence", "a-f-G", ""))
		bob.expect(`uid="fence"`)
		if encoding == "xml" {
			bob.never(`uid="larger"`)
		}
	}
}

// What is no number moves nothing, in both encodings; what is unknown is passed on.
func TestNumbersThatAreNone(t *testing.T) {
	s := start(t, nil)
	ann, xml, pb := s.bound(t, "ann"), s.bound(t, "xml"), s.bound(t, "pb")
	pb.negotiate()
	with := func(uid, from, to string) string { return strings.Replace(event(uid, "a-f-G", ""), from, to, 1) }
	for i, lat := range []string{"NaN", "Infinity", "-Inf", "", "48,137", "1e999", "0x10", "north"} {
		ann.send(with(fmt.Sprintf("nowhere-%d", i), `lat="1"`, `lat="`+lat+`"`))
	}
	ann.send(with("unknown", `hae="3" ce="4" le="5"`, `hae="NaN" ce="" le="Infinity"`))
	for _, p := range []*phone{xml, pb} {
		got := p.expect(`uid="unknown"`)
		if strings.Contains(got, "NaN") || strings.Contains(got, "Inf") || strings.Count(got, "9999999") != 3 {
			t.Errorf("%s got %s", p.name, got)
		}
		p.never("nowhere-")
	}
}

// Revoking its certificate ends a client also where its password says who it is.
func TestSerialOfPasswordClients(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.Inputs[0].Auth = netcore.AuthPassword })
	cfg := clientTLS("device", tls.VersionTLS13)
	conn, err := tls.Dial("tcp", s.addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := newPhone(t, "ann", conn)
	p.send(`<auth><cot username="ann" password="secret ann"/></auth>` + sa("ann", ""))
	p.expect("t-x-takp-v")
	leaf, _ := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
	if n := s.Kick(netcore.Who{Serial: leaf.SerialNumber.Text(16)}, "certificate revoked"); n != 1 {
		t.Errorf("%d clients were closed, want 1", n)
	}
	p.gone()
}

// A callsign that changes all the time does not fill the log.
func TestRenamingIsLoggedSeldom(t *testing.T) {
	var log lines
	s := start(t, nil, func(o *netcore.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	ann := s.bound(t, "ann")
	for i := range 500 {
		ann.send(event("uid-ann", "a-f-G-U-C", fmt.Sprintf(`<contact callsign="ann-%d" endpoint="*:-1:stcp"/>`, i)))
	}
	ann.ping()
	stop(t, s)
	if n := strings.Count(log.text(), "callsign changed"); n < 1 || n > 3 {
		t.Errorf("%d lines about 500 changes", n)
	}
}

// Who is disabled or regrouped while his password is being checked is looked at
// again before anything else happens to him.
func TestChangedWhileChecked(t *testing.T) {
	var s *server
	changes := map[string]func(){
		"out":   func() { s.people.ban("out") },
		"moved": func() { s.people.set("moved", "blue") },
	}
	s = start(t, map[string]string{"moved": "red"}, func(o *netcore.Options) {
		o.Inputs = append(o.Inputs, netcore.Input{Name: "pass", Protocol: netcore.TCP, Address: "127.0.0.1:0", Auth: netcore.AuthPassword})
	})
	var once sync.Map
	s.people.mu.Lock()
	s.people.asked = func(user string) {
		if _, done := once.LoadOrStore(user, true); !done {
			changes[user]()
		}
	}
	s.people.mu.Unlock()
	join := func(user string) *phone {
		conn, err := net.Dial("tcp", s.Listeners()["pass"].String())
		if err != nil {
			t.Fatal(err)
		}
		p := newPhone(t, user, conn)
		p.send(`<auth><cot username="` + user + `" password="secret ` + user + `"/></auth>`)
		return p
	}
	join("out").gone()
	join("moved")
	until(t, "the new groups hold", func() bool {
		all := s.Clients()
		return len(all) == 1 && len(all[0].In) == 1 && all[0].In[0] == "blue"
	})
}
