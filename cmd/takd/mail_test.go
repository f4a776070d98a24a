package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"takd/cmd/takd/internal/control"
)

// say sends an event of this client with that detail.
func (c *client) say(uid, typ, detail string) {
	c.Helper()
	now := time.Now().UTC()
	stamp := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }
	_, err := io.WriteString(c.conn, `<event version="2.0" uid="`+uid+`" type="`+typ+`" how="m-g" time="`+stamp(now)+`" start="`+stamp(now)+
		`" stale="`+stamp(now.Add(time.Minute))+`"><point lat="1" lon="1" hae="0" ce="5" le="5"/><detail>`+detail+`</detail></event>`)
	if err != nil {
		c.Fatal(err)
	}
}

// Chat for somebody who is away waits for him, also while the server restarts.
func TestChatSurvivesARestart(t *testing.T) {
	t.Parallel()
	w := start(t)
	aliceCert, bobCert := w.certificate("alice"), w.certificate("bob")
	alice := w.connect("alice", aliceCert)
	bob := w.connect("bob", bobCert)
	_ = bob.conn.Close()
	alice.seesLeave("bob")
	alice.say("chat-1", "b-t-f", `<remarks>when you are back</remarks><marti><dest callsign="CS-bob"/></marti>`)
	alice.say("fence", "t-x-c-t", "")
	alice.receives("takPong")
	w.stop()
	w.run()
	bob = w.connect("bob", bobCert)
	bob.receives("when you are back")
}

// An operator sees and ends emergencies, and finds out who sees whom.
func TestEmergenciesAndReach(t *testing.T) {
	t.Parallel()
	w := start(t)
	alice := w.connect("alice", w.certificate("alice"))
	bob := w.connect("bob", w.certificate("bob"))
	alice.say("UID-alice-9-1-1", "b-a-o-tbl", `<emergency type="911 Alert">CS-alice</emergency>`)
	bob.receives("911 Alert")
	all := ask[[]control.Emergency](w, "emergency", "list")
	if len(all) != 1 || all[0].UID != "UID-alice-9-1-1" || all[0].User != "alice" || all[0].Callsign != "CS-alice" || all[0].Client != "UID-alice" {
		t.Errorf("emergency list = %+v", all)
	}
	w.takd("emergency", "cancel", "UID-alice-9-1-1")
	bob.receives("b-a-o-can")
	if all := ask[[]control.Emergency](w, "emergency", "list"); len(all) != 0 {
		t.Errorf("after the cancel: %+v", all)
	}
	if r := ask[control.Reached](w, "reach", "CS-alice", "bob"); !r.Visible {
		t.Errorf("reach = %+v, want visible", r)
	}
	w.takd("user", "add", "bob", "--group", "Elsewhere")
	w.until("bob no longer sees alice", func() bool { return !ask[control.Reached](w, "reach", "CS-alice", "bob").Visible })
	if r := ask[control.Reached](w, "reach", "CS-alice", "bob"); !strings.Contains(strings.Join(r.Reasons, ""), "Elsewhere") {
		t.Errorf("reach = %+v, want a reason that names the groups", r)
	}
}
