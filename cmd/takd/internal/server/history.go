package server

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/store/history"
)

// tapSize is how many events may be on their way from the loops to the history.
const tapSize = 1 << 14

// archive records what passes in the history.
type archive struct {
	store  *history.Store
	tap    *router.Tap
	groups func(*msg.Msg) []string // into which it was sent
	stop   chan struct{}
	done   chan struct{}
}

func (s *Server) startHistory(context.Context) (stop func(context.Context) error, err error) {
	a := &archive{
		tap:  router.NewTap("history", tapSize, func(m *msg.Msg) bool { return !m.NoArchive }),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	a.store, err = history.Open(history.Options{
		Mode: s.opts.History, Log: s.log,
		Dir: filepath.Join(s.opts.Data, "history"), Socket: filepath.Join(s.opts.Data, "run", "history.sock"),
	})
	if err != nil {
		return nil, err
	}
	s.archive = a
	go a.run()
	return a.close, nil
}

// run records until stop is closed; then nothing comes any more, and what the
// tap still holds is the rest.
func (a *archive) run() {
	defer close(a.done)
	var ev cot.Event
	for {
		select {
		case m := <-a.tap.C():
			a.record(m, &ev)
		case <-a.stop:
			for range a.tap.Len() {
				a.record(<-a.tap.C(), &ev)
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

func (a *archive) record(m *msg.Msg, ev *cot.Event) {
	defer m.Release()
	for _, e := range archived(m, a.groups(m), ev) {
		a.store.Record(e)
	}
}

// archived turns a message into rows: one, or one for each mission it was sent to.
// groups are those that it was sent into.
func archived(m *msg.Msg, groups []string, ev *cot.Event) []*history.Event {
	raw := m.Bytes(cot.XML)
	if raw == nil || m.Scan(ev) != nil {
		return nil
	}
	e := &history.Event{
		Table: history.Cot, Received: time.UnixMilli(m.Received),
		UID: string(ev.UID), Callsign: string(ev.Contact.Callsign), Type: string(ev.Type), How: string(ev.How),
		Lat: number(ev.Point.Lat, 0), Lon: number(ev.Point.Lon, 0), HAE: number(ev.Point.HAE, history.Unknown),
		CE: number(ev.Point.CE, history.Unknown), LE: number(ev.Point.LE, history.Unknown),
		Speed: number(ev.Track.Speed, history.Unknown), Course: number(ev.Track.Course, history.Unknown),
		Team: string(ev.Group.Name), Role: string(ev.Group.Role), Raw: bytes.Clone(raw),
	}
	e.Time = instant(ev.Time, e.Received)
	e.Start, e.Stale = instant(ev.Start, e.Time), instant(ev.Stale, e.Time)
	if o := m.Origin; o != nil {
		e.User, e.Sender, e.Source = o.User, o.UID, o.Input
	}
	e.Groups = groups
	if bytes.HasPrefix(ev.Type, []byte("b-t-f")) {
		e.Table, e.Room = history.Chat, string(ev.Chat.Room)
	}
	if m.Direct {
		e.Dests = m.Dests()
		for _, uid := range ev.Chat.UIDs {
			e.Dests = append(e.Dests, string(uid))
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
