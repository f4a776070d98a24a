package live

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/fasthttp/websocket"

	"takd/http/httpd"
)

// Limits on replays.
const (
	maxReplays  = 8       // at one time
	maxOfOne    = 2       // of one user
	maxReplayed = 1 << 14 // tracks of one
	maxSpan     = 31 * 24 * time.Hour
	minSpeed    = 1
	maxSpeed    = 600
	pastPage    = 8192             // events that are read at once
	pastPiece   = 10 * time.Minute // of time that is read at once
	pastBefore  = 10 * time.Minute // how long before its start the first picture looks back
	pastLasting = 24 * time.Hour   // and how long for drawings, routes and markers
	pastBytes   = 8 << 20          // of shapes that are read at once
	pastTime    = 30 * time.Second // for one reading
	pastTurn    = 500 * time.Millisecond
)

// Past is what was.
type Past interface {
	// Ready tells whether it can be asked now.
	Ready(ctx context.Context) error
	// Events calls fn with what was to be on maps in a stretch of time, oldest first.
	Events(ctx context.Context, q PastQuery, fn func(*PastEvent) error) error
}

// PastQuery is a question to a Past.
type PastQuery struct {
	User         string    // who asks
	Out          []string  // groups that he receives from, now
	UID          string    // "": of everybody
	Since, Until time.Time // by the time of receipt; Until excluded
	Box          []float64 // west, south, east, north in degrees; nil: everywhere
	Limit        int
	Latest       bool // of each uid only the newest; in any order
	Lasting      bool // only what is sent once and holds for long: drawings, routes, markers
}

// PastEvent is one event, and when it was received. Gone is the uid that it took
// off the maps; then its Event has groups alone.
type PastEvent struct {
	Event
	At   time.Time
	Gone string
}

