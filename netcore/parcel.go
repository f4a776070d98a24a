package netcore

import (
	"sync"
	"sync/atomic"

	"takd/netcore/msg"
)

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
	opReturn              // m, chat that nobody got, to its sender c
	opCall                // f
)

// mailbox is the only state that loops share. It is bounded in bytes: past
// mailbox_size positions are dropped, past four times that everything is.
type mailbox struct {
	mu    sync.Mutex
	q     []parcel
	spare []parcel
	bytes int
	size  atomic.Int64 // bytes, for who must not wait
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
	l.mail.size.Store(int64(l.mail.bytes))
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
	l.mail.size.Store(0)
	l.mail.mu.Unlock()
	for i := range q {
		l.unpack(&q[i])
	}
	clear(q)
	l.mail.mu.Lock()
	l.mail.spare = q[:0]
	l.mail.mu.Unlock()
}

// unpack does what a parcel is for.
func (l *loop) unpack(p *parcel) {
	defer l.guard(nil)
	switch p.op {
	case opBroadcast:
		l.deliver(p.m)
		p.m.Release()
	case opDirect:
		l.deliverTo(p.c, p.m)
		p.m.Release()
	case opReturn:
		l.returnTo(p.c, p.m)
		p.m.Release()
	case opAsk:
		l.send(p.c.entry.Loop, parcel{op: opReplay, c: p.c, list: l.positions(p.c, nil)})
	case opReplay:
		p.c.asked--
		l.replay(p.c, p.list)
		l.makeOffer(p.c)
	case opCall:
		p.f()
	}
}
