package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"takd/cot"
	"takd/netcore/msg"
	"takd/store/history"
)

// What was for some only is never for everybody in the history.
func TestArchived(t *testing.T) {
	const text = `<event version="2.0" uid="u" type="b-t-f" how="h-g" time="2026-01-02T03:04:05Z" start="2026-01-02T03:04:05Z" stale="2026-01-02T03:05:05Z">` +
		`<point lat="48.5" lon="11" hae="9999999" ce="1" le="2"/><detail><__chat id="bob" chatroom="bob" senderCallsign="ANNA"><chatgrp id="bob" uid0="A" uid1="B"/></__chat><_flow-tags_ TAK-Server-x="2026-01-02T03:04:05Z" other="1"/><remarks source="A">Fish &amp; <![CDATA[<chips>]]></remarks></detail></event>`
	tests := map[string]struct {
		change func(*msg.Msg)
		check  func([]*history.Event) bool
	}{
		"everybody": {check: func(e []*history.Event) bool {
			return len(e) == 1 && e[0].Table == history.Chat && e[0].Dests == nil && slices.Equal(e[0].Groups, []string{"Blue"}) &&
				e[0].Lat == 48.5 && e[0].User == "anna" && e[0].Room == "bob" && e[0].Stale.Sub(e[0].Time) == time.Minute &&
				e[0].Text == "Fish & <chips>" && slices.Equal(e[0].Flow, []string{"TAK-Server-x", "other"})
		}},
		"direct": {
			change: func(m *msg.Msg) {
				m.Direct = true
				m.AddDest([]byte("BOB"))
			},
			check: func(e []*history.Event) bool {
				return slices.Equal(e[0].Dests, []string{"BOB", "A", "B", history.ForUser("bob")})
			},
		},
		"for nobody": {
			change: func(m *msg.Msg) { m.SetXML([]byte(strings.Replace(text, "b-t-f", "a-f-G", 1))); m.Direct = true },
			check:  func(e []*history.Event) bool { return len(e[0].Dests) > 0 },
		},
		"missions": {
			change: func(m *msg.Msg) { m.Missions = []string{"b", "a", "b"} },
			check: func(e []*history.Event) bool {
				return len(e) == 2 && e[0].Table == history.Mission && e[0].Mission == "a" && e[1].Mission == "b"
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := msg.Get()
			defer m.Release()
			m.SetXML([]byte(text))
			m.Received, m.Origin = 1767323045000, &msg.Origin{User: "anna", UID: "A", Input: "tls", Groups: []string{"Blue"}}
			if tc.change != nil {
				tc.change(m)
			}
			var ev cot.Event
			if got := archived(m, []string{"Blue"}, []string{"bob"}, &ev); !tc.check(got) {
				t.Errorf("archived = %+v", got[0])
			}
		})
	}
}

// The text of chat is that of detail/remarks, and of nothing that looks like it.
func TestRemarks(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"none":       {`<event><detail/></event>`, ""},
		"plain":      {`<event><point/><detail><a>no</a><remarks>hello <b>you</b>.</remarks><remarks>no</remarks></detail></event>`, "hello you."},
		"deeper":     {`<event><detail><x><remarks>no</remarks></x></detail></event>`, ""},
		"entities":   {`<event><detail><remarks>&lt;&#x41;&apos;</remarks></detail></event>`, "<A'"},
		"empty":      {`<event><detail><remarks/></detail></event>`, ""},
		"in comment": {`<event><detail><!-- <remarks>no</remarks> --></detail></event>`, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := remarks([]byte(tc.in)); got != tc.want {
				t.Errorf("remarks = %q, want %q", got, tc.want)
			}
		})
	}
}
