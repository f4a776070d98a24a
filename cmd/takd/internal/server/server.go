// Package server joins the rooms of takd: it starts the services in order,
// glues the store to the messaging engine, and carries out the operations of
// the commands.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/control"
	"takd/netcore"
	"takd/store"
	"takd/store/backup"
	"takd/store/blob"
	"takd/store/contact"
	"takd/store/history"
	"takd/store/icon"
	"takd/store/injector"
	"takd/store/retain"
	"takd/store/tiles"
)

// Optional are the services that a server can do without.
var Optional = []string{"api", "plugins", "retention", "ops"}

// stopDeadline bounds the stop of all services together.
const stopDeadline = 15 * time.Second

// Options says what to run. All but Data may be zero.
type Options struct {
	Data    string
	Version string    // "" is what Version("") finds
	Stderr  io.Writer // of log lines; nil for none
	Without []string  // services of Optional
	CotAddr string    // instead of the configured address of the first TLS input
	OpsAddr string    // instead of the configured one

	HTTPSAddr  string // instead of the configured address of the API
	EnrollAddr string // and of enrollment

	FederationAddr string // and of file exchange with other servers
	History        string // off, embedded or a DSN, instead of the configured one

	HistoryCommand []string // runs the history engine; nil is this program's own command

	Ready func(control.Status) // called once everything runs
}

// service is one part that was started.
type service struct {
	name  string
	state string // "" of what is needed before there are services
	since time.Time
	stop  func(context.Context) error
}

// Server is a running server.
type Server struct {
	opts    Options
	log     *slog.Logger
	logs    *logs
	cfg     *config.Service
	store   *store.Store
	engine  *netcore.Engine
	contact *contact.Store
	blobs   *blob.Store
	keeper  *backup.Keeper
	tiles   *tiles.Library
	archive *archive // nil without history

	iconSets *icon.Store // nil until somebody needs them
	retain   atomic.Pointer[retain.Service]
	feed     *mapFeed // nil without the API
	twice    *twice
	ops      *ops
	api      *api
	peers    *federates
	file     *fileCert // of enrollment; nil for none

	refusals  refusals
	injectors *injector.Store
	since     time.Time

	mu       sync.Mutex
	services []*service // in the order of their start
	restart  []string
}

// Version returns the version that the linker was told, or what Go knows of the
// build without it.
func Version(linked string) string {
	if linked != "" {
		return linked
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// Run runs a server until done is closed or a signal ends it. SIGHUP has it
// read its configuration again. ctx is for what has to be finished even so.
func Run(ctx context.Context, done <-chan struct{}, o Options) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	s, err := Start(ctx, o)
	if err != nil {
		return err
	}
	for {
		select {
		case <-hup:
			if restart, err := s.cfg.Reload(); err != nil {
				s.log.Error("configuration not reloaded", "error", err)
			} else {
				s.log.Info("configuration reloaded", "restart_needed", restart)
			}
		case <-done:
			s.log.Info("stopping")
			return s.Stop(ctx)
		}
	}
}

// Start starts every service in order. What was started stops again when a
// later one cannot.
func Start(ctx context.Context, o Options) (s *Server, err error) {
	o.Version = Version(o.Version)
	s = &Server{opts: o, since: time.Now(), log: slog.New(slog.DiscardHandler)}
	lock, err := acquire(ctx, o.Data)
	if err != nil {
		return nil, err
	}
	s.services = append(s.services, &service{name: "lock", stop: func(context.Context) error { return lock.Release() }})
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(ctx))
		}
	}()
	if s.cfg, err = config.Open(o.Data); err != nil {
		return s, err
	}
	if s.logs, err = openLogs(o.Data, o.Stderr, s.cfg.Current().Log); err != nil {
		return s, err
	}
	s.services = append(s.services, &service{name: "logs", stop: func(context.Context) error { return s.logs.Close() }})
	s.log = s.logs.Logger
	s.log.Info("starting", "version", o.Version, "data", o.Data, "pid", os.Getpid())
	for _, name := range o.Without {
		s.log.Info("service left out", "service", name)
	}
	steps := []struct {
		name  string
		start func(context.Context) (func(context.Context) error, error)
	}{
		{"config", s.startConfig},
		{"store", s.startStore},
		{"history", s.startHistory},
		{"messaging", s.startMessaging},
		{"api", s.startAPI},
		{"retention", s.startRetention},
		{"ops", s.startOps},
		{"control", s.startControl},
	}
	for _, step := range steps {
		if slices.Contains(o.Without, step.name) || (step.name == "history" && s.historyOptions(s.cfg.Current()).Mode == history.Off) {
			continue
		}
		if err := s.begin(ctx, step.name, step.start); err != nil {
			return s, err
		}
	}
	status := s.Status()
	s.log.Info("ready", "services", len(status.Services), "listeners", listenerText(status.Listeners), "took", time.Since(s.since).Round(time.Millisecond))
	if o.Ready != nil {
		o.Ready(status)
	}
	return s, nil
}

