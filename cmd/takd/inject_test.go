package main

import (
	"strings"
	"testing"
)

// What an administrator adds to the events of a uid reaches the others, also after
// a restart, until he takes it away; nothing can be added that ends an event.
func TestInjectors(t *testing.T) {
	t.Parallel()
	w := start(t)
	root := w.root()
	w.takd("user", "add", "alice")
	w.takd("user", "add", "bob")
	alice, bob := w.connect("alice", w.certificate("alice")), w.connect("bob", w.certificate("bob"))
	const at = "/Marti/api/injectors/cot/uid"
	one := `{"uid":"UID-alice","toInject":"<team_note text=\"here\"/>"}`
	for range 2 { // the same again is no second one
		got := root.want(200, "POST", "https", at, "", one)
		if !strings.Contains(got, `"type":"com.bbn.marti.config.InjectorConfig","data":[{"uid":"UID-alice","toInject":"\u003cteam_note text=\"here\"/\u003e"}]`) {
			t.Errorf("%s", got)
		}
	}
	if got := root.want(200, "GET", "https", at+"/UID-bob", "", ""); !strings.Contains(got, `"data":[]`) {
		t.Errorf("of bob: %s", got)
	}
	alice.position()
	bob.receives(`<team_note text="here"/></detail>`)
	for _, bad := range []string{
		"", "{}", `{"uid":"x","toInject":"no"}`, `{"uid":"x","toInject":"<a/><b/>"}`, `{"uid":"x","toInject":"<a></detail></event><event/>"}`, `{"uid":"x","toInject":"<a>"}`,
		`{"uid":"x","toInject":"<!--x--><a/>"}`, `{"uid":"x","toInject":"<a><event/></a>"}`, `{"uid":"x","toInject":"<marti/>"}`, `{"uid":"","toInject":"<a/>"}`,
		`{"uid":"x","toInject":"<a>` + strings.Repeat("x", 5000) + `</a>"}`,
	} {
		root.want(400, "POST", "https", at, "", bad)
	}
	bobs := w.browser(w.certificate("bob"))
	bobs.want(403, "GET", "https", at, "", "")
	bobs.want(403, "POST", "https", at, "", one)
	w.stop()
	w.run()
	alice, bob = w.connect("alice", w.certificate("alice")), w.connect("bob", w.certificate("bob"))
	bob.receives(`<team_note text="here"/></detail>`)
	root.want(400, "DELETE", "https", at+"?uid=UID-alice", "", "")
	if got := root.want(200, "DELETE", "https", at+"?uid=UID-alice&toInject=%3Cteam_note%20text=%22here%22/%3E", "", ""); !strings.Contains(got, `"data":[]`) {
		t.Errorf("%s", got)
	}
	before := strings.Count(bob.in.String(), "team_note")
	alice.chat("bob", "no note")
	alice.position()
	bob.receives("no note")
	alice.chat("bob", "after it")
	bob.receives("after it")
	if n := strings.Count(bob.in.String(), "team_note"); n != before {
		t.Errorf("%d notes after it was deleted, %d before", n, before)
	}
}
