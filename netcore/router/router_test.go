package router_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"takd/cot"
	"takd/netcore/group"
	"takd/netcore/msg"
	"takd/netcore/router"
)

var table = group.NewTable()

func bits(names ...string) group.Bits { return table.Set(names).Bits }

func letter(text string, in group.Bits) *msg.Msg {
	m := msg.Get()
	m.SetXML([]byte(text))
	m.In, m.Class, m.Origin = in, msg.Chat, &msg.Origin{User: "ann"}
	return m
}

func TestAbsentLimits(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	a := router.NewAbsent(router.AbsentLimits{TTL: time.Hour, Clients: 3, PerUser: 2, Bytes: 100}, false)
	left := func(uid, callsign, user string, out group.Bits) {
		a.Left(router.Away{Holder: router.Holder{User: user, UID: uid}, Callsign: callsign, Out: out, Since: now})
	}
	back := func(uid, user string, now time.Time) []*msg.Msg {
		return a.Back(router.Holder{User: user, UID: uid}, bits("red", "blue"), now)
	}
	keep := func(text, callsign string) bool {
		m := letter(text, bits("red"))
		defer m.Release()
		return a.Keep(m, nil, []byte(callsign), now)
	}
	if keep("x", "BOB") {
		t.Error("kept for somebody who was never here")
	}
	left("bob", "BOB", "bob", bits("red"))
	left("blue", "BLUE", "blue", bits("blue"))
	steps := []struct {
		text, callsign string
		want           bool
	}{
		{"1", "BOB", true}, {"2", "BOB", true}, {"3", "BOB", false}, // per client
		{"4", "BLUE", false}, // out of reach
	}
	for _, s := range steps {
		if got := keep(s.text, s.callsign); got != s.want {
			t.Errorf("Keep(%q, %s) = %v, want %v", s.text, s.callsign, got, s.want)
		}
	}
	left("cid", "CID", "cid", bits("red"))
	if keep(strings.Repeat("x", 99), "CID") {
		t.Error("kept more than the bytes for all")
	}
	if got := back("bob", "mallory", now); got != nil {
		t.Error("another user got bob's mail")
	}
	mail := back("bob", "bob", now)
	if len(mail) != 2 || string(mail[0].Source()) != "1" || string(mail[1].Source()) != "2" {
		t.Errorf("mail = %v, want two letters in order", mail)
	}
	for _, m := range mail {
		m.Release()
	}
	if letters, bytes, dropped := a.Stats(); letters != 0 || bytes != 0 || dropped != 2 {
		t.Errorf("Stats = %d, %d, %d; want 0, 0, 2", letters, bytes, dropped)
	}
	left("dan", "DAN", "dan", bits("red"))
	left("eva", "EVA", "eva", bits("red")) // the fourth: blue is forgotten
	if !keep("5", "DAN") {
		t.Error("DAN is still remembered")
	}
	if got := back("dan", "dan", now.Add(2*time.Hour)); got != nil {
		t.Error("mail outlived its time")
	}
}

func TestTapNeverBlocks(t *testing.T) {
	tap := router.NewTap("test", 2, func(m *msg.Msg) bool { return m.Class == msg.Chat })
	for range 5 {
		m := letter("x", nil)
		tap.Push(m)
		m.Release()
	}
	other := letter("y", nil)
	other.Class = msg.Position
	tap.Push(other)
	other.Release()
	if tap.Len() != 2 || tap.Dropped() != 3 {
		t.Errorf("waiting %d, dropped %d; want 2, 3", tap.Len(), tap.Dropped())
	}
	for range 2 {
		m := <-tap.C()
		if string(m.Source()) != "x" {
			t.Errorf("tapped %q", m.Source())
		}
		m.Release()
	}
}

func TestRepeaterLimit(t *testing.T) {
	r := router.NewRepeater(1)
	note := func(uid string) bool {
		text := `<event uid="` + uid + `" type="b-a-o-tbl" time="a" start="b" stale="c"><point lat="1" lon="2"/><detail><emergency type="911 Alert"/></detail></event>`
		var ev cot.Event
		if _, err := cot.Scan([]byte(text), &ev); err != nil {
			t.Fatal(err)
		}
		m := letter(text, bits("red"))
		defer m.Release()
		return r.Note(&ev, m, router.Raiser{User: "ann", In: bits("red"), Out: bits("red")}, time.Unix(0, 0), time.Hour)
	}
	first, again, other := note("a"), note("a"), note("b")
	if !first || !again || other || r.Len() != 1 {
		t.Errorf("%d alarms, want the limit of 1", r.Len())
	}
	if n := len(r.Alarms(time.Unix(60, 0))); n != 1 {
		t.Errorf("%d alarms after a minute, want 1", n)
	}
	if n := len(r.Alarms(time.Unix(100*3600, 0))); n != 0 || r.Len() != 0 {
		t.Errorf("%d alarms after days without a renewal, want none", n)
	}
}

// One user cannot take all the places.
func TestAlarmsOfOneUser(t *testing.T) {
	r := router.NewRepeater(80)
	raise := func(user string, n int) (kept int) {
		for i := range n {
			text := fmt.Sprintf(`<event uid="%s-%d" type="b-a-o-tbl" time="a" start="b" stale="c"><point lat="1" lon="2"/><detail><emergency type="911 Alert"/></detail></event>`, user, i)
			var ev cot.Event
			if _, err := cot.Scan([]byte(text), &ev); err != nil {
				t.Fatal(err)
			}
			m := letter(text, bits("red"))
			if r.Note(&ev, m, router.Raiser{User: user, In: bits("red"), Out: bits("red")}, time.Unix(0, 0), time.Hour) {
				kept++
			}
			m.Release()
		}
		return kept
	}
	if a, b := raise("ann", 80), raise("bob", 2); a != 10 || b != 2 {
		t.Errorf("ann has %d, bob %d; want 10, 2", a, b)
	}
}

func TestMsgConvertsOnce(t *testing.T) {
	m := letter(`<event uid="u" type="a-f" time="2026-01-01T00:00:00Z" start="2026-01-01T00:00:00Z" stale="2026-01-01T00:00:00Z"><point lat="1" lon="2"/></event>`, nil)
	defer m.Release()
	first, second := m.Bytes(cot.Proto), m.Bytes(cot.Proto)
	if len(first) == 0 || &first[0] != &second[0] {
		t.Error("each receiver got a conversion of its own")
	}
	bad := letter(`<event uid="u" time="never"><point lat="1" lon="2"/></event>`, nil)
	defer bad.Release()
	for range 2 {
		if bad.Bytes(cot.Proto) != nil || bad.Bytes(cot.XML) == nil {
			t.Error("what cannot be converted was")
		}
	}
}
