package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

// drawing is an event that ATAK sends of a drawing or a route.
func drawing(uid, typ, callsign, detail string, life time.Duration) string {
	now := time.Now().UTC()
	stamp := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }
	return `<event version="2.0" uid="` + uid + `" type="` + typ + `" how="h-e" time="` + stamp(now) + `" start="` + stamp(now) + `" stale="` + stamp(now.Add(life)) +
		`"><point lat="48.3" lon="11.7" hae="9999999" ce="9999999" le="9999999"/><detail><contact callsign="` + callsign + `"/>` + detail + `</detail></event>`
}

const square = `<link point="48.2,11.6"/><link point="48.2,11.9"/><link point="48.4,11.9"/><link point="48.4,11.6"/><strokeColor value="-65536"/><fillColor value="1358888960"/><strokeWeight value="4"/>`

// Drawings and routes are on the maps of those who share a group with their sender,
// and of nobody else; they go when they are deleted and when they are stale.
func TestDrawingsOnTheMap(t *testing.T) {
	t.Parallel()
	w := start(t)
	for user, group := range map[string]string{"alice": "Blue", "eve": "Red", "ann": "Blue", "red": "Red"} {
		w.takd("user", "add", user, "--group", group)
	}
	alice, eve := w.connect("alice", w.certificate("alice")), w.connect("eve", w.certificate("eve"))
	ann, red := w.watch(w.certificate("ann")), w.watch(w.certificate("red"))
	send := func(c io.Writer, text string) {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	send(alice.conn, drawing("AREA-1", "u-d-r", "Zone", square, time.Hour))
	send(alice.conn, drawing("ROUTE-1", "b-m-r", "MSR", `<link uid="w" callsign="SP" type="b-m-p-w" point="48.1,11.5,0" relation="c"/><link point="48.5,11.9,0"/><link_attr color="-1"/>`, time.Hour))
	send(eve.conn, drawing("SECRET-1", "u-d-c-c", "Hideout", `<shape><ellipse major="500" minor="500" angle="360"/></shape>`, time.Hour))
	ann.shows(w, `"shape":{"kind":"area","at":[116000000,482000000,`)
	ann.shows(w, `"points":["SP",""]`)
	red.shows(w, `"radius":[500,500]`)
	if got := ann.text.String(); strings.Contains(got, "SECRET") || strings.Contains(got, "Hideout") || strings.Contains(got, `"circle"`) {
		t.Errorf("Blue sees %s", got)
	}
	if got := red.text.String(); strings.Contains(got, "AREA-1") || strings.Contains(got, "ROUTE-1") || strings.Contains(got, "MSR") {
		t.Errorf("Red sees %s", got)
	}
	// One that is drawn anew for another group: the same uid is another's.
	send(eve.conn, drawing("AREA-1", "u-d-r", "Trap", square, time.Hour))
	red.shows(w, `"Trap"`)
	if got := ann.text.String(); strings.Contains(got, "Trap") {
		t.Errorf("Blue sees %s", got)
	}
	send(alice.conn, drawing("DELETE", "t-x-d-d", "x", `<link uid="AREA-1" relation="none" type="none"/><__forcedelete/>`, time.Minute))
	w.until("the area is gone", func() bool { return ann.gone.Load() == 1 })
	send(alice.conn, drawing("ROUTE-1", "b-m-r", "MSR", `<link point="48.1,11.5,0"/><link point="48.5,11.9,0"/>`, 5*time.Second))
	w.until("the route is stale", func() bool { return ann.gone.Load() == 2 })
}
