package session_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"takd/netcore/msg"
	"takd/netcore/session"
)

func note(text string, class msg.Class, uid string) *msg.Msg {
	m := msg.Get()
	m.SetXML([]byte(text))
	m.Class = class
	m.UID = append(m.UID[:0], uid...)
	return m
}

func all(l *session.Ledger) string {
	var out []string
	for m := l.Next(); m != nil; m = l.Next() {
		out = append(out, string(m.Source()))
		m.Release()
	}
	return strings.Join(out, " ")
}

// What waits keeps the order in which it was published: nothing overtakes, a
// deletion neither.
func TestLedgerOrder(t *testing.T) {
	tests := map[string]struct {
		add  string // p1a: the position a of uid 1; c: chat; o1a: an old position
		want string
	}{
		"as published":              {"p1a c1 p2a c2", "p1a c1 p2a c2"},
		"newer goes to the end":     {"p1a c1 p1b", "c1 p1b"},
		"deleted after it moved":    {"p1a p1b d1", "p1b d1"},
		"moved after it is deleted": {"p1a d1 p1b", "d1 p1b"},
		"old after new":             {"p1b o1a c1", "p1b c1"},
		"old of another":            {"p1b o2a", "p1b o2a"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var l session.Ledger
			for _, f := range strings.Fields(tc.add) {
				class, uid := msg.Control, ""
				if f[0] == 'p' || f[0] == 'o' {
					class, uid = msg.Position, f[1:2]
				}
				m := note(f, class, uid)
				if f[0] == 'o' {
					l.AddOld(m)
				} else {
					l.Add(m)
				}
				m.Release()
			}
			if got := all(&l); got != tc.want || l.Size() != 0 || l.Len() != 0 {
				t.Errorf("Next = %q, %d bytes left; want %q, 0", got, l.Size(), tc.want)
			}
		})
	}
}

// A ledger behaves like the plain list that it is an index for.
func TestLedgerAgainstList(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	type entry struct{ text, uid string }
	var l session.Ledger
	var list []entry
	for i := range 50_000 {
		if l.Len() == 0 && i%3 == 0 {
			l.Patient()
		}
		switch n := rnd.IntN(100); {
		case n < 50:
			e := entry{fmt.Sprintf("p%d", i), fmt.Sprint(rnd.IntN(40))}
			if !l.IsPatient() {
				list = slices.DeleteFunc(list, func(x entry) bool { return x.uid == e.uid })
			}
			list = append(list, e)
			m := note(e.text, msg.Position, e.uid)
			l.Add(m)
			m.Release()
		case n < 70:
			list = append(list, entry{fmt.Sprintf("c%d", i), ""})
			m := note(fmt.Sprintf("c%d", i), msg.Chat, "")
			l.Add(m)
			m.Release()
		case n == 70 && l.IsPatient():
			l.Conflate()
			newest := make(map[string]bool)
			for k := len(list) - 1; k >= 0; k-- {
				if uid := list[k].uid; uid != "" && newest[uid] {
					list = slices.Delete(list, k, k+1)
				} else {
					newest[uid] = true
				}
			}
		case n < 71:
			k := slices.IndexFunc(list, func(x entry) bool { return x.uid != "" })
			if dropped := l.DropPosition(); dropped != (k >= 0) {
				t.Fatalf("step %d: DropPosition = %v", i, dropped)
			}
			if k >= 0 {
				list = slices.Delete(list, k, k+1)
			}
		case n < 72:
			l.Keep(func(m *msg.Msg) bool { return len(m.Source())%3 != 0 })
			list = slices.DeleteFunc(list, func(x entry) bool { return len(x.text)%3 == 0 })
		default:
			p := l.Peek()
			m := l.Next()
			if p != m || (m == nil) != (len(list) == 0) {
				t.Fatalf("step %d: Peek %p, Next %p, %d in the list", i, p, m, len(list))
			}
			if m == nil {
				continue
			}
			if string(m.Source()) != list[0].text {
				t.Fatalf("step %d: Next = %s, want %s", i, m.Source(), list[0].text)
			}
			m.Release()
			list = list[1:]
		}
		size := 0
		for _, x := range list {
			size += len(x.text)
		}
		if l.Len() != len(list) || l.Size() != size {
			t.Fatalf("step %d: Len %d, Size %d; want %d, %d", i, l.Len(), l.Size(), len(list), size)
		}
	}
}

// However many uids there are, positions have a limit, and what is no position
// is not given up for them.
func TestLedgerIsBounded(t *testing.T) {
	var l session.Ledger
	chat := note("chat", msg.Chat, "")
	l.Add(chat)
	chat.Release()
	for i := range session.MaxPositions + 1000 {
		m := note("p", msg.Position, fmt.Sprint(i))
		l.Add(m)
		m.Release()
	}
	if l.Len() != session.MaxPositions+1 || l.Bytes() != len("chat") {
		t.Errorf("%d wait, %d bytes of them no positions; want %d, 4", l.Len(), l.Bytes(), session.MaxPositions+1)
	}
	l.Release()
}

func TestWays(t *testing.T) {
	var s session.Session
	steps := []struct {
		to session.State
		ok bool
	}{
		{session.Current, false},
		{session.CatchingUp, true},
		{session.Current, true},
		{session.CatchingUp, true},
		{session.Authenticating, false},
		{session.Ended, true},
		{session.Current, false},
		{session.Closed, true},
		{session.CatchingUp, false},
	}
	for _, step := range steps {
		if got := s.To(step.to); got != step.ok {
			t.Fatalf("To(%d) from %d = %v", step.to, s.State(), got)
		}
	}
}
