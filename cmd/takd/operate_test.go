package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"takd/http/admin"
)

// What the page's administrators ask and do.
func TestOperateByAPI(t *testing.T) {
	t.Parallel()
	w := start(t)
	root := w.root()
	w.takd("user", "add", "alice")
	alice := w.connect("alice", w.certificate("alice"))
	var all []admin.Client
	if err := json.Unmarshal([]byte(root.want(200, "GET", "https", "/api/admin/clients", "", "")), &all); err != nil || len(all) != 1 ||
		all[0].Callsign != "CS-alice" || all[0].EventsIn != 1 || all[0].Team != "Cyan" {
		t.Fatalf("%v: %+v", err, all)
	}
	for _, id := range []string{"0", "x", "-1", "18446744073709551616"} {
		root.want(400, "DELETE", "https", "/api/admin/clients/"+id, "", "")
	}
	root.want(204, "DELETE", "https", fmt.Sprint("/api/admin/clients/", all[0].ID), "", "")
	alice.ends()
	root.want(404, "DELETE", "https", fmt.Sprint("/api/admin/clients/", all[0].ID), "", "")

	root.want(204, "PUT", "https", "/api/admin/users/alice", "", `{"role":"readonly","disabled":true}`)
	if got := root.want(200, "GET", "https", "/api/admin/users", "", ""); !strings.Contains(got, `"name":"alice","role":"readonly","disabled":true`) {
		t.Errorf("users: %s", got)
	}
	for path, body := range map[string]string{"alice": `{"role":"god"}`, "root": `{"disabled":true}`, "nobody": `{"disabled":true}`, "alice/": `{"rôle":"admin"}`} {
		if status, text := root.call("PUT", "https", "/api/admin/users/"+path, "", body); status < 400 || status > 409 {
			t.Errorf("%s %s: %d %s", path, body, status, text)
		}
	}
	if got := root.want(200, "GET", "https", "/api/admin/status", "", ""); !strings.Contains(got, `"listeners":{`) {
		t.Errorf("status: %s", got)
	}
	if got := root.want(200, "GET", "https", "/api/admin/metrics", "", ""); !strings.Contains(got, "takd_clients 0") || !strings.Contains(got, "takd_live_sessions 0") {
		t.Errorf("metrics: %.300s", got)
	}
	root.want(200, "GET", "https", "/api/admin/groups", "", "")
	w.takd("user", "add", "bob")
	bob := w.browser(w.certificate("bob"))
	for _, path := range []string{"clients", "users", "groups", "status", "metrics"} {
		bob.want(403, "GET", "https", "/api/admin/"+path, "", "")
	}
	if log := w.takd("audit"); !strings.Contains(log, "kick") || !strings.Contains(log, "readonly") {
		t.Errorf("audit: %s", log)
	}
}
