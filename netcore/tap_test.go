package netcore_test

import (
	"context"
	"testing"
	"time"

	"takd/cot"
	"takd/netcore"
	"takd/netcore/router"
)

// Taps get what is passed on, mission destinations included; a tap that nobody
// reads slows nobody down.
func TestTaps(t *testing.T) {
	o, p := options(nil)
	no := false
	o.Inputs[0].Federated = &no
	e, err := netcore.New(o)
	if err != nil {
		t.Fatal(err)
	}
	all, full := router.NewTap("all", 100, nil), router.NewTap("full", 1, nil)
	e.Tap(all)
	e.Tap(full)
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = e.Stop(ctx)
	})
	s := &server{Engine: e, people: p, addr: e.Listeners()["tls"].String()}
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	ann.send(event("m", "a-u-G", `<marti archive="false"><dest mission="Rescue"/><dest mission-guid="g-1"/></marti>`))
	ann.send(event("big", "a-u-G", ""))
	bob.expect(`uid="big"`)
	bob.never(`uid="m"`) // a mission's business
	for {
		select {
		case m := <-all.C():
			var ev cot.Event
			if _, err := cot.Scan(m.Source(), &ev); err != nil {
				t.Fatal(err)
			}
			if string(ev.UID) == "m" {
				if len(m.Missions) != 2 || m.Missions[0] != "Rescue" || m.Missions[1] != "guid:g-1" || !m.NoArchive || !m.Local ||
					m.Origin.User != "ann" || m.Origin.UID != "uid-ann" || ev.HasMarti {
					t.Errorf("tapped %+v of %+v", m, m.Origin)
				}
				m.Release()
				until(t, "the full tap counts", func() bool { return full.Dropped() >= 3 })
				return
			}
			m.Release()
		case <-time.After(patience):
			t.Fatal("the mission's event was not tapped")
		}
	}
}
