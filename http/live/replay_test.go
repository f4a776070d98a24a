package live

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// memory is a Past of a test: positions of noon and after.
type memory struct {
	mu     sync.Mutex
	events []PastEvent
	asked  int
	hang   chan struct{} // not nil: an answer waits for it, or its end
	ended  chan struct{} // gets something when a question was given up
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func (*memory) Ready(context.Context) error { return nil }

func (m *memory) Events(ctx context.Context, q PastQuery, fn func(*PastEvent) error) error {
	m.mu.Lock()
	m.asked++
	m.mu.Unlock()
	if m.hang != nil && !q.Latest {
		select {
		case <-ctx.Done():
			m.ended <- struct{}{}
			return ctx.Err()
		case <-m.hang:
		}
	}
	n := 0
	for _, e := range m.events {
		if q.UID != "" && string(e.UID) != q.UID || e.At.Before(q.Since) || !e.At.Before(q.Until) || !slices.ContainsFunc(e.Groups, func(g string) bool { return slices.Contains(q.Out, g) }) {
			continue
		}
		if n++; n > q.Limit {
			break
		}
		if err := fn(&e); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) questions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

func then(uid string, after time.Duration, lat float64, groups ...string) PastEvent {
	e := PastEvent{Event: *at(uid, lat, groups...), At: noon.Add(after)}
	e.Life = 20 * time.Minute
	return e
}

// replay opens a replay of the minute after noon.
func (s *site) replay(user string, rate float64) *page {
	s.Helper()
	c, status := s.dialTo("replay", user, "Origin", "https://"+s.addr)
	if c == nil {
		s.Fatalf("%s: %d", user, status)
	}
	p := &page{site: s, c: c, names: map[uint32]string{}, lat: map[string]float64{}}
	p.send(message{Type: "replay", Since: noon, Until: noon.Add(time.Minute), Rate: rate})
	p.told("replay")
	p.told("playing")
	return p
}

// told reads messages, and answers frames, until there is one of that type.
func (p *page) told(typ string) clock {
	p.Helper()
	for {
		kind, b, err := p.c.ReadMessage()
		if err != nil {
			p.Fatalf("%s: %v", typ, err)
		}
		if kind == websocket.BinaryMessage {
			if p.binary(b) {
				p.frames++
				p.ack()
			}
			continue
		}
		var m struct {
			clock
			List []struct {
				TID      uint32
				Callsign string
			}
		}
		if err := json.Unmarshal(b, &m); err != nil {
			p.Fatal(err)
		}
		for _, t := range m.List {
			p.names[t.TID] = t.Callsign
		}
		p.meta = append(p.meta, string(b))
		if m.Type == typ {
			return m.clock
		}
	}
}

// A replay shows each what his groups let him see now, moves as it was, and ends; it
// can be paused, and set back.
func TestReplay(t *testing.T) {
	past := &memory{events: []PastEvent{
		then("early", -5*time.Minute, 4, "Blue"), then("long ago", -time.Hour, 4, "Blue"),
		then("blue", 0, 1, "Blue"), then("red", 0, 2, "Red"), then("both", time.Second, 3, "Blue", "Red"),
		then("blue", 30*time.Second, 8, "Blue"),
		{Event: Event{Groups: []string{"Blue"}}, At: noon.Add(40 * time.Second), Gone: "both"},
	}}
	s := newSiteOf(t, past)
	ann, red := s.replay("ann", 600), s.replay("red", 600)
	end := ann.told("end")
	if !end.At.Equal(noon.Add(time.Minute)) || ann.lat["early"] != 4 || ann.lat["blue"] != 8 || len(ann.lat) != 2 {
		t.Errorf("at %s ann sees %v", end.At, ann.lat)
	}
	red.told("end")
	if red.lat["red"] != 2 || red.lat["both"] != 3 || len(red.lat) != 2 {
		t.Errorf("red sees %v", red.lat)
	}
	for _, m := range ann.meta {
		if slices.ContainsFunc([]string{"Red", `"red"`}, func(x string) bool { return strings.Contains(m, x) }) {
			t.Errorf("ann is told %s", m)
		}
	}
	ann.send(message{Type: "pause"})
	ann.told("paused")
	ann.send(message{Type: "seek", To: noon.Add(10 * time.Second)})
	if c := ann.told("paused"); !c.At.Equal(noon.Add(10 * time.Second)) {
		t.Errorf("set back to %s", c.At)
	}
	ann.until("both is there again", func() bool { return ann.lat["both"] == 3 && ann.lat["blue"] == 1 })
	// His groups now.
	s.set("ann", "Green")
	ann.until("ann sees nothing more", func() bool { return len(ann.lat) == 0 })
	ann.send(message{Type: "resume", Rate: 600})
	if c := ann.told("playing"); c.Rate != 600 {
		t.Errorf("rate %v", c.Rate)
	}
	ann.told("end")
	if len(ann.lat) != 0 {
		t.Errorf("of Green she sees %v", ann.lat)
	}
	s.set("red")
	red.ends()
}

// A replay begins where it is told, waits there, and tells its clock while it runs.
func TestReplayBegins(t *testing.T) {
	s := newSiteOf(t, &memory{events: []PastEvent{then("blue", 0, 1, "Blue"), then("blue", 20*time.Second, 2, "Blue")}})
	c, status := s.dialTo("replay", "ann")
	if c == nil {
		t.Fatal(status)
	}
	ann := &page{site: s, c: c, names: map[uint32]string{}, lat: map[string]float64{}}
	to := noon.Add(30 * time.Second)
	ann.send(message{Type: "replay", Since: noon, Until: noon.Add(time.Minute), To: to, Paused: true})
	if c := ann.told("paused"); !c.At.Equal(to) {
		t.Errorf("it begins at %s", c.At)
	}
	ann.until("what was there then", func() bool { return ann.lat["blue"] == 2 })
	ann.send(message{Type: "resume"})
	ann.told("playing")
	if c := ann.told("playing"); !c.At.After(to) { // by itself
		t.Errorf("its clock says %s", c.At)
	}
}

// More events than are read at once, many at one moment, all arrive; tracks are bounded.
func TestReplayIsBounded(t *testing.T) {
	past := &memory{}
	for i := range 3 * pastPage {
		past.events = append(past.events, then(fmt.Sprint("t", i%(maxReplayed+100)), time.Duration(i/(2*pastPage))*time.Second, 1, "Blue"))
	}
	past.events = append(past.events, then("t1", 50*time.Second, 7, "Blue"))
	s := newSiteOf(t, past)
	ann := s.replay("ann", 600)
	ann.told("end")
	if len(ann.lat) != maxReplayed || ann.lat["t1"] != 7 || past.questions() > 12 {
		t.Errorf("%d tracks, t1 at %v, after %d questions", len(ann.lat), ann.lat["t1"], past.questions())
	}
}

// Who is gone is waited for by nobody, and his question is given up.
func TestReplayIsGivenUp(t *testing.T) {
	past := &memory{hang: make(chan struct{}), ended: make(chan struct{}, 1)}
	s := newSiteOf(t, past)
	ann := s.replay("ann", 1)
	for end := time.Now().Add(patience); past.questions() < 3 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	_ = ann.c.Close()
	select {
	case <-past.ended:
	case <-time.After(patience):
		t.Fatal("the history is still asked")
	}
}

func TestHostileReplays(t *testing.T) {
	s := newSiteOf(t, &memory{})
	good := message{Type: "replay", Since: noon, Until: noon.Add(time.Minute)}
	with := func(change func(*message)) message {
		m := good
		change(&m)
		return m
	}
	for name, say := range map[string][]any{
		"hello":         {message{Type: "hello"}},
		"no time":       {message{Type: "replay"}},
		"begins after":  {with(func(m *message) { m.To = noon.Add(time.Hour) })},
		"backwards":     {with(func(m *message) { m.Until = noon.Add(-time.Second) })},
		"years":         {with(func(m *message) { m.Since = noon.AddDate(-1, 0, 0) })},
		"before 1970":   {with(func(m *message) { m.Since, m.Until = time.Unix(-9, 0), time.Unix(9, 0) })},
		"fast":          {with(func(m *message) { m.Rate = 601 })},
		"slow":          {with(func(m *message) { m.Rate = -1 })},
		"half a box":    {with(func(m *message) { m.Box = []float64{1, 2} })},
		"outside":       {with(func(m *message) { m.Box = []float64{1, -91, 2, 3} })},
		"seek outside":  {good, message{Type: "seek", To: noon.Add(time.Hour)}},
		"resume faster": {good, message{Type: "resume", Rate: 1e9}},
		"view":          {good, message{Type: "view"}},
		"no JSON":       {good, "x"},
		"bad time":      {map[string]any{"t": "replay", "since": "yesterday"}},
	} {
		c, status := s.dialTo("replay", "ann")
		for end := time.Now().Add(patience); c == nil && status == 429 && time.Now().Before(end); c, status = s.dialTo("replay", "ann") {
			time.Sleep(time.Millisecond) // the one before is not gone yet
		}
		if c == nil {
			t.Fatalf("%s: %d", name, status)
		}
		for _, m := range say {
			if err := c.WriteJSON(m); err != nil {
				t.Fatal(err)
			}
		}
		(&page{site: s, c: c}).ends()
		if t.Failed() {
			t.Fatal(name)
		}
	}
	for i := range maxOfOne + 1 {
		c, status := s.dialTo("replay", "bob")
		if (c == nil) != (i == maxOfOne) || c == nil && status != 429 {
			t.Errorf("replay %d: %d", i, status)
		}
	}
	if c, status := s.dialTo("replay", ""); c != nil || status != 401 {
		t.Errorf("nobody: %d", status)
	}
	if c, status := s.dialTo("replay", "red", "Origin", "https://evil.example"); c != nil || status != 403 {
		t.Errorf("another page: %d", status)
	}
	if c, status := newSite(t).dialTo("replay", "ann"); c != nil || status != 503 {
		t.Errorf("without history: %d", status)
	}
}
