package server

import (
	"context"
	"math"
	"time"

	"takd/cot"
	"takd/http/live"
	"takd/store/history"
)

// past is the history as the map replays it.
type past struct{ store *history.Store }

// past is nil without a history.
func (s *Server) past() live.Past {
	if s.archive == nil {
		return nil
	}
	return past{s.archive.store}
}

// mapped are the prefixes of types that are on the map, or take something off it.
var mapped = []string{"a-", "b-m-p", "b-a-o", deletes}

const deletes = "t-x-d-d"

// Ready implements live.Past.
func (p past) Ready(ctx context.Context) error { return p.store.Ready(ctx) }

// Events implements live.Past. What was for somebody alone is on no map, and so it
// is nobody who asks but his groups.
func (p past) Events(ctx context.Context, q live.PastQuery, fn func(*live.PastEvent) error) error {
	h := history.Query{UID: q.UID, Types: mapped, Since: q.Since, Until: q.Until, Limit: q.Limit, Viewer: &history.Viewer{Groups: q.Out}, Lean: true}
	if len(q.Box) == 4 {
		h.Box = &history.Box{West: q.Box[0], South: q.Box[1], East: q.Box[2], North: q.Box[3]}
	}
	var ev cot.Event
	if !q.Latest {
		return p.store.Query(ctx, h, func(e *history.Event) error { return fn(replayed(e, &ev)) })
	}
	gone := map[string]time.Time{}
	list := make([]*live.PastEvent, 0, 256)
	err := p.store.Latest(ctx, h, func(e *history.Event) error {
		switch r := replayed(e, &ev); {
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

func replayed(e *history.Event, ev *cot.Event) *live.PastEvent {
	r := &live.PastEvent{At: e.Received}
	r.Groups, r.User = e.Groups, e.User
	if len(e.Raw) > 0 {
		if n, err := cot.Scan(e.Raw, ev); err == nil && n > 0 {
			r.Gone = string(ev.Link)
		}
		return r
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
