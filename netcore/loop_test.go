package netcore

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// A panic in the middle of a flush is that client's alone: the others get their
// bytes, the dead are buried, and what is gathered for other loops is pushed.
func TestPanicInFlush(t *testing.T) {
	l, all := benchLoop(t, 5, nil)
	for i, c := range all {
		l.traffic(c, position(string(rune('a'+i))))
	}
	l.flush()
	all[2].Layer = &unsealed{}
	before := all[4].Stats.EventsOut
	for range 200 { // more than a batch: it flushes itself within the turn
		l.traffic(all[0], position("a"))
	}
	l.flush()
	l.flush()
	if all[2].State() != session.Closed || len(l.clients) != 4 || l.turns != 0 || len(l.dead) != 0 {
		t.Errorf("state %d, %d clients, turns %d, %d not buried; want closed, 4, 0, 0", all[2].State(), len(l.clients), l.turns, len(l.dead))
	}
	if got := all[4].Stats.EventsOut - before; got != 201 { // and one t-x-d-d
		t.Errorf("the last client got %d events, want 201", got)
	}
}

// unsealed is a layer whose sealing has a defect.
type unsealed struct{ tlsio.Plain }

func (*unsealed) Seal([]byte, []byte) ([]byte, error) { panic("a defect") }

// After a large event that came in pieces, a client holds no large memory.
func TestCutEventGivesMemoryBack(t *testing.T) {
	l, all := benchLoop(t, 1, nil)
	large := bytes.Repeat([]byte("x"), 1<<20)
	l.traffic(all[0], []byte(`<event version="2.0" uid="a" type="a-f-G" how="m-g" time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z" stale="2026-01-01T00:00:00Z"><point lat="1" lon="2"/><detail><remarks>`))
	l.traffic(all[0], large)
	l.traffic(all[0], []byte(`</remarks></detail></event><event version="2.0"`))
	if got := cap(all[0].Partial); got > 2*keepPartial || l.gathered != len(all[0].Partial) {
		t.Errorf("%d bytes are kept for %q, %d counted", got, all[0].Partial, l.gathered)
	}
}

// Where descriptors are few, most are for clients.
func TestRoomForClients(t *testing.T) {
	for files, want := range map[uint64]int{32: 0, 64: 48, 256: 192, 1024: 768, 4096: 3840, 1 << 20: 16000} {
		got, err := roomFor(16000, files)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("roomFor(16000, %d) = %d, %v; want %d", files, got, err, want)
		}
	}
}

// A log that nobody takes stops nothing: lines are dropped and counted.
func TestLogThatBlocks(t *testing.T) {
	stuck := &stuckWriter{free: make(chan struct{})}
	l := newLines()
	log := l.logger(slog.New(slog.NewTextHandler(stuck, nil))).With("peer", "x")
	for range mostLines + 100 {
		log.Info("line")
	}
	if n := l.dropped.Load(); n < 90 {
		t.Errorf("%d lines were dropped, want about 100", n)
	}
	close(stuck.free)
	l.flush(t.Context())
	if n := stuck.lines.Load(); n < mostLines {
		t.Errorf("%d lines were written, want %d", n, mostLines)
	}
}

type stuckWriter struct {
	free  chan struct{}
	lines atomic.Int64
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	<-w.free
	w.lines.Add(1)
	return len(p), nil
}

// A phone that vanishes on a busy channel is given up after a minute.
func TestSilenceIsLimited(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	limitSilence(conn.(*net.TCPConn))
	raw, _ := conn.(*net.TCPConn).SyscallConn()
	_ = raw.Control(func(fd uintptr) {
		if ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || ms != 60_000 {
			t.Errorf("TCP_USER_TIMEOUT = %d ms, %v", ms, err)
		}
	})
}

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

// Who asks whether the loops are busy is told so while flushes take their time,
// and no longer.
func TestBusyWhileFlushing(t *testing.T) {
	l, _ := benchLoop(t, 50, nil)
	for !l.e.Busy() {
		l.flush()
	}
	for l.e.Busy() {
		time.Sleep(busyAfter)
	}
}
