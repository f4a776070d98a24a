package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/history"
)

// Limits of what administrators ask the history.
const (
	maxHistoryPage  = 1000
	historyPage     = 100
	maxPageBytes    = 16 << 20 // of the events of one page: what is more comes with the next
	maxSkip         = 100_000  // events of one moment
	maxExport       = 10_000_000
	usualExport     = 1_000_000
	exportTime      = 10 * time.Minute
	historyPatience = time.Minute
	exports         = 2 // at one time
	histogramPieces = 60
)

func (a *api) history() []httpd.Route {
	filter := []string{"table", "uid", "callsign", "type", "user", "group", "room", "since", "until", "box", "limit"}
	return on("History",
		httpd.Route{
			Method: "GET", Path: "/api/admin/history", Handler: a.queryHistory, Query: append([]string{"order", "cursor"}, filter...),
			Summary: "Events, the newest first (order=oldest: the oldest), at most 1000; next is the cursor of the page that follows. box is south,west,north,east.",
		},
		httpd.Route{Method: "GET", Path: "/api/admin/history/stats", Summary: "How the history is: engine, spool, and its tables with their partitions.", Handler: a.historyStats},
		httpd.Route{
			Method: "GET", Path: "/api/admin/history/histogram", Handler: a.historyHistogram, Query: append([]string{"step"}, filter[:len(filter)-1]...),
			Summary: "How many events came, in pieces of step seconds (60 pieces when not given, at most 1500), by class of type: friend, hostile, neutral, position, chat, alarm, marker, drawing, tasking, other. The last 24 hours unless since and until say otherwise; positions and chat unless table does.",
		},
		httpd.Route{
			Method: "GET", Path: "/api/admin/history/export", Handler: a.exportHistory, Query: append([]string{"format"}, filter...),
			Summary: "Events as ndjson, csv or parquet, oldest first: 1000000 unless limit says otherwise, at most 10000000.",
		},
	)
}

// recalled is the history, when it can be asked.
func (a *api) recalled(r *httpd.Request) (*history.Store, error) {
	text := "this server keeps no history"
	if a.History != nil {
		ctx, cancel := context.WithTimeout(r.Context(), historyPatience)
		defer cancel()
		if a.History.Ready(ctx) == nil {
			return a.History, nil
		}
		text = "the history does not answer"
	}
	return nil, &httpd.Error{Status: http.StatusServiceUnavailable, Code: 7, Message: text}
}

// filter reads what is asked for.
func filter(r *httpd.Request, usual, most int) (q history.Query, err error) {
	arg := func(name string) string { return string(r.QueryArgs().Peek(name)) }
	q = history.Query{Table: arg("table"), UID: arg("uid"), Callsign: arg("callsign"), Type: arg("type"), User: arg("user"), Group: arg("group"), Room: arg("room"), Limit: usual}
	for name, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if text := arg(name); text != "" {
			if *to, err = time.Parse(time.RFC3339Nano, text); err != nil {
				return q, httpd.Bad("%s %.40q: want a time such as 2006-01-02T15:04:05Z", name, text)
			}
		}
	}
	if text := arg("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > most {
			return q, httpd.Bad("limit %.20q: want 1 to %d", text, most)
		}
	}
	if text := arg("box"); text != "" {
		var b history.Box
		parts := strings.Split(text, ",")
		sides := []*float64{&b.South, &b.West, &b.North, &b.East}
		for i, p := range parts[:min(len(parts), 4)] {
			if *sides[i], err = strconv.ParseFloat(p, 64); err != nil {
				break
			}
		}
		if err != nil || len(parts) != 4 {
			return q, httpd.Bad("box %.80q: want south,west,north,east in degrees", text)
		}
		q.Box = &b
	}
	if err := q.Validate(); err != nil {
		return q, httpd.Bad("%v", err)
	}
	return q, nil
}

// place is where a page ended: the moment of its last event, and how many of that
// moment were given. Its text is the cursor.
type place struct {
	ms   int64
	skip int
}

