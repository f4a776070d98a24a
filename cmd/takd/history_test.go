package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/store/history"
)

// Without the engine's library takd runs, says so once and plainly, and spools.
func TestHistoryWithoutEngine(t *testing.T) {
	t.Parallel()
	w := begin(t, "embedded", []string{"config", "set", "history.engine_path=/nowhere/libchdb.so"})
	w.until("that the history is degraded", func() bool { return w.srv.Status().History.State == "unavailable" })
	alice := w.connect("alice", w.certificate("alice"))
	alice.position()
	w.until("events in the spool", func() bool { return w.srv.Status().History.Spool.Rows > 0 })
	out := w.takd("status")
	if !strings.Contains(out, "degraded") || !strings.Contains(out, "/nowhere/libchdb.so") {
		t.Errorf("status does not say what is wrong:\n%s", out)
	}
	if n := strings.Count(w.log.String(), "history engine ended"); n != 1 {
		t.Errorf("%d warnings in the log, want 1", n)
	}
	b := w.get("/metrics")
	for _, want := range []string{"takd_history_up 0\n", "takd_history_spool_rows "} {
		if !strings.Contains(b, want) {
			t.Errorf("metrics have no %q", want)
		}
	}
	if got := w.get("/readyz"); got != "ok\n" {
		t.Errorf("readyz: %q", got)
	}
}

// get reads a page of the operations listener.
func (w *world) get(path string) string {
	w.Helper()
	resp, err := http.Get("http://" + w.srv.Status().Listeners["ops"] + path)
	if err != nil {
		w.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		w.Fatal(err)
	}
	return string(body)
}

type row struct {
	ServerTime time.Time `json:"server_time"`
	UID        string    `json:"uid"`
	Callsign   string    `json:"callsign"`
	Type       string    `json:"type"`
	User       string    `json:"user"`
	Lat, Lon   float64
	Groups     []string
	Event      string
}

// rows asks the history.
func (w *world) rows(args ...string) []row {
	w.Helper()
	list := []row{}
	for line := range strings.Lines(w.takd(append([]string{"history", "query", "--json"}, args...)...)) {
		var r row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			w.Fatalf("%v: %s", err, line)
		}
		list = append(list, r)
	}
	return list
}

// What passes can be asked for once flush has returned, and goes out and in again.
func TestHistoryCommands(t *testing.T) {
	t.Parallel()
	w := record(t)
	w.takd("user", "add", "alice", "--group", "Blue")
	alice := w.connect("alice", w.certificate("alice"))
	for range 3 {
		alice.position()
	}
	alice.ping()
	w.takd("history", "flush")
	all := w.rows("--uid", "UID-alice")
	if len(all) != 4 {
		t.Fatalf("%d events of alice, want 4", len(all))
	}
	if r := all[0]; r.User != "alice" || !slices.Equal(r.Groups, []string{"Blue"}) || !strings.Contains(r.Event, "<event ") || r.Callsign != "CS-alice" {
		t.Errorf("row = %+v", r)
	}
	for want, args := range map[int][]string{
		1: {"--uid", "UID-alice", "--limit", "1"},
		4: {"--callsign", "CS-alice", "--type", "a-f", "--since", "1h", "--box", "-90,-180,90,180"},
		0: {"--uid", "UID-alice", "--until", "2020-01-01"},
	} {
		if got := len(w.rows(args...)); got != want {
			t.Errorf("query %v: %d rows, want %d", args, got, want)
		}
	}
	stats := ask[history.Stats](w, "history", "stats")
	if stats.Engine != "embedded" || stats.State != "ready" || stats.Rows < 4 || len(stats.Tables) != 4 || stats.Oldest == nil {
		t.Errorf("stats = %+v", stats)
	}
	for _, args := range [][]string{
		{"history", "query", "--box", "1,2,3"}, {"history", "query", "--since", "yesterday"}, {"history", "query", "--limit", "-1"},
	} {
		if out, code := w.try(args...); code != 2 {
			t.Errorf("%v: exit code %d: %s", args, code, out)
		}
	}
	if out, code := w.try("history", "query", "--box", "91,2,92,4"); code != 1 {
		t.Errorf("box outside the world: exit code %d: %s", code, out)
	}
	if p := ask[control.Ping](w, "history", "ping"); p.Version == "" || p.Engine != "embedded" {
		t.Errorf("ping = %+v", p)
	}
	if m := ask[control.Migrated](w, "history", "migrate"); m.Version != history.SchemaVersion || m.PartitionBy != "day" {
		t.Errorf("migrate = %+v", m)
	}
	dir := t.TempDir()
	for _, format := range []string{"ndjson", "csv", "parquet"} {
		out := filepath.Join(dir, "it's? a file."+format)
		w.takd("history", "export", "--uid", "UID-alice", "--format", format, "--out", out)
		if info, err := os.Stat(out); err != nil || info.Size() < 500 {
			t.Errorf("export %s: %v", format, err)
		}
		if _, code := w.try("history", "export", "--format", format, "--out", out); code != 1 {
			t.Errorf("export %s over a file: exit code %d", format, code)
		}
	}
}

