package retain_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"takd/store/blob"
	"takd/store/history"
	"takd/store/history/engine"
	"takd/store/meta"
	"takd/store/retain"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == engine.Command {
		var o engine.ServeOptions
		p, err := kong.New(&o)
		if err == nil {
			if _, err = p.Parse(os.Args[2:]); err == nil {
				err = engine.Serve(o, os.Stdin, os.Stdout)
			}
		}
		if err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type place struct {
	*testing.T
	dir     string
	history *history.Store
	blobs   *blob.Store
	free    uint64
	audit   []string
	svc     *retain.Service
}

func open(t *testing.T) *place {
	t.Helper()
	run, err := os.MkdirTemp("", "takd") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	p := &place{T: t, dir: t.TempDir(), free: 1 << 40}
	p.history, err = history.Open(history.Options{
		Command: []string{os.Args[0], engine.Command}, Dir: filepath.Join(p.dir, "history"), Socket: filepath.Join(run, "h.sock"), Flush: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.history.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	db, err := meta.Open(t.Context(), filepath.Join(p.dir, "meta.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	p.blobs, err = blob.Open(t.Context(), db, filepath.Join(p.dir, "blob"), func() blob.Options { return blob.Options{MinFree: 1} }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p.svc, err = retain.New(retain.Options{
		Dir: p.conf(), History: p.history, Files: p.blobs, Free: func() (uint64, error) { return p.free, nil },
		Audit: func(_ context.Context, by, what string, _ error) { p.audit = append(p.audit, by+": "+what) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) conf() string { return filepath.Join(p.dir, "conf", "retention") }

func (p *place) ctx() context.Context {
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	p.Cleanup(cancel)
	return ctx
}

// record makes rows of some days ago in a table.
func (p *place) record(table string, days ...int) {
	p.Helper()
	for _, d := range days {
		at := time.Now().AddDate(0, 0, -d)
		if !p.history.Record(&history.Event{Table: table, Received: at, Time: at, Start: at, Stale: at, UID: "u", Type: "a-f-G", Raw: []byte("<event/>")}) {
			p.Fatal("not recorded")
		}
	}
	if err := p.history.Flush(p.ctx()); err != nil {
		p.Fatal(err)
	}
}

func (p *place) rows() map[string]uint64 {
	p.Helper()
	st, err := p.history.Stats(p.ctx())
	if err != nil {
		p.Fatal(err)
	}
	out := map[string]uint64{}
	for _, t := range st.Tables {
		out[t.Name] = t.Rows
	}
	return out
}

func (p *place) upload(name string, keywords ...string) {
	p.Helper()
	u, err := p.blobs.Begin("ann", int64(len(name)))
	if err == nil {
		defer u.Close()
		if _, err = io.WriteString(u, name); err == nil {
			_, err = u.Keep(p.Context(), blob.File{Name: name, Keywords: keywords, Expires: blob.Never})
		}
	}
	if err != nil {
		p.Fatal(err)
	}
}

func (p *place) set(change func(*retain.Config)) {
	p.Helper()
	if err := p.svc.Set(func(c *retain.Config) error { change(c); return nil }); err != nil {
		p.Fatal(err)
	}
}

const day = 24 * time.Hour

// Each class goes by its own time: chat, files with exempt keywords and events of
// missions stay when positions go; what is not built is named.
func TestRun(t *testing.T) {
	p := open(t)
	p.record(history.Cot, 0, 5, 20)
	p.record(history.Chat, 5, 20)
	p.record(history.Mission, 20)
	p.record(history.Endpoints, 20)
	p.upload("old.zip")
	p.upload("kept.zip", "x", "permanent")
	if r, err := p.svc.Run(p.ctx(), "ann", false); err != nil || len(r.Dropped)+r.Files != 0 {
		t.Fatalf("without a policy: %+v, %v; want nothing", r, err)
	}
	p.set(func(c *retain.Config) {
		c.TTL[retain.Cot], c.TTL[retain.Chat], c.TTL[retain.Missions] = 3*day, 10*day, day
	})
	for _, dry := range []bool{true, false} {
		r, err := p.svc.Run(p.ctx(), "ann", dry)
		if err != nil || r.DryRun != dry || len(r.Dropped) != 3 || r.Rows != 3 || r.Bytes == 0 || r.Files != 0 || r.Skipped[retain.Missions] == "" {
			t.Fatalf("Run(dry %v) = %+v, %v; want 3 partitions", dry, r, err)
		}
		if dry && p.rows()[history.Cot] != 3 {
			t.Fatal("a dry run has removed something")
		}
	}
	want := map[string]uint64{history.Cot: 1, history.Chat: 1, history.Mission: 1, history.Endpoints: 1}
	if got := p.rows(); got[history.Cot] != 1 || got[history.Chat] != 1 || got[history.Mission] != 1 || got[history.Endpoints] != 1 {
		t.Errorf("rows = %v, want %v", got, want)
	}
	if runs := p.svc.Show().LastRuns; len(runs) != 3 || runs[0].DryRun || !runs[1].DryRun {
		t.Errorf("last runs = %+v", runs)
	}
	if len(p.audit) != 2 || !strings.HasPrefix(p.audit[1], "ann: partitions=3 rows=3") {
		t.Errorf("audit = %q", p.audit)
	}
}

// Files go by the time of their upload, whatever they are called, but for those
// with an exempt keyword.
func TestFiles(t *testing.T) {
	p := open(t)
	p.upload("old.zip", "x")
	p.upload("kept.zip", "x", "permanent")
	n, bytes, err := p.blobs.Retain(p.ctx(), time.Now().Add(time.Hour), []string{"permanent"}, true)
	if err != nil || n != 1 || bytes != int64(len("old.zip")) {
		t.Fatalf("Retain(dry) = %d, %d, %v", n, bytes, err)
	}
	if n, _, err = p.blobs.Retain(p.ctx(), time.Now().Add(time.Hour), []string{"permanent"}, false); err != nil || n != 1 {
		t.Fatalf("Retain = %d, %v", n, err)
	}
	left, err := p.blobs.Find(p.ctx(), blob.Viewer{Admin: true}, blob.Query{})
	if err != nil || len(left) != 1 || left[0].Name != "kept.zip" {
		t.Errorf("left = %+v, %v", left, err)
	}
}

// A nearly full disk costs the oldest positions; today's stay, and chat does.
func TestDisk(t *testing.T) {
	p := open(t)
	p.record(history.Cot, 0, 5, 20)
	p.record(history.Chat, 20)
	p.free = 10
	p.set(func(c *retain.Config) { c.KeepFree = 1000 })
	p.svc.Start()
	p.eventually(func() bool { return p.rows()[history.Cot] == 1 })
	if err := p.svc.Stop(p.ctx()); err != nil {
		t.Fatal(err)
	}
	if got := p.rows(); got[history.Chat] != 1 || got[history.Cot] != 1 {
		t.Errorf("rows = %v", got)
	}
	if runs := p.svc.Show().LastRuns; len(runs) != 1 || runs[0].By != "disk" || len(runs[0].Dropped) != 2 {
		t.Errorf("runs = %+v", runs)
	}
}

func (p *place) eventually(f func() bool) {
	p.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatal("it does not come")
		}
	}
}

// The schedule runs, and files that an operator edits hold at once; bad ones
// change nothing and are shown.
func TestSchedule(t *testing.T) {
	p := open(t)
	p.record(history.Cot, 5)
	p.svc.Start()
	if st := p.svc.Show(); st.NextRun != nil || st.Enabled {
		t.Errorf("state = %+v; want nothing planned", st)
	}
	p.write("retention-policy.yml", "dataRetentionMap:\n  cot: 86400\n  files: null\n  missionpackages: null\n  missions: null\n  geochat: null\nretentionSettings:\n  files:\n    exemptKeywords: []\n")
	p.write("retention-service.yml", `cronExpression: "* * * * * *"`)
	p.eventually(func() bool { return p.rows()[history.Cot] == 0 })
	p.write("retention-policy.yml", "dataRetentionMap: [what]")
	p.eventually(func() bool { return p.svc.Show().Error != "" })
	if st := p.svc.Show(); *st.Policies[retain.Cot].TTL != 86400 || st.Schedule != "* * * * * *" || st.NextRun == nil {
		t.Errorf("state = %+v; want the last good one", st)
	}
	if err := p.svc.Stop(p.ctx()); err != nil {
		t.Error(err)
	}
}

func (p *place) write(name, text string) {
	p.Helper()
	if err := os.WriteFile(filepath.Join(p.conf(), name), []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
}

// What is set is in the files, with the official keys, and comes back.
func TestFilesKeep(t *testing.T) {
	dir := t.TempDir()
	s, err := retain.New(retain.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Set(func(c *retain.Config) error {
		c.TTL[retain.Chat], c.Cron, c.KeepFree, c.Exempt, c.Archive.AfterDays = 36*time.Hour, "0 0 3 * * ?", 7, []string{"a"}, 9
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"retention-policy.yml": "geochat: 129600", "retention-service.yml": `0 0 3 * * ?`, "mission-archiving-config.yml": "timeToArchiveAfterNoActivityDays: 9",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s = %q, %v; want %s in it", name, text, err, want)
		}
	}
	again, err := retain.New(retain.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if c := again.Show(); *c.Policies[retain.Chat].TTL != 129600 || c.Schedule != "0 0 3 * * ?" || c.KeepFree != 7 || !slices.Equal(c.Exempt, []string{"a"}) || again.Archiving().AfterDays != 9 {
		t.Errorf("read again: %+v", c)
	}
	// Bad changes change nothing.
	for name, change := range map[string]func(*retain.Config){
		"ttl": func(c *retain.Config) { c.TTL[retain.Cot] = time.Minute }, "class": func(c *retain.Config) { c.TTL["x"] = day },
		"cron": func(c *retain.Config) { c.Cron = "61 * * * * *" }, "free": func(c *retain.Config) { c.KeepFree = -1 },
		"word": func(c *retain.Config) { c.Exempt = []string{""} }, "words": func(c *retain.Config) { c.Exempt = make([]string, 101) },
		"days": func(c *retain.Config) { c.Archive.AfterDays = -1 }, "archive": func(c *retain.Config) { c.Archive.Cron = "x" },
	} {
		if err := again.Set(func(c *retain.Config) error { change(c); return nil }); !errors.Is(err, retain.ErrInvalid) {
			t.Errorf("%s: Set = %v, want ErrInvalid", name, err)
		}
	}
	if c := again.Show(); c.Policies[retain.Cot].TTL != nil || c.KeepFree != 7 {
		t.Errorf("after bad changes: %+v", c)
	}
}

func TestHostileFiles(t *testing.T) {
	for name, file := range map[string][2]string{
		"not yaml": {"retention-policy.yml", "\x00\xff["}, "class": {"retention-policy.yml", "dataRetentionMap: {planes: 86400}"},
		"huge ttl": {"retention-policy.yml", "dataRetentionMap: {cot: 9223372036854775807}"}, "negative": {"retention-policy.yml", "dataRetentionMap: {cot: -5}"},
		"short": {"retention-policy.yml", "dataRetentionMap: {cot: 5}"}, "cron": {"retention-service.yml", "cronExpression: never"},
		"key": {"retention-service.yml", "cron: '-'"}, "large": {"retention-service.yml", "# " + strings.Repeat("x", 70_000)},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, file[0]), []byte(file[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := retain.New(retain.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), file[0]) && !errors.Is(err, retain.ErrInvalid) {
			t.Errorf("%s: New = %v, want an error that names %s", name, err, file[0])
		}
	}
}

func TestParseTTL(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"off": 0, "3600": time.Hour, "36h": 36 * time.Hour, "30d": 30 * day, "2w": 14 * day, "1m": 30 * day, "1y": 365 * day,
		"": -1, "5": -1, "0d": -1, "-3d": -1, "101y": -1, "99999999999999999999": -1, "1x": -1, "d": -1, "1.5d": -1,
	} {
		got, err := retain.ParseTTL(text)
		if want < 0 && !errors.Is(err, retain.ErrInvalid) || want >= 0 && (err != nil || got != want) {
			t.Errorf("ParseTTL(%q) = %s, %v; want %s", text, got, err, want)
		}
	}
}
