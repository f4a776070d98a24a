package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Where somebody says that something is goes to his groups, under one uid for each name.
func TestLocate(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.takd("user", "add", "alice", "--group", "Blue")
	w.takd("user", "add", "bob", "--group", "Blue")
	w.takd("user", "add", "eve", "--group", "Red")
	w.takd("user", "add", "reader", "--group", "Blue", "--role", "readonly")
	alice := w.browser(w.certificate("alice"))
	bob, eve := w.connect("bob", w.certificate("bob")), w.connect("eve", w.certificate("eve"))
	say := func(status int, values ...string) string {
		t.Helper()
		q := url.Values{}
		for i := 0; i < len(values); i += 2 {
			q.Set(values[i], values[i+1])
		}
		return alice.want(status, "POST", "https", "/locate/api?"+q.Encode(), "", "")
	}
	uid := regexp.MustCompile(`uid="locate-[0-9a-f]{24}"`)
	say(200, "latitude", "48.5", "longitude", "-11.25", "name", `Lost <"hiker">`, "remarks", `red & "blue"`)
	first := bob.receives("hiker")
	for _, want := range []string{`type="a-f-G"`, `lat="48.5"`, `lon="-11.25"`, `red &amp; `} {
		if !strings.Contains(first, want) {
			t.Errorf("bob got no %s: %s", want, first)
		}
	}
	say(200, "latitude", "48.6", "longitude", "-11.25", "name", `Lost <"hiker">`)
	second := bob.receives(`lat="48.6"`)
	if uid.FindString(first) == "" || uid.FindString(first) != uid.FindString(second) {
		t.Errorf("uids: %s and %s", uid.FindString(first), uid.FindString(second))
	}
	for name, values := range map[string][]string{
		"latitude":  {"latitude", "91", "longitude", "1", "name", "x"},
		"longitude": {"latitude", "1", "longitude", "NaN", "name", "x"},
		"name":      {"latitude", "1", "longitude", "1"},
		"remarks":   {"latitude", "1", "longitude", "1", "name", "x", "remarks", strings.Repeat("x", 4097)},
	} {
		if got := say(400, values...); !strings.Contains(got, name+": ") {
			t.Errorf("%s: %s", name, got)
		}
	}
	w.browser(w.certificate("reader")).want(403, "POST", "https", "/locate/api?latitude=1&longitude=1&name=x", "", "")
	w.browser().want(401, "POST", "enroll", "/locate/api?latitude=1&longitude=1&name=x", "", "")
	eve.missed("hiker")
}

// A profile that is sent to a device is offered to it alone, and fetched with its own
// certificate is what was announced. One of a group is for its members.
func TestProfileIsSent(t *testing.T) {
	t.Parallel()
	w := start(t)
	for name, group := range map[string]string{"alice": "Blue", "bob": "Blue", "eve": "Red"} {
		w.takd("user", "add", name, "--group", group)
	}
	folder := filepath.Join(w.data, "profiles", "connection", "Blue")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "team.pref"), []byte("<preferences/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := w.root()
	aliceCert := w.certificate("alice")
	alice, bob := w.connect("alice", aliceCert), w.connect("bob", w.certificate("bob"))
	const path = "/Marti/api/device/profile/connection:Blue"
	root.want(200, "POST", "https", path+"/send", "", `["UID-alice"]`)
	offer := alice.receives("b-f-t-r")
	part := func(name string) string {
		_, rest, _ := strings.Cut(offer, " "+name+`="`)
		value, _, _ := strings.Cut(rest, `"`)
		return value
	}
	address, err := url.Parse(part("senderUrl"))
	if err != nil || address.Path != path+"/missionpackage" {
		t.Fatalf("address %q, %v: %s", part("senderUrl"), err, offer)
	}
	got := w.browser(aliceCert).want(200, "GET", "https", address.EscapedPath(), "", "")
	if sum := sha256.Sum256([]byte(got)); hex.EncodeToString(sum[:]) != part("sha256") {
		t.Errorf("the package is not what was announced: %s", offer)
	}
	w.browser(w.certificate("eve")).want(404, "GET", "https", address.EscapedPath(), "", "")
	for body, status := range map[string]int{"": 400, "[]": 400, `[""]`: 400, `{}`: 400, `["` + strings.Repeat("x", 300) + `"]`: 400} {
		root.want(status, "POST", "https", path+"/send", "", body)
	}
	root.want(404, "POST", "https", "/Marti/api/device/profile/enrollment/send", "", `["UID-alice"]`)
	w.browser(aliceCert).want(403, "POST", "https", path+"/send", "", `["UID-bob"]`)
	bob.missed("b-f-t-r")
}