// Import keeps times, takes the same file once, and nothing that is no event.
func TestHistoryImport(t *testing.T) {
	t.Parallel()
	w := record(t)
	const event = `<event version='2.0' uid='old-%d' type='a-f-G-U-C' how='m-g' time='2024-02-03T04:05:06Z' start='2024-02-03T04:05:06Z' stale='2024-02-03T04:15:06Z'>` +
		`<point lat='48.5' lon='11.25' hae='500' ce='9999999' le='9999999'/><detail><contact callsign='OLD-%d'/></detail></event>`
	var text strings.Builder
	for i := range 6000 { // more than go at once
		line, err := json.Marshal(map[string]any{
			"server_time": fmt.Sprintf("2024-02-%02dT04:05:07Z", 1+i%20), "user": "carol", "groups": []string{"Blue"}, "event": fmt.Sprintf(event, i, i),
		})
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	file := filepath.Join(t.TempDir(), "old.ndjson")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []control.ImportedRows{{Lines: 6000, Added: 6000}, {Lines: 6000}} {
		if got := ask[control.ImportedRows](w, "history", "import", file); got != want {
			t.Errorf("import = %+v, want %+v", got, want)
		}
	}
	if got := ask[history.Stats](w, "history", "stats"); got.Rows != 6000 || len(got.Tables[0].Partitions) != 20 {
		t.Errorf("stats after import: %d rows", got.Rows)
	}
	got := w.rows("--uid", "old-21")
	if len(got) != 1 || !got[0].ServerTime.Equal(time.Date(2024, 2, 2, 4, 5, 7, 0, time.UTC)) || got[0].User != "carol" || got[0].Callsign != "OLD-21" || got[0].Lat != 48.5 {
		t.Errorf("imported = %+v", got)
	}
	for name, line := range map[string]string{
		"no json":        `{"server_time":`,
		"no event":       `{"server_time":"2024-02-03T04:05:06Z","uid":"x"}`,
		"no time":        `{"event":"` + fmt.Sprintf(event, 1, 1) + `"}`,
		"no such table":  `{"server_time":"2024-02-03T04:05:06Z","table":"system.users","event":"` + fmt.Sprintf(event, 1, 1) + `"}`,
		"doctype":        `{"server_time":"2024-02-03T04:05:06Z","event":"<!DOCTYPE x>` + fmt.Sprintf(event, 1, 1) + `"}`,
		"more after it":  `{"server_time":"2024-02-03T04:05:06Z","event":"` + fmt.Sprintf(event, 1, 1) + `<x/>"}`,
		"not even close": `[]`,
	} {
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, code := w.try("history", "import", file); code != 1 || !strings.Contains(out, "line 1") {
			t.Errorf("%s: exit code %d: %s", name, code, out)
		}
	}
	if got := ask[history.Stats](w, "history", "stats"); got.Rows != 6000 {
		t.Errorf("stats after bad files: %d rows", got.Rows)
	}
}

// ping waits until the server has read what the client sent.
func (c *client) ping() {
	c.Helper()
	before := strings.Count(c.in.String(), "takPong")
	if _, err := io.WriteString(c.conn, `<event version="2.0" uid="UID-`+c.name+`-ping" type="t-x-c-t" how="m-g" time="2026-01-02T03:04:05Z" start="2026-01-02T03:04:05Z" stale="2026-01-02T03:05:05Z"><point lat="0" lon="0" hae="0" ce="9" le="9"/><detail/></event>`); err != nil {
		c.Fatalf("%s sends: %v", c.name, err)
	}
	c.until(c.name+" gets its ping back", func() bool { return strings.Count(c.in.String(), "takPong") > before })
}

// Rules of what is recorded hold at once; where it is recorded, after a restart.
func TestHistoryRulesAreLive(t *testing.T) {
	t.Parallel()
	w := record(t)
	alice := w.connect("alice", w.certificate("alice"))
	w.takd("history", "flush")
	changed := ask[control.Changed](w, "config", "set", `history.archive=[{input: radar, every: 30s}, {uid: UID-ali, skip: true}]`)
	if len(changed.RestartNeeded) != 0 {
		t.Errorf("restart needed for %v", changed.RestartNeeded)
	}
	// The next event may still meet the old rules.
	alice.position()
	alice.ping()
	w.takd("history", "flush")
	before := len(w.rows("--uid", "UID-alice"))
	for range 5 {
		alice.position()
	}
	alice.ping()
	w.takd("history", "flush")
	if got := len(w.rows("--uid", "UID-alice")); got != before {
		t.Errorf("%d events, %d before: a rule leaves them out", got, before)
	}
	if out, code := w.try("config", "set", "history.archive=[{every: 30s}]"); code == 0 || !strings.Contains(out, "archive[0]: want input, group, type or uid") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if changed := ask[control.Changed](w, "config", "set", "history.memory=536870912"); !slices.Contains(changed.RestartNeeded, "history") {
		t.Errorf("restart needed for %v, want history", changed.RestartNeeded)
	}
}
