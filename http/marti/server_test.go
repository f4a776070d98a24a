package marti_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"takd/http/httpd"
)

// As ATAK, CloudTAK and node-tak parse them, byte by byte.
func TestServerAnswers(t *testing.T) {
	s := newSite(t)
	const envelope = `{"version":"3","type":`
	for path, want := range map[string]string{
		"/Marti/api/version":                  textOK + "TAK Server 1.2.3-rc1",
		"/Marti/api/ver":                      textOK + "TAK Server 1.2.3-rc1",
		"/Marti/api/groups?groupNameFilter=B": jsonOK + envelope + `"com.bbn.marti.remote.groups.LdapGroup","data":[],"nodeId":"node-1"}`,
		"/Marti/api/version/config":           jsonOK + envelope + `"ServerConfig","data":{"version":"1.2.3-rc1","api":"3","hostname":"127.0.0.1"},"nodeId":"node-1"}`,
		"/Marti/api/version/info":             jsonOK + `{"major":1,"minor":2,"patch":3,"branch":"1.2.3-rc1","variant":"takd"}`,
		"/Marti/api/node/id":                  textOK + "node-1",
		"/Marti/api/home":                     textOK + "/",
		"/files/api/config":                   jsonOK + `{"uploadSizeLimit":400}`,
		"/Marti/api/util/user/roles":          jsonOK + `["ROLE_ANONYMOUS"]`,
		"/Marti/api/groups/groupCacheEnabled": jsonOK + envelope + `"java.lang.Boolean","data":true,"nodeId":"node-1"}`,
		"/Marti/api/citrap":                   jsonOK + `[]`,
	} {
		s.want("ann", "GET", path, "", want)
	}
	s.want("boss", "GET", "/Marti/api/groupprefix", "", jsonOK+envelope+`"java.lang.String","data":"","nodeId":"node-1"}`)
	s.want("boss", "GET", "/Marti/api/util/user/roles", "", jsonOK+`["ROLE_ADMIN","ROLE_ANONYMOUS"]`)
	s.want("view", "GET", "/Marti/api/util/user/roles", "", jsonOK+`["ROLE_ANONYMOUS","ROLE_READONLY"]`)
	s.want("boss", "GET", "/Marti/api/util/isAdmin", "", jsonOK+`true`)
	if got := s.Do("ann", "GET", "/Marti/api/util/isAdmin", ""); got.Status != 403 {
		t.Errorf("isAdmin of a user: %d", got.Status)
	}
	s.want("ann", "PUT", "/Marti/api/missions/citrap/subscription", "", "201")
	got := s.Do("ann", "GET", "/Marti/GetTime", "")
	m := regexp.MustCompile(`^\{ "time" : "(\d{13})" \}$`).FindStringSubmatch(got.Body)
	if m == nil {
		t.Fatalf("GetTime = %q", got.Body)
	}
	if ms, err := strconv.ParseInt(m[1], 10, 64); err != nil || time.Since(time.UnixMilli(ms)).Abs() > time.Minute {
		t.Errorf("GetTime = %s, %v", m[1], err)
	}
}

// Nobody without credentials, and administrators' routes for them alone: every
// row of the table is asked.
func TestEveryRouteIsGuarded(t *testing.T) {
	s := newSite(t)
	admin := 0
	for _, r := range s.routes {
		if r.Role == httpd.Public {
			t.Errorf("%s %s is public", r.Method, r.Path)
		}
		path := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(r.Path, "x")
		if got := s.Do("", r.Method, path, ""); got.Status != 401 || !strings.Contains(got.Body, "BadCredentialsException") {
			t.Errorf("%s %s without credentials: %d %s", r.Method, path, got.Status, got.Body)
		}
		if r.Role != httpd.Admin {
			continue
		}
		admin++
		for _, user := range []string{"ann", "view"} {
			if got := s.Do(user, r.Method, path, ""); got.Status != 403 {
				t.Errorf("%s %s as %s: %d, want 403", r.Method, path, user, got.Status)
			}
		}
	}
	if admin != 5 {
		t.Errorf("%d routes for administrators, want 5", admin)
	}
}
