package marti

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/auth"
	"takd/store/history"
)

// Limits of one question.
const (
	maxEvents  = 100_000           // of one answer
	maxUIDs    = 200               // that are asked for at once
	askLimit   = 2 * time.Minute   // for the whole answer
	saWindow   = 24 * time.Hour    // as on the official server
	asking     = 8                 // answers that are made at one time
	yearsLimit = 100 * 365 * 86400 // seconds of secago
)

func (a *api) recall() []httpd.Route {
	window := []string{"secago", "start", "end"}
	export := []string{"startTime", "endTime", "secago", "interval", "uid", "cotType", "format"}
	return on("History",
		httpd.Route{Method: "GET", Path: "/Marti/api/cot/xml/{uid}", Summary: "The newest event of a uid, as XML.", Handler: a.cotLatest},
		httpd.Route{Method: "GET", Path: "/Marti/api/cot/xml/{uid}/all", Summary: "The events of a uid, oldest first, at most 100000.", Query: window, Handler: a.cotAll},
		httpd.Route{Method: "GET", Path: "/Marti/api/cot", Summary: "The newest event of each uid in a JSON list in the body.", Handler: a.cotOf},
		httpd.Route{Method: "POST", Path: "/Marti/api/cot", Summary: "The same.", Handler: a.cotOf},
		httpd.Route{
			Method: "GET", Path: "/Marti/api/cot/sa", Summary: "Events of at most 24 hours, in an area where it is given.",
			Query: []string{"start", "end", "left", "bottom", "right", "top"}, Handler: a.cotSA,
		},
		httpd.Route{
			Method: "GET", Path: "/api/history/chat", Summary: "Chat, oldest first: one JSON object in each line.",
			Query: []string{"room", "user", "secago", "start", "end", "limit"}, Handler: a.chatHistory,
		},
		httpd.Route{Method: "GET", Path: "/Marti/ExportMissionKML", Summary: "Tracks as KML, KMZ or GPX.", Query: export, Handler: a.exportTracks},
		httpd.Route{Method: "POST", Path: "/Marti/ExportMissionKML", Summary: "The same, with a form.", Query: export, Handler: a.exportTracks},
		httpd.Route{Method: "GET", Path: "/Marti/LatestKML", Summary: "The newest position of everybody as KML or KMZ.", Query: export, Handler: a.latestKML},
		httpd.Route{Method: "GET", Path: "/Marti/latestKML", Summary: "The same.", Query: export, Handler: a.latestKML},
	)
}

// ready is the history, with what the caller may see of it now.
func (a *api) ready(r *httpd.Request) (*history.Store, *history.Viewer, error) {
	if a.History == nil {
		return nil, nil, unavailable(history.ErrOff)
	}
	// The database's connections look at their context also after the answer, and by
	// then the request is another one: its own context is not for them.
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	if err := a.History.Ready(ctx); err != nil {
		return nil, nil, unavailable(err)
	}
	if r.Who.Role == httpd.Admin {
		return a.History, nil, nil
	}
	v := &history.Viewer{User: r.Who.User, Groups: r.Who.Out}
	u, err := a.Auth.User(r.Context(), r.Who.User)
	switch {
	case err == nil:
		v.Since = u.Created
	case errors.Is(err, auth.ErrNotFound): // known by his certificate alone: nobody is in his way
		v.Since = time.Time{}
	default:
		return nil, nil, err
	}
	return a.History, v, nil
}

func unavailable(err error) error {
	text := "the history does not answer"
	if errors.Is(err, history.ErrOff) {
		text = "this server keeps no history"
	}
	return &httpd.Error{Status: http.StatusServiceUnavailable, Code: 7, Message: text}
}

var errBusy = &httpd.Error{Status: http.StatusServiceUnavailable, Code: 7, Message: "the history is busy: ask again in a moment"}

// refusedQuery is what a caller is told of an error of the history.
func refusedQuery(err error) error {
	if errors.Is(err, history.ErrInvalid) {
		return httpd.Bad("%v", err)
	}
	return err
}

// stream answers with what write makes, as it comes. It ends when the caller is
// gone; an answer that fails is cut off, so that nobody takes it for whole.
func (a *api) stream(r *httpd.Request, contentType string, write func(context.Context, io.Writer) error) error {
	select {
	case a.asking <- struct{}{}:
	default:
		return errBusy
	}
	r.SetContentType(contentType)
	r.Response.Header.Set("Cache-Control", "private, no-store")
	if r.IsHead() {
		<-a.asking
		return nil
	}
	from, to := io.Pipe()
	id, log := r.ID, a.Log
	go func() { // ends when everything is written, or the answer is given up and from is closed
		defer func() { <-a.asking }()
		ctx, cancel := context.WithTimeout(context.Background(), askLimit)
		defer cancel()
		out := bufio.NewWriterSize(to, 32<<10)
		err := write(ctx, out)
		if err == nil {
			err = out.Flush()
		}
		if err != nil && !errors.Is(err, io.ErrClosedPipe) {
			log.Warn("history answer cut off", "request", id, "error", err)
		}
		_ = to.CloseWithError(err)
	}()
	r.Response.SetBodyStream(from, -1)
	return nil
}

