package netcore

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"takd/cot"
	"takd/netcore/group"
	"takd/netcore/msg"
	"takd/netcore/router"
	"takd/netcore/session"
)

const (
	batchSize   = 64 << 10              // a batch of this size is flushed at once
	replayChunk = 16 << 10              // replayed events given to a client at one time: what thousands that join at once may make gnet hold, each
	enough      = 16 << 10              // waiting bytes from which on holding back saves little: a full TLS record
	replayEvery = 10 * time.Millisecond // how soon a client that lags behind its replay is looked at again
)

// host is what a loop needs of the thing that runs it.
type host interface {
	Run(f func())         // soon, on the loop; from any goroutine
	Close(c session.Conn) // now, on the loop; calls loop.closed
}

// client is a session with its places in this loop.
type client struct {
	session.Session
	bucket        *router.Bucket
	loop          *loop
	entry         router.Entry
	origin        *msg.Origin
	lag           *session.Lag // while it is behind; then it is in no bucket
	reason        string       // why it was closed
	checking      bool         // its password is being checked
	asked         int          // loops that have not sent their positions yet
	offered       bool         // it was told that protobuf is spoken here
	warned        bool         // of a uid that is not its
	flooded       bool         // was logged
	slowed        bool         // is on the loop's list of slowed clients
	flood         string       // policy of its input
	own           session.Meter
	known         session.Known
	user, address *sharedMeter
}

// loop owns its share of the clients. Everything but the mailbox belongs to
// the one goroutine that host runs.
type loop struct {
	e       *Engine
	idx     int
	host    host
	clients map[uint64]*client
	buckets []*router.Bucket
	lagging []*client // their replay is not done
	behind  []*client // read too slowly to share a bucket
	falling []*client // are about to be
	waiting bool      // a timer will look at them again
	slowed  []*client // sent too much: the rest waits
	direct  []*client // have own bytes to flush
	dead    []*client // closed, not yet buried
	depth   int       // turns inside each other: closing re-enters
	need    bool      // something waits to be flushed
	many    bool      // so much that flush_min need not pass

	// Scratch, reused for each event or receiver.
	ev       cot.Event
	plain    []byte
	out      []byte
	compose  []byte
	control  []byte
	found    []*router.Entry
	narrow   []group.Bits
	resuming []*client
	outbox   [][]parcel // by loop: pushed at the end of the turn

	gathered int // bytes of unfinished events, of all clients
	now      time.Time
	stamped  int64 // second of splice.Stamp
	splice   cot.Splice

	mail mailbox

	armed     atomic.Int32 // state of the next flush
	lastStart atomic.Int64
	took      atomic.Int64 // nanoseconds of the last flush, at most flush_max
	hold      atomic.Int64 // the same, at least flush_min
	timer     *time.Timer
	flushFunc func()
	stats     loopStats
}

// parcel is what one loop sends another.
type parcel struct {
	op   op
	m    *msg.Msg
	c    *client
	list []*msg.Msg
	f    func()
}

type op uint8

const (
	opBroadcast op = iota // m to everyone in reach
	opDirect              // m to c
	opAsk                 // the latest positions that c may see, please
	opReplay              // list for c
	opCall                // f
)

