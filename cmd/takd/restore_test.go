package main

import (
	"strings"
	"testing"
)

// Positions that were fresh at the stop are there after it, for newcomers and on the
// map, by the groups that hold now; who had left is not.
func TestPositionsSurviveARestart(t *testing.T) {
	t.Parallel()
	var users [][]string
	for _, u := range []string{"alice", "bob", "carol", "dan", "late"} {
		users = append(users, []string{"user", "add", u, "--group", "Blue"})
	}
	w := record(t, users...)
	view, lateCert, aliceCert := w.certificate("bob"), w.certificate("late"), w.certificate("alice")
	bob := w.connect("bob", view)
	carol := w.connect("carol", w.certificate("carol"))
	w.until("that carol came", func() bool { return len(w.cameAndWent("carol")) == 1 })
	w.connect("alice", aliceCert)
	w.connect("dan", w.certificate("dan"))
	for _, name := range []string{"alice", "carol", "dan"} {
		bob.receives("UID-" + name)
	}
	_ = carol.conn.Close()
	w.until("that carol went", func() bool { return len(w.cameAndWent("carol")) == 2 })
	w.stop()
	w.takd("user", "set", "dan", "--group", "Red")
	w.run()

	early := w.connect("bob", view) // before the history answers, or after
	f := w.watch(view)
	early.receives("UID-alice")
	f.shows(w, `"uid":"UID-alice"`)
	w.until("the log says it", func() bool { return strings.Contains(w.log.String(), "positions restored") })
	late := w.connect("late", lateCert)
	late.receives("UID-alice")
	late.receives("t-x-takp-v")
	for _, c := range []*client{early, late} {
		if got := c.in.String(); strings.Contains(got, "UID-carol") || strings.Contains(got, "UID-dan") {
			t.Errorf("%s receives who has left, or is in another group: %s", c.name, got)
		}
	}
	if got := f.text.String(); strings.Contains(got, "UID-dan") || strings.Contains(got, "UID-carol") {
		t.Errorf("the map shows %s", got)
	}
	alice := w.connect("alice", aliceCert)
	alice.receives("UID-bob")
	alice.ping()
	if got := alice.in.String(); strings.Contains(got, `uid="UID-alice" type="a-`) {
		t.Errorf("alice gets back what she sent: %s", got)
	}
	_ = alice.conn.Close()
	late.seesLeave("alice")
}

// A start does not wait for an engine that is gone.
func TestStartWithoutEngineRestoresNothing(t *testing.T) {
	t.Parallel()
	w := begin(t, "embedded", []string{"config", "set", "history.engine_path=/nowhere/libchdb.so"})
	w.connect("alice", w.certificate("alice"))
	w.stop()
	w.run()
	w.connect("bob", w.certificate("bob"))
}