func (p place) String() string { return fmt.Sprintf("%d.%d", p.ms, p.skip) }

func parsePlace(text string) (p place, err error) {
	ms, skip, ok := strings.Cut(text, ".")
	if p.ms, err = strconv.ParseInt(ms, 10, 64); err == nil {
		p.skip, err = strconv.Atoi(skip)
	}
	if err != nil || !ok || p.ms < 0 || p.ms > 1<<45 || p.skip < 0 || p.skip > maxSkip {
		return p, httpd.Bad("cursor %.40q: want the next of an answer", text)
	}
	return p, nil
}

var errFull = errors.New("the page is full")

func (a *api) queryHistory(r *httpd.Request) error {
	h, err := a.recalled(r)
	if err != nil {
		return err
	}
	q, err := filter(r, historyPage, maxHistoryPage)
	if err != nil {
		return err
	}
	switch order := string(r.QueryArgs().Peek("order")); order {
	case "", "newest":
		q.Newest = true
	case "oldest":
	default:
		return httpd.Bad("order %.20q: want newest or oldest", order)
	}
	var from place
	if text := string(r.QueryArgs().Peek("cursor")); text != "" {
		if from, err = parsePlace(text); err != nil {
			return err
		}
		if at := time.UnixMilli(from.ms); q.Newest {
			q.Until = at.Add(time.Millisecond)
		} else {
			q.Since = at
		}
	}
	rows, next, err := pageOf(r, h, q, from)
	if err != nil {
		return err
	}
	r.Response.Header.Set("Cache-Control", "private, no-store")
	return r.JSON(http.StatusOK, struct {
		Rows []history.Row `json:"rows"`
		Next *string       `json:"next"` // null: there is no more
	}{rows, next})
}

// pageOf reads one page. It asks for one event more than that, to know whether
// there is another.
func pageOf(r *httpd.Request, h *history.Store, q history.Query, from place) ([]history.Row, *string, error) {
	ctx, cancel := context.WithTimeout(r.Context(), historyPatience)
	defer cancel()
	limit, seen, size, at := q.Limit, 0, 0, from
	q.Limit += from.skip + 1
	rows := []history.Row{}
	at.skip = 0
	err := h.Query(ctx, q, func(e *history.Event) error {
		ms := e.Received.UnixMilli()
		if seen++; seen <= from.skip && ms == from.ms {
			at.skip++
			return nil
		}
		if len(rows) == limit || len(rows) > 0 && size+len(e.Raw) > maxPageBytes {
			return errFull
		}
		if ms != at.ms {
			at = place{ms: ms}
		}
		at.skip++
		size += len(e.Raw)
		rows = append(rows, e.Row())
		return nil
	})
	switch {
	case errors.Is(err, errFull):
		next := at.String()
		return rows, &next, nil
	case err != nil:
		return nil, nil, err
	}
	return rows, nil, nil
}

func (a *api) historyStats(r *httpd.Request) error {
	if a.History == nil {
		return r.JSON(http.StatusOK, history.Stats{Engine: history.Off, State: history.Off, Tables: []history.TableStats{}})
	}
	ctx, cancel := context.WithTimeout(r.Context(), historyPatience)
	defer cancel()
	// What is known without the database comes also where it does not answer.
	st, err := a.History.Stats(ctx)
	if err != nil && !errors.Is(err, history.ErrUnavailable) {
		return err
	}
	return r.JSON(http.StatusOK, st)
}

