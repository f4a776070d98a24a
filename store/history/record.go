package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// queueLen is how many events may wait to be put into batches.
const queueLen = 1 << 16

// recorder collects events and sees that they get to the database: at once where
// it is free, else over the spool. One goroutine collects, one writes, so groups
// are written in order.
type recorder struct {
	opts  Options
	spool *spool
	shape *shaper
	write func(context.Context, *group, bool) error // to the database; true: look first
	ready func() <-chan struct{}                    // closed when another try may help

	queue   chan *Event
	queued  atomic.Int64 // bytes
	dropped atomic.Uint64
	taken   atomic.Uint64
	written atomic.Uint64
	errors  atomic.Uint64 // writes that failed
	rate    atomic.Uint64 // rows a second that were written lately
	flushes chan chan uint64
	direct  chan *group

	mu     sync.Mutex
	done   uint64        // all groups up to this ID are settled
	moved  chan struct{} // closed when done changes
	stop   chan struct{}
	failed error // how the last write ended

	through uint64 // the last group that went without the spool; the writer's
	trying  uint64 // segment, and how often; the writer's
	tries   int

	collected chan struct{}
	wrote     chan struct{}
}

func newRecorder(o Options, s *spool, shape *shaper, write func(context.Context, *group, bool) error, ready func() <-chan struct{}) *recorder {
	return &recorder{
		opts: o, spool: s, shape: shape, write: write, ready: ready,
		queue: make(chan *Event, queueLen), flushes: make(chan chan uint64), direct: make(chan *group, 1),
		moved: make(chan struct{}), stop: make(chan struct{}), collected: make(chan struct{}), wrote: make(chan struct{}),
	}
}

func (r *recorder) start(ctx context.Context) {
	go func() {
		defer close(r.collected)
		last := r.spool.last()
		(&collector{recorder: r, last: last, next: last + 1<<20}).run()
	}()
	go func() {
		defer close(r.wrote)
		r.writer(ctx)
	}()
}

// record offers an event and never blocks.
func (r *recorder) record(e *Event) bool {
	n := e.size()
	select {
	case <-r.stop:
		r.dropped.Add(1)
		return false
	default:
	}
	if r.queued.Add(n) <= r.opts.QueueBytes {
		select {
		case r.queue <- e:
			r.taken.Add(1)
			return true
		default:
		}
	}
	r.queued.Add(-n)
	r.dropped.Add(1)
	return false
}

// flush returns when everything that was recorded before can be queried, or is
// known to be lost.
func (r *recorder) flush(ctx context.Context) error {
	answer := make(chan uint64, 1)
	select {
	case r.flushes <- answer:
	case <-r.stop:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("flush history: %w", ctx.Err())
	}
	id := <-answer
	for {
		r.mu.Lock()
		done, moved, failed := r.done, r.moved, r.failed
		r.mu.Unlock()
		if done >= id {
			return nil
		}
		select {
		case <-moved:
		case <-r.wrote:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("flush history: %w", errors.Join(ctx.Err(), failed))
		}
	}
}

// settled records that nothing up to this group is still to be written.
func (r *recorder) settled(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id > r.done {
		r.done = id
		close(r.moved)
		r.moved = make(chan struct{})
	}
}

// fail records how the last write ended.
func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = err
	if err != nil {
		r.errors.Add(1)
	}
}

// collector is the goroutine that makes groups.
type collector struct {
	*recorder

	events   []*Event
	bytes    int64
	since    time.Time // of the oldest event
	last     uint64    // ID of the newest group
	next     uint64    // lowest ID of the one after it
	inflight *group    // at the writer, and not yet answered
	sent     time.Time

	measured time.Time // when the rate was, and what was written then
	before   uint64
}

// run makes groups until stop is closed; then what is left goes to the spool
// where the writer does not take it at once.
func (c *collector) run() {
	// Half of the interval is for collecting, the other for writing.
	half := c.opts.Flush / 2
	tick := time.NewTicker(max(half/4, time.Millisecond))
	defer tick.Stop()
	for {
		var answered chan error
		if c.inflight != nil {
			answered = c.inflight.done
		}
		select {
		case e := <-c.queue:
			c.add(e)
		case err := <-answered:
			c.answer(err)
		case now := <-tick.C:
			c.measure(now)
			if c.inflight != nil && time.Since(c.sent) >= half {
				c.keep(c.inflight)
			}
			if len(c.events) > 0 && time.Since(c.since) >= half {
				c.cut()
			}
		case to := <-c.flushes:
			c.drain()
			c.cut()
			to <- c.last
		case <-c.stop:
			c.drain()
			c.cut()
			if c.inflight != nil {
				c.keep(c.inflight)
			}
			return
		}
	}
}

// measure computes the rate of the last seconds.
func (c *collector) measure(now time.Time) {
	took := now.Sub(c.measured)
	if took < rateTime {
		return
	}
	written := c.written.Load()
	if !c.measured.IsZero() {
		c.rate.Store(uint64(float64(written-c.before) / took.Seconds()))
	}
	c.measured, c.before = now, written
}

// rateTime is what a rate is measured over.
const rateTime = 5 * time.Second

func (c *collector) drain() {
	for range len(c.queue) {
		c.add(<-c.queue)
	}
}

