package live

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"

	"takd/http/httpd"
)

const (
	maxMessage = 4 << 10 // of a page
	maxRate    = 50      // messages of a page in a second
	writeTime  = 10 * time.Second
	helloTime  = 10 * time.Second // for its first message
	silence    = 45 * time.Second // and for an answer to a frame or a ping
	pingEvery  = 15 * time.Second
	askEvery   = 5 * time.Second // whether its user may still be here
	askTime    = 5 * time.Second

	usual  = time.Second // between two looks
	quick  = 250 * time.Millisecond
	slow   = 2 * time.Second
	few    = 200                   // rows that a page takes at the quick pace
	breath = 50 * time.Millisecond // between two looks because of something that is gone
)

// Routes is the table of what there is to call; past and talk are nil where there is none.
func Routes(h *Hub, past Past, talk Talk) []httpd.Route {
	return []httpd.Route{{
		Method: http.MethodGet, Path: "/api/v1/live", Faces: httpd.Everyday, Role: httpd.User, Tag: "Live", Handler: h.serve(talk),
		Summary: "WebSocket: the tracks that the caller may see, as they move, in binary columns; for the map.",
	}, {
		Method: http.MethodGet, Path: "/api/v1/replay", Faces: httpd.Everyday, Role: httpd.User, Tag: "Live", Handler: h.serveReplay(past),
		Summary: "WebSocket: what the caller may see of an area and a stretch of time, as it moved, at 1 to 600 times its pace; in the form of the live feed.",
	}, {
		Method: http.MethodGet, Path: "/api/v1/track", Faces: httpd.Everyday, Role: httpd.User, Tag: "Live", Handler: h.serveTrail(past), Query: []string{"uid", "since", "until", "all"},
		Summary: "Where a uid was, of what the caller may see (all=true: an administrator sees every group), in at most 24 hours: columns of at most 2000 points, in Unix milliseconds and 1e-7 degrees.",
	}, {
		Method: http.MethodPost, Path: "/api/v1/chat", Faces: httpd.Everyday, Role: httpd.Writer, Tag: "Live", Handler: serveTalk(talk), MaxBody: 256 << 10,
		Summary: `Say something, with the chat open on a page: {"room":"All Chat Rooms","text":"T"}, with groups to narrow it, or with to, the uids that it is for.`,
	}}
}

// message is what a page sends: first {"t":"hello"}, with key, epoch and seq of
// the connection before where there was one; {"t":"ack","seq":N} for each seq;
// {"t":"view","box":[west,south,east,north],"paused":false}; {"t":"chat"} to hear what
// is said to its user, who is a contact as long as that; and of an administrator
// {"t":"all","on":true} to see every group.
//
// Of a replay the first is {"t":"replay","since":T,"until":T,"rate":10,"box":[...]},
// with "to":T where it begins elsewhere, "all":true for every group, and "paused":true where it waits there; then come acks, {"t":"pause"}, {"t":"resume","rate":60} and {"t":"seek","to":T}.
type message struct {
	Type   string    `json:"t"`
	Key    string    `json:"key"`
	Epoch  uint32    `json:"epoch"`
	Seq    uint32    `json:"seq"`
	Box    []float64 `json:"box"`
	Paused bool      `json:"paused"`
	On     bool      `json:"on"`
	All    bool      `json:"all"` // of a replay

	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	To    time.Time `json:"to,omitzero"`
	Rate  float64   `json:"rate,omitzero"`
}

// welcome is what a page is told first. Where Resumed is false it forgets what it has.
type welcome struct {
	Type    string   `json:"t"` // "welcome"
	Key     string   `json:"key"`
	Epoch   uint32   `json:"epoch"`
	Resumed bool     `json:"resumed"`
	Groups  []string `json:"groups"` // that it sees
	User    string   `json:"user"`
}

func (h *Hub) serve(talk Talk) httpd.Handler {
	return func(r *httpd.Request) error { return h.serveLive(r, talk) }
}

