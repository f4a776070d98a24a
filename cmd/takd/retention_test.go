package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"takd/store/retain"
)

// An operator sets for how long data is kept, on the command line and by the
// official API; both show the same, and bad input changes nothing.
func TestRetention(t *testing.T) {
	t.Parallel()
	w := start(t)
	if v := ask[retain.View](w, "retention", "show"); v.Enabled || v.Schedule != "-" || v.NextRun != nil || len(v.Policies) != 6 || v.Policies[retain.Cot].TTL != nil {
		t.Errorf("at first: %+v", v)
	}
	w.takd("retention", "set", "chat", "30d")
	v := ask[retain.View](w, "retention", "set", "--schedule", "0 0 3 * * *", "--keep-free", "1000", "--exempt", "permanent,evidence")
	if !v.Enabled || *v.Policies[retain.Chat].TTL != 30*86400 || v.NextRun == nil || v.KeepFree != 1000 || len(v.Exempt) != 2 {
		t.Errorf("after set: %+v", v)
	}
	for _, bad := range []string{"set chat 5s", "set chat never", "set cot", "set", "set planes 30d", "set --schedule hourly", "set --keep-free -1"} {
		if out, code := w.try(append([]string{"retention"}, strings.Fields(bad)...)...); code == 0 || strings.Contains(out, "panic") {
			t.Errorf("retention %s: code %d: %s", bad, code, out)
		}
	}
	text := w.takd("retention", "show")
	for _, want := range []string{"chat", "30 days", "for ever", "this build has no missions", "0 0 3 * * *"} {
		if !strings.Contains(text, want) {
			t.Errorf("retention show has no %q:\n%s", want, text)
		}
	}
	root := w.root()
	call := func(status int, method, path, body, want string) {
		t.Helper()
		if got := root.want(status, method, "https", path, "", body); want != "" && !strings.Contains(got, want) {
			t.Errorf("%s %s = %s; want %s", method, path, got, want)
		}
	}
	const api = "/Marti/api/retention/"
	call(200, "GET", api+"policy", "", `"type":"RetentionPolicies","data":{"cot":null,"files":null,"geochat":2592000,"missionpackages":null,"missions":null}`)
	call(200, "PUT", api+"policy", `{"cot":86400,"geochat":null}`, `{"cot":86400,"files":null,"geochat":null,`)
	call(400, "PUT", api+"policy", `{"cot":1}`, "ttl")
	call(400, "PUT", api+"policy", `{"planes":86400}`, "planes")
	call(400, "PUT", api+"policy", `[`, "")
	call(200, "GET", api+"service/schedule", "", `"data":"0 0 3 * * *"`)
	call(200, "PUT", api+"service/schedule", "-", `"data":"-"`)
	call(400, "PUT", api+"service/schedule", "x", "cronExpression")
	call(200, "GET", api+"missionarchiveconfig", "", `"timeToArchiveAfterNoActivityDays":365`)
	call(200, "PUT", api+"missionarchiveconfig", `{"timeToArchiveAfterNoActivityDays":9}`, `"timeToArchiveAfterNoActivityDays":9`)
	call(400, "PUT", api+"missionarchiveconfig", `{"timeToArchiveAfterNoActivityDays":-9}`, "")
	call(200, "GET", api+"missionarchive", "", `missionArchiveStoreEntries`)
	call(404, "POST", api+"restoremission", "5", "")
	call(404, "PUT", api+"resource/none.zip/expiry/5", "", "")
	call(400, "PUT", api+"resource/none.zip/expiry/soon", "", "")
	call(200, "GET", "/api/admin/retention", "", `"cot":{"ttl_seconds":86400}`)
	call(200, "PUT", "/api/admin/retention", `{"ttl":{"files":"1y"}}`, `"files":{"ttl_seconds":31536000}`)
	call(400, "PUT", "/api/admin/retention", `{"tll":{}}`, "tll")
	call(200, "POST", "/api/admin/retention/run?dryRun=true", "", `"dry_run":true`)
	call(400, "POST", "/api/admin/retention/run?dryRun=maybe", "", "dryRun")

	r := ask[retain.Run](w, "retention", "run", "--dry-run")
	if !r.DryRun || r.Skipped[retain.Cot] == "" { // this server has no history
		t.Errorf("run = %+v", r)
	}
	w.takd("retention", "run")
	if v := ask[retain.View](w, "retention", "show"); len(v.LastRuns) != 3 || v.LastRuns[0].By != "cli" || v.LastRuns[2].By != "root" {
		t.Errorf("last runs = %+v", v.LastRuns)
	}
	if log := w.takd("audit"); !strings.Contains(log, "retention run") || !strings.Contains(log, "retention set") {
		t.Errorf("audit = %s", log)
	}
	text = string(must(os.ReadFile(filepath.Join(w.data, "conf", "retention", "retention-policy.yml"))))
	if !strings.Contains(text, "cot: 86400") || !strings.Contains(text, "geochat: null") {
		t.Errorf("retention-policy.yml = %s", text)
	}
	w.stop()
	if out, code := w.try("retention", "show"); code != 1 {
		t.Errorf("without a server: code %d: %s", code, out)
	}
}

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}
