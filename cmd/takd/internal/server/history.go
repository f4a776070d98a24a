package server

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/control"
	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/store/history"
	"takd/store/history/engine"
)

// tapSize is how many events may be on their way from the loops to the history.
const tapSize = 1 << 14

// maxFlow is how many servers that an event has passed are recorded.
const maxFlow = 16

// archive records what passes in the history.
type archive struct {
	store  *history.Store
	tap    *router.Tap
	groups func(*msg.Msg) []string // into which it was sent
	users  func(*msg.Msg) []string // for whom it was, where it has destinations
	rules  atomic.Pointer[[]history.Rule]
	stop   chan struct{}
	done   chan struct{}

	flushes chan chan struct{}
}

// historyOptions is the history's part of c, completed.
func (s *Server) historyOptions(c *config.Config) history.Options {
	o := c.History
	if s.opts.History != "" {
		o.Mode = s.opts.History
	}
	o = o.WithDefaults()
	o.Log, o.Command, o.Dir = s.log, s.opts.HistoryCommand, filepath.Join(s.opts.Data, "history")
	return o
}

func (s *Server) startHistory(context.Context) (stop func(context.Context) error, err error) {
	o := s.historyOptions(s.cfg.Current())
	if o.Socket, err = control.Socket(s.opts.Data, "history.sock"); err != nil {
		return nil, err
	}
	a := &archive{
		tap:  router.NewTap("history", tapSize, func(m *msg.Msg) bool { return !m.NoArchive }),
		stop: make(chan struct{}), done: make(chan struct{}), flushes: make(chan chan struct{}),
	}
	a.rules.Store(&o.Archive)
	if a.store, err = history.Open(o); err != nil {
		return nil, err
	}
	s.archive = a
	go a.run()
	return a.close, nil
}

// tapPause is how long a tap is left alone once it was emptied. To be woken for
// each event would cost the event loops more than the event does.
const tapPause = 10 * time.Millisecond

// newPause returns a timer that has not been started.
func newPause() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// run records until stop is closed; then nothing comes any more, and what the
// tap still holds is the rest.
func (a *archive) run() {
	defer close(a.done)
	var ev cot.Event
	var policy *history.Policy
	in, pause := a.tap.C(), newPause()
	for rules := (*[]history.Rule)(nil); ; {
		if now := a.rules.Load(); now != rules {
			rules, policy = now, history.NewPolicy(*now)
		}
		select {
		case m := <-in:
			a.record(m, &ev, policy)
			for range a.tap.Len() {
				a.record(<-a.tap.C(), &ev, policy)
			}
			in = nil
			pause.Reset(tapPause)
		case <-pause.C:
			in = a.tap.C()
		case done := <-a.flushes:
			for range a.tap.Len() {
				a.record(<-a.tap.C(), &ev, policy)
			}
			close(done)
		case <-a.stop:
			for range a.tap.Len() {
				a.record(<-a.tap.C(), &ev, policy)
			}
			return
		}
	}
}

func (a *archive) close(ctx context.Context) error {
	close(a.stop)
	<-a.done
	return a.store.Close(ctx)
}

func (a *archive) record(m *msg.Msg, ev *cot.Event, policy *history.Policy) {
	defer m.Release()
	var users []string
	if m.Direct {
		users = a.users(m)
	}
	for _, e := range archived(m, a.groups(m), users, ev) {
		if policy.Keeps(e) {
			a.store.Record(e)
		}
	}
}

// state is how the service is: degraded while what passes goes to the spool, with
// the reason.
func (a *archive) state() (name, reason string) {
	h := a.store.Health()
	switch h.State {
	case engine.Ready, engine.Starting:
		return "running", ""
	}
	return "degraded", "events go to the spool (" + strconv.FormatInt(h.Spool.Bytes>>20, 10) + " of " + strconv.FormatInt(h.Spool.Max>>20, 10) + " MiB): " + h.Reason
}

// archived turns a message into rows: one, or one for each mission it was sent to.
// groups are those that it was sent into, users those whom it was for: a uid or a
// callsign may be somebody else's by the time he asks.
func archived(m *msg.Msg, groups, users []string, ev *cot.Event) []*history.Event {
	raw := m.Bytes(cot.XML)
	if raw == nil || m.Scan(ev) != nil {
		return nil
	}
	e := row(ev, raw, time.UnixMilli(m.Received))
	if o := m.Origin; o != nil {
		e.User, e.Sender, e.Source = o.User, o.UID, o.Input
	}
	e.Groups = groups
	if m.Direct {
		e.Dests = m.Dests()
		for _, uid := range ev.Chat.UIDs {
			e.Dests = append(e.Dests, string(uid))
		}
		for _, user := range users {
			e.Dests = append(e.Dests, history.ForUser(user))
		}
		if len(e.Dests) == 0 {
			e.Dests = []string{history.Private}
		}
	}
	if len(m.Missions) == 0 {
		return []*history.Event{e}
	}
	out := make([]*history.Event, 0, len(m.Missions))
	for _, name := range slices.Compact(slices.Sorted(slices.Values(m.Missions))) {
		one := *e
		one.Table, one.Mission = history.Mission, strings.Clone(name)
		out = append(out, &one)
	}
	return out
}

// row turns an event into a row of its table: what the event says by itself.
func row(ev *cot.Event, raw []byte, received time.Time) *history.Event {
	e := &history.Event{
		Table: history.Cot, Received: received,
		UID: string(ev.UID), Callsign: string(ev.Contact.Callsign), Type: string(ev.Type), How: string(ev.How),
		Lat: number(ev.Point.Lat, 0), Lon: number(ev.Point.Lon, 0), HAE: number(ev.Point.HAE, history.Unknown),
		CE: number(ev.Point.CE, history.Unknown), LE: number(ev.Point.LE, history.Unknown),
		Speed: number(ev.Track.Speed, history.Unknown), Course: number(ev.Track.Course, history.Unknown),
		Team: string(ev.Group.Name), Role: string(ev.Group.Role), Raw: bytes.Clone(raw),
	}
	e.Time = instant(ev.Time, e.Received)
	e.Start, e.Stale = instant(ev.Start, e.Time), instant(ev.Stale, e.Time)
	if bytes.HasPrefix(ev.Type, []byte("b-t-f")) {
		e.Table, e.Room, e.Text = history.Chat, string(ev.Chat.Room), remarks(raw)
	}
	for _, tag := range ev.FlowTags(maxFlow) {
		e.Flow = append(e.Flow, string(tag))
	}
	return e
}

func number(n cot.Number, otherwise float64) float64 {
	if v, ok := n.Float(); ok {
		return v
	}
	return otherwise
}

func instant(i cot.Instant, otherwise time.Time) time.Time {
	if ms, ok := i.UnixMilli(); ok {
		return time.UnixMilli(ms)
	}
	return otherwise
}
