package netcore

import (
	"math/bits"
	"runtime/debug"
	"sync/atomic"
	"time"

	"takd/cot"
	"takd/netcore/group"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/netcore/session"
)

const (
	batchSize = 64 << 10 // a batch of this size is flushed at once
	enough    = 16 << 10 // waiting bytes from which on holding back saves little: a full TLS record
)

// host is what a loop needs of the thing that runs it.
type host interface {
	Run(f func())         // soon, on the loop; from any goroutine
	Close(c session.Conn) // now, on the loop; calls loop.closed
}

// client is a session with its places in this loop.
type client struct {
	session.Session
	bucket *router.Bucket // while Current
	loop   *loop
	entry  router.Entry
	origin *msg.Origin
	reason string // why it was closed

	owed   *session.Ledger // while CatchingUp, and when Ended: what it has not got
	asked  int             // loops that have not sent their positions yet
	offer  *msg.Msg        // tells that protobuf is spoken here, while it waits among owed
	told   bool            // of that, or it needs no telling
	behind bool            // catches up because it read too slowly
	over   time.Time       // since when more than soft_limit bytes wait for it

	direct    []*msg.Msg // chat of its own in Outbox, held
	delivered []receipt  // chat written that its kernel may not have
	nodes     nodes      // whom it carries, if it is a gateway
	shown     int        // its place in the loop's list of those whom newcomers see, from 1

	held     session.Ledger // what it sent beyond its share, raw
	holding  bool           // is on the loop's list of those
	cycle    uint64         // in which it spent
	spentNow int            // deliveries, in KiB begun
	paid     int64          // until when, at fairRate, what it spent is paid for: Unix nanoseconds
	rest     []byte         // what its socket still held when it ended

	checking      bool // its password is being checked
	warned        bool // of a uid that is not its
	flooded       bool // was logged
	renamed       time.Time
	flood         string // policy of its input
	gateway       bool   // its input may carry others
	own           session.Meter
	known         session.Known
	user, address *sharedMeter
}

// loop owns its share of the clients. Everything but the mailbox belongs to
// the one goroutine that host runs.
type loop struct {
	e    *Engine
	idx  int
	host host

	clients   map[uint64]*client
	shown     []*client // of them, those that newcomers see, or did once: with a position, or with nodes
	buckets   []*router.Bucket
	catching  []*client // are CatchingUp
	unsettled bool      // some of them have not had a turn
	falling   []*client // are about to be: they read too slowly
	waiting   bool      // a timer will look at them again
	holding   []*client // sent too much: the rest waits
	unsure    []*client // have written chat that their kernel may not have
	changed   []*client // have own bytes to flush
	dead      []*client // ended, not yet buried
	turns     int       // inside each other: closing re-enters
	need      bool      // something waits to be flushed
	many      bool      // so much that flush_min need not pass
	deaf      bool      // the server stops: what comes now does not count
	cycle     uint64    // counts flushes
	spending  int       // deliveries so far, in KiB begun

	// Scratch, reused for each event or receiver.
	ev      cot.Event
	again   cot.Event // what is taken up again
	plain   []byte
	out     []byte
	compose []byte
	control []byte
	found   []*router.Entry
	narrow  []group.Bits
	turned  []*client
	outbox  [][]parcel // by loop: pushed at the end of the turn

	gathered int // bytes of unfinished and of held events, of all clients

	now     time.Time
	stamped int64 // second of splice.Stamp
	splice  cot.Splice

	mail    mailbox
	crowded atomic.Bool // most clients read too slowly

	armed     atomic.Int32 // state of the next flush
	lastStart atomic.Int64
	took      atomic.Int64 // nanoseconds of the last flush, at most flush_max
	hold      atomic.Int64 // time between two flush starts
	share     atomic.Int64 // of its time that flushes take, in 1/1024, over the last few
	timer     *time.Timer
	flushFunc func()

	stats loopStats
}

func newLoop(e *Engine, h host) *loop {
	l := &loop{e: e, host: h, clients: make(map[uint64]*client), plain: make([]byte, 32<<10)}
	l.mail.spare = make([]parcel, 0, 64)
	l.splice.FlowTag = e.flowTag
	l.flushFunc = l.flush
	l.timer = time.AfterFunc(time.Hour, l.start)
	l.timer.Stop()
	l.hold.Store(int64(e.opts.Load().FlushMin))
	return l
}

