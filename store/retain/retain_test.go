package retain_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"takd/store/blob"
	"takd/store/history"
	"takd/store/retain"
)

// Nothing goes until somebody says so; then whole days go, the oldest first, of that
// class alone, and what a dry run told is what goes.
func TestRun(t *testing.T) {
	s := newSite(t)
	for _, table := range history.Tables {
		s.fill(table, 0, 3, 9, 10, 40)
	}
	all := map[string]int{"cot": 5, "chat": 5, "mission_cot": 5, "endpoint_events": 5}
	if r, err := s.Run(t.Context(), "cli", false); err != nil || len(r.Dropped) != 0 || !maps.Equal(s.days(), all) {
		t.Fatalf("run without policies: %+v, %v, left %v", r, err, s.days())
	}
	if err := s.Set(retain.Cot, seconds(5*86400)); err != nil {
		t.Fatal(err)
	}
	would, err := s.Run(t.Context(), "cli", true)
	if err != nil || len(would.Dropped) != 3 || would.Rows != 3 || !would.DryRun || !maps.Equal(s.days(), all) {
		t.Fatalf("dry run: %+v, %v, left %v", would, err, s.days())
	}
	did, err := s.Run(t.Context(), "cli", false)
	if err != nil || !slices.Equal(did.Dropped, would.Dropped) || did.Dropped[0].Partition >= did.Dropped[1].Partition {
		t.Fatalf("run: %+v, %v; the dry run told %+v", did, err, would)
	}
	all["cot"] = 2
	if got := s.days(); !maps.Equal(got, all) {
		t.Errorf("left %v, want %v", got, all)
	}
	for _, class := range []string{retain.Chat, retain.Endpoint} {
		if err := s.Set(class, seconds(86400)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Run(t.Context(), "ann", false); err != nil {
		t.Fatal(err)
	}
	if got := s.days(); got["mission_cot"] != 5 || got["chat"] != 1 || got["endpoint_events"] != 1 {
		t.Errorf("left %v: want missions whole, and today of the others", got)
	}
	// A run is remembered and in the audit log; a dry one is neither.
	last, err := s.Last(t.Context(), 10)
	if err != nil || len(last) != 3 || last[0].By != "ann" || last[1].Rows != 3 {
		t.Errorf("last runs %+v, %v", last, err)
	}
	log, err := s.db.AuditLog(t.Context(), 10)
	if err != nil || len(log) != 3 || log[0].Action != "retention run" {
		t.Errorf("audit log %+v, %v", log, err)
	}
	var metrics strings.Builder
	s.WriteMetrics(&metrics)
	for _, want := range []string{"takd_retention_runs_total 3\n", "takd_retention_rows_total 11\n", `takd_retention_ttl_seconds{class="cot"} 432000`} {
		if !strings.Contains(metrics.String(), want) {
			t.Errorf("no %q in\n%s", want, metrics.String())
		}
	}
}

// Files go by their age, but for exempt keywords and what a profile holds.
func TestFiles(t *testing.T) {
	s := newSite(t)
	put := func(text string, age time.Duration, keywords ...string) blob.File {
		t.Helper()
		u, err := s.blobs.Begin("ann", int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = u.Close() }()
		if _, err := u.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		f, err := u.Keep(t.Context(), blob.File{Name: text, UID: text, Keywords: keywords, Expires: blob.Never, Submitter: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.db.ExecContext(t.Context(), "UPDATE files SET submitted_at = ? WHERE id = ?", time.Now().Add(-age).UnixMilli(), f.ID); err != nil {
			t.Fatal(err)
		}
		return f
	}
	const old = 48 * time.Hour
	for i := range 3 {
		put("old"+string(rune('a'+i)), old, "missionpackage")
	}
	put("kept", old, "x", "Permanent")
	s.held[put("profile", old).Hash] = true
	put("new", time.Hour)
	if err := s.Set(retain.Files, seconds(86400)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		dry         bool
		files, left int
	}{{true, 3, 6}, {false, 3, 3}, {false, 0, 3}} {
		r, err := s.Run(t.Context(), "cli", step.dry)
		if err != nil || r.Files != step.files || s.count() != step.left {
			t.Errorf("dry %v: %+v, %v, %d files are left; want %d and %d", step.dry, r, err, s.count(), step.files, step.left)
		}
	}
	left, err := s.blobs.Find(t.Context(), blob.Viewer{Admin: true}, blob.Query{})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for i := range left {
		names = append(names, left[i].Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"kept", "new", "profile"}) {
		t.Errorf("left %q", names)
	}
}

func (s *site) count() int {
	s.Helper()
	n, err := s.blobs.Count(s.Context(), blob.Viewer{Admin: true}, blob.Query{})
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// A full disk costs the oldest days, as few as are needed, and never the newest.
func TestWatermark(t *testing.T) {
	s := newSite(t)
	s.fill(history.Cot, 0, 1, 2)
	s.fill(history.Chat, 0, 5)
	s.fill(history.Mission, 30)
	if err := s.SetKeepFree(100); err != nil {
		t.Fatal(err)
	}
	s.free = []int64{100}
	s.Watermark(t.Context())
	if got := s.days(); got["cot"] != 3 || got["chat"] != 2 {
		t.Errorf("with enough room: left %v", got)
	}
	s.free = []int64{50, 50, 100}
	s.Watermark(t.Context())
	if got := s.days(); got["cot"] != 3 || got["chat"] != 1 {
		t.Errorf("the oldest day has to go: left %v", got)
	}
	s.free = []int64{50}
	s.Watermark(t.Context())
	s.Watermark(t.Context())
	if got := s.days(); got["cot"] != 1 || got["chat"] != 1 || got["mission_cot"] != 1 {
		t.Errorf("a disk that stays full: left %v", got)
	}
	if last, err := s.Last(t.Context(), 10); err != nil || len(last) != 2 || last[0].By != "disk" {
		t.Errorf("last runs %+v, %v", last, err)
	}
}

// The schedule has the fields of the official server, and "-" is never.
func TestSchedule(t *testing.T) {
	s := newSite(t)
	now := time.Now()
	s.Tick(t.Context(), now.AddDate(10, 0, 0))
	if err := s.SetSchedule("0 0 3 ? * 7"); err != nil {
		t.Fatal(err)
	}
	o, err := s.Show(t.Context())
	if err != nil || o.NextRun == nil || o.NextRun.Local().Weekday() != time.Sunday || o.NextRun.Local().Hour() != 3 || o.Enabled {
		t.Fatalf("Show = %+v, %v", o, err)
	}
	s.Tick(t.Context(), o.NextRun.Add(-time.Second))
	if last, _ := s.Last(t.Context(), 10); len(last) != 0 {
		t.Errorf("a run before its time: %+v", last)
	}
	s.Tick(t.Context(), o.NextRun.Add(time.Second))
	s.Tick(t.Context(), o.NextRun.Add(2*time.Second))
	if last, _ := s.Last(t.Context(), 10); len(last) != 1 || last[0].By != "schedule" {
		t.Errorf("runs by the schedule: %+v, want one", last)
	}
	for _, bad := range []string{"every day", "* * * *", "0 0 3 * * * *", "0 0 0 31 2 *", "TZ=Nowhere 0 0 3 * * *", strings.Repeat("1,", 1000)} {
		if err := s.SetSchedule(bad); !errors.Is(err, retain.ErrInvalid) {
			t.Errorf("SetSchedule(%.30q) = %v", bad, err)
		}
	}
	if err := s.SetSchedule(retain.Never); err != nil {
		t.Fatal(err)
	}
	if o, _ := s.Show(t.Context()); o.NextRun != nil || o.Schedule != "-" {
		t.Errorf("Show = %+v", o)
	}
}

// The files have the official names and keys, are read when somebody edits them, and
// one that cannot be read removes nothing.
func TestSettingsFiles(t *testing.T) {
	s := newSite(t)
	file := func(name string) string { return filepath.Join(s.dir, name) }
	for name, keys := range map[string][]string{
		"retention-policy.yml":         {"dataRetentionMap:", "cot: null", "geochat: null", "missionpackages: null", "exemptKeywords:", "permanent"},
		"retention-service.yml":        {`cronExpression: "-"`},
		"mission-archiving-config.yml": {"missionCronExpression:", "removeFromArchiveAfterDays: 1065", "timeToArchiveAfterNoActivityDays: 365", "archiveMissionByNoContentActivity: false"},
	} {
		text, err := os.ReadFile(file(name))
		for _, key := range keys {
			if err != nil || !strings.Contains(string(text), key) {
				t.Errorf("%s: %v: no %q in\n%s", name, err, key, text)
			}
		}
	}
	edit := func(text string) {
		t.Helper()
		if err := os.WriteFile(file("retention-policy.yml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Tick(t.Context(), time.Now())
	}
	// As the official server ships it, with two values.
	edit("dataRetentionMap:\n  cot: 86400\n  files: null\n  missionpackages: null\n  missions: 3600\n  geochat: 7200\nretentionSettings:\n  files:\n    exemptKeywords: [keep]\n")
	settings, err := s.Settings()
	if err != nil || settings.TTL[retain.Cot] != 24*time.Hour || settings.TTL[retain.Chat] != 2*time.Hour || !slices.Equal(settings.Exempt, []string{"keep"}) {
		t.Errorf("settings %+v, %v", settings, err)
	}
	r, err := s.Run(t.Context(), "cli", true)
	if err != nil || r.Unavailable[retain.Missions] == "" {
		t.Errorf("a policy of missions is silently skipped: %+v, %v", r, err)
	}
	s.fill(history.Cot, 9)
	for _, bad := range []string{"dataRetentionMap: [", "dataRetentionMap: {cot: -5}", "dataRetentionMap: {cot: soon}", "dataRetentionMap: {cot: 9223372036854775807}", strings.Repeat("#", 2<<20)} {
		edit(bad)
		if _, err := s.Run(t.Context(), "cli", false); !errors.Is(err, retain.ErrInvalid) || s.State() == "" || s.days()["cot"] != 1 {
			t.Errorf("%.40q: Run = %v, state %q, left %v", bad, err, s.State(), s.days())
		}
	}
	edit("dataRetentionMap: {cot: 86400, other: 5}\n")
	if err := s.Set(retain.Chat, seconds(60)); err != nil || s.State() != "" {
		t.Errorf("after it was mended: %v, state %q", err, s.State())
	}
	if text, err := os.ReadFile(file("retention-policy.yml")); err != nil || !strings.Contains(string(text), "other: 5") || !strings.Contains(string(text), "cot: 86400") {
		t.Errorf("what others wrote is lost: %v\n%s", err, text)
	}
	for class, ttl := range map[string]*int64{"none": seconds(5), retain.Missions: seconds(5), retain.Packages: seconds(5), retain.Cot: seconds(0)} {
		if err := s.Set(class, ttl); err == nil {
			t.Errorf("Set(%s, %d) = nil", class, *ttl)
		}
	}
}
