package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"takd/store/retain"
)

// aged imports an event of each age in days.
func (w *world) aged(days ...int) {
	w.Helper()
	var text strings.Builder
	for i, d := range days {
		at := time.Now().UTC().AddDate(0, 0, -d).Format(time.RFC3339)
		event := fmt.Sprintf(`<event version='2.0' uid='aged-%d' type='a-f-G-U-C' how='m-g' time='%s' start='%s' stale='%s'><point lat='48.5' lon='11.25' hae='500' ce='9' le='9'/><detail><contact callsign='AGED-%d'/></detail></event>`, i, at, at, at, i)
		line, err := json.Marshal(map[string]any{"server_time": at, "user": "carol", "groups": []string{"Blue"}, "event": event})
		if err != nil {
			w.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	file := filepath.Join(w.TempDir(), "aged.ndjson")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		w.Fatal(err)
	}
	w.takd("history", "import", file)
}

// Retention by command line and by both APIs; each run is in the audit log.
func TestRetention(t *testing.T) {
	t.Parallel()
	w := record(t, []string{"retention", "set", "chat", "4w"})
	root, ann := w.root(), w.browser(w.certificate("ann"))
	w.aged(0, 20, 40)

	o := ask[retain.Overview](w, "retention", "show")
	if o.Enabled || o.Schedule != "-" || o.NextRun != nil || len(o.Policies) != 6 || o.Policies["cot"].TTL != nil || *o.Policies["chat"].TTL != 28*86400 || o.Policies["missions"].Unavailable == "" {
		t.Errorf("show = %+v", o)
	}
	o = ask[retain.Overview](w, "retention", "set", "cot", "30d", "--schedule", "0 0 3 * * *", "--keep-free", "1GiB")
	if !o.Enabled || o.NextRun == nil || *o.Policies["cot"].TTL != 30*86400 || o.KeepFree != 1<<30 {
		t.Errorf("set = %+v", o)
	}
	w.takd("retention", "set", "chat", "off")
	for _, args := range [][]string{{"cot", "soon"}, {"cot"}, {"cot", "0"}, {"--keep-free", "much"}, {}} {
		if out, code := w.try(append([]string{"retention", "set"}, args...)...); code != 2 {
			t.Errorf("retention set %v: exit code %d: %s", args, code, out)
		}
	}
	for _, args := range [][]string{{"missions", "30d"}, {"none", "30d"}, {"--schedule", "never"}} {
		if out, code := w.try(append([]string{"retention", "set"}, args...)...); code != 1 {
			t.Errorf("retention set %v: exit code %d: %s", args, code, out)
		}
	}
	for _, dry := range []bool{true, false} {
		args := []string{"retention", "run"}
		if dry {
			args = append(args, "--dry-run")
		}
		r := ask[retain.Report](w, args...)
		if r.DryRun != dry || len(r.Dropped) != 1 || r.Rows != 1 || r.Dropped[0].Table != "cot" {
			t.Errorf("run: %+v", r)
		}
	}
	if got := len(w.rows("--user", "carol")); got != 2 {
		t.Errorf("%d rows are left, want 2", got)
	}
	if out := w.takd("audit"); !strings.Contains(out, "retention run") || !strings.Contains(out, "retention set") {
		t.Errorf("audit log:\n%s", out)
	}
	if !strings.Contains(w.takd("status"), "retention") || !strings.Contains(w.get("/metrics"), "takd_retention_runs_total 1\n") {
		t.Error("neither status nor metrics tell of retention")
	}

	const old = "/Marti/api/retention"
	for _, path := range []string{old + "/policy", old + "/service/schedule", old + "/missionarchiveconfig", "/api/admin/retention"} {
		ann.want(403, "GET", "https", path, "", "")
		ann.want(403, "PUT", "https", path, "", "{}")
	}
	ann.want(403, "POST", "https", "/api/admin/retention/run", "", "")
	has := func(status int, method, path, body, part string) {
		t.Helper()
		if got := root.want(status, method, "https", path, "", body); !strings.Contains(got, part) {
			t.Errorf("%s %s: no %s in %s", method, path, part, got)
		}
	}
	has(200, "GET", old+"/policy", "", `"type":"RetentionPolicies","data":{"cot":2592000,"files":null,"geochat":null,"missionpackages":null,"missions":null}`)
	has(200, "PUT", old+"/policy", `{"geochat":3600,"missions":null}`, `"geochat":3600`)
	has(400, "PUT", old+"/policy", `{"geochat":-1}`, "chat: -1 seconds")
	has(400, "PUT", old+"/policy", `{"missions":5}`, "missions")
	has(400, "PUT", old+"/policy", `{"users":5}`, "users")
	has(200, "GET", old+"/service/schedule", "", `"data":"0 0 3 * * *"`)
	has(200, "PUT", old+"/service/schedule", "-", `"data":"-"`)
	if got := root.want(200, "PUT", "https", old+"/service/schedule", "", "nonsense"); got != "" {
		t.Errorf("a bad schedule: %s", got)
	}
	has(200, "PUT", old+"/missionarchiveconfig", `{"timeToArchiveAfterNoActivityDays":10}`, `"removeFromArchiveAfterDays":1065`)
	has(400, "PUT", old+"/missionarchiveconfig", `{"timeToArchiveAfterNoActivityDays":-10}`, "days")
	has(200, "GET", old+"/missionarchive", "", `"data":"{\"missionArchiveStoreEntries\":[]}"`)
	has(404, "POST", old+"/restoremission", "5", "missions")
	has(404, "PUT", old+"/resource/none/expiry/5", "", "no such file")
	has(400, "PUT", old+"/resource/none/expiry/soon", "", "time")
	has(200, "GET", "/api/admin/retention/partitions", "", `{"class":"cot","table":"cot","id":"`)
	has(200, "GET", "/api/admin/retention/partitions", "", `"end":"`)
	ann.want(403, "GET", "https", "/api/admin/retention/partitions", "", "")
	has(200, "PUT", "/api/admin/retention", `{"policies":{"cot":864000},"schedule":"@daily"}`, `"cot":{"ttl_seconds":864000}`)
	has(400, "PUT", "/api/admin/retention", `{"policy":{}}`, "policy")
	has(200, "POST", "/api/admin/retention/run?dry_run=true", "", `"rows":1`)
	has(400, "POST", "/api/admin/retention/run?dry_run=maybe", "", "dry_run")
	has(200, "POST", "/api/admin/retention/run", "", `"by":"root"`)
	has(200, "GET", "/api/admin/retention", "", `"last_runs":[{"at":`)
}

// A server without the service says so; without any server the settings can be changed.
func TestWithoutRetention(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.stop()
	w.without = []string{"retention"}
	w.run()
	if out, code := w.try("retention", "show"); code != 1 || !strings.Contains(out, "without") {
		t.Errorf("exit code %d: %s", code, out)
	}
	w.root().want(500, "GET", "https", "/Marti/api/retention/policy", "", "")
	w.stop()
	w.takd("retention", "set", "cot", "30d")
	if o := ask[retain.Overview](w, "retention", "show"); *o.Policies["cot"].TTL != 30*86400 {
		t.Errorf("show = %+v", o)
	}
	if out, code := w.try("retention", "run"); code != 1 || !strings.Contains(out, "no server") {
		t.Errorf("exit code %d: %s", code, out)
	}
}
