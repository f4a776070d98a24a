package netcore_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"takd/netcore"
)

// attach connects a client that came through a WebSocket, say.
func (s *server) attach(t *testing.T, name string, groups ...string) (*phone, <-chan error) {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { _ = here.Close() })
	ended := make(chan error, 1)
	go func() {
		ended <- s.Attach(context.Background(), netcore.Attached{
			Principal: netcore.Principal{User: name, In: groups, Out: groups}, Input: "websocket",
			Remote: netip.MustParseAddrPort("192.0.2.7:4711"), Conn: there,
		})
	}()
	p := newClient(t, name, here, true)
	p.send(sa(name, ""))
	return p, ended
}

// A client that is attached lives like one of the stream.
func TestAttach(t *testing.T) {
	s := start(t, map[string]string{"ann": "Blue", "eve": "Red"})
	ann, eve := s.bound(t, "ann"), s.bound(t, "eve")
	web, ended := s.attach(t, "web", "Blue")
	web.expect("uid-ann") // the picture
	ann.expect("uid-web")
	eve.never("uid-web")
	web.ping()

	ann.send(sa("ann", "<remarks>moved</remarks>"))
	web.expect("<remarks>moved")
	ann.send(event("chat", "b-t-f", dest("web")))
	web.expect("b-t-f")
	if n := s.Kick(netcore.Who{User: "web"}, "test"); n != 1 {
		t.Errorf("Kick = %d, want 1", n)
	}
	web.gone()
	ann.expect("t-x-d-d", "uid-web")
	t.Log("Attach ended:", <-ended)

	web, ended = s.attach(t, "web", "Blue")
	ann.expect("uid-web")
	_ = web.conn.Close()
	if err := <-ended; err != nil {
		t.Errorf("the peer closed: Attach = %v", err)
	}
	ann.expect("t-x-d-d", "uid-web")
}

// An attached client that reads nothing holds up nobody, and is closed.
func TestAttachSlow(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.HardLimit, o.SoftLimit = 256<<10, 64<<10 })
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	here, there := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- s.Attach(context.Background(), netcore.Attached{
			Principal: netcore.Principal{User: "slow", In: []string{"__ANON__"}, Out: []string{"__ANON__"}}, Conn: there,
		})
	}()
	if _, err := here.Write(protobuf(t, sa("slow", ""))); err != nil {
		t.Fatal(err)
	}
	ann.expect("uid-slow")
	for range 10 { // of what may not be left out, and no faster than bob reads
		ann.burst(300, "b-m-p")
		bob.expect("<remarks>flood 299<")
	}
	ann.expect("t-x-d-d", "uid-slow")
	_ = here.Close()
	t.Log("Attach ended:", <-ended)
}

func TestAttachAfterStop(t *testing.T) {
	s := start(t, nil)
	web, ended := s.attach(t, "web", "__ANON__")
	until(t, "it is a client", func() bool { return len(s.Clients()) == 1 })
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("Stop = %v", err)
	}
	web.gone()
	t.Log("Attach ended:", <-ended)
	if err := s.Attach(t.Context(), netcore.Attached{}); !errors.Is(err, netcore.ErrStopping) {
		t.Errorf("Attach after Stop = %v, want ErrStopping", err)
	}
}
