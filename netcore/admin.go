package netcore

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/netcore/session"
)

// ClientInfo is what an operator sees of one client.
type ClientInfo struct {
	ID        uint64    `json:"id"`
	Callsign  string    `json:"callsign"`
	UID       string    `json:"uid"`
	User      string    `json:"user"`
	Address   string    `json:"address"`
	Input     string    `json:"input"`
	Protocol  string    `json:"protocol"` // xml or protobuf
	Serial    string    `json:"serial,omitempty"`
	In        []string  `json:"in"`
	Out       []string  `json:"out"`
	Team      string    `json:"team,omitempty"`
	Role      string    `json:"role,omitempty"`
	Takv      string    `json:"takv,omitempty"`
	Since     time.Time `json:"since"`
	LastEvent time.Time `json:"last_event,omitzero"`
	EventsIn  uint64    `json:"events_in"`
	EventsOut uint64    `json:"events_out"`
	BytesIn   uint64    `json:"bytes_in"`
	BytesOut  uint64    `json:"bytes_out"`
	Drops     uint64    `json:"drops"` // events of it that were not passed on

	DropReasons map[string]uint64 `json:"drop_reasons,omitempty"` // why
	Nodes       int               `json:"nodes,omitempty"`        // uids that it carries as a gateway
	Held        int               `json:"held"`                   // bytes of it that wait because they are more than its share

	Queue     int     `json:"queue"`     // bytes waiting in takd for it
	Behind    bool    `json:"behind"`    // it reads too slowly: of each uid only the newest position waits
	Conflated uint64  `json:"conflated"` // positions that it did not get because newer ones came
	RateIn    float64 `json:"rate_in"`
	RateOut   float64 `json:"rate_out"` // events a second
}

// Changes is a number that grows whenever somebody comes, goes, or says who he is:
// while it stays, so does the list of Clients, but for its counters.
func (e *Engine) Changes() (n uint64) {
	for _, l := range e.allLoops() {
		n += l.stats.opened.Load() + l.stats.closed.Load() + l.stats.bound.Load()
	}
	return n
}

// Passage is that a client has come, which is when it says who it is, or gone.
type Passage struct {
	Client ClientInfo
	Gone   bool
	Reason string // why it is gone
	Stop   bool   // because the engine stops
}

// pass tells whoever wants to know that c has come or gone.
func (l *loop) pass(c *client, gone bool) {
	if told := l.e.opts.Load().Passed; told != nil {
		told(Passage{Client: c.info(), Gone: gone, Reason: c.reason, Stop: gone && l.e.stopping.Load()})
	}
}

// Clients returns a snapshot of everybody who is connected, oldest first.
func (e *Engine) Clients() []ClientInfo { return e.clients(context.Background(), nil) }

// clients is Clients until ctx ends; it notes in incognito, if that is not nil,
// who is.
func (e *Engine) clients(ctx context.Context, incognito map[uint64]bool) []ClientInfo {
	var mu sync.Mutex
	var all []ClientInfo
	e.onLoops(ctx, e.allLoops(), func(l *loop) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range l.clients {
			if !c.Live() {
				continue
			}
			all = append(all, c.info())
			if incognito != nil && c.Incognito {
				incognito[c.ID] = true
			}
		}
	})
	mu.Lock() // a loop that is late writes no more into what was returned
	defer mu.Unlock()
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b ClientInfo) int { return int(int64(a.ID) - int64(b.ID)) })
	return all
}

