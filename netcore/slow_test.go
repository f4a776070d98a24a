package netcore_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"takd/netcore"
)

// A client that reads nothing is closed when too much waits for it that may not
// be left out; the others get everything.
func TestSlowClient(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.HardLimit, o.SoftLimit, o.SendBuffer = 256<<10, 64<<10, 16<<10 })
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	raw, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.(*net.TCPConn).SetReadBuffer(4 << 10)
	stuck := tls.Client(raw, clientTLS("stuck", tls.VersionTLS13))
	if _, err := stuck.Write([]byte(sa("stuck", ""))); err != nil {
		t.Fatal(err)
	}
	ann.expect("uid-stuck")
	const n = 3000
	text := strings.Repeat("x", 1000)
	for i := range n {
		ann.send(event("e", "b-m-r", fmt.Sprintf("<remarks>n%d. %s</remarks>", i, text)))
		if i%50 == 0 {
			bob.waitSeen(fmt.Sprintf("<remarks>n%d. ", i)) // bob keeps up
		}
	}
	bob.waitSeen(fmt.Sprintf("<remarks>n%d. ", n-1))
	all := strings.Join(bob.seen, "")
	for i := range n {
		if c := strings.Count(all, fmt.Sprintf("<remarks>n%d. ", i)); c != 1 {
			t.Fatalf("bob got event %d %d times, want once", i, c)
		}
	}
	ann.expect("t-x-d-d", "uid-stuck")
	if got := s.metric("takd_clients_slow_closed_total"); got != 1 {
		t.Errorf("closed for being slow: %d, want 1", got)
	}
}

// Less than the limit, but no progress: closed as well.
func TestStalledClient(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.StallLimit, o.SendBuffer = time.Second, 16<<10 })
	ann := s.bound(t, "ann")
	raw, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.(*net.TCPConn).SetReadBuffer(4 << 10)
	stuck := tls.Client(raw, clientTLS("stuck", tls.VersionTLS13))
	if _, err := stuck.Write([]byte(sa("stuck", ""))); err != nil {
		t.Fatal(err)
	}
	ann.expect("uid-stuck")
	for range 1000 {
		ann.send(event("e", "a-f-G", "<remarks>"+strings.Repeat("x", 4000)+"</remarks>"))
	}
	ann.expect("t-x-d-d", "uid-stuck")
	// When it reads again it learns at once that it is alone: not after a minute, or never.
	_ = raw.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, raw); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("what it reads ends with %v, want a reset", err)
	}
}

// A client that stops reading loses old positions, and only those: when it reads
// again it gets every chat, and of each uid the newest position soon after.
func TestConflation(t *testing.T) {
	for _, encoding := range []string{"xml", "protobuf"} {
		t.Run(encoding, func(t *testing.T) { conflate(t, encoding == "protobuf") })
	}
}

func conflate(t *testing.T, negotiate bool) {
	s := start(t, nil, func(o *netcore.Options) { o.SoftLimit, o.SendBuffer = 32<<10, 16<<10 })
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	conn, err := tls.Dial("tcp", s.addr, clientTLS("pause", tls.VersionTLS13))
	if err != nil {
		t.Fatal(err)
	}
	gate := &gated{Conn: conn, open: make(chan struct{}, 1)}
	gate.open <- struct{}{}
	pause := newPhone(t, "pause", gate)
	pause.expect("t-x-takp-v")
	if negotiate {
		pause.negotiate()
	}
	<-gate.open // no more reads
	const rounds, uids = 300, 20
	text := strings.Repeat("x", 500)
	for i := range rounds {
		for u := range uids {
			ann.send(event(fmt.Sprintf("u%d", u), "a-f-G", fmt.Sprintf("<remarks>n%d. %s</remarks>", i, text)))
		}
		ann.send(event(fmt.Sprintf("c%d", i), "b-t-f", fmt.Sprintf("<remarks>chat %d.</remarks>", i)))
		bob.waitSeen(fmt.Sprintf("<remarks>chat %d.</remarks>", i))
	}
	until(t, "positions give way", func() bool { return s.metric("takd_positions_conflated_total") > rounds })
	if i := slices.IndexFunc(s.Clients(), func(c netcore.ClientInfo) bool { return c.Behind && c.Conflated > rounds && c.User == "pause" }); i < 0 {
		t.Error("the list of clients does not say who is behind")
	}
	gate.open <- struct{}{}
	for u := range uids {
		pause.waitSeen(fmt.Sprintf(`uid="u%d"`, u), fmt.Sprintf("<remarks>n%d. ", rounds-1))
	}
	pause.waitSeen(fmt.Sprintf("<remarks>chat %d.</remarks>", rounds-1)) // in order: the newest positions come before it
	all := strings.Join(pause.seen, "")
	for i := range rounds {
		if n := strings.Count(all, fmt.Sprintf("<remarks>chat %d.</remarks>", i)); n != 1 {
			t.Errorf("chat %d came %d times, want once", i, n)
		}
	}
	if n := strings.Count(all, "<remarks>n"); n >= rounds*uids {
		t.Errorf("%d positions came: nothing was left out", n)
	}
	ann.send(event("after", "a-f-G", ""))
	pause.expect(`uid="after"`) // and it takes part again
}