func (h *Hub) serveLive(r *httpd.Request, talk Talk) error {
	who, still := r.Who, r.Recheck()
	out, err := h.access.Out(r.Context(), who.User, who.Serial)
	if err != nil {
		return httpd.Unauthorized("%v", err)
	}
	s := &session{picture: &picture{user: who.User, out: out}, serial: who.Serial, woken: make(chan struct{}, 1)}
	if !h.enter(s) {
		h.refused.Add(1)
		return &httpd.Error{Status: http.StatusTooManyRequests, Code: 6, Message: "Too many pages are open"}
	}
	err = r.Upgrade(maxMessage, func(c *websocket.Conn) {
		defer h.exit(s)
		l := &line{h: h, s: s, c: c, still: still, who: who, talk: talk, in: make(chan message, 8), done: make(chan struct{})}
		l.run()
	})
	if err != nil {
		h.exit(s)
	}
	return err
}

func (h *Hub) enter(s *session) bool {
	h.pages.Lock()
	defer h.pages.Unlock()
	n, replays, own := 0, 0, 0
	for o := range h.open {
		if o.user == s.user {
			n++
		}
		if o.replay {
			replays++
			if o.user == s.user {
				own++
			}
		}
	}
	if len(h.open) >= maxSessions || n >= maxPages || s.replay && (replays >= maxReplays || own >= maxOfOne) {
		return false
	}
	h.open[s] = struct{}{}
	return true
}

func (h *Hub) exit(s *session) {
	h.pages.Lock()
	defer h.pages.Unlock()
	delete(h.open, s)
}

// line is one connection of a page.
type line struct {
	h     *Hub
	s     *session
	c     *websocket.Conn
	still func(context.Context) error
	in    chan message
	done  chan struct{}

	key   string
	sent  time.Time // of the frame that is not answered yet; zero: none is
	took  time.Duration
	rows  int
	again bool // everything is to be looked at anew

	who   httpd.Principal
	talk  Talk
	said  chan *Said // to its user; nil: it does not hear
	leave func()
	lost  atomic.Bool // something said did not fit in

	every bool // an administrator looks at every group
}

var errPage = errors.New("the page breaks the rules")

// run serves the page until it, its user or the server ends.
func (l *line) run() {
	go l.read()
	defer func() {
		_ = l.c.NetConn().SetReadDeadline(time.Now()) // ends read
		<-l.done
	}()
	defer l.quit()
	if err := l.hello(); err != nil {
		l.bye(websocket.ClosePolicyViolation, "want hello")
		return
	}
	if err := l.loop(); errors.Is(err, errPage) {
		l.bye(websocket.ClosePolicyViolation, err.Error())
	} else if err != nil {
		l.bye(websocket.CloseGoingAway, "")
	}
	l.s.paused = false
	l.h.park(l.key, l.s.picture, time.Now())
}

// read hands on what the page sends; what is no message of ours ends it.
func (l *line) read() {
	defer close(l.done)
	defer close(l.in)
	l.heard(helloTime)
	l.c.SetPongHandler(func(string) error {
		l.heard(silence)
		return nil
	})
	window, n := time.Now(), 0
	for {
		kind, b, err := l.c.ReadMessage()
		if err != nil || kind != websocket.TextMessage {
			return
		}
		l.heard(silence)
		var m message
		if json.Unmarshal(b, &m) != nil {
			return
		}
		if now := time.Now(); now.Sub(window) > time.Second {
			window, n = now, 0
		}
		if n++; n > maxRate {
			return
		}
		l.in <- m
	}
}

func (l *line) heard(d time.Duration) { _ = l.c.SetReadDeadline(time.Now().Add(d)) }

func (l *line) bye(code int, why string) {
	_ = l.c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, why), time.Now().Add(time.Second))
	_ = l.c.NetConn().SetDeadline(time.Now())
	for range l.in { // let read go
	}
}