func (a *api) historyHistogram(r *httpd.Request) error {
	h, err := a.recalled(r)
	if err != nil {
		return err
	}
	q, err := filter(r, 0, 0)
	if err != nil {
		return err
	}
	if q.Until.IsZero() {
		q.Until = time.Now().Truncate(time.Second).Add(time.Second).UTC()
	}
	if q.Since.IsZero() {
		q.Since = q.Until.Add(-24 * time.Hour)
	}
	step := max(int64(q.Until.Sub(q.Since)/time.Second+histogramPieces-1)/histogramPieces, 1)
	if text := string(r.QueryArgs().Peek("step")); text != "" {
		if step, err = strconv.ParseInt(text, 10, 32); err != nil || step < 1 {
			return httpd.Bad("step %.20q: want seconds, 1 or more", text)
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), historyPatience)
	defer cancel()
	buckets, err := h.Histogram(ctx, q, time.Duration(step)*time.Second)
	if errors.Is(err, history.ErrInvalid) {
		return httpd.Bad("%v", err)
	} else if err != nil {
		return err
	}
	r.Response.Header.Set("Cache-Control", "private, no-store")
	return r.JSON(http.StatusOK, struct {
		Since   time.Time        `json:"since"`
		Until   time.Time        `json:"until"`
		Step    int64            `json:"step"` // seconds
		Buckets []history.Bucket `json:"buckets"`
	}{q.Since, q.Until, step, buckets})
}

func (a *api) exportHistory(r *httpd.Request) error {
	h, err := a.recalled(r)
	if err != nil {
		return err
	}
	q, err := filter(r, usualExport, maxExport)
	if err != nil {
		return err
	}
	format := string(r.QueryArgs().Peek("format"))
	types := map[string]string{"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
	if types[format] == "" {
		return httpd.Bad("format %.20q: want ndjson, csv or parquet", format)
	}
	if a.exporting.Add(1) > exports {
		a.exporting.Add(-1)
		return &httpd.Error{Status: http.StatusServiceUnavailable, Code: 7, Message: "other exports are under way: ask again in a moment"}
	}
	a.Audit.By(r, "history export", string(r.QueryArgs().QueryString()))
	r.SetContentType(types[format])
	r.Response.Header.Set("Cache-Control", "private, no-store")
	r.Response.Header.Set("Content-Disposition", "attachment; filename=history."+format)
	switch {
	case r.IsHead():
		a.exporting.Add(-1)
	case format == "parquet":
		defer a.exporting.Add(-1)
		return sendParquet(r, h, q)
	default:
		a.sendRows(r, h, q, format)
	}
	return nil
}

func sendParquet(r *httpd.Request, h *history.Store, q history.Query) error {
	ctx, cancel := context.WithTimeout(r.Context(), exportTime)
	defer cancel()
	f, err := h.ParquetFile(ctx, q)
	if errors.Is(err, history.ErrInvalid) {
		return httpd.Bad("%v", err)
	} else if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.Response.SetBodyStream(f, int(info.Size())) // which closes it
	return nil
}

// sendRows answers with rows as they come. An answer that fails is cut off, so that
// nobody takes it for whole; who is gone ends it.
func (a *api) sendRows(r *httpd.Request, h *history.Store, q history.Query, format string) {
	from, to := io.Pipe()
	server, id := r.ServerContext(), r.ID
	go func() { // ends when everything is written, or the answer is given up and from is closed
		defer a.exporting.Add(-1)
		ctx, cancel := context.WithTimeout(server, exportTime)
		defer cancel()
		out := bufio.NewWriterSize(to, 32<<10)
		err := writeRows(ctx, out, h, q, format)
		if err == nil {
			err = out.Flush()
		}
		if err != nil && !errors.Is(err, io.ErrClosedPipe) {
			a.Log.Warn("history export cut off", "request", id, "error", err)
		}
		_ = to.CloseWithError(err)
	}()
	r.Response.SetBodyStream(from, -1)
}

func writeRows(ctx context.Context, w io.Writer, h *history.Store, q history.Query, format string) error {
	if format == "csv" {
		table := history.NewCSV(w)
		err := h.Query(ctx, q, func(e *history.Event) error {
			row := e.Row()
			return table.Write(&row)
		})
		return errors.Join(err, table.Flush())
	}
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	return h.Query(ctx, q, func(e *history.Event) error { return lines.Encode(e.Row()) })
}