// gated is a connection that is read only while the gate is open.
type gated struct {
	net.Conn
	open chan struct{}
}

func (g *gated) Read(p []byte) (int, error) {
	<-g.open
	g.open <- struct{}{}
	return g.Conn.Read(p)
}

// Several slow clients share a batch with fast ones; nobody's stream is torn.
func TestSharedBatchWithPartialWrites(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.SendBuffer, o.Loops = 16<<10, 1 })
	ann := s.bound(t, "ann")
	var readers []*phone
	for i := range 4 {
		readers = append(readers, s.online(t, fmt.Sprintf("r%d", i)))
	}
	const n = 400
	for i := range n {
		ann.send(event("e", "b-m-r", fmt.Sprintf("<remarks>n%d. %s</remarks>", i, strings.Repeat("x", 3000))))
	}
	for _, p := range readers {
		p.expect(fmt.Sprintf("<remarks>n%d. ", n-1))
		if got := strings.Count(strings.Join(p.seen, ""), "<remarks>n"); got != n {
			t.Errorf("%s got %d events, want %d", p.name, got, n)
		}
	}
}

// Clients come and go while everybody is being written to. A descriptor that
// is used again must never carry an earlier client's bytes: every phone fails
// the test on anything that is not a whole event in its own TLS session.
func TestComingAndGoing(t *testing.T) {
	s := start(t, nil)
	ann := s.bound(t, "ann")
	stop := make(chan struct{})
	done := make(chan struct{})
	defer func() { close(stop); <-done }()
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				ann.send(event("e", "a-f-G", fmt.Sprintf("<remarks>n%d</remarks>", i)))
				if i%50 == 0 {
					ann.ping() // not faster than the others can read
				}
			}
		}
	}()
	for i := range 60 {
		p := s.online(t, fmt.Sprintf("p%d", i))
		p.send(sa(p.name, ""))
		p.expect("<remarks>n")
		if i%2 == 0 {
			_ = p.conn.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0) // reset
			_ = p.conn.(*tls.Conn).NetConn().Close()
		} else {
			_ = p.conn.Close()
		}
	}
	until(t, "only ann is left", func() bool { return len(s.Clients()) == 1 && s.metric("takd_clients") == 1 })
	if n := s.metric("takd_panics_total"); n != 0 {
		t.Errorf("panics = %d", n)
	}
}

// An end of the client's writing side is an end; a bare reset too.
func TestHalfClose(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	if err := bob.conn.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	ann.expect("t-x-d-d", "uid-bob")
	bob.gone()
}

// Positions beyond the configured rates are dropped where the input says so; the
// others get what is due.
func TestFlood(t *testing.T) {
	tests := map[string]func(*netcore.Options){
		"client":    func(o *netcore.Options) { o.LimitClient.Events = 50 },
		"user":      func(o *netcore.Options) { o.LimitUser.Events = 50 },
		"address":   func(o *netcore.Options) { o.LimitAddress.Events = 50 },
		"bytes":     func(o *netcore.Options) { o.LimitClient.Bytes = 15_000 },
		"receivers": func(o *netcore.Options) { o.LimitClient.Deliveries = 4000 },
		"uids":      func(o *netcore.Options) { o.LimitClient.UIDs = 50 },
		"closing": func(o *netcore.Options) {
			o.LimitClient.Events, o.Inputs[0].Flood, o.WaitLimit = 50, netcore.FloodClose, 64<<10
		},
	}
	for name, limit := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil, func(o *netcore.Options) { o.Inputs[0].Flood = netcore.FloodDrop }, limit)
			ann, bob, flood := s.bound(t, "ann"), s.bound(t, "bob"), s.bound(t, "flood")
			if name == "closing" {
				flood.burst(1000, "b-m-p")
				flood.gone()
				ann.expect("t-x-d-d", "uid-flood")
				return
			}
			flood.burst(1000, "a-f-G")
			flood.ping() // pings are answered all the same
			bob.expect("<remarks>flood 30<")
			if name == "address" {
				until(t, "what is too much is dropped", func() bool { return s.metric("takd_events_flooded_total") > 500 })
				return
			}
			ann.send(sa("ann", "<remarks>fence</remarks>"))
			bob.expect("fence")
			got := strings.Count(strings.Join(bob.seen, ""), "<remarks>flood")
			if got < 20 || got > 400 {
				t.Errorf("%d of 1000 events were passed on", got)
			}
			if s.metric("takd_events_flooded_total") != 1000-got {
				t.Errorf("dropped %d, passed on %d; want 1000 together", s.metric("takd_events_flooded_total"), got)
			}
		})
	}
}

