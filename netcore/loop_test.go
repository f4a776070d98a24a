package netcore

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"takd/cot"
	"takd/cot/cottest"
	"takd/netcore/session"
	"takd/netcore/tlsio"
)

// sink is a connection that takes everything.
type sink struct{ n int }

func (s *sink) Write(p []byte) (int, error) { s.n += len(p); return len(p), nil }
func (s *sink) OutboundBuffered() int       { return 0 }

// hand is a host whose loop flushes when the test says so, and only then.
type hand struct{ l *loop }

func (h *hand) Run(func()) {}
func (h *hand) Close(c session.Conn) {
	for _, x := range h.l.clients {
		if x.Conn == c {
			h.l.closed(x, errors.New("closed"))
		}
	}
}

// bench is one loop without sockets, driven by hand.
func benchLoop(tb testing.TB, clients int, f func(i int, c *client)) (*loop, []*client) {
	tb.Helper()
	e, err := New(Options{
		Inputs:   []Input{{Protocol: TCP, Address: "127.0.0.1:0"}},
		ServerID: "0123456789abcdef0123456789abcdef", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(e.closeListeners)
	h := &hand{}
	h.l = e.addLoop(h)
	all := make([]*client, clients)
	for i := range all {
		c := &client{loop: h.l}
		c.ID, c.Since, c.Layer = uint64(i+1), time.Now(), new(tlsio.Plain)
		c.admit(e, Principal{User: "u", In: []string{"__ANON__"}, Out: []string{"__ANON__"}})
		h.l.open(c, new(sink))
		if f != nil {
			f(i, c)
		}
		all[i] = c
	}
	h.l.flush()
	return h.l, all
}

func asProto(tb testing.TB, xml []byte) []byte {
	tb.Helper()
	var ev cot.Event
	if _, err := cot.Scan(xml, &ev); err != nil {
		tb.Fatal(err)
	}
	b, err := ev.AppendProto(nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// position is an SA without its XML declaration.
func position(uid string) []byte {
	b := cottest.SA(uid, "CALL", "Cyan", "HQ", 48, 11, time.Now())
	for i := range b {
		if string(b[i:i+6]) == "<event" {
			return b[i:]
		}
	}
	return b
}

// An event on its way from a sender to receivers of both encodings costs no
// allocation, whether it comes whole, cut, as XML or as protobuf.
func TestHotPathDoesNotAllocate(t *testing.T) {
	l, all := benchLoop(t, 20, func(i int, c *client) {
		if i%2 == 1 {
			l := c.loop
			l.flush() // it is current now
			l.flush()
			l.leaveBucket(c)
			c.Format = cot.Proto
			l.joinBucket(c)
		}
	})
	xml := position("a")
	direct := []byte(`<event version="2.0" uid="d" type="a-f-G" how="m-g" time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z" stale="2026-01-01T00:00:00Z">` +
		`<point lat="1" lon="2" hae="3" ce="4" le="5"/><detail><marti><dest callsign="CALL"/></marti></detail></event>`)
	l.traffic(all[1], position("b")) // bound
	l.flush()
	pb := asProto(t, xml)
	tests := map[string]func(){
		"xml":      func() { l.traffic(all[0], xml) },
		"cut xml":  func() { l.traffic(all[0], xml[:300]); l.traffic(all[0], xml[300:]) },
		"protobuf": func() { l.traffic(all[2], pb) },
		"direct":   func() { l.traffic(all[0], direct) },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			got := testing.AllocsPerRun(500, func() {
				f()
				l.flush()
			})
			if got >= 1 && !raceDetector { // once a second the flow tag's time is written anew
				t.Errorf("%v allocations per event, want 0", got)
			}
		})
	}
	if n := l.stats.dropped[session.Malformed].Load(); n != 0 {
		t.Errorf("malformed = %d", n)
	}
}

// A defect that a client triggers costs that client its connection, no more.
func TestPanicClosesOneClient(t *testing.T) {
	l, all := benchLoop(t, 3, nil)
	all[0].Layer = &broken{}
	l.traffic(all[0], position("a"))
	l.flush()
	if all[0].State() != session.Closed || all[1].State() != session.Current {
		t.Fatalf("states = %v, %v; want closed, current", all[0].State(), all[1].State())
	}
	l.traffic(all[1], position("b"))
	l.flush()
	if all[2].Stats.EventsOut < 2 || l.turns != 0 { // the offer, and b
		t.Errorf("the loop does not go on: %+v, turns %d", all[2].Stats, l.turns)
	}
	if l.stats.panics.Load() != 1 {
		t.Errorf("panics = %d, want 1", l.stats.panics.Load())
	}
}

// broken is a layer with a defect.
type broken struct{ tlsio.Plain }

func (*broken) Read([]byte) (int, error) { panic("a defect") }

// failing is a connection whose writes fail, as gnet's do: closed first.
type failing struct {
	l *loop
	c *client
}

func (f *failing) Write([]byte) (int, error) {
	f.l.closed(f.c, errors.New("broken pipe"))
	return 0, errors.New("broken pipe")
}
func (f *failing) OutboundBuffered() int { return 0 }

// A write that fails closes the client in the middle of a walk over its bucket.
func TestCloseDuringFlush(t *testing.T) {
	l, all := benchLoop(t, 9, nil)
	for i, c := range all {
		l.traffic(c, position(string(rune('a'+i))))
	}
	l.flush()
	for _, i := range []int{1, 2, 5} {
		all[i].Conn = &failing{l, all[i]}
	}
	before := all[8].Stats.EventsOut
	l.traffic(all[0], position("a"))
	l.flush() // three die
	l.flush() // and the others hear of it
	if len(l.clients) != 6 || len(all[0].bucket.Members) != 6 {
		t.Errorf("%d clients, %d members left; want 6", len(l.clients), len(all[0].bucket.Members))
	}
	if got := all[8].Stats.EventsOut - before; got != 4 { // the position and three t-x-d-d
		t.Errorf("the last client got %d events, want 4", got)
	}
}

func BenchmarkFanOut(b *testing.B) {
	l, all := benchLoop(b, 100, nil)
	xml := position("a")
	b.SetBytes(int64(len(xml)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.traffic(all[0], xml) // a full batch flushes itself
		if i%100 == 99 {
			l.flush()
		}
	}
	b.ReportMetric(float64(b.N)*99/b.Elapsed().Seconds(), "deliveries/s")
}
