package live

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// An administrator who asks for it sees every group, which is recorded, until he is
// none any more; others who ask are sent away.
func TestEveryGroup(t *testing.T) {
	past := &memory{events: []PastEvent{then("u", 0, 1, "Red")}}
	s := newSiteOf(t, past)
	s.hub.Move(at("blue", 1, "Blue"))
	s.hub.Move(at("red", 2, "Red"))
	dial := func(route, user string) *page {
		c, status := s.dialTo(route, user)
		if c == nil {
			t.Fatalf("%s: %d", user, status)
		}
		return &page{site: s, c: c, names: map[uint32]string{}, lat: map[string]float64{}}
	}
	root := dial("live", "root")
	root.send(message{Type: "hello"})
	root.until("blue", func() bool { return root.lat["blue"] == 1 })
	if root.lat["red"] != 0 {
		t.Error("he sees red without asking")
	}
	root.send(map[string]any{"t": "all", "on": true})
	root.told("groups")
	root.until("red", func() bool { return root.lat["red"] == 2 })
	root.send(map[string]any{"t": "all", "on": false})
	root.until("red no more", func() bool { return root.lat["red"] == 0 })
	root.send(map[string]any{"t": "all", "on": true})
	root.until("red again", func() bool { return root.lat["red"] == 2 })
	s.demoted.Store(true)
	s.hub.Changed("root")
	root.until("red no more, since he is no administrator", func() bool { return root.lat["red"] == 0 && root.lat["blue"] == 1 })
	s.demoted.Store(false)

	replay := message{Type: "replay", Since: noon, Until: noon.Add(time.Minute), Rate: 600, All: true}
	again := dial("replay", "root")
	again.send(replay)
	again.told("end")
	if again.lat["u"] != 1 {
		t.Errorf("a replay of every group: %v", again.lat)
	}
	const trail = "/api/v1/track?all=true&uid=u&since=2026-05-04T12:00:00Z&until=2026-05-04T13:00:00Z"
	if status, body := s.ask("root", trail); status != 200 || !strings.Contains(body, `"lat":[10000000]`) {
		t.Errorf("trail: %d %s", status, body)
	}
	s.mu.Lock()
	if want := []string{"root map all groups live", "root map all groups live", "root map all groups replay of 2026-05-04T12:00:00Z to 2026-05-04T12:01:00Z", "root map all groups trail of u"}; !slices.Equal(s.recorded, want) {
		t.Errorf("recorded: %q", s.recorded)
	}
	s.mu.Unlock()

	ann := dial("live", "ann")
	ann.send(message{Type: "hello"})
	ann.told("welcome")
	ann.send(map[string]any{"t": "all", "on": true})
	ann.ends()
	other := dial("replay", "ann")
	other.send(replay)
	other.ends()
	if status, _ := s.ask("ann", trail); status != 403 {
		t.Errorf("ann's trail of every group: %d", status)
	}
	for _, p := range []*page{ann, other} {
		if p.lat["red"] != 0 || p.lat["u"] != 0 || slices.ContainsFunc(p.meta, func(m string) bool { return strings.Contains(m, "Red") }) {
			t.Errorf("ann sees %v %v", p.lat, p.meta)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recorded) != 4 {
		t.Errorf("recorded: %q", s.recorded)
	}
}
