package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"takd/store"
	"takd/store/pki"
)

// How often the server certificate is looked at, and after a failure.
const (
	renewEvery = 24 * time.Hour
	renewAgain = time.Hour
)

// renewer renews the server certificate before it ends.
type renewer struct {
	renew        func(ctx context.Context) error
	every, again time.Duration
	log          *slog.Logger

	quit chan struct{}
	wait sync.WaitGroup
}

// startRenewer renews the certificate now, if that is due, and then by itself.
func startRenewer(ctx context.Context, st *store.Store, log *slog.Logger) *renewer {
	r := &renewer{every: renewEvery, again: renewAgain, log: log, renew: func(ctx context.Context) error { return renewServer(ctx, st, log) }}
	r.start(ctx)
	return r
}

func (r *renewer) start(ctx context.Context) {
	r.quit = make(chan struct{})
	next := r.check(ctx)
	r.wait.Go(func() {
		for {
			select {
			case <-time.After(next):
				next = r.check(ctx)
			case <-r.quit:
				return
			}
		}
	})
}

// check returns when to look again.
func (r *renewer) check(ctx context.Context) time.Duration {
	if err := r.renew(ctx); err != nil {
		r.log.Error("server certificate not renewed", "error", err)
		return r.again
	}
	return r.every
}

// stop returns when nothing runs any more.
func (r *renewer) stop() {
	close(r.quit)
	r.wait.Wait()
}

func renewServer(ctx context.Context, st *store.Store, log *slog.Logger) error {
	before := st.PKI.ServerCertificate().Leaf
	renewed, err := st.PKI.RenewIfDue(ctx, time.Now())
	if err != nil || !renewed {
		return err
	}
	leaf := st.PKI.ServerCertificate().Leaf
	log.Info("server certificate renewed", "serial", pki.Serial(leaf), "until", leaf.NotAfter, "before", pki.Serial(before), "ended", before.NotAfter)
	return st.Audit(ctx, "server", "cert renew", "serial="+pki.Serial(leaf))
}
