package server

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"takd/http/admin"
	"takd/http/httpd"
	"takd/http/marti"
	"takd/netcore"
	"takd/store/auth"
	"takd/store/contact"
	"takd/store/history"
)

// sweepEvery is how often it is looked who has left, for the list of contacts; a client
// that was there for less may not be on it.
const sweepEvery = 2 * time.Second

// people is the messaging engine as the API sees it, and remembers who has left.
type people struct {
	s    *Server
	done chan struct{}
	wait sync.WaitGroup

	mu   sync.Mutex
	last map[uint64]netcore.ClientInfo // of the last sweep
	seen uint64                        // Changes of the engine before that
}

func newPeople(s *Server) *people {
	return &people{s: s, done: make(chan struct{}), last: map[uint64]netcore.ClientInfo{}}
}

func (p *people) start(ctx context.Context) {
	p.wait.Go(func() {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.Settle(ctx)
			case <-p.done:
				return
			}
		}
	})
}

// stop records everybody: when messaging stops, they go.
func (p *people) stop(ctx context.Context) error {
	close(p.done)
	p.wait.Wait()
	p.Settle(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := make([]contact.Endpoint, 0, len(p.last))
	for _, c := range p.last {
		gone = append(gone, leaver(c))
	}
	return p.s.contact.Left(ctx, slices.DeleteFunc(gone, func(e contact.Endpoint) bool { return e.UID == "" }))
}

// Clients implements marti.Live.
func (p *people) Clients() []marti.Client {
	all := p.s.engine.Clients()
	list := make([]marti.Client, 0, len(all))
	for _, c := range all {
		list = append(list, marti.Client{
			ID: c.ID, UID: c.UID, Callsign: c.Callsign, User: c.User, Team: c.Team, Role: c.Role, Takv: c.Takv, Address: c.Address, Protocol: c.Protocol,
			In: c.In, Out: c.Out, Since: c.Since, LastEvent: c.LastEvent, EventsOut: c.EventsOut, Queue: c.Queue,
		})
	}
	return list
}

// Everybody implements admin.Live.
func (p *people) Everybody() []admin.Client {
	all := p.s.engine.Clients()
	list := make([]admin.Client, 0, len(all))
	for _, c := range all {
		list = append(list, admin.Client{
			ID: c.ID, Callsign: c.Callsign, UID: c.UID, User: c.User, Address: c.Address, Input: c.Input, Protocol: c.Protocol,
			In: c.In, Out: c.Out, Team: c.Team, Role: c.Role, Takv: c.Takv, Since: c.Since, LastEvent: c.LastEvent,
			EventsIn: c.EventsIn, EventsOut: c.EventsOut, RateIn: c.RateIn, RateOut: c.RateOut, Queue: c.Queue, Held: c.Held,
			Behind: c.Behind, Conflated: c.Conflated, Drops: c.Drops, Reasons: c.DropReasons, Nodes: c.Nodes,
		})
	}
	return list
}

// Kick implements marti.Live and admin.Live.
func (p *people) Kick(id uint64) bool {
	return p.s.engine.Kick(netcore.Who{ID: id}, "closed by an administrator") > 0
}

// Replay implements marti.Live.
func (p *people) Replay(user, uid string) {
	for _, c := range p.s.engine.Clients() {
		if c.User == user && (uid == "" || c.UID == uid) {
			p.s.engine.Replay(netcore.Who{ID: c.ID})
		}
	}
}

// Reach implements admin.Live.
func (p *people) Reach(a, b string) (visible bool, reasons []string) { return p.s.engine.Reach(a, b) }

// Emergencies implements admin.Live.
func (p *people) Emergencies() []admin.Emergency {
	alarms := p.s.engine.Alarms()
	list := make([]admin.Emergency, 0, len(alarms))
	for _, a := range alarms {
		list = append(list, admin.Emergency(a))
	}
	return list
}

// CancelEmergency implements admin.Live.
func (p *people) CancelEmergency(uid string) bool { return p.s.engine.CancelAlarm(uid) }

// Regroup implements marti.Live.
func (p *people) Regroup(ctx context.Context, user string) { p.s.regroup(ctx, user) }

// Settle implements marti.Live. It also gives who has just said his uid the
// groups of that device.
func (p *people) Settle(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changes := p.s.engine.Changes()
	if changes == p.seen {
		return
	}
	p.seen = changes
	now, live, known := map[uint64]netcore.ClientInfo{}, map[string]bool{}, map[string]bool{}
	for _, c := range p.s.engine.Clients() {
		now[c.ID] = c
		live[c.UID] = true
		if c.UID != "" && p.last[c.ID].UID == "" {
			known[c.User] = true
		}
	}
	var gone []contact.Endpoint
	for id, c := range p.last {
		if _, ok := now[id]; ok {
			continue
		}
		if !live[c.UID] {
			gone = append(gone, leaver(c))
		}
	}
	p.last = now
	gone = slices.DeleteFunc(gone, func(e contact.Endpoint) bool { return e.UID == "" })
	if err := p.s.contact.Left(ctx, gone); err != nil {
		p.s.log.Error("not recorded who left", "clients", len(gone), "error", err)
	}
	for user := range known {
		if chosen, err := p.s.contact.Chosen(ctx, user); err == nil && chosen {
			p.s.regroup(ctx, user)
		}
	}
}

// Attach implements marti.Streams. Who it is and what is switched on is asked
// once more: what changes from now on finds the client.
func (p *people) Attach(ctx context.Context, who httpd.Principal, remote netip.AddrPort, conn io.ReadWriteCloser) error {
	return p.attach(ctx, who, remote, conn, "websocket")
}

func (p *people) attach(ctx context.Context, who httpd.Principal, remote netip.AddrPort, conn io.ReadWriteCloser, input string) error {
	if who.Serial != "" && p.s.store.PKI.IsRevoked(who.Serial) {
		return auth.ErrRevoked
	}
	now, err := p.s.store.Auth.Principal(ctx, who.User)
	if err != nil {
		return err
	}
	now.Serial = who.Serial
	if now.In, now.Out, err = p.s.contact.Active(ctx, now.User, "", now.In, now.Out); err != nil {
		return err
	}
	return p.s.engine.Attach(ctx, netcore.Attached{Principal: netcore.Principal(now), Input: input, Remote: remote, Conn: conn})
}

func leaver(c netcore.ClientInfo) contact.Endpoint {
	return contact.Endpoint{UID: c.UID, Callsign: c.Callsign, User: c.User, Team: c.Team, Role: c.Role, Groups: c.In, At: time.Now()}
}

// live are the groups that the sessions of a user have: every one that is on for
// one of the devices that are connected. The engine keeps groups by user.
func (s *Server) live(ctx context.Context, p auth.Principal) (in, out []string, err error) {
	chosen, err := s.contact.Chosen(ctx, p.User)
	if err != nil || !chosen {
		return p.In, p.Out, err
	}
	devices := map[string]bool{}
	for _, c := range s.engine.Clients() {
		if c.User == p.User {
			devices[c.UID] = true
		}
	}
	if len(devices) == 0 {
		return s.contact.Active(ctx, p.User, "", p.In, p.Out)
	}
	var errs []error
	for device := range devices {
		i, o, err := s.contact.Active(ctx, p.User, device, p.In, p.Out)
		in, out, errs = append(in, i...), append(out, o...), append(errs, err)
	}
	slices.Sort(in)
	slices.Sort(out)
	return slices.Compact(in), slices.Compact(out), errors.Join(errs...)
}

// What record says of a client, in the words of the official server.
const (
	connected    = "Connected"
	disconnected = "Disconnected"
)

// passed puts into the history that a client has come or gone. Who never said his
// uid was nobody. It is called on an event loop.
func (s *Server) passed(p netcore.Passage) {
	if s.archive == nil {
		return
	}
	c, now := p.Client, time.Now()
	what, why, at := connected, "", c.Since
	switch {
	case p.Stop:
		what, why, at = disconnected, stopped, now
	case p.Gone:
		what, why, at = disconnected, p.Reason, now
	}
	s.archive.store.Record(&history.Event{
		Table: history.Endpoints, Received: now, Time: at, Start: at, Stale: at, UID: c.UID, Callsign: c.Callsign, Type: what, How: why,
		HAE: history.Unknown, CE: history.Unknown, LE: history.Unknown, Speed: history.Unknown, Course: history.Unknown,
		Team: c.Team, Role: c.Role, Groups: c.In, User: c.User, Sender: c.UID, Source: c.Input,
	})
}