// events answers with <events>.
func (a *api) events(r *httpd.Request, h *history.Store, q history.Query) error {
	if q.Limit == 0 {
		q.Limit = maxEvents
	}
	if err := q.Validate(); err != nil {
		return refusedQuery(err)
	}
	return a.stream(r, "application/xml", func(ctx context.Context, w io.Writer) error {
		if _, err := io.WriteString(w, xmlHead+"<events>\n"); err != nil {
			return err
		}
		err := h.Query(ctx, q, func(e *history.Event) error {
			_, err := w.Write(append(e.Raw, '\n'))
			return err
		})
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, "</events>\n")
		return err
	})
}

const xmlHead = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

func (a *api) cotLatest(r *httpd.Request) error {
	h, v, err := a.ready(r)
	if err != nil {
		return err
	}
	found, err := newest(h, v, r.Param("uid"))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		r.Reply(http.StatusNotFound, "application/xml", nil) // node-tak takes any text for an event
		return nil
	}
	r.Reply(http.StatusOK, "application/xml", append([]byte(xmlHead), found...))
	return nil
}

// newest is the newest event of a uid; nothing where there is none.
func newest(h *history.Store, v *history.Viewer, uid string) (raw []byte, err error) {
	if uid == "" || len(uid) > 512 {
		return nil, httpd.Bad("uid: want 1 to 512 bytes")
	}
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	err = h.Query(ctx, history.Query{UID: uid, Viewer: v, Newest: true, Limit: 1}, func(e *history.Event) error {
		raw = e.Raw
		return nil
	})
	return raw, err
}

func (a *api) cotAll(r *httpd.Request) error {
	h, v, err := a.ready(r)
	if err != nil {
		return err
	}
	q := history.Query{UID: r.Param("uid"), Viewer: v}
	if q.Since, q.Until, err = window(r, "start", "end"); err != nil {
		return err
	}
	return a.events(r, h, q)
}

func (a *api) cotOf(r *httpd.Request) error {
	h, v, err := a.ready(r)
	if err != nil {
		return err
	}
	var uids []string
	if err := r.ReadJSON(&uids); err != nil {
		return err
	}
	if len(uids) > maxUIDs {
		return httpd.Bad("body: %d uids: at most %d", len(uids), maxUIDs)
	}
	var body strings.Builder
	body.WriteString(xmlHead + "<events>\n")
	for _, uid := range uids {
		raw, err := newest(h, v, uid)
		if err != nil {
			return err
		}
		if raw != nil {
			_, _ = body.Write(append(raw, '\n'))
		}
	}
	body.WriteString("</events>\n")
	r.Reply(http.StatusOK, "application/xml", []byte(body.String()))
	return nil
}

func (a *api) cotSA(r *httpd.Request) error {
	h, v, err := a.ready(r)
	if err != nil {
		return err
	}
	q := history.Query{Viewer: v}
	if q.Since, q.Until, err = window(r, "start", "end"); err != nil {
		return err
	}
	if q.Since.IsZero() || q.Until.IsZero() || q.Until.Before(q.Since) || q.Until.Sub(q.Since) > saWindow {
		return httpd.Bad("start, end: want both, at most 24 hours apart")
	}
	if q.Box, err = area(r); err != nil {
		return err
	}
	return a.events(r, h, q)
}

// area reads the sides of a box; nil where there is none of them.
func area(r *httpd.Request) (*history.Box, error) {
	var b history.Box
	given := 0
	for name, side := range map[string]*float64{"left": &b.West, "bottom": &b.South, "right": &b.East, "top": &b.North} {
		text := string(r.QueryArgs().Peek(name))
		if text == "" {
			continue
		}
		given++
		var err error
		if *side, err = strconv.ParseFloat(text, 64); err != nil {
			return nil, httpd.Bad("%s %.40q: want degrees", name, text)
		}
	}
	switch given {
	case 0:
		return nil, nil
	case 4:
		return &b, nil
	}
	return nil, httpd.Bad("left, bottom, right, top: want all four, or none")
}

// window reads secago, or a start and an end. A time that is not said is zero.
func window(r *httpd.Request, start, end string) (since, until time.Time, err error) {
	if text := argument(r, "secago"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > yearsLimit {
			return since, until, httpd.Bad("secago %.40q: want seconds", text)
		}
		return time.Now().Add(-time.Duration(n) * time.Second), until, nil
	}
	if since, err = instant(r, start); err != nil {
		return since, until, err
	}
	until, err = instant(r, end)
	return since, until, err
}

func instant(r *httpd.Request, name string) (time.Time, error) {
	text := argument(r, name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, httpd.Bad("%s %.40q: want a time such as 2006-01-02T15:04:05Z", name, text)
}

// argument is a parameter of the address, or of a form in the body.
func argument(r *httpd.Request, name string) string {
	if v := r.QueryArgs().Peek(name); len(v) > 0 {
		return string(v)
	}
	return string(r.PostArgs().Peek(name))
}

func (a *api) chatHistory(r *httpd.Request) error {
	h, v, err := a.ready(r)
	if err != nil {
		return err
	}
	q := history.Query{Table: history.Chat, Viewer: v, Room: argument(r, "room"), User: argument(r, "user"), Limit: 1000}
	if q.Since, q.Until, err = window(r, "start", "end"); err != nil {
		return err
	}
	if text := argument(r, "limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > maxEvents {
			return httpd.Bad("limit %.40q: want 1 to %d", text, maxEvents)
		}
	}
	if err := q.Validate(); err != nil {
		return refusedQuery(err)
	}
	return a.stream(r, "application/x-ndjson", func(ctx context.Context, w io.Writer) error {
		lines := json.NewEncoder(w)
		return h.Query(ctx, q, func(e *history.Event) error { return lines.Encode(e.Row()) })
	})
}
