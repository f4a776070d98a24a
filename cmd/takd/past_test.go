package main

import (
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
	for _, d := range []struct {
		ago         time.Duration
		group, text string
	}{
		{50, "Blue", drawing("UID-ZONE", "u-d-f", "ZONE", square, 2*time.Hour)},
		{50, "Red", drawing("UID-HIDEOUT", "u-d-f", "SECRET ZONE", square, 2*time.Hour)},
		{50, "Blue", marker("UID-POST", "POST", "takd-test/Shapes/magenta 1.png", 2*time.Hour)},
		{20, "Blue", drawing("UID-MSR", "b-m-r", "MSR", `<link callsign="SP" point="48.1,11.5,0"/><link point="48.5,11.9,0"/>`, 10*time.Minute)},
		{15, "Blue", drawing("DELETE", "t-x-d-d", "", `<link uid="UID-ZONE" relation="none" type="none"/><__forcedelete/>`, time.Minute)},
	} {
		at := now.Add(-d.ago * time.Minute)
		line, err := json.Marshal(map[string]any{"server_time": at.Format(time.RFC3339), "user": "carol", "groups": []string{d.group}, "event": d.text})
		if err != nil {
			w.Fatal(err)
		}
		text.Write(append(line, '\n'))
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
	w.browser(w.certificate("root")).want(200, "POST", "https", "/Marti/api/iconset", "", iconSet(t))
	off.takd("user", "add", "ann", "--password-file", secret)
	off.takd("user", "add", "bob")
	off.connect("bob", off.certificate("bob")).position()
	w.connect("alice", w.certificate("alice")).position()
	chromium(t, "past.mjs", map[string]string{
		"enroll": w.site("enroll"), "off": off.site("enroll"), "password": "a good password", "now": now.Format(time.RFC3339),
	})
}

// A replay shows drawings, routes and markers from when they were sent until they were
// deleted or stale, however long before it that was, within a day; of the groups of who
// looks alone.
func TestReplayShowsDrawings(t *testing.T) {
	t.Parallel()
	w := record(t, []string{"user", "add", "ann", "--group", "Blue"})
	now := time.Now().UTC().Truncate(time.Second)
	w.walked(now)
	w.takd("user", "add", "root", "--role", "admin")
	w.browser(w.certificate("root")).want(200, "POST", "https", "/Marti/api/iconset", "", iconSet(t))
	at := func(ago time.Duration) string { return now.Add(-ago * time.Minute).Format(time.RFC3339) }
	ann := w.follow(w.certificate("ann"), "replay", map[string]any{"t": "replay", "since": at(30), "until": at(5), "rate": 600})
	ann.shows(w, `"shape":{"kind":"line","at":[116000000,482000000,`)
	ann.shows(w, `"icon":"takd-test/Shapes/magenta 1.png"`)
	ann.shows(w, `"callsign":"MSR"`)
	ann.shows(w, `"points":["SP",""]`)
	ann.shows(w, `"t":"end"`)
	if got := ann.gone.Load(); got < 2 { // the zone was deleted, the route stale
		t.Errorf("%d have left", got)
	}
	if got := ann.text.String(); strings.Contains(got, "SECRET") || strings.Contains(got, "HIDEOUT") {
		t.Errorf("Blue sees %s", got)
	}
	later := w.follow(w.certificate("ann"), "replay", map[string]any{"t": "replay", "since": at(12), "until": at(5), "rate": 600})
	later.shows(w, `"t":"end"`)
	if got := later.text.String(); strings.Contains(got, "ZONE") || !strings.Contains(got, "MSR") || !strings.Contains(got, "POST") {
		t.Errorf("after the zone was deleted: %s", got)
	}
}
