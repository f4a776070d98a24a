package live

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// Two users in different groups: neither gets a byte of the other's tracks, nor
// the name of a group that is not his, also when tracks and users move.
func TestNobodySeesOtherGroups(t *testing.T) {
	s := newSite(t)
	s.hub.Move(at("blue", 1, "Blue"))
	s.hub.Move(at("red", 2, "Red"))
	s.hub.Move(at("both", 3, "Blue", "Red"))
	ann, red := s.open("ann", nil), s.open("red", nil)
	ann.until("ann's picture", func() bool { return len(ann.lat) == 2 })
	red.until("red's picture", func() bool { return len(red.lat) == 2 })
	if ann.lat["red"] != 0 || red.lat["blue"] != 0 {
		t.Errorf("ann sees %v, red %v", ann.lat, red.lat)
	}
	if all := strings.Join(ann.meta, ""); strings.Contains(all, "Red") || strings.Contains(all, `"red"`) {
		t.Errorf("ann is told of Red: %s", all)
	}

	// A track that leaves her groups leaves her map, and is not moved on it before.
	s.hub.Move(at("both", 9, "Red"))
	ann.until("both leaves", func() bool { return len(ann.lat) == 1 })
	red.until("both moves", func() bool { return red.lat["both"] == 9 })

	// A user who leaves a group loses its tracks, and gets those of the new one.
	s.set("ann", "Red")
	ann.until("ann sees red's", func() bool { return ann.lat["red"] == 2 && ann.lat["both"] == 9 && ann.lat["blue"] == 0 })

	// The uid of another group's track is no way to take it away or to hide it.
	s.hub.Move(at("red", 5, "Blue"))
	forged := at("red", 6, "Blue")
	forged.User = "mallory"
	s.hub.Move(forged)
	s.hub.Gone([]byte("red"), []string{"Green"}, nil)
	s.hub.Move(at("blue", 7, "Red"))
	ann.until("blue is red now", func() bool { return ann.lat["blue"] == 7 })

	s.set("red")
	red.ends()
	if c, status := s.dial("red"); c != nil || status != 401 {
		t.Errorf("who is refused gets %d", status)
	}
}

// What is deleted, or stale, leaves the maps of those for whom it was.
func TestDeletesVanish(t *testing.T) {
	s := newSite(t)
	for _, uid := range []string{"a", "b", "c", "d"} {
		s.hub.Move(at(uid, 1, "Blue", "Red"))
	}
	ann, red := s.open("ann", nil), s.open("red", nil)
	for _, p := range []*page{ann, red} {
		p.until("all", func() bool { return len(p.lat) == 4 })
	}
	s.hub.Gone([]byte("a"), []string{"Blue", "Red"}, nil)
	s.hub.Gone([]byte("b"), []string{"Red"}, nil)
	s.hub.Gone([]byte("c"), []string{"Blue", "Red"}, []string{"Blue"})
	ann.until("a is gone", func() bool { return len(ann.lat) == 3 })
	red.until("a, b and c are gone", func() bool { return len(red.lat) == 1 })
	s.hub.Sweep(time.Now().Add(2 * time.Minute))
	ann.until("nothing is left", func() bool { return len(ann.lat) == 0 })
	s.hub.Move(at("e", 1, "Blue")) // in the place of one of them
	ann.until("e", func() bool { return ann.lat["e"] == 1 })
}

// A page that does not answer gets one frame and no more; then it gets the newest.
func TestOneFrameIsUnderWay(t *testing.T) {
	s := newSite(t)
	ann := s.open("ann", nil)
	s.hub.Move(at("a", 1, "Blue"))
	ann.next()
	for i := range 1000 {
		s.hub.Move(at("a", 2+float64(i)/1000, "Blue"))
		s.hub.Move(at(fmt.Sprint("b", i%10), float64(i%90), "Blue"))
		if i%100 == 0 {
			s.hub.wake(func(*session) bool { return true })
			time.Sleep(breath / 2)
		}
	}
	ann.ack()
	ann.next()
	if ann.frames != 2 || ann.lat["a"] != 2.999 || len(ann.lat) != 11 {
		t.Errorf("%d frames, then %v", ann.frames, ann.lat)
	}
}