// hello waits for the page's first message and answers it.
func (l *line) hello() error {
	m, ok := <-l.in
	if !ok || m.Type != "hello" {
		return errPage
	}
	l.key = newKey()
	old, lost := l.h.unpark(m.Key, l.s.user, l.s.out, m.Epoch, m.Seq, time.Now())
	if old != nil {
		l.h.pages.Lock()
		l.s.picture = old
		l.h.pages.Unlock()
	}
	if err := l.say(welcome{"welcome", l.key, l.h.epoch, old != nil, append([]string{}, l.s.out...), l.s.user}); err != nil {
		return err
	}
	if lost {
		return l.send()
	}
	return nil
}

// loop looks, sends, and waits for the answer; then it looks again.
func (l *line) loop() error {
	look, ping, ask := time.NewTimer(0), time.NewTicker(pingEvery), time.NewTicker(askEvery)
	defer look.Stop()
	defer ping.Stop()
	defer ask.Stop()
	due := time.Time{}
	for {
		select {
		case m, ok := <-l.in:
			if !ok {
				return errPage
			}
			if err := l.take(m); err != nil {
				return err
			}
			look.Reset(time.Until(due))
		case m := <-l.said:
			if err := l.hear(m); err != nil {
				return err
			}
		case <-l.s.woken:
			due = time.Now().Add(breath)
			look.Reset(breath)
		case <-ask.C:
			l.s.ask.Store(true)
			look.Reset(time.Until(due))
		case <-ping.C:
			if err := l.c.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTime)); err != nil {
				return err
			}
		case <-look.C:
			if err := l.allowed(); err != nil {
				return err
			}
			if !l.sent.IsZero() || l.s.paused {
				continue // the answer, or the page, has us look again
			}
			if l.h.look(l.s, l.again, time.Now()) {
				if err := l.send(); err != nil {
					return err
				}
			}
			l.again = false
			due = time.Now().Add(l.pace())
			look.Reset(time.Until(due))
		}
	}
}

// allowed asks, where that may have changed, whether the user is still let in and
// what he may see.
func (l *line) allowed() error {
	if !l.s.ask.Swap(false) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	if err := l.still(ctx); errors.Is(err, httpd.ErrUnknown) || errors.Is(err, httpd.ErrRefused) {
		return err
	}
	before := l.every
	out, err := l.groups(ctx)
	if err != nil {
		return err
	}
	if l.every == before && slices.Equal(out, l.s.out) {
		return nil
	}
	l.s.out, l.again = out, true
	return l.say(seeing{"groups", append([]string{}, out...), l.every})
}

// pace is the time until the next look: a page that answers late gets less often.
func (l *line) pace() time.Duration {
	switch {
	case l.took > usual/2:
		return slow
	case l.rows < few:
		return quick
	}
	return usual
}

// take does what the page says.
func (l *line) take(m message) error {
	switch m.Type {
	case "ack":
		if m.Seq == l.s.seq && !l.sent.IsZero() {
			l.took, l.sent = time.Since(l.sent), time.Time{}
		}
	case "chat":
		return l.join()
	case "all":
		return l.everything(m.On, "live")
	case "view":
		l.s.paused = m.Paused
		l.s.view = nil
		if len(m.Box) == 4 {
			b := box{fixed(m.Box[0], 180), fixed(m.Box[1], 90), fixed(m.Box[2], 180), fixed(m.Box[3], 90)}
			l.s.view = &b
		}
	default:
		return errPage
	}
	return nil
}

func fixed(v, limit float64) int32 {
	if math.IsNaN(v) {
		return 0
	}
	return int32(math.Min(math.Max(v, -limit), limit) * 1e7)
}

// send sends what look has gathered.
func (l *line) send() error {
	l.sent, l.rows = time.Now(), 0
	for i, b := range l.s.last {
		kind := websocket.BinaryMessage
		if l.s.text[i] {
			kind = websocket.TextMessage
		}
		l.rows += len(b) / rowLen
		if err := l.write(kind, b); err != nil {
			return err
		}
	}
	l.h.frames.Add(1)
	return nil
}

func (l *line) say(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return l.write(websocket.TextMessage, b)
}

func (l *line) write(kind int, b []byte) error {
	if err := l.c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	l.h.sent.Add(uint64(len(b)))
	return l.c.WriteMessage(kind, b)
}
