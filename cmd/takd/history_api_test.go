package main

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// Administrators page through the history, each event once, whichever moments they
// share; take it away in files; and nobody else does.
func TestHistoryForAdministrators(t *testing.T) {
	t.Parallel()
	w := record(t, []string{"user", "add", "ann", "--group", "Blue"})
	const n = 100
	w.moving(n) // five events of each moment
	root, ann := w.root(), w.browser(w.certificate("ann"))
	for _, order := range []string{"newest", "oldest"} {
		seen, pages := map[string]bool{}, 0
		last := ""
		for cursor := ""; ; pages++ {
			var page struct {
				Rows []row
				Next *string
			}
			path := "/api/admin/history?limit=7&type=a-&order=" + order + "&cursor=" + url.QueryEscape(cursor)
			if err := json.Unmarshal([]byte(root.want(200, "GET", "https", path, "", "")), &page); err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Rows {
				at := r.ServerTime.Format("15:04:05.000")
				if seen[r.Event] || last != "" && (order == "newest") == (at > last) && at != last {
					t.Errorf("%s: %s after %s, seen %v", order, at, last, seen[r.Event])
				}
				seen[r.Event], last = true, at
			}
			if page.Next == nil {
				break
			}
			if cursor = *page.Next; pages > n {
				t.Fatal("no end")
			}
		}
		if len(seen) != n || pages != (n-1)/7 {
			t.Errorf("%s: %d events on %d pages", order, len(seen), pages+1)
		}
	}
	if got := root.want(200, "GET", "https", "/api/admin/history?uid=OLD-1&box=0,1,2,3&since=2024-01-01T00:00:00Z&until=2025-01-01T00:00:00Z", "", ""); strings.Count(got, `"uid":"OLD-1"`) != n/5 || !strings.Contains(got, `"next":null`) {
		t.Errorf("of one uid: %s", got)
	}
	if got := root.want(200, "GET", "https", "/api/admin/history/stats", "", ""); !strings.Contains(got, `"partitions":[{`) {
		t.Errorf("stats: %s", got)
	}
	var counted struct {
		Step    int
		Buckets []struct{ Rows int }
	}
	const counts = "/api/admin/history/histogram?since=2024-01-01T00:00:00Z&until=2025-01-01T00:00:00Z&type=a-"
	if err := json.Unmarshal([]byte(root.want(200, "GET", "https", counts, "", "")), &counted); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, b := range counted.Buckets {
		sum += b.Rows
	}
	if sum != n || len(counted.Buckets) < 60 || counted.Step != 366*24*60 {
		t.Errorf("histogram: %d events in %d pieces of %d s", sum, len(counted.Buckets), counted.Step)
	}
	if got := root.want(200, "GET", "https", "/api/admin/history/histogram?step=3600", "", ""); strings.Count(got, `"rows"`) < 24 {
		t.Errorf("histogram of the last day: %s", got)
	}
	const export = "/api/admin/history/export?type=a-&format="
	if got := root.want(200, "GET", "https", export+"csv", "", ""); strings.Count(got, "\n") != n+1 || !strings.HasPrefix(got, "server_time,") {
		t.Errorf("csv: %.200s", got)
	}
	if got := root.want(200, "GET", "https", export+"ndjson&limit=3", "", ""); strings.Count(got, "\n") != 3 {
		t.Errorf("ndjson: %s", got)
	}
	if got := root.want(200, "GET", "https", export+"parquet", "", ""); !strings.HasPrefix(got, "PAR1") || !strings.HasSuffix(got, "PAR1") {
		t.Errorf("parquet: %.20q", got)
	}
	if got := w.takd("audit"); strings.Count(got, "history export") != 3 {
		t.Errorf("audit: %s", got)
	}
	for _, bad := range []string{
		"?limit=0", "?limit=1001", "?limit=x", "?order=best", "?cursor=1", "?cursor=-1.0", "?cursor=1.9999999", "?cursor=99999999999999999.0", "?since=yesterday",
		"?box=1,2,3", "?box=1,2,3,x", "?box=91,0,92,1", "?box=NaN,0,1,1", "?table=system.tables", "?table=" + url.QueryEscape("cot; DROP TABLE cot"),
		"/histogram?step=0", "/histogram?step=x", "/histogram?step=1", "/histogram?step=99999999999", "/histogram?limit=5", "/histogram?since=2025-01-01T00:00:00Z&until=2024-01-01T00:00:00Z",
		"/histogram?since=0002-01-01T00:00:00Z&step=60", "/histogram?table=x", "/export", "/export?format=exe", "/export?format=csv&limit=10000001",
	} {
		root.want(400, "GET", "https", "/api/admin/history"+bad, "", "")
	}
	for _, path := range []string{"", "/stats", "/histogram", "/export?format=csv"} {
		ann.want(403, "GET", "https", "/api/admin/history"+path, "", "")
	}
	root.want(200, "GET", "https", "/api/admin/history?uid="+url.QueryEscape("' OR 1=1 --"), "", "")
}
