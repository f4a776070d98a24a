package netcore_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"takd/netcore"
)

// A client that reads nothing is closed at the limit; the others get everything.
func TestSlowClient(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.HardLimit, o.SendBuffer = 256<<10, 16<<10 })
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
		ann.send(event("e", "a-f-G", fmt.Sprintf("<remarks>n%d. %s</remarks>", i, text)))
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
	s := start(t, nil, func(o *netcore.Options) {
		o.StallLimit, o.SendBuffer, o.HardLimit = time.Second, 16<<10, 64<<20
	})
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
