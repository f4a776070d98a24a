package main

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"takd/cot"
)

// shotsReport is what became of events whose senders connect, send and close at once.
type shotsReport struct {
	Sent      int     `json:"sent"`
	Delivered int     `json:"delivered"` // to the first client
	Ratio     float64 `json:"ratio"`
	Failed    int     `json:"failed"` // could not connect or write
}

// shots plays the one-shot senders: scripts and feeders. They read nothing, and
// what the server has sent them meanwhile makes the kernel reset the connection.
type shots struct {
	l *load

	mu     sync.Mutex
	seen   map[int]bool
	sent   int
	failed int
}

// shooters is how many shoot at the same time.
const shooters = 4

func (s *shots) play(ctx context.Context) {
	next := make(chan int)
	var wait sync.WaitGroup
	for range shooters {
		wait.Go(func() {
			var scratch cot.Event
			for i := range next {
				err := s.shoot(ctx, i, &scratch)
				s.mu.Lock()
				if err != nil {
					s.failed++
				} else {
					s.sent++
				}
				s.mu.Unlock()
			}
		})
	}
	for i := 0; i < s.l.Shots && ctx.Err() == nil && s.l.now() < s.l.to; i++ {
		next <- i
	}
	close(next)
	wait.Wait()
}

func (s *shots) shoot(ctx context.Context, i int, scratch *cot.Event) error {
	n := s.l.Clients + i
	ctx, cancel := context.WithTimeout(ctx, s.l.Timeout)
	defer cancel()
	c := &client{index: n, proto: s.l.protobuf(i), person: loadPerson(s.l.id, n)}
	if err := connect(ctx, s.l.Addr, s.l.crowd.ids[n%len(s.l.crowd.ids)], c); err != nil {
		return err
	}
	m := mark{run: s.l.id, sender: s.l.Publishers + i, seq: 1, due: s.l.now()}
	wire, err := toWire(nil, c.appendSA(nil, time.Now(), s.l.Size, m.append(nil)), c.proto, scratch)
	if err == nil {
		_, err = c.conn.Write(wire)
	}
	if t, ok := c.conn.(*tls.Conn); ok {
		_ = t.NetConn().(*net.TCPConn).Close() // no closing alert: scripts do not send one
	} else {
		_ = c.conn.Close()
	}
	return err
}

// take notes a shot that has arrived.
func (s *shots) take(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[i] = true
}

// done reports whether everything sent has arrived.
func (s *shots) done() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen) >= s.sent
}

func (s *shots) report(r *report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Shots = &shotsReport{Sent: s.sent, Delivered: len(s.seen), Failed: s.failed}
	if s.sent > 0 {
		r.Shots.Ratio = float64(len(s.seen)) / float64(s.sent)
	}
}
