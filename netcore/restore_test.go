package netcore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"takd/cot"
	"takd/netcore"
	"takd/netcore/router"
)

// before is a position of a user's client from before the start.
func before(user string, life time.Duration, groups ...string) netcore.Restored {
	return netcore.Restored{
		User: user, Client: "uid-" + user, Input: "tls", Groups: groups, XML: []byte(sa(user, "")),
		Received: time.Now().Add(-time.Minute), Until: time.Now().Add(life),
	}
}

// had checks how many events with text came before the offer.
func (p *phone) had(text string, want int) {
	p.t.Helper()
	n := 0
	for _, xml := range p.seen {
		if strings.Contains(xml, text) {
			n++
		}
	}
	if n != want {
		p.t.Errorf("%s received %d events with %s, want %d", p.name, n, text, want)
	}
}

// Positions from before the start reach newcomers and who is there, by groups, and
// never a newer one's place.
func TestRestore(t *testing.T) {
	s := start(t, map[string]string{"ann": "Blue", "bob": "Blue", "eve": "Red", "cat": "Blue"})
	bob, eve := s.bound(t, "bob"), s.bound(t, "eve")
	stale, anonymous, alone, other, broken, chat := before("old", 0, "Blue"), before("", time.Hour, "Blue"), before("lone", time.Hour), before("bob", time.Hour, "Blue"), before("x", time.Hour, "Blue"), before("y", time.Hour, "Blue")
	broken.XML = append(broken.XML, ' ')
	chat.XML = []byte(event("uid-y", "b-t-f", ""))
	list := []netcore.Restored{before("ann", time.Hour, "Blue"), before("cat", time.Hour, "Blue"), stale, anonymous, alone, other, broken, chat, before("ann", time.Hour, "Blue")}
	if n := s.Restore(t.Context(), list); n != 2 {
		t.Errorf("%d taken, want 2", n)
	}
	bob.waitSeen(`uid="uid-ann"`, `a-f-G-U-C`) // in any order
	bob.waitSeen(`uid="uid-cat"`)
	late := s.online(t, "bob")
	late.had(`uid="uid-ann"`, 1)
	for _, p := range []*phone{bob, eve, late} {
		p.never(`uid="uid-old"`)
		p.never(`uid="uid-y"`)
	}
	eve.never(`uid="uid-ann"`)

	// She gets nothing back that she sent, and what she says now is what holds.
	ann := s.bound(t, "ann")
	ann.never(`uid="uid-ann"`)
	bob.expect(`uid="uid-ann"`)
	s.online(t, "bob").had(`uid="uid-ann"`, 1)
	_ = ann.conn.Close()
	bob.expect("t-x-d-d", "uid-ann")
	s.online(t, "bob").never(`uid="uid-ann" type="a-f`)

	// His groups go, and so does he.
	s.SetGroups("cat", []string{"Red"}, []string{"Red"})
	bob.expect("t-x-d-d", "uid-cat")
	s.online(t, "bob").never(`uid="uid-cat" type="a-f`) // the goodbye it may get
	s.Restore(t.Context(), []netcore.Restored{before("dan", time.Hour, "Blue")})
	bob.expect(`uid="uid-dan"`)
	s.Kick(netcore.Who{User: "dan"}, "disabled")
	bob.expect("t-x-d-d", "uid-dan")
}

// A restored position ends at its time; what is restored is bounded; the taps get it.
func TestRestoreEnds(t *testing.T) {
	o, p := options(map[string]string{"bob": "Blue"})
	e, err := netcore.New(o)
	if err != nil {
		t.Fatal(err)
	}
	tap := router.NewTap("all", 8, nil)
	e.Tap(tap)
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = e.Stop(ctx)
	})
	s := &server{Engine: e, people: p, addr: e.Listeners()["tls"].String()}
	tapped := make(chan int)
	stop := make(chan struct{})
	go func() {
		n := 0
		for {
			select {
			case m := <-tap.C():
				var ev cot.Event
				if m.Scan(&ev) == nil && m.NoArchive && strings.HasPrefix(string(ev.UID), "uid-u") {
					n++
				}
				m.Release()
			case <-stop:
				tapped <- n
				return
			}
		}
	}()
	const limit = 32 << 10
	list := make([]netcore.Restored, limit+10)
	for i := range list {
		list[i] = before(fmt.Sprint("u", i), time.Minute, "Blue")
	}
	if n := e.Restore(t.Context(), list); n != limit {
		t.Errorf("%d taken, want %d", n, limit)
	}
	close(stop)
	if n := <-tapped; n < limit-8 {
		t.Errorf("%d tapped, want %d", n, limit)
	}
	// Another server, for a short life.
	s = start(t, map[string]string{"bob": "Blue"})
	s.Restore(t.Context(), []netcore.Restored{before("ann", 50*time.Millisecond, "Blue")})
	time.Sleep(100 * time.Millisecond)
	s.online(t, "bob").never(`uid="uid-ann" type="a-f`)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if n := s.Restore(ended, list); n != 0 {
		t.Errorf("%d taken after the end", n)
	}
}
