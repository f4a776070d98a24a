package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"
)

// runCmd loads a server. All certificates must be of users who share a group:
// every event is expected by every client but its sender.
type runCmd struct {
	target
	Mode       string        `help:"steady: publishers send at a fixed rate. max: as fast as everybody gets it. idle: everybody is connected, nobody sends but pings, and nobody may be disconnected. storm, stuck, flood and shots: steady, and beside it many that connect at once, some that do not read, some that send as fast as they can, some that connect, send one event and close." enum:"steady,max,idle,storm,stuck,flood,shots" default:"steady"`
	Clients    int           `help:"Clients that connect and receive." default:"100"`
	Publishers int           `help:"How many of them also send; 0 means all." default:"0"`
	Rate       float64       `help:"Events per second of each publisher." default:"1"`
	Mix        string        `help:"sa: positions only. mixed: also 6% chat to everybody, 2% chat to one client and 2% drawings." enum:"sa,mixed" default:"mixed"`
	Size       int           `help:"Bytes of a position as XML; less than it needs has no effect." default:"700"`
	Window     int           `help:"Mode max: events of each publisher under way, which is until all receivers have them." default:"64"`
	Storm      int           `help:"Mode storm: clients that connect all at once when measuring begins." default:"1000"`
	Stuck      int           `help:"Mode stuck: clients that stop reading when measuring begins; what they get is not counted." default:"10"`
	StuckFor   time.Duration `help:"Mode stuck: when they read again." default:"20s"`
	Flooders   int           `help:"Mode flood: more clients, which send as fast as they can while it is measured." default:"1"`
	Shots      int           `help:"Mode shots: senders that connect, send one event and close." default:"200"`
	UIDs       int           `name:"uids" help:"Uids of each publisher's positions, in turn." default:"1"`
	Burst      int           `help:"Events of a publisher that are due at the same moment, and written at once." default:"1"`
	Hub        bool          `help:"The server is no TAK server: it sends everything to everybody else, and that is all."`
	Warmup     time.Duration `help:"Time under load that is not measured." default:"5s"`
	Duration   time.Duration `help:"Time that is measured." default:"30s"`
	Drain      time.Duration `help:"Longest wait for what is still under way at the end." default:"10s"`
	ServerPID  int           `name:"server-pid" help:"Process of the server on this machine: measures its CPU and memory." placeholder:"PID"`
	MinRatio   float64       `name:"min-ratio" help:"Fail (exit code 1) if less of what is due was delivered, 0 to 1." placeholder:"RATIO"`
	MaxP99     time.Duration `name:"max-p99" help:"Fail (exit code 1) if the 99th percentile of latency is above." placeholder:"50ms"`
	Exact      bool          `help:"Fail (exit code 1) if anything came twice, out of order or to the wrong client, or if anybody was disconnected."`
	JSON       bool          `name:"json" help:"Print the report as JSON."`
	Out        string        `help:"Also write the JSON report to this file." placeholder:"FILE"`

	// beside runs from the start of the load; the clients leave when it is done. May be nil.
	beside func(ctx context.Context, clients []*client)
}

// Validate is called by kong.
func (r *runCmd) Validate() error {
	switch {
	case r.Clients < 2:
		return fmt.Errorf("--clients %d: want 2 or more", r.Clients)
	case r.Mode == "idle" && r.Publishers != 0:
		return fmt.Errorf("--publishers %d: nobody publishes in the mode idle", r.Publishers)
	case r.Publishers < 0 || r.Publishers > r.Clients:
		return fmt.Errorf("--publishers %d: want 0 to %d", r.Publishers, r.Clients)
	case r.Rate <= 0 || r.Rate > 100_000:
		return fmt.Errorf("--rate %v: want more than 0, at most 100000", r.Rate)
	case r.Duration <= 0 || r.Warmup < 0 || r.Drain < 0:
		return fmt.Errorf("--duration, --warmup and --drain: want times that are not negative")
	case r.MinRatio < 0 || r.MinRatio > 1:
		return fmt.Errorf("--min-ratio %v: want 0 to 1", r.MinRatio)
	case r.Size < 0 || r.Size > 1<<20:
		return fmt.Errorf("--size %d: want 0 to %d", r.Size, 1<<20)
	case r.Window < 1 || r.Window > 1<<16:
		return fmt.Errorf("--window %d: want 1 to %d", r.Window, 1<<16)
	case r.Hub && r.Protocol != "xml":
		return fmt.Errorf("--protocol %s: with --hub it is xml", r.Protocol)
	case (r.Hub || r.Mode == "stuck") && r.Mode != "idle" && r.Mode != "max" && r.Mix != "sa":
		return fmt.Errorf("--mix %s: it is sa with --hub and in the mode stuck", r.Mix)
	}
	return r.validateMode()
}