// A page that returns gets what it missed, once; another's picture it never gets.
func TestResume(t *testing.T) {
	s := newSite(t)
	for i := range 100 {
		s.hub.Move(at(fmt.Sprint("t", i), 1, "Blue"))
	}
	first := s.open("ann", nil)
	first.until("all", func() bool { return len(first.lat) == 100 })
	_ = first.c.Close()
	parked := func() bool {
		s.hub.pages.Lock()
		defer s.hub.pages.Unlock()
		return len(s.hub.parked) > 0
	}
	for end := time.Now().Add(patience); !parked(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is kept")
		}
	}
	s.hub.Move(at("t1", 2, "Blue"))
	s.hub.Gone([]byte("t2"), []string{"Blue"}, nil)

	thief := s.open("red", first)
	if thief.welcome.Resumed {
		t.Error("another user goes on with ann's picture")
	}
	second := s.open("ann", first)
	if !second.welcome.Resumed {
		t.Fatal("not resumed")
	}
	second.next()
	if len(second.lat) != 99 || second.lat["t1"] != 2 || len(second.meta) != 0 {
		t.Errorf("%d tracks, t1 at %v, named again: %d", len(second.lat), second.lat["t1"], len(second.meta))
	}
	_ = second.c.Close()
	for end := time.Now().Add(patience); !parked(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is kept")
		}
	}
	s.set("ann", "Blue", "Green")
	if other := s.open("ann", second); other.welcome.Resumed {
		t.Error("a picture of other groups is given back")
	}
	if third := s.open("ann", first); third.welcome.Resumed {
		t.Error("a picture is given twice")
	}
}

// What is outside of the view comes less often, but comes.
func TestView(t *testing.T) {
	s := newSite(t)
	s.hub.Move(at("in", 10, "Blue"))
	s.hub.Move(at("out", 50, "Blue"))
	p := s.open("ann", nil)
	p.send(message{Type: "view", Box: []float64{10, 5, 12, 15}})
	p.until("both", func() bool { return len(p.lat) == 2 })
	seen, frames := 0, p.frames
	for i := 1; p.lat["out"] == 50; i++ {
		s.hub.Move(at("in", 10+float64(i)/100, "Blue"))
		s.hub.Move(at("out", 51, "Blue"))
		p.next()
		p.ack()
		seen++
	}
	if p.frames-frames < seen || p.lat["out"] != 51 {
		t.Errorf("%v after %d frames", p.lat, seen)
	}
	p.send(message{Type: "view", Paused: true})
	p.send(message{Type: "view"})
	s.hub.Move(at("in", 20, "Blue"))
	p.until("goes on", func() bool { return p.lat["in"] == 20 })
}

func TestHostilePages(t *testing.T) {
	s := newSite(t)
	for name, header := range map[string][]string{
		"other page": {"Origin", "https://evil.example"}, "other port": {"Origin", "https://127.0.0.1:1"}, "no page": {"Origin", "null"},
		"clear text": {"Origin", "http://" + s.addr},
	} {
		if c, status := s.dial("ann", header...); c != nil || status != 403 {
			t.Errorf("%s: %d", name, status)
		}
	}
	if c, status := s.dial(""); c != nil || status != 401 {
		t.Errorf("nobody: %d", status)
	}
	for name, say := range map[string]func(c *websocket.Conn) error{
		"binary":   func(c *websocket.Conn) error { return c.WriteMessage(websocket.BinaryMessage, []byte("{}")) },
		"no JSON":  func(c *websocket.Conn) error { return c.WriteMessage(websocket.TextMessage, []byte("hello")) },
		"no hello": func(c *websocket.Conn) error { return c.WriteJSON(message{Type: "ack"}) },
		"too long": func(c *websocket.Conn) error {
			return c.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte{' '}, maxMessage+1))
		},
		"unknown": func(c *websocket.Conn) error { return two(c, message{Type: "hello"}, message{Type: "drop"}) },
		"wrong number": func(c *websocket.Conn) error {
			return c.WriteMessage(websocket.TextMessage, []byte(`{"t":"hello","seq":-1}`))
		},
		"flood": func(c *websocket.Conn) error {
			_ = c.WriteJSON(message{Type: "hello"})
			for range 100 * maxRate {
				if c.WriteJSON(message{Type: "view", Box: []float64{1e308, -1e308, 0, 0}}) != nil {
					break
				}
			}
			return nil
		},
	} {
		c, _ := s.dial("ann")
		if err := say(c); err != nil {
			t.Fatal(err)
		}
		(&page{site: s, c: c}).ends()
		if t.Failed() {
			t.Fatal(name)
		}
	}
	for i := range maxPages + 1 {
		c, status := s.dial("ann")
		if (c == nil) != (i == maxPages) || c == nil && status != 429 {
			t.Errorf("page %d: %d", i, status)
		}
	}
	if c, _ := s.dial("red"); c == nil {
		t.Error("another user is refused, too")
	}
}