// acquire locks the data directory. A command at work is waited for, a running
// server is not.
func acquire(ctx context.Context, data string) (*control.Lock, error) {
	patience := 3 * time.Second
	if c, err := control.Dial(ctx, data); err == nil {
		_ = c.Close()
		patience = 0
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return control.Acquire(ctx, data)
}

func listenerText(m map[string]string) string {
	words := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		words = append(words, name+"="+m[name])
	}
	return strings.Join(words, " ")
}

// begin starts one service and keeps how to stop it.
func (s *Server) begin(ctx context.Context, name string, start func(context.Context) (func(context.Context) error, error)) error {
	one := &service{name: name, state: "starting", since: time.Now()}
	s.mu.Lock()
	s.services = append(s.services, one)
	s.mu.Unlock()
	stop, err := start(ctx)
	if err != nil {
		s.log.Error("service not started", "service", name, "error", err)
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.log.Info("service started", "service", name, "took", time.Since(one.since).Round(time.Microsecond))
	s.mu.Lock()
	one.state, one.since, one.stop = "running", time.Now(), stop
	s.mu.Unlock()
	return nil
}

// Stop stops every service in reverse order, within one deadline.
func (s *Server) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopDeadline)
	defer cancel()
	var errs []error
	for _, one := range slices.Backward(s.services) {
		if one.stop == nil {
			continue
		}
		if one.state != "" {
			s.mu.Lock()
			one.state = "stopping"
			s.mu.Unlock()
		}
		began := time.Now()
		err := one.stop(ctx)
		took := time.Since(began).Round(time.Microsecond)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("stop %s: %w", one.name, err))
			s.log.Error("service stopped", "service", one.name, "took", took, "error", err)
		case one.state != "":
			s.log.Info("service stopped", "service", one.name, "took", took)
		}
	}
	return errors.Join(errs...)
}

func (s *Server) startConfig(context.Context) (func(context.Context) error, error) {
	s.cfg.OnChange(s.apply)
	return func(context.Context) error {
		s.cfg.OnChange(nil)
		return nil
	}, nil
}

func (s *Server) startStore(ctx context.Context) (stop func(context.Context) error, err error) {
	s.store, err = store.Open(ctx, store.Options{Dir: s.opts.Data, Log: s.log})
	if err != nil {
		return nil, err
	}
	s.contact = contact.New(s.store.Meta)
	s.blobs, err = blob.Open(ctx, s.store.Meta, filepath.Join(s.opts.Data, "blob"), func() blob.Options { return s.cfg.Current().Files }, s.log)
	if err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	s.tiles = openTiles(s.opts.Data, s.cfg.Current, s.log)
	expire := startExpirer(ctx, s.blobs, s.log)
	renew := startRenewer(ctx, s.store, s.log)
	s.keeper = newKeeper(s.opts.Data, s.opts.Version, s.store, s.cfg.Current, s.log)
	s.keeper.Run()
	return func(context.Context) error {
		s.keeper.Close()
		renew.stop()
		expire.stop()
		return s.store.Close()
	}, nil
}

func (s *Server) startMessaging(ctx context.Context) (stop func(context.Context) error, err error) {
	if s.engine, err = netcore.New(s.messaging(s.cfg.Current())); err != nil {
		return nil, err
	}
	s.injectors = injector.New(s.store.Meta)
	if err := s.injectors.OnChange(ctx, s.engine.SetInjections); err != nil {
		return nil, err
	}
	if s.archive != nil {
		s.archive.groups, s.archive.users = s.engine.GroupsOf, s.engine.Receivers
		s.engine.Tap(s.archive.tap)
	}
	if !slices.Contains(s.opts.Without, "api") {
		s.startMap()
	}
	s.twice = newTwice()
	s.link(ctx)
	roomForLoops(s.cfg.Current().Messaging.WithDefaults().Loops)
	if err := s.engine.Start(); err != nil {
		return nil, errors.Join(err, s.engine.Stop(ctx))
	}
	restorer := s.startRestorer(ctx)
	return func(ctx context.Context) error {
		restorer.stop()
		s.twice.stop()
		err := s.engine.Stop(ctx)
		if s.feed != nil {
			s.feed.close()
		}
		return err
	}, nil
}

// roomForLoops gives the Go scheduler one place more than there are event loops.
// A loop waits inside a system call, with its place. While all places are taken
// so, the scheduler's monitor takes them away and looks for work every 20 µs: at
// 20,000 deliveries a second that was a tenth of all the time takd used. With two places
// more, an API at full speed would take the loops' time: the stream's p99 rose to three
// times what it is alone, with one to less than twice. Who sets GOMAXPROCS knows better.
func roomForLoops(loops int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(loops + 1)
	}
}

func (s *Server) startOps(context.Context) (stop func(context.Context) error, err error) {
	addr := s.opsAddress(s.cfg.Current())
	if addr == config.Off {
		return func(context.Context) error { return nil }, nil
	}
	if s.ops, err = listenOps(addr, s); err != nil {
		return nil, err
	}
	return s.ops.stop, nil
}

