// Package httpd serves takd's HTTP faces: 8443 with client certificates, 8446
// for enrollment and login, 8444 for the files of federated servers.
//
// What there is to call is a table of routes, which other packages give to New.
// The server asks who calls before a handler runs, bounds what a caller can
// cost, and gives errors and JSON their form. It knows nothing of sockets of
// the stream, nor of SQL: cmd/takd joins it with those who do.
package httpd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"
)

// ErrOptions is wrapped by what Validate and New report.
var ErrOptions = errors.New("http options")

// Limits bounds what callers can cost. The zero value of a field means its default.
type Limits struct {
	Conns      int           `yaml:"max_conns"         help:"Connections, to all ports together." default:"16384"`
	ConnsPerIP int           `yaml:"max_conns_per_ip"  help:"Of them from one IP address; a NAT may hide many clients." default:"2048"`
	Handshakes int           `yaml:"handshakes_per_ip" help:"TLS handshakes under way from one IP address." default:"512"`
	Logins     int           `yaml:"logins"            help:"Wrong passwords and tokens from one IP address in a minute; more are refused unread." default:"60"`
	Idle       time.Duration `yaml:"idle"              help:"A kept connection without requests is closed after this." default:"2m"`
	Request    time.Duration `yaml:"request"           help:"A request, with a body that is not a file, must have come after this." default:"30s"`
	Handshake  time.Duration `yaml:"handshake"         help:"A TLS handshake must be done after this." default:"10s"`
}

// WithDefaults returns l with every zero field set to its default.
func (l Limits) WithDefaults() Limits {
	def(&l.Conns, 16384)
	def(&l.ConnsPerIP, 2048)
	def(&l.Handshakes, 512)
	def(&l.Logins, 60)
	def(&l.Idle, 2*time.Minute)
	def(&l.Request, 30*time.Second)
	def(&l.Handshake, 10*time.Second)
	return l
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate reports every bad field at once.
func (l Limits) Validate() error {
	l = l.WithDefaults()
	var errs []error
	between := func(field string, v, low, high int) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%w: %s %d: want %d to %d", ErrOptions, field, v, low, high))
		}
	}
	between("max_conns", l.Conns, 16, 1_000_000)
	between("max_conns_per_ip", l.ConnsPerIP, 1, l.Conns)
	between("handshakes_per_ip", l.Handshakes, 1, 100_000)
	between("logins", l.Logins, 1, 1_000_000)
	for field, d := range map[string]time.Duration{"idle": l.Idle, "request": l.Request, "handshake": l.Handshake} {
		if d < 100*time.Millisecond || d > time.Hour {
			errs = append(errs, fmt.Errorf("%w: %s %s: want 100ms to 1h", ErrOptions, field, d))
		}
	}
	return errors.Join(errs...)
}

// Options configures a Server.
type Options struct {
	NodeID string // of this server, in envelopes
	Auth   Authenticator
	Routes []Route
	Limits Limits
	Title  string // of the API document
	Bare   bool   // there is no such document: nothing but Routes is served

	CertificateOnly bool // on API nothing else will do
	// Federate knows the certificates of federated servers, the only callers that
	// Federation has; nil lets nobody in.
	Federate func(ctx context.Context, chain []*x509.Certificate) (Principal, error)
	// Refused is told of everybody who could not shake hands or was not known; it
	// must not block. nil: nobody is told.
	Refused func(Refusal)
	// Busy reports that the stream has much to do: requests then leave it time. It
	// is asked for each part of a request. nil: never.
	Busy func() bool
	Log  *slog.Logger
}

// Server serves the faces.
type Server struct {
	opts  Options
	gate  gate
	turns turns
	fails failures
	epoch atomic.Uint64 // raised by Forget
	calls atomic.Uint64 // requests, for their ids
	stats *metrics.Set
	stray *metrics.Counter // requests that reach no row of the table
	ctx   context.Context  // until Shutdown is over
	end   context.CancelFunc

	sockets sync.WaitGroup // WebSockets

	mu      sync.Mutex
	faces   []*face
	stopped bool
}

