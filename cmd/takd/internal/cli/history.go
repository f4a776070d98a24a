package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/store/history"
	"takd/store/history/engine"
)

// historyEngineCmd is the child process of takd run that holds the database.
type historyEngineCmd struct {
	engine.ServeOptions `embed:""`
}

// Run serves until the parent is gone.
func (c *historyEngineCmd) Run(a *app) error {
	return engine.Serve(c.ServeOptions, a.In, a.Out)
}

type historyCmd struct {
	Flush   historyFlushCmd   `cmd:"" help:"Wait until everything received so far can be queried."`
	Stats   historyStatsCmd   `cmd:"" help:"Show how much there is, and how the database is."`
	Query   historyQueryCmd   `cmd:"" help:"Print events."`
	Import  historyImportCmd  `cmd:"" help:"Take in events as query --json prints them; the same file twice counts once."`
	Export  historyExportCmd  `cmd:"" help:"Write events to a file."`
	Ping    historyPingCmd    `cmd:"" help:"Ask the database whether it answers."`
	Migrate historyMigrateCmd `cmd:"" help:"Bring the tables up to date; takd run does so by itself."`
	Replay  historyReplayCmd  `cmd:"" help:"Send what was into a stream input, as if it happened now."`
}

type historyFlushCmd struct{}

func (historyFlushCmd) Run(a *app) error {
	if _, err := askServer(a, control.HistoryFlush, control.None{}); err != nil {
		return err
	}
	return a.say(map[string]bool{"flushed": true}, "flushed\n")
}

type historyPingCmd struct{}

func (historyPingCmd) Run(a *app) error {
	p, err := askServer(a, control.HistoryPing, control.None{})
	if err != nil {
		return err
	}
	return a.say(p, "%s ClickHouse %s answers in %.1f ms\n", p.Engine, p.Version, p.TookMS)
}

type historyMigrateCmd struct{}

func (historyMigrateCmd) Run(a *app) error {
	m, err := askServer(a, control.HistoryMigrate, control.None{})
	if err != nil {
		return err
	}
	return a.say(m, "tables have version %d, partitioned by %s\n", m.Version, m.PartitionBy)
}

type historyStatsCmd struct{}

func (historyStatsCmd) Run(a *app) error {
	s, err := askServer(a, control.HistoryStats, control.None{})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(s)
	}
	_, _ = io.WriteString(a.Out, text("%s, %s%s\n%d rows, %s; spool: %d segments, %s, %d rows dropped\n\n", s.Engine, s.State, because(some(s.Reason)),
		s.Rows, size(int(s.Bytes)), s.Spool.Segments, size(int(s.Spool.Bytes)), s.Spool.Dropped))
	rows := [][]string{}
	for _, t := range s.Tables {
		for _, p := range t.Partitions {
			rows = append(rows, []string{t.Name, p.ID, strconv.FormatUint(p.Rows, 10), size(int(p.Bytes)), stamp(p.From), stamp(p.To)})
		}
	}
	return writeTable(a.Out, "TABLE PARTITION ROWS SIZE FROM TO", rows)
}

func some(reason string) []string {
	if reason == "" {
		return nil
	}
	return []string{reason}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// asked are the flags that say which events are meant.
type asked struct {
	Table    string `help:"cot, chat, mission_cot or endpoint_events." default:"cot" enum:"cot,chat,mission_cot,endpoint_events"`
	UID      string `name:"uid" help:"Of this uid." placeholder:"U"`
	Callsign string `help:"Of this callsign." placeholder:"C"`
	Type     string `help:"Whose type begins with this." placeholder:"PREFIX"`
	User     string `help:"Sent by this user." placeholder:"NAME"`
	Group    string `help:"Sent into this group." placeholder:"G"`
	Since    string `help:"Received at this time or later: 2006-01-02T15:04:05Z, 2006-01-02, or so long ago, such as 90m." placeholder:"T"`
	Until    string `help:"Received before this time." placeholder:"T"`
	Box      string `help:"In this area, in degrees." placeholder:"S,W,N,E"`
	Limit    int    `help:"At most so many; 0 for all." default:"0"`
	Newest   bool   `help:"The newest first."`
}

func (q asked) query() (out control.Query, err error) {
	out = control.Query{Table: q.Table, UID: q.UID, Callsign: q.Callsign, Type: q.Type, User: q.User, Group: q.Group, Limit: q.Limit, Newest: q.Newest}
	if q.Limit < 0 {
		return out, usage("--limit %d: want 0 or more", q.Limit)
	}
	if out.Since, err = when("--since", q.Since); err != nil {
		return out, err
	}
	if out.Until, err = when("--until", q.Until); err != nil {
		return out, err
	}
	if q.Box != "" {
		parts := strings.Split(q.Box, ",")
		var v [4]float64
		for i := range v {
			if len(parts) != 4 {
				return out, usage("--box %q: want S,W,N,E", q.Box)
			}
			if v[i], err = strconv.ParseFloat(strings.TrimSpace(parts[i]), 64); err != nil {
				return out, usage("--box %q: want S,W,N,E", q.Box)
			}
		}
		out.Box = &history.Box{South: v[0], West: v[1], North: v[2], East: v[3]}
	}
	return out, nil
}

// when reads a time, or how long ago; the zero time for "".
func when(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	return time.Time{}, usage("%s %q: want a time such as 2006-01-02T15:04:05Z, a date, or how long ago, such as 90m", flag, text)
}

// each hands every row to fn.
func (a *app) each(q control.Query, fn func(line []byte) error) (err error) {
	c, err := a.server()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return control.HistoryQuery.Call(a.ctx, c, q, fn)
}

type historyQueryCmd struct {
	asked
}

func (c *historyQueryCmd) Run(a *app) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.Out)
	err = a.each(q, func(line []byte) error {
		if a.json {
			_, err := out.Write(append(line, '\n'))
			return err
		}
		var r history.Row
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		_, err := out.WriteString(text("%s  %s  %s  %s  %.5f,%.5f\n", stamp(r.ServerTime), r.Type, r.UID, r.Callsign, r.Lat, r.Lon))
		return err
	})
	return errors.Join(err, out.Flush())
}