// Nobody fills the map for the others, and nothing that is no place is on it.
func TestHubIsBounded(t *testing.T) {
	h := NewHub(nil, nil)
	e := at("x", 1, "Blue")
	for i := range maxOfUser + 10 {
		e.UID = fmt.Append(nil, i)
		h.Move(e)
	}
	if h.full.Load() != 10 || len(h.byUID) != maxOfUser {
		t.Errorf("%d refused, %d there", h.full.Load(), len(h.byUID))
	}
	h.Sweep(time.Now().Add(time.Hour))
	if len(h.byUID) != 0 || len(h.ofUser) != 0 || len(h.free) != len(h.tracks) {
		t.Errorf("left: %d, %v", len(h.byUID), h.ofUser)
	}
	for _, lat := range []float64{math.NaN(), math.Inf(1), 91, -1e300} {
		h.Move(at("y", lat, "Blue"))
	}
	h.Move(at("z", 1))
	if len(h.byUID) != 0 {
		t.Errorf("there: %v", h.byUID)
	}
	hostile := at("<script>\x00\xff", 1, "Blue")
	hostile.Callsign, hostile.Course, hostile.Speed, hostile.HAE = bytes.Repeat([]byte{'"'}, 1000), -1, 1e300, math.Inf(-1)
	h.Move(hostile)
	i := slices.IndexFunc(h.spots, func(k spot) bool { return k.born != 0 })
	if tr, k := h.tracks[i], h.spots[i]; len(tr.callsign) != maxText || k.course != unknown || k.speed != unknown || k.alt != unknownAlt || bytes.Contains(tr.meta, []byte("<script>")) {
		t.Errorf("%+v", tr)
	}
}

func TestSymbol(t *testing.T) {
	for in, want := range map[[3]string]string{
		{"a-f-G-U-C", "Cyan", "Team Lead"}: "team|Cyan|Team Lead",
		{"a-f-G-U-C", "", ""}:              "sidc|SFGPUC---------",
		{"a-h-A-M-F-Q-r", "", ""}:          "sidc|SHAPMFQ--------",
		{"a-s-S", "", ""}:                  "sidc|SHSP-----------",
		{"a-n-G-I-d", "", ""}:              "sidc|SNGPI-----H----",
		{"a-.-G", "", ""}:                  "sidc|SUGP-----------",
		{"a-f-G-U-C-V-A-T-L-X-Y", "", ""}:  "sidc|SFGPUCVATL-----",
		{"b-m-p-s-m", "", ""}:              "dot|u",
		{"a-f", "", ""}:                    "dot|f",
		{"a-f-Gx", "", ""}:                 "dot|f",
		{"", "", ""}:                       "dot|u",
	} {
		if got := symbol(in[0], in[1], in[2]); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func two(c *websocket.Conn, a, b any) error {
	if err := c.WriteJSON(a); err != nil {
		return err
	}
	return c.WriteJSON(b)
}

// What shapes weigh is bounded, for each user and in all; those beyond are points.
func TestShapesAreBounded(t *testing.T) {
	t.Parallel()
	h := NewHub(nil, nil)
	shape := &Shape{Kind: "line", At: make([]int32, 2*MaxPoints)}
	for i := range shape.At {
		shape.At[i] = -1_111_111_111
	}
	size := len(shape.encode())
	for i := range 2 * maxShapesOfUser / size {
		h.Move(&Event{UID: fmt.Append(nil, i), User: "ann", Groups: []string{"Blue"}, Received: 1, Shape: shape})
	}
	if h.shapes > maxShapesOfUser || h.shapes < maxShapesOfUser-size || h.shapes != h.shapesOf["ann"] || len(h.tracks) != 2*maxShapesOfUser/size {
		t.Errorf("%d bytes, %d of ann, %d tracks", h.shapes, h.shapesOf["ann"], len(h.tracks))
	}
	h.Sweep(time.Now())
	if h.shapes != 0 || len(h.shapesOf) != 0 {
		t.Errorf("%d bytes are left", h.shapes)
	}
	shape.At = append(shape.At, 1, 1)
	if shape.encode() != nil {
		t.Error("more points than there may be")
	}
}
