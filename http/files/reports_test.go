package files_test

import (
	"strings"
	"testing"
)

// Tracks are for the groups of who sends them; error logs for administrators.
func TestReports(t *testing.T) {
	s := newSite(t)
	s.want(200, "", "ann", "POST", "/Marti/TracksKML?uid=U&callsign=ANN", "<kml/>")
	s.want(200, "", "ann", "POST", "/Marti/ErrorLog?uid=U&callsign=../../ANN&platform=ATAK&majorVersion=5", "it crashed")
	s.want(403, "", "view", "POST", "/Marti/ErrorLog?uid=U", "it crashed")
	s.want(400, "want a file", "ann", "POST", "/Marti/TracksKML?uid=U", "")
	count := func(user, word string) string {
		t.Helper()
		body := s.want(200, "", user, "GET", "/Marti/sync/search?keywords="+word, "").Body
		_, n, _ := strings.Cut(body, `"resultCount":`)
		return n[:1]
	}
	for _, c := range []struct{ user, word, want string }{
		{"bob", "track", "1"},
		{"red", "track", "0"},
		{"boss", "track", "1"},
		{"ann", "errorlog", "1"},
		{"bob", "errorlog", "0"},
		{"red", "errorlog", "0"},
		{"boss", "errorlog", "1"},
	} {
		if got := count(c.user, c.word); got != c.want {
			t.Errorf("%s finds %s of %s, want %s", c.user, got, c.word, c.want)
		}
	}
	s.limits.MaxUpload = 10
	s.want(413, "max_upload", "ann", "POST", "/Marti/ErrorLog?uid=U", strings.Repeat("x", 100))
}
