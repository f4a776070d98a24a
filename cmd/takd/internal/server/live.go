package server

import (
	"bytes"
	"context"
	"math"
	"slices"
	"time"

	"takd/cot"
	"takd/http/httpd"
	"takd/http/live"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/store/auth"
)

// liveSize is how many events may be on their way from the loops to the map.
const liveSize = 1 << 14

// mapFeed gives the map what passes.
type mapFeed struct {
	hub  *live.Hub
	tap  *router.Tap
	stop chan struct{}
	done chan struct{}
}

// viewers tells the map who may see what.
type viewers struct{ s *Server }

// Out implements live.Access.
func (v viewers) Out(ctx context.Context, user, serial string) ([]string, error) {
	if serial != "" && v.s.store.PKI.IsRevoked(serial) {
		return nil, auth.ErrRevoked
	}
	p, err := v.s.store.Auth.Principal(ctx, user)
	return p.Out, err
}

// All implements live.Access.
func (v viewers) All(ctx context.Context, user, serial string) ([]string, error) {
	if serial != "" && v.s.store.PKI.IsRevoked(serial) {
		return nil, auth.ErrRevoked
	}
	p, err := v.s.store.Auth.Principal(ctx, user)
	if err == nil && p.Role != auth.RoleAdmin {
		err = httpd.ErrRefused
	}
	if err != nil {
		return nil, err
	}
	list, err := v.s.store.Auth.Groups(ctx)
	names := []string{auth.Anonymous}
	for _, g := range list {
		names = append(names, g.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// Record implements live.Access.
func (v viewers) Record(ctx context.Context, user, action, detail string) error {
	return v.s.store.Audit(ctx, user, action, detail)
}

// startMap taps the engine, before it starts.
func (s *Server) startMap() {
	f := &mapFeed{
		hub: live.NewHub(viewers{s}, s.log), stop: make(chan struct{}), done: make(chan struct{}),
		tap: router.NewTap("map", liveSize, func(m *msg.Msg) bool { return !m.Direct && !m.Kept && !m.Oversize && m.Class != msg.Chat }),
	}
	s.engine.Tap(f.tap)
	s.feed = f
	go f.run(s)
	s.store.Auth.OnChange(f.hub.Changed)
	s.store.PKI.OnRevoke(func(string) { f.hub.Changed("") })
}

func (f *mapFeed) close() {
	close(f.stop)
	<-f.done
}

func (f *mapFeed) run(s *Server) {
	defer close(f.done)
	sweep := time.NewTicker(time.Second)
	defer sweep.Stop()
	var ev cot.Event
	in, pause := f.tap.C(), newPause()
	for {
		select {
		case m := <-in:
			f.take(s, m, &ev)
			for range f.tap.Len() {
				f.take(s, <-f.tap.C(), &ev)
			}
			in = nil
			pause.Reset(tapPause)
		case <-pause.C:
			in = f.tap.C()
		case now := <-sweep.C:
			f.hub.Sweep(now)
		case <-f.stop:
			for range f.tap.Len() {
				(<-f.tap.C()).Release()
			}
			return
		}
	}
}

// take puts an event on the map, or takes one off it, and gives m back. Of what a
// client sends faster than the tap is emptied, the newest is enough.
func (f *mapFeed) take(s *Server, m *msg.Msg, ev *cot.Event) {
	defer m.Release()
	if m.Class == msg.Position && m.Superseded.Load() || m.Scan(ev) != nil {
		return
	}
	groups := s.engine.GroupsOf(m)
	switch typ := ev.Type; {
	case bytes.HasPrefix(typ, []byte("t-x-d-d")):
		f.hub.Gone(ev.Link, groups, s.engine.StillOf(m))
	case string(typ) == "b-a-o-can", ev.Emergency.Cancel:
		f.hub.Gone(ev.UID, groups, nil)
	case m.Origin != nil && m.Origin.Input == chatInput: // at no place
	case ev.HasPoint && (bytes.HasPrefix(typ, []byte("a-")) || bytes.HasPrefix(typ, []byte("b-m-p")) || bytes.HasPrefix(typ, []byte("b-a-o")) || drawn(typ)):
		e := live.Event{
			UID: ev.UID, Callsign: ev.Contact.Callsign, Type: typ, How: ev.How, Team: ev.Group.Name, Role: ev.Group.Role, Battery: ev.Battery, Alarm: ev.Emergency.Type,
			Groups: groups, Received: m.Received, Life: lifeOf(ev),
			Lat: number(ev.Point.Lat, math.NaN()), Lon: number(ev.Point.Lon, math.NaN()), HAE: height(ev.Point.HAE),
			Speed: number(ev.Track.Speed, math.NaN()), Course: number(ev.Track.Course, math.NaN()),
		}
		if drawn(typ) {
			e.Shape = shapeOf(ev)
		}
		e.Icon = iconOf(ev.Raw, s.icons())
		if m.Origin != nil {
			e.User = m.Origin.User
		}
		f.hub.Move(&e)
	}
}

// lifeOf is how long an event holds, by the clock of who made it.
func lifeOf(ev *cot.Event) time.Duration {
	from, ok1 := ev.Time.UnixMilli()
	to, ok2 := ev.Stale.UnixMilli()
	if !ok1 || !ok2 || to-from > math.MaxInt64/int64(time.Millisecond) {
		return time.Minute
	}
	return time.Duration(to-from) * time.Millisecond
}

// height leaves out what CoT writes for unknown.
func height(n cot.Number) float64 {
	const none = 9_999_999
	if v := number(n, math.NaN()); v < none {
		return v
	}
	return math.NaN()
}