func (r *runCmd) validateMode() error {
	switch {
	case r.Mode == "storm" && (r.Storm < 1 || r.Storm > 50_000):
		return fmt.Errorf("--storm %d: want 1 to 50000", r.Storm)
	case r.Mode == "stuck" && (r.Stuck < 1 || r.Stuck > r.Clients-max(r.Publishers, 1)):
		return fmt.Errorf("--stuck %d: want 1 to %d, the clients that do not publish", r.Stuck, r.Clients-max(r.Publishers, 1))
	case r.Mode == "stuck" && (r.StuckFor <= 0 || r.StuckFor >= r.Duration):
		return fmt.Errorf("--stuck-for %v: want more than 0, and less than --duration %v", r.StuckFor, r.Duration)
	case r.Mode == "shots" && (r.Shots < 1 || r.Shots > 100_000):
		return fmt.Errorf("--shots %d: want 1 to 100000", r.Shots)
	case r.UIDs < 0 || r.UIDs > 100_000:
		return fmt.Errorf("--uids %d: want 0 to 100000", r.UIDs)
	case r.Burst < 0 || r.Burst > 100_000:
		return fmt.Errorf("--burst %d: want 0 to 100000", r.Burst)
	case r.Mode == "flood" && (r.Flooders < 1 || r.Flooders > 1000):
		return fmt.Errorf("--flooders %d: want 1 to 1000", r.Flooders)
	}
	return r.target.Validate()
}

// settling is how long a server has to make receivers of those that connected
// last: with TLS 1.3 a client is done before the server is.
const settling = 500 * time.Millisecond

// load is one run under way.
type load struct {
	*runCmd
	id      uint64
	began   time.Time // all moments are counted from here, by the monotonic clock
	from    int64     // Unix nanoseconds: events due in [from, to) are measured
	to      int64
	crowd   *crowd
	tallies []*tally // of the clients that count, which are the first ones
	senders []sender

	flow  *flow // mode max
	stuck *stuck
	storm *storm
	flood *flood
	shots *shots
}

// sender counts what one publisher did; written by its goroutine only.
type sender struct {
	due    int64 // events for everybody that were due in the measured time
	direct int64 // events for its neighbor that were due in the measured time
	sent   int64 // those that were written
	wanted int64 // deliveries that they should make
	behind time.Duration
	err    error
}

// now is in Unix nanoseconds and never jumps.
func (l *load) now() int64 { return l.began.UnixNano() + int64(time.Since(l.began)) }

