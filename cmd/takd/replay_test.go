package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"takd/cot"
)

// moving imports n events of five uids, some at the same moment, within one minute of
// the first of February 2024.
func (w *world) moving(n int) {
	w.Helper()
	var text strings.Builder
	start := time.Date(2024, 2, 1, 10, 0, 0, 0, time.UTC)
	for i := range n {
		at := start.Add(time.Minute * time.Duration(i/5*5) / time.Duration(n)).Truncate(time.Millisecond).Format("2006-01-02T15:04:05.000Z")
		event := fmt.Sprintf(`<event version='2.0' uid='OLD-%d' type='a-f-G' how='m-g' time='%s' start='%s' stale='2024-02-01T11:00:00Z'><point lat='1' lon='2' hae='3' ce='4' le='5'/><detail><remarks>n%d.</remarks></detail></event>`, i%5, at, at, i)
		line, err := json.Marshal(map[string]any{"server_time": at, "groups": []string{"Blue"}, "event": event})
		if err != nil {
			w.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	file := filepath.Join(w.TempDir(), "moving.ndjson")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		w.Fatal(err)
	}
	w.takd("history", "import", file)
}

// A replay on the map shows an area as it was, to the groups of who asks, now.
func TestReplayOnTheMap(t *testing.T) {
	t.Parallel()
	w := record(t, []string{"user", "add", "ann", "--group", "Blue"}, []string{"user", "add", "eve", "--group", "Red"})
	w.moving(5000)
	ann, eve := w.certificate("ann"), w.certificate("eve")
	hello := func(box ...float64) map[string]any {
		m := map[string]any{"t": "replay", "since": "2024-02-01T10:00:10Z", "until": "2024-02-01T10:02:00Z", "rate": 600}
		if len(box) > 0 {
			m["box"] = box
		}
		return m
	}
	all, area, away, other := w.follow(ann, "replay", hello()), w.follow(ann, "replay", hello(1.5, 0.5, 2.5, 1.5)), w.follow(eve, "replay", hello()), w.follow(eve, "replay", hello(-3, -3, -2, -2))
	for _, f := range []*feed{all, area, away, other} {
		f.shows(w, `"t":"end"`)
	}
	for _, f := range []*feed{all, area} {
		for i := range 5 {
			f.shows(w, fmt.Sprintf(`"uid":"OLD-%d"`, i))
		}
	}
	for _, f := range []*feed{away, other} {
		if got := f.text.String(); strings.Contains(got, "OLD-") || strings.Contains(got, "Blue") {
			t.Errorf("eve of Red sees %s", got)
		}
	}
	w.takd("user", "disable", "ann")
	for _, f := range []*feed{all, area} {
		select {
		case <-f.done:
		case <-time.After(patience):
			t.Fatal("who is disabled still watches")
		}
	}
}

// A replay sends each event once and in order, over pages, with the time of now, and
// gaps scaled.
func TestHistoryReplay(t *testing.T) {
	t.Parallel()
	w := record(t)
	const n = 12_000
	w.moving(n)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	got := make(chan []byte, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			close(got)
			return
		}
		b, _ := io.ReadAll(c)
		_ = c.Close()
		got <- b
	}()
	began := time.Now()
	out := w.takd("history", "replay", "--since", "2024-02-01", "--until", "2024-02-02", "--rate", "60x", "--to", ln.Addr().String())
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("a minute at 60x took %s", took) // it may take longer, never less
	}
	if !strings.Contains(out, fmt.Sprintf("%d events sent, 0 skipped", n)) {
		t.Errorf("replay: %s", out)
	}
	rest := <-got
	last := map[string]int{}
	for count := 0; ; count++ {
		var ev cot.Event
		end, err := cot.Scan(rest, &ev)
		if err != nil || end == 0 {
			if count != n {
				t.Errorf("%d events came, want %d: %v", count, n, err)
			}
			break
		}
		text := string(rest[:end])
		rest = rest[end:]
		var i int
		_, mark, _ := strings.Cut(text, "<remarks>n")
		if _, err := fmt.Sscanf(mark, "%d.", &i); err != nil {
			t.Fatal(err)
		}
		if prev, ok := last[string(ev.UID)]; ok && i <= prev {
			t.Fatalf("event %d of %s after %d", i, ev.UID, prev)
		}
		last[string(ev.UID)] = i
		at, _ := ev.Time.UnixMilli()
		stale, _ := ev.Stale.UnixMilli()
		if time.UnixMilli(at).Before(began.Truncate(time.Millisecond)) || stale <= at {
			t.Fatalf("event %d has old times: %s", i, text)
		}
	}
}

// A replay into a server reaches its clients; one uid, one group, and nothing else.
func TestHistoryReplayToServer(t *testing.T) {
	t.Parallel()
	w := record(t)
	w.moving(50)
	watch := w.connect("watch", w.certificate("watch"))
	dir := t.TempDir()
	w.takd("cert", "issue", "player", "--ecdsa", "--out", dir)
	w.takd("history", "replay", "--since", "2024-02-01", "--until", "2024-02-02", "--rate", "600x", "--uid", "OLD-3", "--group", "Blue",
		"--to", w.srv.Status().Listeners["tls"], "--cert", filepath.Join(dir, "player.pem"), "--server-name", "localhost")
	watch.receives("n48.")
	if in := watch.in.String(); strings.Contains(in, "OLD-2") || strings.Count(in, `"OLD-3"`)+strings.Count(in, `'OLD-3'`) < 10 {
		t.Errorf("received:\n%s", in)
	}
	for _, args := range [][]string{
		{"--rate", "0x"}, {"--rate", "NaN"}, {"--rate", "fast"}, {"--since", "2024-02-03"}, {"--to", "nowhere"},
	} {
		all := append([]string{"history", "replay", "--since", "2024-02-01", "--until", "2024-02-02", "--to", "127.0.0.1:1"}, args...)
		if out, code := w.try(all...); code != 2 {
			t.Errorf("%v: exit code %d: %s", args, code, out)
		}
	}
	if out, code := w.try("history", "replay", "--since", "2024-02-01", "--to", "127.0.0.1:1"); code != 1 {
		t.Errorf("to a closed port: exit code %d: %s", code, out)
	}
}