// enter and leave bracket everything that runs on the loop: leave gets what
// enter returned. Closing a client re-enters, from inside a write; what must not
// happen while somebody walks the clients waits for the outermost leave. A panic
// in between loses no count: each leave goes back to where its enter was.
func (l *loop) enter() (outer int) {
	outer = l.turns
	if outer == 0 {
		l.now = time.Now()
		if sec := l.now.Unix(); sec != l.stamped {
			l.stamped = sec
			l.splice.Stamp = l.now.UTC().Format("2006-01-02T15:04:05Z")
		}
		l.splice.Millis = l.now.UnixMilli()
	}
	l.turns++
	return outer
}

func (l *loop) leave(outer int) {
	l.turns = outer + 1
	if outer > 0 {
		l.turns = outer
		return
	}
	l.tidy()
	l.post()
	l.turns = 0
	if l.need {
		l.need = false
		l.arm()
	}
	if l.many {
		l.many = false
		l.hurry()
	}
}

// post hands what was sent other loops over.
func (l *loop) post() {
	for i, out := range l.outbox {
		if len(out) > 0 {
			l.e.loopAt(i).push(out...)
			clear(out)
			l.outbox[i] = out[:0]
		}
	}
}

// tidy does what waited until nobody walks the clients any more.
func (l *loop) tidy() {
	defer l.guard(nil)
	for len(l.falling)+len(l.dead) > 0 {
		if n := len(l.falling); n > 0 {
			c := l.falling[n-1]
			l.falling[n-1], l.falling = nil, l.falling[:n-1]
			l.fallBehind(c)
			continue
		}
		n := len(l.dead)
		c := l.dead[n-1]
		l.dead[n-1], l.dead = nil, l.dead[:n-1]
		l.finish(c)
	}
}

// guard keeps a defect from ending the process: the client that met it, if it
// is known, is closed, the others go on. To be deferred.
func (l *loop) guard(c *client) {
	r := recover()
	if r == nil {
		return
	}
	l.stats.panics.Add(1)
	if c == nil {
		l.e.log.Error("panic on an event loop", "panic", r, "stack", string(debug.Stack()))
		return
	}
	l.e.log.Error("panic while serving a client", "user", c.User, "uid", c.UID(), "peer", c.Remote, "panic", r, "stack", string(debug.Stack()))
	l.close(c, "internal error")
}

// The states of the next flush.
const (
	flushNone    int32 = iota
	flushTimed         // the timer will start it
	flushStarted       // it is on its way
)

// arm schedules a flush if none is: at once when the last one began long
// enough ago, else when the hold time is over. Any goroutine may call it.
func (l *loop) arm() {
	if !l.armed.CompareAndSwap(flushNone, flushTimed) {
		return
	}
	l.startIn(time.Duration(l.lastStart.Load() + l.hold.Load() - nanotime()))
}

// hurry does not wait for flush_min, when a flush is scheduled.
func (l *loop) hurry() {
	if l.armed.Load() == flushTimed {
		l.startIn(time.Duration(l.lastStart.Load() + l.took.Load() - nanotime()))
	}
}

// shortest is the shortest time for which a timer is worth its trouble: waking
// somebody for it costs more than a flush that is over so soon.
const shortest = time.Millisecond

func (l *loop) startIn(wait time.Duration) {
	if wait > shortest {
		l.timer.Reset(wait)
	} else {
		l.start()
	}
}

func (l *loop) start() {
	if l.armed.CompareAndSwap(flushTimed, flushStarted) {
		l.host.Run(l.flushFunc)
	}
}

var epoch = time.Now()

// nanotime is a monotonic clock.
func nanotime() int64 { return int64(time.Since(epoch)) }

// flush takes in the mail and writes every batch. The time until the next one
// follows from how long this one took: under load each write shall carry many
// events, but where a flush costs next to nothing, waiting would save nothing.
func (l *loop) flush() {
	start := nanotime()
	before := l.lastStart.Swap(start)
	l.flushAll()
	o := l.e.opts.Load()
	took := min(nanotime()-start, int64(o.FlushMax))
	l.took.Store(took)
	l.hold.Store(max(took, min(int64(o.FlushMin), idleShare*took)))
	share := l.share.Load()
	l.share.Store(share + (took<<10/max(start-before, took, 1)-share)/8)
	l.stats.flushes.Add(1)
	l.armed.Store(flushNone)
	l.mail.mu.Lock()
	more := len(l.mail.q) > 0
	l.mail.mu.Unlock()
	if more || l.dirty() {
		l.arm()
	}
}

