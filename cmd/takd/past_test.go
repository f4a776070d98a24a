package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// walked imports what moved within the last hour: PAST-1 of Blue from 40 to 10 minutes
// ago, north by 0.01 degrees each half minute; PAST-2 for the first five of them; and
// SECRET of Red.
func (w *world) walked(now time.Time) {
	w.Helper()
	var text strings.Builder
	add := func(name, group string, i int, more string) {
		at := now.Add(-40*time.Minute + time.Duration(i)*30*time.Second)
		event := fmt.Sprintf(`<event version='2.0' uid='UID-%s' type='a-f-G-U-C' how='m-g' time='%s' start='%[2]s' stale='%s'><point lat='%.2f' lon='11.5' hae='500' ce='9' le='9'/><detail><contact callsign='%s'/>%s</detail></event>`,
			name, at.Format(time.RFC3339), at.Add(2*time.Minute).Format(time.RFC3339), 48+float64(i)/100, name, more)
		line, err := json.Marshal(map[string]any{"server_time": at.Format(time.RFC3339), "user": "carol", "groups": []string{group}, "event": event})
		if err != nil {
			w.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	for i := range 60 {
		add("PAST-1", "Blue", i, "")
		add("SECRET", "Red", i, "")
		if i < 10 {
			add("PAST-2", "Blue", i, `<remarks>&lt;img src=x onerror=alert(1)&gt;</remarks>`)
		}
	}
	file := filepath.Join(w.TempDir(), "walked.ndjson")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		w.Fatal(err)
	}
	w.takd("history", "import", file)
}

// What was is played on the map, with a slider, to the groups of who looks; where there
// is no history, the page says so.
func TestPastInChromium(t *testing.T) {
	t.Parallel()
	builtPage(t)
	w, off := record(t), start(t)
	now := time.Now().UTC().Truncate(time.Second)
	w.walked(now)
	secret := w.secretFile("a good password")
	w.takd("user", "add", "ann", "--group", "Blue", "--password-file", secret)
	w.takd("user", "add", "root", "--role", "admin", "--group", "Blue", "--password-file", secret)
	w.takd("user", "add", "alice", "--group", "Blue")
	off.takd("user", "add", "ann", "--password-file", secret)
	off.takd("user", "add", "bob")
	off.connect("bob", off.certificate("bob")).position()
	w.connect("alice", w.certificate("alice")).position()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	browse(ctx, t, "past.mjs", map[string]string{
		"enroll": w.site("enroll"), "off": off.site("enroll"), "password": "a good password", "now": now.Format(time.RFC3339),
	}).end()
}