// addressOf is "" of who has none: he talks by the API.
func addressOf(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (c *client) info() ClientInfo {
	reach := c.Reach.Load()
	i := ClientInfo{
		ID: c.ID, User: c.User, Address: addressOf(c.Remote), Input: c.Input, Serial: c.Serial, Protocol: "xml",
		In: reach.In.Names, Out: reach.Out.Names, Since: c.Since, LastEvent: c.Stats.LastEvent,
		EventsIn: c.Stats.EventsIn, EventsOut: c.Stats.EventsOut,
		BytesIn: c.Stats.BytesIn, BytesOut: c.Stats.BytesOut, Drops: c.Stats.Dropped(), Conflated: c.Stats.Conflated, Queue: c.Conn.OutboundBuffered() + c.Outbox.Len(),
		Nodes: len(c.nodes), Held: c.held.Size(), Behind: c.behind,
	}
	i.RateIn, i.RateOut = c.Stats.Rates()
	if c.owed != nil {
		i.Queue += c.owed.Size()
	}
	for r, n := range c.Stats.Drops {
		if n > 0 {
			if i.DropReasons == nil {
				i.DropReasons = make(map[string]uint64)
			}
			i.DropReasons[session.Reason(r).String()] = n
		}
	}
	if c.Format == cot.Proto {
		i.Protocol = "protobuf"
	}
	if id := c.Ident.Load(); id != nil {
		i.Callsign, i.UID, i.Team, i.Role, i.Takv = id.Callsign, id.UID, id.Team, id.Role, id.Takv
	}
	return i
}

// GroupsOf returns the names of the groups that m was sent into.
func (e *Engine) GroupsOf(m *msg.Msg) []string {
	if m.Origin != nil && !m.Narrowed {
		return m.Origin.Groups
	}
	return e.groups.Names(m.In)
}

// Receivers returns the users whom m was for by its destinations: those who hold
// them now and may receive it, else who held one last and is away. It is for what
// a tap makes of a direct message at once; gateways' nodes lead to the gateway.
func (e *Engine) Receivers(m *msg.Msg) []string {
	var users []string
	add := func(user string) {
		if user != "" && !slices.Contains(users, user) {
			users = append(users, user)
		}
	}
	var found []*router.Entry
	for _, name := range m.Dests() {
		key := []byte(name)
		found, _ = e.directory.AppendUID(found[:0], key, m.In)
		found, _ = e.directory.AppendCallsign(found, key, m.In)
		for _, entry := range found {
			add(entry.Session.User)
		}
		if len(found) == 0 {
			add(e.absent.User(name, m.In))
		}
	}
	return users
}

// StillOf returns the names of the groups whose receivers m is not for.
func (e *Engine) StillOf(m *msg.Msg) []string { return e.groups.Names(m.Except) }

// Who names clients: each non-empty field must match, a client that matches
// any field is meant.
type Who struct {
	ID                          uint64 // of the connection
	UID, Callsign, User, Serial string
}

func (w Who) matches(c *client) bool {
	is := func(want, have string) bool { return want != "" && want == have }
	if is(w.User, c.User) || is(w.Serial, c.Serial) || w.ID != 0 && w.ID == c.ID {
		return true
	}
	id := c.Ident.Load()
	return id != nil && (is(w.UID, id.UID) || is(w.Callsign, id.Callsign))
}

// Kick closes every client that w names and returns how many.
func (e *Engine) Kick(w Who, reason string) int {
	e.disown(w.User, nil)
	return e.each(w.matches, func(l *loop, c *client) { l.close(c, reason) })
}

// Replay gives every client that w names the latest position of everybody whom it
// may see, once more: TAKAware clears its map when it has switched a channel and
// asks for that. It returns how many there are.
func (e *Engine) Replay(w Who) int {
	return e.each(func(c *client) bool { return c.Live() && w.matches(c) }, func(l *loop, c *client) {
		l.startCatchingUp(c)
		l.replayAll(c)
	})
}

// SetGroups gives every session of user other groups, while it lives: who sees
// it no longer is told that it left, who sees it now gets its position, and it
// gets t-x-g-c and a new picture. His emergencies follow. It returns the number of sessions.
func (e *Engine) SetGroups(user string, in, out []string) int {
	e.regrouped.Add(1)
	reach := &session.Reach{In: e.groups.Set(in), Out: e.groups.Set(out)}
	e.repeater.Regroup(user, reach.In.Bits) // also when he is not connected any more
	e.disown(user, reach.In.Bits)
	return e.each(func(c *client) bool { return c.User == user && !c.Anonymous && c.Live() },
		func(l *loop, c *client) { l.regroup(c, reach) })
}

// each runs f, on its loop, for every client that fits.
func (e *Engine) each(fits func(*client) bool, f func(*loop, *client)) int {
	var mu sync.Mutex
	n := 0
	e.onLoops(context.Background(), e.allLoops(), func(l *loop) {
		var list []*client
		for _, c := range l.clients {
			if !c.Gone() && fits(c) {
				list = append(list, c)
			}
		}
		for _, c := range list {
			f(l, c)
		}
		mu.Lock()
		defer mu.Unlock()
		n += len(list)
	})
	return n
}

// live are the options that hold at once; the others need a restart.
var live = []string{
	"MaxEvent", "UIDPolicy", "LimitClient", "LimitUser", "LimitAddress", "WaitLimit", "SoftLimit", "HardLimit", "StallLimit", "MailboxSize", "FlushMin", "FlushMax", "EmergencyPeriod", "EmergencyLife",
	"Auth", "TLS", "Log", "Version", "ServerID",
}

// Apply takes over new options as far as they can change while the engine runs,
// and returns the yaml names of those that changed and need a restart.
func (e *Engine) Apply(o Options) (restart []string, err error) {
	o = o.WithDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	old := *e.opts.Load()
	next := old
	was, is, to := reflect.ValueOf(old), reflect.ValueOf(o), reflect.ValueOf(&next).Elem()
	for i := range is.NumField() {
		f := is.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || reflect.DeepEqual(was.Field(i).Interface(), is.Field(i).Interface()):
		case slices.Contains(live, f.Name):
			to.Field(i).Set(is.Field(i))
		default:
			restart = append(restart, name)
		}
	}
	e.opts.Store(&next)
	return restart, nil
}
