package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"takd/store/blob"
)

// expireEvery is how often files that have passed their time are deleted.
// Nobody sees them from that time on, deleted or not.
const expireEvery = time.Minute

// expirer deletes files that have passed their time.
type expirer struct {
	quit chan struct{}
	wait sync.WaitGroup
}

func startExpirer(ctx context.Context, blobs *blob.Store, log *slog.Logger) *expirer {
	e := &expirer{quit: make(chan struct{})}
	e.wait.Go(func() {
		tick := time.NewTicker(expireEvery)
		defer tick.Stop()
		for {
			n, err := blobs.Expire(ctx, time.Now())
			if err != nil {
				log.Error("expired files not deleted", "error", err)
			} else if n > 0 {
				log.Info("expired files deleted", "files", n)
			}
			select {
			case <-tick.C:
			case <-e.quit:
				return
			}
		}
	})
	return e
}

// stop returns when nothing runs any more.
func (e *expirer) stop() {
	close(e.quit)
	e.wait.Wait()
}
