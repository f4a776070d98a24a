package live

import (
	"context"
	"math"
	"net/http"
	"time"

	"takd/http/httpd"
)

// Limits on trails.
const (
	maxPoints  = 2000 // of one
	maxReports = 100_000
	maxTrails  = 8 // that are made at one time
	maxTrail   = 24 * time.Hour
	maxUID     = 512 // bytes
)

// trail is where a uid was, oldest first, in columns: Unix milliseconds, 1e-7 degrees.
type trail struct {
	UID   string  `json:"uid"`
	Every int64   `json:"every"` // milliseconds: of what came closer together the first is here
	Cut   bool    `json:"cut"`   // there was more than could be read
	At    []int64 `json:"at"`
	Lon   []int32 `json:"lon"`
	Lat   []int32 `json:"lat"`
}

// serveTrail answers with the trail of a uid, as far as it was sent into groups that
// the caller receives from now.
func (h *Hub) serveTrail(past Past) httpd.Handler {
	busy := make(chan struct{}, maxTrails)
	return func(r *httpd.Request) error {
		q, err := askedTrail(r)
		if err != nil {
			return err
		}
		if err := ready(r.Context(), past); err != nil {
			return err
		}
		if string(r.QueryArgs().Peek("all")) == "true" {
			if err := seeAll(h.access, r.Who, "trail of "+q.UID); err != nil {
				return err
			}
			q.Out, err = h.access.All(r.Context(), r.Who.User, r.Who.Serial)
		} else {
			q.Out, err = h.access.Out(r.Context(), r.Who.User, r.Who.Serial)
		}
		if err != nil {
			return httpd.Unauthorized("%v", err)
		}
		select {
		case busy <- struct{}{}:
			defer func() { <-busy }()
		default:
			return &httpd.Error{Status: http.StatusServiceUnavailable, Code: 7, Message: "the history is busy: ask again in a moment"}
		}
		ctx, cancel := context.WithTimeout(r.Context(), pastTime)
		defer cancel()
		t, err := readTrail(ctx, past, q)
		if err != nil {
			return err
		}
		r.Response.Header.Set("Cache-Control", "private, no-store")
		return r.JSON(http.StatusOK, t)
	}
}

// ready tells whether past can be asked.
func ready(ctx context.Context, past Past) error {
	text := "this server keeps no history"
	if past != nil {
		if past.Ready(ctx) == nil {
			return nil
		}
		text = "the history does not answer"
	}
	return &httpd.Error{Status: http.StatusServiceUnavailable, Code: 7, Message: text}
}

// askedTrail reads uid, since and until; without until it is until now.
func askedTrail(r *httpd.Request) (q PastQuery, err error) {
	arg := func(name string) string { return string(r.QueryArgs().Peek(name)) }
	q = PastQuery{User: r.Who.User, UID: arg("uid"), Until: time.Now().Add(time.Second), Limit: maxReports + 1}
	if q.UID == "" || len(q.UID) > maxUID {
		return q, httpd.Bad("uid: want 1 to %d bytes", maxUID)
	}
	if q.Since, err = time.Parse(time.RFC3339Nano, arg("since")); err != nil {
		return q, httpd.Bad("since %.40q: want a time such as 2006-01-02T15:04:05Z", arg("since"))
	}
	if text := arg("until"); text != "" {
		if q.Until, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return q, httpd.Bad("until %.40q: want a time such as 2006-01-02T15:04:05Z", text)
		}
	}
	if !validSpan(q.Since, q.Until) || q.Until.Sub(q.Since) > maxTrail {
		return q, httpd.Bad("since, until: want at most %s, forwards", maxTrail)
	}
	return q, nil
}

func readTrail(ctx context.Context, past Past, q PastQuery) (*trail, error) {
	t := &trail{UID: q.UID, Every: (q.Until.Sub(q.Since).Milliseconds() + maxPoints - 1) / maxPoints, At: []int64{}, Lon: []int32{}, Lat: []int32{}}
	n, last := 0, int64(math.MinInt64/2)
	err := past.Events(ctx, q, func(e *PastEvent) error {
		if n++; n > maxReports {
			t.Cut = true
			return nil
		}
		at := e.At.UnixMilli()
		if e.Gone != "" || string(e.UID) != q.UID || math.IsNaN(e.Lat) || math.IsNaN(e.Lon) || math.Abs(e.Lat) > 90 || math.Abs(e.Lon) > 180 || at-last < t.Every {
			return nil
		}
		last = at
		t.At, t.Lon, t.Lat = append(t.At, at), append(t.Lon, int32(math.Round(e.Lon*1e7))), append(t.Lat, int32(math.Round(e.Lat*1e7)))
		return nil
	})
	return t, err
}