// importLines and importBytes bound what goes to the server at once. They decide
// what counts as the same piece, so they must not change.
const (
	importLines = 5000
	importBytes = 8 << 20
	longestLine = 4 << 20
)

type historyImportCmd struct {
	File string `arg:"" help:"File with one JSON object in each line, - for standard input." type:"path"`
}

func (c *historyImportCmd) Run(a *app) (err error) {
	in := a.In
	if filepath.Base(c.File) != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	server, err := a.server()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	var (
		done  control.ImportedRows
		piece = control.ImportRows{First: 1}
		size  int
	)
	send := func() error {
		if len(piece.Lines) == 0 {
			return nil
		}
		r, err := control.HistoryImport.Call(a.ctx, server, piece)
		done.Lines, done.Added = done.Lines+r.Lines, done.Added+r.Added
		piece, size = control.ImportRows{First: piece.First + len(piece.Lines)}, 0
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestLine)
	for n := 1; lines.Scan(); n++ {
		line := slices.Clone(lines.Bytes())
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !json.Valid(line) {
			return fmt.Errorf("line %d: no JSON; %d events imported so far", n, done.Added)
		}
		piece.Lines = append(piece.Lines, line)
		if size += len(line); len(piece.Lines) < importLines && size < importBytes {
			continue
		}
		if err := send(); err != nil {
			return err
		}
	}
	if err := errors.Join(lines.Err(), send()); err != nil {
		return err
	}
	return a.say(done, "%d events read, %d of them new\n", done.Lines, done.Added)
}

type historyExportCmd struct {
	asked

	Format string `help:"ndjson (what import takes), csv or parquet." default:"ndjson" enum:"ndjson,csv,parquet"`
	Out    string `required:"" help:"File to make, - for standard output." placeholder:"FILE"`
}

func (c *historyExportCmd) Run(a *app) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	if c.Format == "parquet" {
		return c.parquet(a, q)
	}
	out := a.Out
	if c.Out != "-" {
		f, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		out = f
	}
	buffered := bufio.NewWriterSize(out, 64<<10)
	n := 0
	write := func(line []byte) error {
		_, err := buffered.Write(append(line, '\n'))
		return err
	}
	table := history.NewCSV(buffered)
	if c.Format == "csv" {
		write = func(line []byte) error {
			var r history.Row
			if err := json.Unmarshal(line, &r); err != nil {
				return err
			}
			return table.Write(&r)
		}
	}
	err = a.each(q, func(line []byte) error {
		err := write(line)
		n++
		return err
	})
	if err := errors.Join(err, table.Flush(), buffered.Flush()); err != nil || c.Out == "-" {
		return err
	}
	return a.say(map[string]any{"file": c.Out, "rows": n}, "%d events written to %s\n", n, c.Out)
}

func (c *historyExportCmd) parquet(a *app, q control.Query) error {
	file, err := filepath.Abs(c.Out)
	if err != nil || c.Out == "-" {
		return usage("--out %s: the server writes a parquet file: want its name", c.Out)
	}
	w, err := askServer(a, control.HistoryParquet, control.ParquetExport{Query: q, File: file})
	if err != nil {
		return err
	}
	return a.say(w, "%d events written to %s\n", w.Rows, w.File)
}