// Busy reports whether an event loop had much to flush just now: enough that
// others should leave it time. It costs next to nothing.
func (e *Engine) Busy() bool {
	now := nanotime()
	for _, l := range e.allLoops() {
		if l.share.Load() > busyShare && now-l.lastStart.Load() < int64(busyAfter) {
			return true
		}
	}
	return false
}

const (
	busyShare = 1024 / 10
	busyAfter = 100 * time.Millisecond
)

// idleShare is how many times as long as a short flush took the next one waits.
const idleShare = 4

func (l *loop) flushAll() {
	defer l.leave(l.enter())
	l.cycle++
	l.drain()
	l.serve()
	for _, b := range l.buckets {
		if b.Dirty {
			l.flushBucket(b)
		}
	}
	for i, c := range l.changed {
		c.Dirty = false
		if c.bucket != nil {
			l.flushClient(c.bucket, &c.Session)
			c.Outbox.Reset(len(c.bucket.Batch), c.bucket.Events)
		}
		l.changed[i] = nil
	}
	l.changed = l.changed[:0]
	l.settle()
	l.askReceipts()
	l.need = false
}

// dirty reports whether something is left to flush.
func (l *loop) dirty() bool {
	if len(l.changed) > 0 || len(l.holding) > 0 || l.unsettled {
		return true
	}
	for _, b := range l.buckets {
		if b.Dirty {
			return true
		}
	}
	return false
}

// flushBucket seals and writes b's batch for each member.
func (l *loop) flushBucket(b *router.Bucket) {
	defer l.leave(l.enter())
	for _, s := range b.Members {
		l.flushClient(b, s)
		s.Outbox.Reset(0, 0)
	}
	b.Reset()
}

// flushClient writes what s has not had of b's batch. The caller resets the outbox.
func (l *loop) flushClient(b *router.Bucket, s *session.Session) {
	if !s.Live() {
		return
	}
	var stream []byte
	stream, l.compose = s.Outbox.Compose(b.Batch, l.compose)
	if len(stream) == 0 {
		return
	}
	events := b.Events + s.Outbox.Delta()
	l.write(s, stream, events)
	if len(b.Chat) > 0 || s.HasChat {
		l.note(s, b)
	}
}

// write is the one place that writes to a client: it seals plain, which holds
// that many events, and hands it to the kernel, or closes a client that is too
// far behind. Whatever may be left out was left out before: a sealed record must
// be sent.
func (l *loop) write(s *session.Session, plain []byte, events int) {
	c := l.clients[s.ID]
	defer l.guard(c)
	waiting := s.Conn.OutboundBuffered()
	if limit := l.e.opts.Load().HardLimit; waiting+len(plain) > limit && waiting > 0 {
		l.stats.slowCloses.Add(1)
		l.close(c, "too slow: more than hard_limit bytes wait for it")
		return
	}
	var err error
	if l.out, err = s.Layer.Seal(l.out[:0], plain); err != nil {
		l.close(c, "sealing: "+err.Error())
		return
	}
	s.Stats.EventsOut += uint64(events)
	s.Stats.BytesOut += uint64(len(plain))
	s.Sealed += uint64(len(l.out))
	l.stats.eventsOut.Add(uint64(events))
	l.stats.bytesOut.Add(uint64(len(plain)))
	l.stats.writes.Add(1)
	l.stats.together[min(bits.Len(uint(events)), len(l.stats.together)-1)].Add(1)
	put(s.Conn, l.out) // an error has ended the session already
	if s.State() == session.Current && l.tooSlow(c, s.Conn.OutboundBuffered()) {
		l.falling = append(l.falling, c)
	}
}

// stumble is how long more than soft_limit bytes may wait for a client that is
// current: a fast one takes a burst off in less. Eight times as much is too much
// at once.
const stumble = 100 * time.Millisecond

func (l *loop) tooSlow(c *client, waiting int) bool {
	o := l.e.opts.Load()
	limit := o.SoftLimit
	switch {
	case waiting <= limit:
		c.over = time.Time{}
	case c.over.IsZero():
		c.over = l.now
	}
	return waiting > min(8*limit, o.HardLimit/2) || waiting > limit && l.now.Sub(c.over) > stumble
}

// writeSealed writes what c's record layer itself has to say: alerts and key
// updates. b may be l.control.
func (l *loop) writeSealed(c *client, b []byte) {
	l.control = b
	if len(b) > 0 && !c.Gone() {
		c.Sealed += uint64(len(b))
		_, _ = c.Conn.Write(b)
	}
}
