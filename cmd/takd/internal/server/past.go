package server

import (
	"context"
	"math"
	"strings"
	"time"

	"takd/cot"
	"takd/http/live"
	"takd/store/history"
	"takd/store/icon"
)

// past is the history as the map replays it.
type past struct {
	store *history.Store
	icons *icon.Store
}

// past is nil without a history.
func (s *Server) past() live.Past {
	if s.archive == nil {
		return nil
	}
	return past{s.archive.store, s.icons()}
}

// mapped are the prefixes of types that are on the map, or take something off it.
var (
	mapped  = []string{"a-", "b-m-p", "b-a-o", "u-d-", "b-m-r", deletes}
	lasting = []string{"b-m-p", "u-d-", "b-m-r", deletes} // what is sent once and holds for long
)

const (
	deletes   = "t-x-d-d"
	maxOutset = 32 << 20 // bytes of the shapes of one picture; those beyond are points
)

// Ready implements live.Past.
func (p past) Ready(ctx context.Context) error { return p.store.Ready(ctx) }

// Events implements live.Past. What was for somebody alone is on no map, and so it
// is nobody who asks but his groups.
func (p past) Events(ctx context.Context, q live.PastQuery, fn func(*live.PastEvent) error) error {
	h := history.Query{UID: q.UID, Types: mapped, Since: q.Since, Until: q.Until, Limit: q.Limit, Viewer: &history.Viewer{Groups: q.Out}, Lean: true}
	if len(q.Box) == 4 {
		h.Box = &history.Box{West: q.Box[0], South: q.Box[1], East: q.Box[2], North: q.Box[3]}
	}
	if q.Lasting {
		h.Types = lasting
	}
	var ev cot.Event
	if !q.Latest {
		return p.store.Query(ctx, h, func(e *history.Event) error { return fn(p.replayed(e, &ev)) })
	}
	size := 0
	gone := map[string]time.Time{}
	list := make([]*live.PastEvent, 0, 256)
	err := p.store.Latest(ctx, h, func(e *history.Event) error {
		r := p.replayed(e, &ev)
		if size += r.Shape.Size(); size > maxOutset {
			r.Shape = nil
		}
		switch {
		case r.Gone == "":
			list = append(list, r)
		case r.At.After(gone[r.Gone]):
			gone[r.Gone] = r.At
		}
		return nil
	})
	for _, r := range list {
		if err == nil && r.At.After(gone[string(r.UID)]) {
			err = fn(r)
		}
	}
	return err
}

// replayed is an event of the history as the map takes it. Where its columns do not
// say all that a map shows of it, the history gave the event itself.
func (p past) replayed(e *history.Event, ev *cot.Event) *live.PastEvent {
	r := &live.PastEvent{At: e.Received}
	r.Groups, r.User = e.Groups, e.User
	if len(e.Raw) > 0 {
		n, err := cot.Scan(e.Raw, ev)
		ok := err == nil && n > 0
		switch {
		case strings.HasPrefix(e.Type, deletes):
			if ok {
				r.Gone = string(ev.Link)
			}
			return r
		case ok && drawn(ev.Type):
			r.Shape = shapeOf(ev)
		}
		r.Icon = iconOf(e.Raw, p.icons)
	}
	if e.Type == "b-a-o-can" {
		r.Gone = e.UID
		return r
	}
	r.UID, r.Callsign, r.Type, r.How = []byte(e.UID), []byte(e.Callsign), []byte(e.Type), []byte(e.How)
	r.Team, r.Role, r.Life = []byte(e.Team), []byte(e.Role), e.Stale.Sub(e.Time)
	r.Lat, r.Lon, r.HAE, r.Speed, r.Course = e.Lat, e.Lon, known(e.HAE), known(e.Speed), known(e.Course)
	return r
}

// known leaves out what nobody told.
func known(v float64) float64 {
	if v >= history.Unknown/2 {
		return math.NaN()
	}
	return v
}