// face is one listener.
type face struct {
	which Face
	http  *fasthttp.Server
	ln    *listener
	done  chan error
}

// New makes a server of the table. Two rows with the same verb, path and face
// are an error, as is a row that is nowhere, for nobody, or answers nothing.
func New(o Options) (*Server, error) {
	o.Limits = o.Limits.WithDefaults()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, stats: metrics.NewSet()}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.stray = s.stats.NewCounter("takd_http_requests_refused_early_total")
	s.turns.busy, s.turns.limit, s.turns.lapse = o.Busy, max(1, runtime.GOMAXPROCS(0)/2), usualLapse
	s.gate.limits, s.fails.limit = o.Limits, o.Limits.Logins
	if !o.Bare {
		s.opts.Routes = slices.Concat(s.documents(), o.Routes)
	}
	return s, errors.Join(check(s.opts.Routes), o.Limits.Validate())
}

// Forget has the next request of every connection ask again who calls: after
// users, groups or certificates changed.
func (s *Server) Forget() { s.epoch.Add(1) }

func (s *Server) nodeID() string {
	if s == nil {
		return ""
	}
	return s.opts.NodeID
}

// Listen begins to serve a face at addr. config is asked for each handshake; it
// must only request client certificates, which are checked when somebody calls:
// so a caller whose certificate is of no use can be told so.
func (s *Server) Listen(which Face, addr string, config func() *tls.Config) (net.Addr, error) {
	raw, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	f := &face{which: which, ln: &listener{Listener: raw, face: which, srv: s, config: config}, done: make(chan error, 1)}
	f.http = &fasthttp.Server{
		Handler:                      s.front(s.router(which).Handler),
		ErrorHandler:                 s.broken,
		Name:                         "takd",
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		Concurrency:                  s.opts.Limits.Conns,
		ReadTimeout:                  s.opts.Limits.Request,
		IdleTimeout:                  s.opts.Limits.Idle,
		ReadBufferSize:               maxHeader,
		MaxRequestBodySize:           defaultBody,
		StreamRequestBody:            true, // handlers with large bodies read them as they come
		DisablePreParseMultipartForm: true,
		CloseOnShutdown:              true,
		Logger:                       quietLog{s.opts.Log},
	}
	s.mu.Lock()
	s.faces = append(s.faces, f)
	s.mu.Unlock()
	go func() { f.done <- f.http.Serve(f.ln) }()
	return raw.Addr(), nil
}

// Shutdown stops accepting, lets requests finish until ctx ends, and closes what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.end()
	s.mu.Lock()
	faces := s.faces
	s.faces, s.stopped = nil, true
	s.mu.Unlock()
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, f := range faces {
		wait.Go(func() {
			err := f.http.ShutdownWithContext(ctx)
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				err = nil // the rest is cut off
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wait.Wait()
	s.gate.closeAll()
	for _, f := range faces {
		_ = f.ln.Close() // fasthttp does not know of it where Serve has not begun yet
		errs = append(errs, <-f.done)
	}
	s.sockets.Wait() // their connections are closed
	return errors.Join(errs...)
}

// WriteMetrics writes counts of requests and connections in the Prometheus text format.
func (s *Server) WriteMetrics(w io.Writer) {
	s.stats.WritePrometheus(w)
	open, refused := s.gate.counts()
	_, _ = fmt.Fprintf(w, "takd_http_connections %d\ntakd_http_connections_refused_total %d\n", open, refused)
	_, _ = fmt.Fprintf(w, "takd_http_turns_waited_total %d\n", s.turns.waited.Load())
	_, _ = fmt.Fprintf(w, "takd_http_logins_throttled_total %d\n", s.fails.throttled.Load())
}

// quietLog takes what fasthttp says of connections that break.
type quietLog struct{ log *slog.Logger }

func (q quietLog) Printf(format string, args ...any) {
	q.log.Debug("http", "says", fmt.Sprintf(format, args...))
}
