package marti_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"takd/store/auth"
)

// entry is a group as the API gives it.
func entry(name, direction string, bit int, active bool) string {
	return fmt.Sprintf(`{"name":"%s","direction":"%s","created":"%s","type":"SYSTEM","bitpos":%d,"active":%t,"description":""}`,
		name, direction, time.Now().UTC().Format(time.DateOnly), bit, active)
}

func groups(entries ...string) string {
	text := ""
	for i, e := range entries {
		if i > 0 {
			text += ","
		}
		text += e
	}
	return jsonOK + `{"version":"3","type":"com.bbn.marti.remote.groups.Group","data":[` + text + `],"nodeId":"node-1"}`
}

const cached = "/Marti/api/groups/all?useCache=true&sendLatestSA=true"

func TestGroups(t *testing.T) {
	s := newSite(t)
	s.want("ann", "GET", cached, "", groups(entry("Blue", "IN", 3, true), entry("Blue", "OUT", 3, true)))
	s.want("ann", "GET", "/Marti/api/groups/active", "", groups(entry("Blue", "IN", 3, true), entry("Blue", "OUT", 3, true)))
	s.want("ann", "GET", "/Marti/api/groups/all", "", groups(entry("Blue", "OUT", 3, true)))
	if want := []string{"ann "}; !slices.Equal(s.live.replayed, want) {
		t.Errorf("sendLatestSA: replayed %q, want %q", s.live.replayed, want)
	}
	s.want("view", "GET", cached, "", groups(entry("Blue", "OUT", 3, true)))
	s.want("boss", "GET", "/Marti/api/groups/all?useCache=false", "", groups(strings.Replace(entry("__ANON__", "OUT", 2, true), time.Now().UTC().Format(time.DateOnly), "1970-01-01", 1), entry("Blue", "OUT", 3, true), entry("Red", "OUT", 4, true)))
	s.want("boss", "GET", "/Marti/api/groups/user?username=red", "", groups(entry("Red", "IN", 4, true), entry("Red", "OUT", 4, true)))
	one := jsonOK + `{"version":"3","type":"com.bbn.marti.remote.groups.Group","data":` + entry("Blue", "IN", 3, true) + `,"nodeId":"node-1"}`
	s.want("ann", "GET", "/Marti/api/groups/Blue/IN", "", one)
	for _, path := range []string{"/Marti/api/groups/Red/IN", "/Marti/api/groups/Blue/SIDE"} {
		if got := s.Do("ann", "GET", path, ""); got.Status != 404 {
			t.Errorf("%s: %d", path, got.Status)
		}
	}
	s.want("ann", "GET", "/Marti/api/groups/members?groupNameFilter=Blue", "", jsonOK+`{"version":"3","type":"java.lang.Integer","data":3,"nodeId":"node-1"}`)
	s.want("ann", "GET", "/Marti/api/groups/members?groupNameFilter=Red", "", jsonOK+`{"version":"3","type":"java.lang.Integer","data":0,"nodeId":"node-1"}`)
}

// A channel that is switched off stays off, for the device or for all, and for
// who asks without saying which device it is.
func TestActiveGroups(t *testing.T) {
	s := newSite(t)
	if err := s.users.SetUser(t.Context(), "ann", auth.Change{In: &[]string{"Blue", "Fire Dept"}, Out: &[]string{"Blue", "Fire Dept"}}); err != nil {
		t.Fatal(err)
	}
	want := func(path string, blueIn, blueOut, fireIn, fireOut bool) {
		t.Helper()
		s.want("ann", "GET", path, "", groups(entry("Blue", "IN", 3, blueIn), entry("Fire Dept", "IN", 5, fireIn), entry("Blue", "OUT", 3, blueOut), entry("Fire Dept", "OUT", 5, fireOut)))
	}
	put := func(path, body string) {
		t.Helper()
		s.want("ann", "PUT", path, body, "200")
	}
	want(cached, true, true, true, true)
	// As ATAK sends it: created is a number, and there is a distinguishedName.
	put("/Marti/api/groups/active?clientUid=A", `[{"name":"Blue","distinguishedName":null,"direction":"OUT","created":1772582400000,"type":"SYSTEM","bitpos":3,"active":false}]`)
	want(cached+"&clientUid=A", true, false, true, true)
	want(cached+"&clientUid=B", true, true, true, true)
	want(cached, true, false, true, true) // the one device that has said
	// As TAKAware: the bits that are on.
	put("/Marti/api/groups/activebits?clientUid=B", `[5]`)
	want(cached+"&clientUid=B", false, false, true, true)
	want(cached, true, false, true, true) // on for one of both
	// As CloudTAK: for all, and what was for one is over.
	put("/Marti/api/groups/active", `[{"name":"Blue","direction":"IN","active":false},{"name":"Blue","direction":"OUT","active":false},{"name":"Fire Dept","direction":"IN","active":true}]`)
	want(cached+"&clientUid=A", false, false, true, true)
	want("/Marti/api/groups/all?useCache=true", false, false, true, true)
	s.want("ann", "GET", "/Marti/api/groups/all", "", groups(entry("Blue", "OUT", 3, false), entry("Fire Dept", "OUT", 5, true)))
	put("/Marti/api/groups/activebits", `[3,5]`)
	want(cached+"&clientUid=A", true, true, true, true)
	if !slices.Equal(s.live.regrouped, []string{"ann", "ann", "ann", "ann"}) {
		t.Errorf("regrouped %v", s.live.regrouped)
	}
	for body, status := range map[string]int{
		`[{"name":"Red","direction":"IN","active":true}]`:    403,
		`[{"name":"Blue","direction":"SIDE","active":true}]`: 400,
		`{`: 400, `"x"`: 400,
	} {
		if got := s.Do("ann", "PUT", "/Marti/api/groups/active", body); got.Status != status {
			t.Errorf("%s: %d, want %d", body, got.Status, status)
		}
	}
	if got := s.Do("ann", "PUT", "/Marti/api/groups/activebits", `["3"]`); got.Status != 400 {
		t.Errorf("bits as text: %d", got.Status)
	}
	want(cached, true, true, true, true)
}

// An administrator switches the channels of somebody else, and of nobody who is
// not in them.
func TestForceActive(t *testing.T) {
	s := newSite(t)
	const path = "/Marti/api/groups/activeForce?username="
	off := `[{"name":"Blue","direction":"IN","active":false}]`
	for _, tc := range []struct {
		user, whose, body string
		want              int
	}{
		{"ann", "bob", off, 403},
		{"boss", "bob", `[{"name":"Red","direction":"IN","active":true}]`, 403},
		{"boss", "bob", `{}`, 400},
		{"boss", "", off, 404},
		{"boss", "bob", off, 200},
	} {
		if got := s.Do(tc.user, "PUT", path+tc.whose, tc.body); got.Status != tc.want {
			t.Errorf("%s for %q with %s: %d %s; want %d", tc.user, tc.whose, tc.body, got.Status, got.Body, tc.want)
		}
	}
	s.want("bob", "GET", cached, "", groups(entry("Blue", "IN", 3, false), entry("Blue", "OUT", 3, true)))
	if !slices.Equal(s.live.regrouped, []string{"bob"}) {
		t.Errorf("regrouped %v", s.live.regrouped)
	}
	if log, err := s.db.AuditLog(t.Context(), 1); err != nil || len(log) != 1 || log[0].Action != "groups active" || log[0].Actor != "boss" {
		t.Errorf("audit: %+v, %v", log, err)
	}
}
