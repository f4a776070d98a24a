package main

import (
	"strings"
	"testing"
)

// The configuration over the network: administrators alone, nothing by halves, no
// passwords in the answer, and no file of the machine by name.
func TestSettingsByAPI(t *testing.T) {
	t.Parallel()
	w := start(t)
	root, ann := w.root(), w.browser(w.certificate("ann"))
	const path = "/api/admin/config"
	for _, call := range [][2]string{{"GET", path}, {"PUT", path}, {"POST", path + "/rollback/1"}, {"GET", path + "/versions/1"}, {"GET", "/api/admin/log"}} {
		ann.want(403, call[0], "https", call[1], "", "{}")
	}
	all := root.want(200, "GET", "https", path, "", "")
	for _, part := range []string{`"key":"messaging.max_clients"`, `"key":"api.limits.`, `"raw":"`, `"versions":[`, `"key":"messaging.limit_user.events"`} {
		if !strings.Contains(all, part) {
			t.Errorf("no %s in %s", part, all)
		}
	}
	for body, part := range map[string]string{
		`{"history.engine_path":"/tmp/evil.so"}`:             "on the machine alone",
		`{"history":"{engine_path: /tmp/evil.so}"}`:          "on the machine alone",
		`{"api.certificate":"{cert: /etc/shadow, key: x}"}`:  "on the machine alone",
		`{"ops.address":":8090"}`:                            "on the machine alone",
		`{"messaging.max_clients":"many"}`:                   "cannot unmarshal string",
		`{"messaging.none":"1","messaging.max_clients":"9"}`: "none",
		`{"messaging.max_clients":5}`:                        "body",
		`{}`:                                                 "want 1 to",
		`{"":"1"}`:                                           "no such key",
	} {
		for _, dry := range []string{"", "?dryRun=1"} {
			if got := root.want(400, "PUT", "https", path+dry, "", body); !strings.Contains(got, part) {
				t.Errorf("%s%s: no %q in %s", dry, body, part, got)
			}
		}
	}
	before := w.takd("config", "get", "messaging.max_clients")
	if got := root.want(200, "PUT", "https", path+"?dryRun=1", "", `{"messaging.max_clients":"1234"}`); !strings.Contains(got, "max_clients: 1234\n") {
		t.Errorf("what it would be: %s", got)
	}
	if got := w.takd("config", "get", "messaging.max_clients"); got != before {
		t.Errorf("after a look: %s, want %s", got, before)
	}
	root.want(200, "PUT", "https", path, "", `{"messaging.max_clients":"1234"}`)
	if got := root.want(200, "GET", "https", path+"/versions/1", "", ""); strings.Contains(got, "1234") || !strings.Contains(got, "messaging:") {
		t.Errorf("what it was: %s", got)
	}
	for _, n := range []string{"99", "0", "-1", "x", "..%2ftakd", "1.yaml"} {
		root.want(400, "GET", "https", path+"/versions/"+n, "", "")
	}
	if got := w.takd("config", "get", "messaging.max_clients"); !strings.Contains(got, "1234") {
		t.Errorf("max_clients = %s", got)
	}
	root.want(200, "POST", "https", path+"/rollback/1", "", "")
	if got := w.takd("config", "get", "messaging.max_clients"); got != before {
		t.Errorf("after going back: %s, want %s", got, before)
	}
	root.want(400, "POST", "https", path+"/rollback/99", "", "")
	root.want(400, "POST", "https", path+"/rollback/..", "", "")
	if got := root.want(200, "GET", "https", "/api/admin/log", "", ""); !strings.Contains(got, "msg=ready") {
		t.Errorf("log: %s", got)
	}
}
