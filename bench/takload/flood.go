package main

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// floodReport is what the clients that sent as fast as they could got rid of.
type floodReport struct {
	Clients   int     `json:"clients"`
	Sent      int64   `json:"sent"`
	PerSecond float64 `json:"per_second"`
	Closed    int     `json:"closed"` // by the server
}

// flood plays clients that send as fast as the server takes it.
type flood struct {
	l       *load
	clients []*client

	mu     sync.Mutex
	sent   int64
	closed int
}

// prepare connects them.
func (f *flood) prepare(ctx context.Context) error {
	for i := range f.l.Flooders {
		n := f.l.Clients + i
		c := &client{index: n, proto: f.l.protobuf(n), person: loadPerson(f.l.id, n), size: f.l.Size, got: func([]byte) {}}
		if err := f.l.crowd.join(ctx, c); err != nil {
			return err
		}
		f.clients = append(f.clients, c)
	}
	return nil
}

func (f *flood) play(ctx context.Context) {
	var wait sync.WaitGroup
	for _, c := range f.clients {
		wait.Go(func() {
			event, err := toWire(nil, c.appendSA(nil, time.Now(), f.l.Size, nil), c.speaks, &c.scratch)
			batch := bytes.Repeat(event, 16)
			var sent int64
			// A deadline, since a server may stop to read.
			_ = c.conn.SetWriteDeadline(time.Now().Add(time.Duration(f.l.to - f.l.now())))
			for err == nil && ctx.Err() == nil && f.l.now() < f.l.to {
				if _, err = c.conn.Write(batch); err == nil {
					sent += 16
				}
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			f.sent += sent
			if c.closed.Load() {
				f.closed++
			}
		})
	}
	wait.Wait()
}

func (f *flood) report(r *report) {
	r.Flood = &floodReport{Clients: len(f.clients), Sent: f.sent, PerSecond: float64(f.sent) / r.MeasuredSeconds, Closed: f.closed}
}