// A uid is new until it was let through: sending each twice gains nothing.
func TestNewUIDsTwice(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.LimitClient.UIDs, o.Inputs[0].Flood = 50, netcore.FloodDrop })
	bob, flood := s.bound(t, "bob"), s.bound(t, "flood")
	var b strings.Builder
	for i := range 500 {
		one := event(fmt.Sprintf("twice-%d", i), "a-f-G", "<remarks>twice</remarks>")
		b.WriteString(one + one)
	}
	flood.send(b.String())
	flood.ping()
	flood.send(sa("flood", "<remarks>fence</remarks>"))
	bob.expect("fence")
	if n := strings.Count(strings.Join(bob.seen, ""), "<remarks>twice"); n > 600 {
		t.Errorf("%d of 1000 events under 500 new uids were passed on", n)
	}
}

// With the default configuration a burst of any size arrives, whole.
func TestBurst(t *testing.T) {
	s := start(t, nil)
	const receivers, uids = 10, 2000
	phones := make([]*phone, receivers)
	for i := range phones {
		phones[i] = s.bound(t, fmt.Sprintf("r%d", i))
	}
	burst := s.bound(t, "burst")
	var b strings.Builder
	for i := range uids {
		b.WriteString(event(fmt.Sprintf("burst-%d", i), "a-f-G", strings.Repeat("x", 500)))
	}
	burst.send(b.String())
	burst.ping()
	burst.send(event("last", "b-t-f", "<remarks>the last</remarks>"))
	for _, p := range phones {
		p.waitSeen("the last")
		if n := strings.Count(strings.Join(p.seen, ""), `uid="burst-`); n != uids {
			t.Errorf("%s got %d of %d", p.name, n, uids)
		}
	}
}

// Where the input says so, a client that floods is slowed down and loses nothing.
func TestSlowedDown(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.LimitClient.Events, o.Inputs[0].Flood = 250, netcore.FloodSlow })
	ann, bob, flood := s.bound(t, "ann"), s.bound(t, "bob"), s.bound(t, "flood")
	flood.burst(1000, "b-m-p")
	ann.send(sa("ann", "<remarks>fence</remarks>"))
	bob.expect("fence")
	if n := strings.Count(strings.Join(bob.seen, ""), "<remarks>flood"); n == 1000 {
		t.Error("everything came at once")
	}
	bob.expect("<remarks>flood 999<")
	last := -1
	for _, e := range bob.seen {
		if _, rest, ok := strings.Cut(e, "<remarks>flood "); ok {
			n, _ := strconv.Atoi(rest[:strings.IndexByte(rest, '<')])
			if n != last+1 {
				t.Fatalf("event %d came after %d", n, last)
			}
			last = n
		}
	}
	if n := s.metric("takd_events_flooded_total"); n != 0 || last != 999 {
		t.Errorf("%d events were dropped, the last one passed on is %d; want none, 999", n, last)
	}
}

// A flood of datagrams is limited like one client.
func TestDatagramFlood(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) {
		o.LimitClient.Events = 50
		o.Inputs = append(o.Inputs, netcore.Input{Name: "mesh", Protocol: netcore.UDP, Address: "127.0.0.1:0"})
	})
	bob := s.bound(t, "bob")
	conn, err := net.Dial("udp", s.Listeners()["mesh"].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 1000 {
		if _, err := conn.Write([]byte(event("sensor", "a-f-G", "<remarks>flood</remarks>"))); err != nil {
			t.Fatal(err)
		}
	}
	bob.expect("<remarks>flood")
	until(t, "what is too much is dropped", func() bool { return s.metric("takd_events_flooded_total") > 300 })
}
