// Package engine runs ClickHouse's own engine, the library libchdb.so, in a
// child process, and offers it as a server on a unix socket.
//
// The parent starts and watches the child (Engine); the child (Serve) loads the
// library without cgo and speaks enough of ClickHouse's HTTP protocol for
// clickhouse-go. A crash of the engine costs a restart of the child and never
// the process that delivers events. The child ends with its parent: it reads a
// pipe that closes when the parent is gone, however that came.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Command is the command of takd that runs Serve.
const Command = "history-engine"

// States of an Engine.
const (
	Starting    = "starting"
	Ready       = "ready"
	Restarting  = "restarting"  // it ended and starts again after a while
	Unavailable = "unavailable" // no library, or it fails again and again; tried from time to time
	Stopped     = "stopped"
)

// ErrUnavailable means that the engine does not answer at the moment.
var ErrUnavailable = errors.New("history engine is not available")

const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 30 * time.Second
	steady     = time.Minute // who ran that long starts again at once
	giveUp     = 4           // starts that fail in a row before the state is Unavailable
	startLimit = time.Minute // from the start to the first answer
	stopLimit  = 10 * time.Second

	niceness = 10 // of the engine
)

// How often a child is asked whether it works, and after which silence it is killed.
var (
	pingEvery = 5 * time.Second
	pingLimit = time.Minute
)

// DefaultMemory is what the engine may use when nothing else is said.
const DefaultMemory = 1 << 30

// minMemory is what the engine needs to start at all.
const minMemory = 256 << 20

// Options says where the engine's parts lie.
type Options struct {
	Lib     string       // the library; "" is where Find finds it
	Dir     string       // data
	Socket  string       // made by the child
	Memory  int64        // bytes; 0 is DefaultMemory
	Command []string     // runs Serve; nil is this program's own command
	Log     *slog.Logger // nil: no log
}

// State is how the engine is.
type State struct {
	Name     string    `json:"state"`
	Reason   string    `json:"reason,omitempty"` // of Restarting and Unavailable
	Since    time.Time `json:"since"`
	PID      int       `json:"pid,omitempty"`
	Restarts int       `json:"restarts"`
	Memory   int64     `json:"memory"` // resident bytes of the child
	Limit    int64     `json:"memory_limit"`
}

// Engine is a supervised child process. It is safe for concurrent use.
type Engine struct {
	opts   Options
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
	every  time.Duration // between pings
	limit  time.Duration // of one

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed at the next change of state
}

// Start starts the engine and returns at once: Wait tells when it is ready.
func Start(o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Memory < minMemory {
		return nil, fmt.Errorf("history engine: memory %d: want at least %d", o.Memory, minMemory)
	}
	if len(o.Command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("history engine: %w", err)
		}
		if strings.HasSuffix(self, ".test") { // it would carry out its tests, and those start engines
			return nil, errors.New("history engine: a test has to say what command runs it")
		}
		o.Command = []string{self, Command}
	}
	for _, dir := range []string{o.Dir, filepath.Dir(o.Socket)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("history engine: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &Engine{
		opts: o, log: o.Log, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{}),
		every: pingEvery, limit: pingLimit,
		state: State{Name: Starting, Since: time.Now(), Limit: o.Memory},
	}
	go func() {
		defer close(e.done)
		e.supervise(ctx)
	}()
	return e, nil
}

// State returns how the engine is now.
func (e *Engine) State() State {
	s := e.now()
	if s.PID != 0 {
		s.Memory = resident(s.PID, "VmRSS:")
	}
	return s
}

// now is State without a look at the child.
func (e *Engine) now() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// Changed returns a channel that is closed when the state changes next.
func (e *Engine) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// Wait returns when the engine is ready, or with an error when it is
// unavailable, stopped, or ctx ends.
func (e *Engine) Wait(ctx context.Context) error {
	for {
		changed := e.Changed()
		switch s := e.now(); s.Name {
		case Ready:
			return nil
		case Unavailable, Stopped:
			return s.err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(e.now().err(), ctx.Err())
		}
	}
}

func (s State) err() error {
	if s.Reason == "" {
		return fmt.Errorf("%w: %s", ErrUnavailable, s.Name)
	}
	return fmt.Errorf("%w: %s: %s", ErrUnavailable, s.Name, s.Reason)
}

// Dial connects to the engine; it is made for clickhouse.Options.DialContext.
func (e *Engine) Dial(ctx context.Context, _ string) (net.Conn, error) {
	if s := e.now(); s.Name != Ready {
		return nil, s.err()
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", e.opts.Socket)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return c, nil
}

// Stop ends the child: it closes its data, or is killed at the deadline of ctx,
// which costs nothing that was acknowledged.
func (e *Engine) Stop(ctx context.Context) error {
	e.cancel()
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
	}
	if s := e.now(); s.PID != 0 {
		kill(s.PID)
	}
	<-e.done
	return fmt.Errorf("stop history engine: %w", ctx.Err())
}

func (e *Engine) set(name, reason string, pid int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if name == e.state.Name && reason == e.state.Reason && pid == e.state.PID {
		return
	}
	if name == Restarting && e.state.Name != Restarting {
		e.state.Restarts++
	}
	e.state.Name, e.state.Reason, e.state.PID, e.state.Since = name, reason, pid, time.Now()
	close(e.changed)
	e.changed = make(chan struct{})
}

// Available returns why the engine does not answer, or nil.
func (e *Engine) Available() error {
	if s := e.now(); s.Name != Ready {
		return s.err()
	}
	return nil
}