// opening is what a page is told first.
type opening struct {
	Type   string    `json:"t"` // "replay"
	Epoch  uint32    `json:"epoch"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	Rate   float64   `json:"rate"`
	Groups []string  `json:"groups"`
}

// clock is what a page is told when its clock is set, and each second while it runs:
// "paused", "playing", and "end" when there is no more; it may seek then.
type clock struct {
	Type string    `json:"t"`
	At   time.Time `json:"at"`
	Rate float64   `json:"rate"`
}

func (h *Hub) serveReplay(past Past) httpd.Handler {
	return func(r *httpd.Request) error {
		if err := ready(r.Context(), past); err != nil {
			return err
		}
		who, still := r.Who, r.Recheck()
		out, err := h.access.Out(r.Context(), who.User, who.Serial)
		if err != nil {
			return httpd.Unauthorized("%v", err)
		}
		s := &session{picture: &picture{user: who.User, out: out}, serial: who.Serial, woken: make(chan struct{}, 1), replay: true}
		if !h.enter(s) {
			h.refused.Add(1)
			return &httpd.Error{Status: http.StatusTooManyRequests, Code: 6, Message: "Too many replays are under way"}
		}
		server := r.ServerContext()
		err = r.Upgrade(maxMessage, func(c *websocket.Conn) {
			defer h.exit(s)
			own := NewHub(h.access, h.log)
			own.most = maxReplayed
			p := &replay{line: &line{h: own, s: s, c: c, still: still, who: who, in: make(chan message, 8), done: make(chan struct{})}, past: past}
			p.run(server)
		})
		if err != nil {
			h.exit(s)
		}
		return err
	}
}

// replay is one page that looks at the past. Its hub is its own, and so is the time.
type replay struct {
	*line
	past Past

	since, until time.Time
	box          []float64
	rate         float64
	paused       bool
	ended        bool // "end" was said

	at   time.Time // the clock of the replay, when
	wall time.Time // it was this time

	page   []PastEvent // read, and not on the map yet
	cursor time.Time   // what comes next is read from here,
	had    int         // but for so many of the same moment
}

// run serves the page until it, its user or the server ends.
func (p *replay) run(server context.Context) {
	ctx, cancel := context.WithCancel(server)
	defer cancel()
	go p.read()
	go func() { // who is gone waits for no answer of the history
		<-p.done
		cancel()
	}()
	defer func() {
		_ = p.c.NetConn().SetReadDeadline(time.Now()) // ends read
		<-p.done
	}()
	err := p.open()
	if err == nil {
		err = p.loop(ctx)
	}
	if errors.Is(err, errPage) {
		p.bye(websocket.ClosePolicyViolation, err.Error())
	} else {
		p.bye(websocket.CloseGoingAway, "")
	}
}

// open waits for the page's first message and answers it.
func (p *replay) open() error {
	m, ok := <-p.in
	if !ok || m.Type != "replay" || !validSpan(m.Since, m.Until) || !validBox(m.Box) {
		return errPage
	}
	if m.Rate == 0 {
		m.Rate = 1
	}
	if m.To.IsZero() {
		m.To = m.Since
	}
	if !validRate(m.Rate) || m.To.Before(m.Since) || m.To.After(m.Until) {
		return errPage
	}
	if m.All {
		if seeAll(p.h.access, p.who, "replay of "+m.Since.UTC().Format(time.RFC3339)+" to "+m.Until.UTC().Format(time.RFC3339)) != nil {
			return errPage
		}
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		defer cancel()
		out, err := p.h.access.All(ctx, p.s.user, p.s.serial)
		if err != nil {
			return errPage
		}
		p.every, p.s.out = true, out
	}
	p.since, p.until, p.box, p.rate, p.at, p.paused = m.Since, m.Until, m.Box, m.Rate, m.To, m.Paused
	return p.say(opening{"replay", p.h.epoch, p.since, p.until, p.rate, append([]string{}, p.s.out...)})
}

func validSpan(since, until time.Time) bool {
	return since.Unix() >= 0 && since.Before(until) && until.Sub(since) <= maxSpan && until.Before(time.Now().Add(maxSpan))
}

func validRate(rate float64) bool { return rate >= minSpeed && rate <= maxSpeed }

func validBox(b []float64) bool {
	if len(b) != 4 {
		return len(b) == 0
	}
	return math.Abs(b[0]) <= 180 && math.Abs(b[2]) <= 180 && b[1] >= -90 && b[3] <= 90 && b[1] <= b[3]
}

// loop moves the clock, puts on the map what has come until then, and sends what
// is new on it when the page has answered.
func (p *replay) loop(ctx context.Context) error {
	if err := p.seek(ctx, p.at); err != nil {
		return err
	}
	look, ping, ask, tell := time.NewTicker(quick), time.NewTicker(pingEvery), time.NewTicker(askEvery), time.NewTicker(usual)
	defer look.Stop()
	defer ping.Stop()
	defer ask.Stop()
	defer tell.Stop()
	for {
		if err := p.show(); err != nil {
			return err
		}
		select {
		case m, ok := <-p.in:
			if !ok {
				return errPage
			}
			if err := p.obey(ctx, m); err != nil {
				return err
			}
		case <-ask.C:
			p.s.ask.Store(true)
		case <-tell.C:
			if p.paused || p.ended {
				continue
			}
			if err := p.say(clock{"playing", p.at, p.rate}); err != nil {
				return err
			}
		case <-ping.C:
			if err := p.c.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTime)); err != nil {
				return err
			}
		case <-p.s.woken: // what it may see may be something else: allowed asks
			if err := p.allowed(); err != nil {
				return err
			}
		case <-look.C:
			if err := p.allowed(); err != nil {
				return err
			}
			if err := p.advance(ctx); err != nil {
				return err
			}
		}
	}
}

// show sends what the page does not have, if it has answered what it got last. When
// it has everything, it is told.
func (p *replay) show() error {
	if !p.sent.IsZero() {
		return nil
	}
	if p.h.look(p.s, p.again, p.at) {
		p.again = false
		return p.send()
	}
	if p.ended || p.at.Before(p.until) || p.cursor.Before(p.until) || len(p.page) > 0 {
		return nil
	}
	p.ended = true
	return p.say(clock{"end", p.at, p.rate})
}

// obey does what the page says.
func (p *replay) obey(ctx context.Context, m message) error {
	p.tick()
	switch m.Type {
	case "ack":
		return p.take(m)
	case "pause":
		p.paused = true
		return p.say(clock{"paused", p.at, p.rate})
	case "resume":
		if m.Rate != 0 {
			if !validRate(m.Rate) {
				return errPage
			}
			p.rate = m.Rate
		}
		p.paused, p.ended = false, false
		return p.say(clock{"playing", p.at, p.rate})
	case "seek":
		if m.To.Before(p.since) || m.To.After(p.until) {
			return errPage
		}
		return p.seek(ctx, m.To)
	}
	return errPage
}

// tick moves the clock to now. It waits for a page that owes an answer for long:
// nobody misses a part of the replay because his line is slow.
func (p *replay) tick() {
	now := time.Now()
	if !p.paused && (p.sent.IsZero() || now.Sub(p.sent) < slow) {
		p.at = p.at.Add(time.Duration(float64(now.Sub(p.wall)) * p.rate))
		if p.at.After(p.until) {
			p.at = p.until
		}
	}
	p.wall = now
}

// seek sets the clock, and makes the picture of that moment.
func (p *replay) seek(ctx context.Context, to time.Time) error {
	p.h.Sweep(time.Unix(math.MaxInt32*1000, 0)) // nothing is on the map
	p.at, p.page, p.cursor, p.had, p.ended = to, nil, to, 0, false
	if err := p.outset(ctx, to, pastBefore, false); err != nil {
		return err
	}
	if err := p.show(); err != nil { // before what takes longer to find
		return err
	}
	if err := p.outset(ctx, to, pastLasting, true); err != nil {
		return err
	}
	p.wall = time.Now()
	return p.say(clock{map[bool]string{true: "paused", false: "playing"}[p.paused], p.at, p.rate})
}

// outset puts on the map what was there at a moment, as far as it was sent since
// then; lasting has it look for drawings, routes and markers alone.
func (p *replay) outset(ctx context.Context, to time.Time, back time.Duration, lasting bool) error {
	q := p.query(to.Add(-back), to)
	q.Latest, q.Lasting, q.Limit = true, lasting, maxReplayed
	err := p.ask(ctx, q, func(e *PastEvent) error {
		p.put(e)
		return nil
	})
	p.h.Sweep(to)
	return err
}

func (p *replay) query(since, until time.Time) PastQuery {
	return PastQuery{User: p.s.user, Out: p.s.out, Since: since, Until: until, Box: p.box}
}

func (p *replay) ask(ctx context.Context, q PastQuery, fn func(*PastEvent) error) error {
	ctx, cancel := context.WithTimeout(ctx, pastTime)
	defer cancel()
	return p.past.Events(ctx, q, fn)
}

// advance moves the clock and what is on the map. Where more has to be read than
// there is time for, the clock waits.
func (p *replay) advance(ctx context.Context) error {
	p.tick()
	for began := time.Now(); ; {
		n := 0
		for n < len(p.page) && !p.page[n].At.After(p.at) {
			p.put(&p.page[n])
			n++
		}
		p.page = p.page[n:]
		if len(p.page) > 0 || p.cursor.After(p.at) || !p.cursor.Before(p.until) {
			break
		}
		if time.Since(began) > pastTurn {
			p.at = p.cursor
			break
		}
		if err := p.fetch(ctx); err != nil {
			return err
		}
	}
	p.wall = time.Now()
	p.h.Sweep(p.at)
	return nil
}

var errEnough = errors.New("enough for now")

// fetch reads the next page. One that is full goes on at the moment of its last
// event, of which it may have cut off some.
func (p *replay) fetch(ctx context.Context) error {
	until := p.cursor.Truncate(pastPiece).Add(pastPiece)
	if until.After(p.until) {
		until = p.until
	}
	q := p.query(p.cursor, until)
	q.Limit = pastPage + p.had
	n, same, last, size := 0, 0, p.cursor, 0
	page := make([]PastEvent, 0, 256)
	err := p.ask(ctx, q, func(e *PastEvent) error {
		if !e.At.Equal(last) {
			last, same = e.At, 0
		}
		same++
		if n++; n <= p.had {
			return nil
		}
		page = append(page, *e)
		if size += e.Shape.Size(); size > pastBytes {
			return errEnough
		}
		return nil
	})
	full := errors.Is(err, errEnough)
	if full {
		err = nil
	}
	switch {
	case err != nil:
		return err
	case n < q.Limit && !full:
		p.cursor, p.had = until, 0
	case same > 8*pastPage: // nobody's map needs more of one moment
		p.cursor, p.had = last.Add(time.Millisecond), 0
	default:
		p.cursor, p.had = last, same
	}
	p.page = page
	return nil
}

// put puts an event on the map, or takes one off it.
func (p *replay) put(e *PastEvent) {
	if e.Gone != "" {
		p.h.Gone([]byte(e.Gone), e.Groups, nil)
		return
	}
	e.Received = e.At.UnixMilli()
	p.h.Move(&e.Event)
}
