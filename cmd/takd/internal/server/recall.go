package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"

	"takd/cmd/takd/internal/control"
	"takd/cot"
	"takd/store/history"
)

// handleHistory has m answer what the history is asked.
func (l *local) handleHistory(m control.Mux) {
	control.Handle(m, control.HistoryFlush, l.historyFlush)
	control.Handle(m, control.HistoryStats, l.historyStats)
	control.Handle(m, control.HistoryPing, l.historyPing)
	control.Handle(m, control.HistoryMigrate, l.historyMigrate)
	control.Handle(m, control.HistoryImport, l.historyImport)
	control.Handle(m, control.HistoryParquet, l.historyParquet)
	control.HandleFeed(m, control.HistoryQuery, l.historyQuery)
}

// recall is the running server's history, or why there is none.
func (l *local) recall() (*history.Store, error) {
	switch {
	case l.engine == nil:
		return nil, errNoEngine
	case l.archive == nil:
		return nil, control.As(control.ErrBad, history.ErrOff)
	}
	return l.archive.store, nil
}

// historyFlush returns when what was received until now can be queried.
func (l *local) historyFlush(ctx context.Context, _ control.None) (control.None, error) {
	h, err := l.recall()
	if err == nil {
		err = l.archive.flush(ctx)
	}
	if err == nil {
		err = h.Flush(ctx)
	}
	return control.None{}, err
}

func (l *local) historyStats(ctx context.Context, _ control.None) (history.Stats, error) {
	if l.engine != nil && l.archive == nil {
		return history.Stats{Engine: history.Off, State: history.Off, Tables: []history.TableStats{}}, nil
	}
	h, err := l.recall()
	if err != nil {
		return history.Stats{}, err
	}
	// What is known without the database comes also where it does not answer.
	st, err := h.Stats(ctx)
	if errors.Is(err, history.ErrUnavailable) {
		err = nil
	}
	return st, err
}

func (l *local) historyPing(ctx context.Context, _ control.None) (control.Ping, error) {
	h, err := l.recall()
	if err != nil {
		return control.Ping{}, err
	}
	version, took, err := h.Ping(ctx)
	return control.Ping{Engine: h.Health().Engine, Version: version, TookMS: float64(took.Microseconds()) / 1000}, err
}

func (l *local) historyMigrate(ctx context.Context, _ control.None) (control.Migrated, error) {
	h, err := l.recall()
	if err == nil {
		err = h.Wait(ctx)
	}
	if err != nil {
		return control.Migrated{}, err
	}
	return control.Migrated{Version: history.SchemaVersion, PartitionBy: h.Health().PartitionBy}, nil
}

// query is what the history is asked for q.
func query(q control.Query) history.Query {
	return history.Query{
		Table: q.Table, UID: q.UID, Callsign: q.Callsign, Type: q.Type, User: q.User, Group: q.Group,
		Since: q.Since, Until: q.Until, Box: q.Box, Limit: q.Limit, Newest: q.Newest,
	}
}

func (l *local) historyQuery(ctx context.Context, q control.Query, w io.Writer) error {
	h, err := l.recall()
	if err != nil {
		return err
	}
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	return kinded(h.Query(ctx, query(q), func(e *history.Event) error { return lines.Encode(e.Row()) }))
}

// maxImport is how many lines come at once.
const maxImport = 20_000

func (l *local) historyImport(ctx context.Context, q control.ImportRows) (control.ImportedRows, error) {
	h, err := l.recall()
	if err != nil {
		return control.ImportedRows{}, err
	}
	if len(q.Lines) > maxImport {
		return control.ImportedRows{}, control.Errorf(control.ErrBad, "%d lines at once: at most %d", len(q.Lines), maxImport)
	}
	events := make([]*history.Event, 0, len(q.Lines))
	var ev cot.Event
	for i, line := range q.Lines {
		e, err := imported(line, &ev)
		if err != nil {
			return control.ImportedRows{}, control.Errorf(control.ErrBad, "line %d: %v", q.First+i, err)
		}
		events = append(events, e)
	}
	added, err := h.Import(ctx, events)
	return control.ImportedRows{Lines: len(events), Added: added}, kinded(err)
}

// imported reads one line. The event in it is what counts: the columns are made from
// it again, so that a line cannot say something else than its event.
func imported(line []byte, ev *cot.Event) (*history.Event, error) {
	var r history.Row
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	var e *history.Event
	if r.Table == history.Endpoints && r.Event == "" {
		e = &history.Event{
			UID: r.UID, Callsign: r.Callsign, Type: r.Type, How: r.How, Time: r.Time, Start: r.Start, Stale: r.Stale, Lat: r.Lat, Lon: r.Lon,
			HAE: history.Unknown, CE: history.Unknown, LE: history.Unknown, Speed: history.Unknown, Course: history.Unknown, Team: r.Team, Role: r.Role,
		}
	} else {
		raw := []byte(r.Event)
		if n, err := cot.Scan(raw, ev); err != nil {
			return nil, errors.Join(errors.New("event: no CoT event"), err)
		} else if n == 0 || n != len(raw) {
			return nil, errors.New("event: want one whole event and nothing else")
		}
		e = row(ev, ev.Raw, r.ServerTime)
	}
	return e, r.Fill(e)
}

func (l *local) historyParquet(ctx context.Context, q control.ParquetExport) (control.FileWritten, error) {
	h, err := l.recall()
	if err != nil {
		return control.FileWritten{}, err
	}
	if !filepath.IsAbs(q.File) {
		return control.FileWritten{}, control.Errorf(control.ErrBad, "file %q: want an absolute path", q.File)
	}
	rows, size, err := h.Parquet(ctx, query(q.Query), q.File)
	return control.FileWritten{File: q.File, Rows: rows, Bytes: size}, kinded(err)
}

// flush returns when the tap's events up to now are with the store.
func (a *archive) flush(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case a.flushes <- done:
	case <-a.done:
		return history.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-a.done:
		return history.ErrClosed
	}
}