// mailbox is the only state that loops share. It is bounded in bytes: past
// mailbox_size positions are dropped, past four times that everything is.
type mailbox struct {
	mu    sync.Mutex
	q     []parcel
	spare []parcel
	bytes int
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

// enter and leave bracket everything that runs on the loop. Closing a client
// re-enters, from inside a write; what must not happen while somebody walks
// the clients waits for the outermost leave.
func (l *loop) enter() {
	if l.depth == 0 {
		l.now = time.Now()
		if sec := l.now.Unix(); sec != l.stamped {
			l.stamped = sec
			l.splice.Stamp = l.now.UTC().Format("2006-01-02T15:04:05Z")
		}
		l.splice.Millis = l.now.UnixMilli()
	}
	l.depth++
}

func (l *loop) leave() {
	if l.depth > 1 {
		l.depth--
		return
	}
	for i, c := range l.falling {
		l.fallBehind(c)
		l.falling[i] = nil
	}
	l.falling = l.falling[:0]
	for len(l.dead) > 0 {
		c := l.dead[len(l.dead)-1]
		l.dead = l.dead[:len(l.dead)-1]
		l.bury(c)
	}
	for i, out := range l.outbox {
		if len(out) > 0 {
			l.e.loopAt(i).push(out...)
			clear(out)
			l.outbox[i] = out[:0]
		}
	}
	l.depth--
	if l.need {
		l.need = false
		l.arm()
	}
	if l.many {
		l.many = false
		l.hurry()
	}
}

// send puts a parcel for another loop on this turn's pile.
func (l *loop) send(to int, p parcel) {
	for len(l.outbox) <= to {
		l.outbox = append(l.outbox, nil)
	}
	l.outbox[to] = append(l.outbox[to], p)
}

// push gives parcels, with their references, to the loop. Any goroutine may.
func (l *loop) push(ps ...parcel) {
	limit := l.e.opts.Load().MailboxSize
	l.mail.mu.Lock()
	for _, p := range ps {
		if p.m != nil {
			if l.mail.bytes > limit && (p.m.Class == msg.Position || l.mail.bytes > 4*limit) {
				l.stats.mailboxDrops.Add(1)
				p.m.Release()
				continue
			}
			l.mail.bytes += p.m.Size()
		}
		l.mail.q = append(l.mail.q, p)
	}
	many := l.mail.bytes >= enough
	l.mail.mu.Unlock()
	l.arm()
	if many {
		l.hurry()
	}
}

// call runs f on the loop.
func (l *loop) call(f func()) { l.push(parcel{op: opCall, f: f}) }

// drain takes in what other loops sent.
func (l *loop) drain() {
	l.mail.mu.Lock()
	q := l.mail.q
	l.mail.q, l.mail.spare, l.mail.bytes = l.mail.spare[:0], nil, 0
	l.mail.mu.Unlock()
	for _, p := range q {
		switch p.op {
		case opBroadcast:
			l.deliver(p.m)
			p.m.Release()
		case opDirect:
			l.deliverTo(p.c, p.m)
			p.m.Release()
		case opAsk:
			l.send(p.c.entry.Loop, parcel{op: opReplay, c: p.c, list: l.positions(p.c, nil)})
		case opReplay:
			p.c.asked--
			l.replay(p.c, p.list)
			l.offer(p.c)
		case opCall:
			p.f()
		}
	}
	clear(q)
	l.mail.mu.Lock()
	l.mail.spare = q[:0]
	l.mail.mu.Unlock()
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

func (l *loop) startIn(wait time.Duration) {
	if wait > 0 {
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
// follows from how long this one took.
func (l *loop) flush() {
	start := nanotime()
	l.lastStart.Store(start)
	l.flushAll()
	o := l.e.opts.Load()
	took := min(nanotime()-start, int64(o.FlushMax))
	l.took.Store(took)
	l.hold.Store(max(took, int64(o.FlushMin)))
	l.stats.flushes.Add(1)
	l.armed.Store(flushNone)
	l.mail.mu.Lock()
	more := len(l.mail.q) > 0
	l.mail.mu.Unlock()
	if more || l.dirty() {
		l.arm()
	}
}

func (l *loop) flushAll() {
	l.enter()
	defer l.leave()
	defer func() {
		if r := recover(); r != nil {
			l.depth = 1 // wherever it was
			l.stats.panics.Add(1)
			l.e.log.Error("panic while flushing", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	l.drain()
	if len(l.slowed) > 0 {
		l.resume()
	}
	for _, b := range l.buckets {
		if b.Dirty {
			l.flushBucket(b)
		}
	}
	for i, c := range l.direct {
		c.Dirty = false
		if c.bucket != nil {
			l.flushClient(c.bucket, &c.Session)
			c.Outbox.Reset(len(c.bucket.Batch), c.bucket.Events)
		}
		l.direct[i] = nil
	}
	l.direct = l.direct[:0]
	l.catchUp()
	l.catchUpBehind()
	l.need = false
}

// dirty reports whether burying the dead has left something to flush.
func (l *loop) dirty() bool {
	if len(l.direct) > 0 {
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
	l.depth++
	for _, s := range b.Members {
		l.flushClient(b, s)
		s.Outbox.Reset(0, 0)
	}
	l.depth--
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
	s.Stats.EventsOut += uint64(b.Events + s.Outbox.Delta())
	l.stats.eventsOut.Add(uint64(b.Events + s.Outbox.Delta()))
	l.write(s, stream)
}

// write seals plain and hands it to the kernel, or closes a client that is too
// far behind. Whatever may be left out was left out before: a sealed record
// must be sent.
func (l *loop) write(s *session.Session, plain []byte) {
	waiting := s.Conn.OutboundBuffered()
	if limit := l.e.opts.Load().HardLimit; waiting+len(plain) > limit && waiting > 0 {
		l.stats.slowCloses.Add(1)
		l.close(l.clients[s.ID], "too slow: more than hard_limit bytes wait for it")
		return
	}
	var err error
	if l.out, err = s.Layer.Seal(l.out[:0], plain); err != nil {
		l.close(l.clients[s.ID], "sealing: "+err.Error())
		return
	}
	s.Stats.BytesOut += uint64(len(plain))
	s.Sealed += uint64(len(l.out))
	l.stats.bytesOut.Add(uint64(len(plain)))
	l.stats.writes.Add(1)
	_, _ = s.Conn.Write(l.out) // an error has closed the session already
	if s.Live() && s.Conn.OutboundBuffered() > l.e.opts.Load().SoftLimit {
		if c := l.clients[s.ID]; c.lag == nil && c.bucket != nil {
			l.falling = append(l.falling, c)
		}
	}
}