// Run is called by kong.
func (r *runCmd) Run(ctx context.Context, out io.Writer) error {
	rep, err := r.measure(ctx)
	if err != nil {
		return err
	}
	if r.Out != "" {
		b, err := rep.json()
		if err == nil {
			err = os.WriteFile(r.Out, b, 0o644)
		}
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if r.JSON {
		b, err := rep.json()
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		_, _ = out.Write(b)
	} else {
		rep.print(out)
	}
	return rep.judge(r)
}

// measure connects, warms up, measures, drains and counts.
func (r *runCmd) measure(ctx context.Context) (*report, error) {
	if r.Publishers == 0 && r.Mode != "idle" {
		r.Publishers = r.Clients
	}
	r.Burst, r.UIDs = max(1, r.Burst), max(1, r.UIDs)
	l := &load{runCmd: r, id: rand.Uint64() >> 1, began: time.Now(), senders: make([]sender, r.Publishers)}
	var empty int64
	if r.ServerPID != 0 {
		var err error
		if empty, _, err = memory(r.ServerPID); err != nil {
			return nil, fmt.Errorf("watch the server: %w", err)
		}
	}
	crowd, err := gather(ctx, &r.target, l.cast())
	if err != nil {
		return nil, err
	}
	l.crowd = crowd
	defer func() {
		if crowd != nil {
			crowd.leave()
		}
	}()
	if l.flood != nil {
		err = l.flood.prepare(ctx)
	}
	if l.storm != nil {
		err = l.storm.prepare(ctx)
		defer func() { _ = l.storm.leave() }()
	}
	if err != nil {
		return nil, err
	}
	connected := time.Since(l.began)
	start := l.now() + int64(settling)
	l.from = start + int64(r.Warmup)
	l.to = l.from + int64(r.Duration)
	for _, t := range l.tallies {
		t.open(l.from, l.to)
	}
	var beside sync.WaitGroup
	if r.beside != nil {
		beside.Go(func() { r.beside(ctx, l.crowd.clients) })
	}
	seen, err := l.publish(ctx, start)
	beside.Wait()
	if err != nil {
		return nil, err
	}
	l.drain(ctx)
	if l.storm != nil {
		if err := l.storm.leave(); err != nil {
			return nil, err
		}
		l.storm.cmd = nil
	}
	crowd.leave()
	crowd = nil
	rep := l.report(seen)
	rep.ConnectSeconds = connected.Seconds()
	if r.ServerPID != 0 {
		rep.RSSPerClient = float64(seen.server.RSS-empty) / float64(len(l.crowd.clients))
	}
	return rep, nil
}

// cast makes the clients, and what is special in the mode.
func (l *load) cast() []*client {
	clients := make([]*client, l.Clients)
	for i := range clients {
		clients[i] = &client{
			index: i, proto: l.protobuf(i), person: loadPerson(l.id, i), size: l.Size, silent: l.Mode == "idle", bare: l.Hub,
		}
	}
	counted := l.Clients
	switch l.Mode {
	case "max":
		l.flow = newFlow(l)
	case "storm":
		l.storm = &storm{l: l}
	case "flood":
		l.flood = &flood{l: l}
	case "shots":
		l.shots = &shots{l: l, seen: make(map[int]bool)}
	case "stuck":
		l.stuck = newStuck(l)
		counted = l.stuck.first
	}
	for i, c := range clients {
		switch {
		case l.flow != nil:
			c.got = l.marked(func(m mark, size int) { l.flow.take(i, m, size) })
		case i >= counted:
			v := l.stuck.viewers[i-counted]
			c.pause, c.got = new(pause), l.marked(func(m mark, _ int) { v.take(m) })
		default:
			t := newTally(i, l.Publishers)
			l.tallies = append(l.tallies, t)
			c.got = l.marked(func(m mark, size int) {
				if l.shots != nil && i == 0 && m.sender >= l.Publishers {
					l.shots.take(m.sender - l.Publishers)
					return
				}
				t.add(m, l.now(), size)
			})
		}
	}
	return clients
}

// marked makes a receiver of the events of this run. It looks for a mark where the
// last one was, as far from the end.
func (l *load) marked(take func(m mark, size int)) func([]byte) {
	fromEnd := 0
	return func(event []byte) {
		at := len(event) - fromEnd
		if at < 0 || !bytes.HasPrefix(event[at:], []byte(markTag)) {
			at = markAt(event)
			fromEnd = len(event) - at
		}
		if m, ok := readMark(event, at); ok && m.run == l.id {
			take(m, len(event))
		}
	}
}

// observation is what was seen beside the deliveries in the measured time.
type observation struct {
	server, self usage
	machine      machineUse
	from, to     counts // of the flow
}

// publish runs all publishers until the end of the measured time, and watches
// the server process, its own and the machine meanwhile.
func (l *load) publish(ctx context.Context, start int64) (seen observation, err error) {
	var wait sync.WaitGroup
	for i := range l.Publishers {
		wait.Go(func() {
			if l.flow != nil {
				l.flow.publish(ctx, i, start)
			} else {
				l.publisher(ctx, i, start)
			}
		})
	}
	server, self, machine := watch(l.ServerPID), watch(os.Getpid()), new(machineWatch)
	if l.sleep(ctx, l.from) {
		server.start()
		self.start()
		machine.start()
		if l.flow != nil {
			seen.from = l.flow.counts()
		}
		wait.Go(func() { l.play(ctx) })
		l.sleep(ctx, l.to)
		if l.flow != nil {
			seen.to = l.flow.counts()
		}
		var errs [4]error
		seen.server, errs[0] = server.stop()
		seen.self, errs[1] = self.stop()
		seen.machine, errs[2] = machine.stop()
		if l.storm != nil {
			var use usage
			use, errs[3] = l.storm.watch.stop()
			seen.self.CPU += use.CPU
		}
		err = errors.Join(errs[:]...)
	}
	if l.flow != nil {
		close(l.flow.over)
	}
	wait.Wait()
	if ctx.Err() != nil {
		return seen, ctx.Err()
	}
	return seen, err
}

// play does what the mode does beside publishing, while it is measured.
func (l *load) play(ctx context.Context) {
	switch {
	case l.stuck != nil:
		l.crowd.expect(func(c *client) bool { return l.stuck.again(ctx, c) })
		l.stuck.play(ctx)
	case l.storm != nil:
		l.storm.play(ctx)
	case l.flood != nil:
		l.flood.play(ctx)
	case l.shots != nil:
		l.shots.play(ctx)
	}
}

// sleep waits until the moment at, false if ctx ended first.
func (l *load) sleep(ctx context.Context, at int64) bool {
	t := time.NewTimer(time.Duration(at - l.now()))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// publisher sends on schedule: events fall due at fixed moments, spread evenly
// over all publishers, however long a write takes. After an error the rest
// still counts as due.
func (l *load) publisher(ctx context.Context, i int, start int64) {
	var (
		c        = l.crowd.clients[i]
		s        = &l.senders[i]
		interval = float64(time.Second) / l.Rate
		phase    = interval * float64(i) / float64(l.Publishers)
		extra    []byte
		events   batch
	)
	for n := uint32(1); ; n++ {
		due := start + int64(phase+interval*float64(int(n-1)/l.Burst*l.Burst))
		if due >= l.to {
			return
		}
		if due > l.now() && !l.sleep(ctx, due) {
			return
		}
		measured, receivers := due >= l.from, int64(len(l.tallies)-1)
		m := mark{run: l.id, sender: i, seq: n, due: due}
		kind := l.kind(c, n)
		if kind == direct {
			m.to, receivers = l.neighbor(i)+1, 1
		}
		switch {
		case measured && kind == direct:
			s.direct++
		case measured:
			s.due++
		}
		if s.err != nil {
			continue
		}
		if measured {
			s.behind = max(s.behind, time.Duration(l.now()-due))
		}
		extra = m.append(extra[:0])
		events.add(l.event(events.next(), c, kind, n, extra), measured, receivers)
		if int(n)%l.Burst == 0 {
			s.err = events.send(c, s)
		}
	}
}

// batch is the events that are written at once.
type batch struct {
	xml    []byte
	ends   []int
	sent   int64 // if written: of the measured ones
	wanted int64
}

// next is where the next event is appended.
func (b *batch) next() []byte { return b.xml }

func (b *batch) add(xml []byte, measured bool, receivers int64) {
	b.xml = xml
	b.ends = append(b.ends, len(xml))
	if measured {
		b.sent++
		b.wanted += receivers
	}
}

// send writes what was added and counts it.
func (b *batch) send(c *client, s *sender) error {
	err := c.send(b.xml, b.ends...)
	if err == nil {
		s.sent += b.sent
		s.wanted += b.wanted
	}
	*b = batch{xml: b.xml[:0], ends: b.ends[:0]}
	return err
}

// What an event is.
const (
	position = iota
	chat
	direct // chat to the neighbor
	drawing
)

// kind of the n-th event of c: the same in every run.
func (l *load) kind(c *client, n uint32) int {
	if l.Mix != "mixed" {
		return position
	}
	switch k := (int(n) + c.index*7) % 50; {
	case k == 27:
		return direct
	case k%12 == 3: // 3, 15, 39
		return chat
	case k == 49:
		return drawing
	}
	return position
}

// neighbor is the client to which client i writes directly.
func (l *load) neighbor(i int) int { return (i + 1) % l.Clients }

// event appends the n-th event of c.
func (l *load) event(dst []byte, c *client, kind int, n uint32, extra []byte) []byte {
	now := time.Unix(0, l.now())
	if kind == position {
		c.lat += 0.00001
		if l.UIDs == 1 {
			return c.appendSA(dst, now, l.Size, extra)
		}
		p := c.person
		p.uid += "-" + strconv.Itoa(int(n)%l.UIDs)
		return p.appendSA(dst, now, l.Size, extra)
	}
	id := strconv.FormatUint(l.id, 36) + "-" + strconv.Itoa(c.index) + "-" + strconv.FormatUint(uint64(n), 10)
	switch kind {
	case direct:
		other := &l.crowd.clients[l.neighbor(c.index)].person
		return c.appendChat(dst, now, id, "Can you see the bridge from where you are?", other, extra)
	case chat:
		return c.appendChat(dst, now, id, "Moving to checkpoint, estimate five minutes.", nil, extra)
	default:
		return c.appendDrawing(dst, now, id, extra)
	}
}

// drain waits until everything that was sent has come, or nothing new comes
// for a second, or the time is up.
func (l *load) drain(ctx context.Context) {
	var wanted int64
	for i := range l.senders {
		wanted += l.senders[i].wanted
	}
	if l.flow != nil {
		for i := range l.flow.lanes {
			wanted += l.flow.lanes[i].sent * int64(l.Clients-1)
		}
	}
	end := l.now() + int64(l.Drain)
	last, since := int64(-1), l.now()
	for ctx.Err() == nil && l.now() < end {
		var got int64
		for _, t := range l.tallies {
			got += t.unique()
		}
		if l.flow != nil {
			got = l.flow.counts().deliveries
		}
		switch {
		case got >= wanted && (l.shots == nil || l.shots.done()), got == last && l.now()-since > int64(time.Second):
			return
		case got != last:
			last, since = got, l.now()
		}
		l.sleep(ctx, l.now()+int64(20*time.Millisecond))
	}
}

func loadPerson(run uint64, i int) person {
	return person{
		uid: "TAKLOAD-" + strconv.FormatUint(run, 36) + "-" + strconv.Itoa(i), callsign: "LOAD-" + strconv.Itoa(i),
		team: teams[i%len(teams)], role: "Team Member",
		lat: 48 + float64(i%100)*0.005, lon: 11 + float64(i/100%100)*0.005, course: float64(i * 37 % 360), speed: 1.4, battery: 20 + i%80,
	}
}
