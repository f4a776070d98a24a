package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// ops is the listener for operations: metrics, health and profiles. It asks
// nobody who they are, so it belongs on a local address.
type ops struct {
	wanted string // the address as configured
	addr   net.Addr
	http   *http.Server
	done   chan error
}

// writeMetrics writes all numbers of the server as Prometheus text.
func (s *Server) writeMetrics(w io.Writer) {
	s.engine.WriteMetrics(w)
	if s.feed != nil {
		s.feed.hub.WriteMetrics(w)
	}
	if s.api != nil {
		s.api.WriteMetrics(w)
	}
	s.blobs.WriteMetrics(w)
	if s.archive != nil {
		s.archive.store.WriteMetrics(w)
	}
	s.keeper.WriteMetrics(w)
	if r := s.retain.Load(); r != nil {
		r.WriteMetrics(w)
	}
	metrics.WriteProcessMetrics(w)
	_, _ = fmt.Fprintf(w, "takd_info{version=%q} 1\n", s.opts.Version)
}

func listenOps(addr string, s *Server) (*ops, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("operations address: %w; choose another with --ops-addr or ops.address", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		s.writeMetrics(w)
	})
	health := func(check func() error) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			_, _ = fmt.Fprintln(w, "ok")
		}
	}
	mux.HandleFunc("GET /healthz", health(s.engine.Healthy))
	mux.HandleFunc("GET /readyz", health(s.ready))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	o := &ops{
		wanted: addr,
		addr:   ln.Addr(),
		done:   make(chan error, 1),
		http: &http.Server{
			Handler: mux, ReadHeaderTimeout: 10 * time.Second,
			ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		},
	}
	go func() { o.done <- o.http.Serve(ln) }()
	return o, nil
}

func (o *ops) stop(ctx context.Context) error {
	err := o.http.Shutdown(ctx)
	if served := <-o.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// ready returns an error while a service is not running.
func (s *Server) ready() error {
	for _, one := range s.states() {
		if one.State != "running" && one.State != "degraded" {
			return fmt.Errorf("%s: %s", one.Name, one.State)
		}
	}
	return s.engine.Healthy()
}
