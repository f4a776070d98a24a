package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"
)

// crowd is all clients of one run.
type crowd struct {
	clients []*client
	lost    chan error // one for each connection that ended by itself; never read in full
	stop    chan struct{}
	wait    sync.WaitGroup
}

// gather connects all clients, at the rate of t, and waits until each has
// settled its encoding. The first failure is returned, once all have finished.
func gather(ctx context.Context, t *target, clients []*client) (*crowd, error) {
	ids, err := identities(t)
	if err != nil {
		return nil, err
	}
	g := &crowd{clients: clients, lost: make(chan error, len(clients)), stop: make(chan struct{})}
	pace := time.NewTicker(time.Second / time.Duration(t.ConnectRate))
	defer pace.Stop()
	failed := make(chan error, len(clients))
	var joining sync.WaitGroup
	for i, c := range clients {
		if i > 0 {
			select {
			case <-pace.C:
			case <-ctx.Done():
			}
		}
		joining.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, t.Timeout)
			defer cancel()
			if err := g.join(ctx, t.Addr, ids, c); err != nil {
				failed <- err
			}
		})
	}
	joining.Wait()
	g.wait.Go(g.keepAlive)
	select {
	case err := <-failed:
		g.leave()
		return nil, fmt.Errorf("%d of %d clients did not connect: %w", len(failed)+1, len(clients), err)
	default:
		return g, nil
	}
}

func (g *crowd) join(ctx context.Context, addr string, ids []*tls.Config, c *client) error {
	if err := connect(ctx, addr, ids[c.index%len(ids)], c); err != nil {
		c.closed.Store(true)
		return err
	}
	gone := make(chan error, 1)
	g.wait.Go(func() {
		err := c.serve()
		gone <- err
		if !c.closed.Swap(true) {
			g.lost <- fmt.Errorf("client %d: %w", c.index, err)
		}
		_ = c.conn.Close()
	})
	if err := c.settle(ctx, gone); err != nil {
		return err
	}
	return nil
}

// keepAlive pings for all clients, so that none needs a timer of its own.
func (g *crowd) keepAlive() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-g.stop:
			return
		case now := <-tick.C:
			for _, c := range g.clients {
				c.ping(now)
			}
		}
	}
}

// leave closes every connection and waits for every goroutine.
func (g *crowd) leave() {
	close(g.stop)
	for _, c := range g.clients {
		if !c.closed.Swap(true) {
			_ = c.conn.Close()
		}
	}
	g.wait.Wait()
}