func (s *Server) startControl(context.Context) (func(context.Context) error, error) {
	l := &local{data: s.opts.Data, cfg: s.cfg, store: s.store, keeper: s.keeper, blobs: s.blobs, tiles: s.tiles, engine: s.engine, status: s.Status, log: s.log, archive: s.archive, retain: s.retain.Load, refusals: &s.refusals}
	listener, err := control.Listen(s.opts.Data, l.mux(), s.log)
	if err != nil {
		return nil, err
	}
	return listener.Stop, nil
}

func (s *Server) opsAddress(c *config.Config) string {
	if s.opts.OpsAddr != "" {
		return s.opts.OpsAddr
	}
	return c.WithDefaults().Ops.Address
}

// messaging is the engine's part of c, completed.
func (s *Server) messaging(c *config.Config) netcore.Options {
	o := c.Messaging.WithDefaults()
	if s.opts.CotAddr != "" {
		if i := slices.IndexFunc(o.Inputs, func(in netcore.Input) bool { return in.Protocol == netcore.TLS }); i >= 0 {
			o.Inputs[i].Address = s.opts.CotAddr
		}
	}
	o.ServerID, o.Version = s.store.ServerID(), s.opts.Version
	o.Auth = authenticator{s.store.Auth, s.contact}
	o.Letters = letterbox{s.store.Letters, o.WithDefaults().AbsentTTL}
	o.Log, o.Refused, o.Passed = s.log, s.streamRefused, s.passed
	o.TLS = func() *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS12,
			ClientCAs:  s.store.PKI.ClientCAs(),
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				return s.store.PKI.ServerCertificate(), nil
			},
		}
	}
	return o
}

// apply makes the running services take c.
func (s *Server) apply(c *config.Config) ([]string, error) {
	old, now := s.cfg.Current().WithDefaults(), c.WithDefaults()
	restart, err := s.engine.Apply(s.messaging(c))
	if err != nil {
		return nil, err
	}
	for i, name := range restart {
		restart[i] = "messaging." + name
	}
	s.logs.setLevel(now.Log.Level)
	if s.peers != nil {
		if err := s.peers.reload(); err != nil {
			s.log.Error("federated servers not reloaded", "error", err)
		}
	}
	if s.file != nil {
		if err := s.file.reload(); err != nil {
			s.log.Error("certificate of enrollment not reloaded", "error", err)
		}
	}
	if s.api != nil {
		s.api.Forget()
	}
	if s.ops != nil && s.opsAddress(c) != s.ops.wanted {
		restart = append(restart, "ops.address")
	}
	if s.archive != nil {
		rules := now.History.Archive
		s.archive.rules.Store(&rules)
	}
	old.History.Archive, now.History.Archive = nil, nil
	if !reflect.DeepEqual(old.History, now.History) {
		restart = append(restart, "history")
	}
	old.API.Federates, now.API.Federates = nil, nil
	if !reflect.DeepEqual(old.API, now.API) {
		restart = append(restart, "api")
	}
	if now.Log.MaxSize != s.logs.opts.MaxSize || now.Log.Keep != s.logs.opts.Keep {
		restart = append(restart, "log.max_size", "log.keep")
	}
	s.mu.Lock()
	s.restart = restart
	s.mu.Unlock()
	s.log.Info("configuration applied", "log_level_before", old.Log.Level, "log_level", now.Log.Level, "restart_needed", restart)
	return restart, nil
}

// Status tells how the server is.
func (s *Server) Status() control.Status {
	st := control.Status{
		Version: s.opts.Version, PID: os.Getpid(), Since: s.since.UTC(), Data: s.opts.Data,
		Listeners: map[string]string{}, RestartNeeded: []string{},
	}
	if s.store != nil {
		st.ServerID = s.store.ServerID()
	}
	if s.engine != nil {
		for name, addr := range s.engine.Listeners() {
			st.Listeners[name] = addr.String()
		}
		st.Clients = len(s.engine.Clients())
	}
	if s.api != nil {
		for name, addr := range s.api.addrs {
			st.Listeners[name] = addr.String()
		}
	}
	if s.ops != nil {
		st.Listeners["ops"] = s.ops.addr.String()
	}
	if s.archive != nil {
		health := s.archive.store.Health()
		st.History = &health
	}
	st.Services = s.states()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.RestartNeeded = append(st.RestartNeeded, s.restart...)
	return st
}

// serviceState tells how one service is.
func (s *Server) serviceState(one *service) control.Service {
	state := control.Service{Name: one.name, State: one.state, Since: one.since.UTC()}
	if one.state == "running" && one.name == "history" {
		state.State, state.Reason = s.archive.state()
	}
	if r := s.retain.Load(); one.state == "running" && one.name == "retention" && r != nil {
		if state.Reason = r.State(); state.Reason != "" {
			state.State = "degraded"
		}
	}
	return state
}

// states tells how each service is, in the order of their start.
func (s *Server) states() []control.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := []control.Service{}
	for _, one := range s.services {
		if one.state != "" {
			states = append(states, s.serviceState(one))
		}
	}
	return states
}
