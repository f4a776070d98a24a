package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"time"
)

// crowd is all clients of one run.
type crowd struct {
	target  *target
	ids     []*tls.Config
	clients []*client  // that were there from the start
	lost    chan error // connections that ended by themselves; holds the first ones
	stop    chan struct{}
	wait    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	live   []*client  // ever connected
	left   bool
	losses int
	again  func(*client) bool // whether a lost connection was expected, and is cared for
}

// gather connects all clients, at the rate of t, and waits until each has
// settled its encoding. The first failure is returned, once all have finished.
func gather(ctx context.Context, t *target, clients []*client) (*crowd, error) {
	ids, err := identities(t)
	if err != nil {
		return nil, err
	}
	g := &crowd{target: t, ids: ids, clients: clients, lost: make(chan error, 1), stop: make(chan struct{})}
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
			if err := g.join(ctx, c); err != nil {
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

// join connects one client, until it may send.
func (g *crowd) join(ctx context.Context, c *client) error {
	ctx, cancel := context.WithTimeout(ctx, g.target.Timeout)
	defer cancel()
	if err := connect(ctx, g.target.Addr, g.ids[c.index%len(g.ids)], c); err != nil {
		c.closed.Store(true)
		return err
	}
	g.mu.Lock()
	g.live = append(g.live, c)
	if g.left {
		g.close(c)
	}
	g.mu.Unlock()
	gone := make(chan error, 1)
	g.wait.Go(func() {
		err := c.serve()
		gone <- err
		mine := c.closed.Swap(true)
		_ = c.conn.Close()
		if !mine {
			g.lose(c, err)
		}
	})
	return c.settle(ctx, gone)
}

// expect sets what is asked from now on when a connection ends by itself.
func (g *crowd) expect(again func(*client) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.again = again
}

// lose notes that a connection ended by itself.
func (g *crowd) lose(c *client, err error) {
	g.mu.Lock()
	again := g.again
	g.mu.Unlock()
	if again != nil && again(c) {
		return
	}
	g.mu.Lock()
	g.losses++
	g.mu.Unlock()
	select {
	case g.lost <- fmt.Errorf("client %d: %w", c.index, err):
	default:
	}
}

func (g *crowd) close(c *client) {
	if !c.closed.Swap(true) {
		_ = c.conn.Close()
	}
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
			g.mu.Lock()
			live := slices.Clone(g.live)
			g.mu.Unlock()
			for _, c := range live {
				c.ping(now)
			}
		}
	}
}

// leave closes every connection and waits for every goroutine.
func (g *crowd) leave() {
	close(g.stop)
	g.mu.Lock()
	g.left = true
	for _, c := range g.live {
		g.close(c)
	}
	g.mu.Unlock()
	g.wait.Wait()
}