func (c *collector) add(e *Event) {
	if len(c.events) == 0 {
		c.since = time.Now()
	}
	c.events = append(c.events, e)
	c.bytes += e.size()
	if len(c.events) < c.opts.BatchRows && c.bytes < int64(c.opts.BatchBytes) {
		return
	}
	// A writer that is about to finish is worth a larger group: the way over the
	// disk costs more.
	busy := c.inflight != nil && !c.inflight.spooled
	if busy && len(c.events) < 4*c.opts.BatchRows && c.bytes < 4*int64(c.opts.BatchBytes) {
		return
	}
	c.cut()
}

// cut makes a group of what was collected and sends it on its way.
func (c *collector) cut() {
	if len(c.events) == 0 {
		return
	}
	id := max(uint64(time.Now().UnixMicro())<<groupShift, c.next)
	g := newGroup(id, c.events, c.bytes)
	for _, b := range g.Batches {
		b.split(c.shape)
	}
	c.last, c.next = id, id+uint64(len(g.Batches))
	c.events, c.bytes = make([]*Event, 0, min(2*len(c.events), c.opts.BatchRows)), 0
	if c.inflight != nil {
		select { // it may be through by now
		case err := <-c.inflight.done:
			c.answer(err)
		default:
		}
	}
	if _, waiting := c.spool.front(); c.inflight == nil && !waiting {
		c.inflight, c.sent = g, time.Now()
		c.direct <- g // there is room: nothing is under way
		return
	}
	if c.inflight != nil {
		c.keep(c.inflight) // order
	}
	c.keep(g)
}

// keep puts a group into the spool.
func (c *collector) keep(g *group) {
	if g.spooled {
		return
	}
	g.spooled = true
	err := c.spool.append(g)
	if g != c.inflight {
		c.queued.Add(-g.bytes)
	}
	if err != nil {
		c.fail(err)
		c.opts.Log.Error("history events lost", "events", g.rows, "error", err)
		if g != c.inflight {
			c.settled(g.ID)
		}
	}
}

// answer takes what the writer says about the group that was under way.
func (c *collector) answer(err error) {
	g := c.inflight
	if err != nil {
		c.keep(g)
	}
	c.inflight = nil
	c.queued.Add(-g.bytes)
}

// writer writes groups until stop is closed.
func (r *recorder) writer(ctx context.Context) {
	wait := retryMin
	for {
		select {
		case <-r.stop:
			r.finish(ctx)
			return
		default:
		}
		id, ok := r.spool.front()
		again := r.ready()
		var timer <-chan time.Time
		if ok {
			if err := r.writeSpooled(ctx, id); err == nil {
				wait = retryMin
				continue
			}
			timer = time.After(wait)
			wait = min(2*wait, retryMax)
		}
		select {
		case g := <-r.direct:
			r.writeDirect(ctx, g)
		case <-r.spool.notify:
			if timer != nil { // it has failed just now: not for every new segment
				select {
				case <-timer:
				case <-again:
				case <-r.stop:
				}
			}
		case <-timer:
		case <-again:
			wait = retryMin
		case <-r.stop:
		}
	}
}

// finish writes what the collector sent last; the spool has it too.
func (r *recorder) finish(ctx context.Context) {
	<-r.collected
	select {
	case g := <-r.direct:
		r.writeDirect(ctx, g)
	default:
	}
}

const (
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
	// maxTries bounds how often a segment is tried that the database itself refuses.
	maxTries = 20
)

func (r *recorder) writeDirect(ctx context.Context, g *group) {
	err := r.write(ctx, g, false)
	if err == nil {
		r.written.Add(uint64(g.rows))
		r.through = g.ID
		r.fail(nil)
		// The collector may have spooled it meanwhile.
		err = r.spool.remove(g.ID)
		r.settled(g.ID)
	} else {
		r.fail(err)
	}
	g.done <- err
}

// writeSpooled writes one segment. Its batches may be in the database already:
// the answer may have been lost, or this process killed behind it.
func (r *recorder) writeSpooled(ctx context.Context, id uint64) error {
	if id == r.through { // the collector spooled it just then
		err := r.spool.remove(id)
		r.settled(id)
		return err
	}
	// Nothing is read from the disk for a database that is not there.
	if err := r.write(ctx, new(group), false); err != nil {
		r.fail(err)
		return err
	}
	g, err := r.spool.load(id)
	if errors.Is(err, errCorrupt) {
		r.opts.Log.Error("history segment set aside", "segment", id, "error", err)
		r.spool.setAside(id)
		r.settled(id)
		return nil
	}
	if err := r.write(ctx, g, true); err != nil {
		r.fail(err)
		if refused(err) && r.tried(id) {
			r.opts.Log.Error("history segment set aside", "segment", id, "error", err)
			r.spool.setAside(id)
			r.settled(id)
			return nil
		}
		return err
	}
	r.fail(nil)
	for _, b := range g.Batches {
		r.written.Add(uint64(len(b.Rows)))
	}
	err = r.spool.remove(id)
	r.settled(id)
	return err
}

// tried counts the attempts at a segment, and tells when they are enough.
func (r *recorder) tried(id uint64) bool {
	if r.trying != id {
		r.trying, r.tries = id, 0
	}
	r.tries++
	return r.tries >= maxTries
}

// refused tells whether the database has read what it was sent and does not
// want it. Out of memory, too slow, disk full, read-only, too many parts and the
// like pass by themselves.
func refused(err error) bool {
	var e *clickhouse.Exception
	return errors.As(err, &e) && slices.Contains([]int32{6, 27, 33, 41, 43, 53, 69, 70, 72, 131, 261, 349}, e.Code)
}
