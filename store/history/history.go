// Package history records every event in ClickHouse and finds it again.
//
// Record never blocks: events wait in memory for at most the flush interval and
// then are in the database or, where that is slow, failing or gone, in a spool on
// disk, from where they follow in order and exactly once. Each class of data has
// a table of its own, partitioned by the time the server received it, so that
// what is too old goes by dropping partitions.
//
// The database is the engine of the package engine, in a child process, or a
// server that a DSN names. What Record was given belongs to this package.
package history

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"takd/store/history/engine"
)

// Errors of this package.
var (
	ErrOff    = errors.New("history is off")
	ErrClosed = errors.New("history is closed")
	// ErrUnavailable means that the database does not answer; what is recorded
	// goes to the spool meanwhile.
	ErrUnavailable = engine.ErrUnavailable
	// ErrInvalid is a question that has no answer.
	ErrInvalid = errors.New("invalid history query")
)

// Store is the history of a server. It is safe for concurrent use.
type Store struct {
	opts   Options
	engine *engine.Engine // nil with a DSN
	db     driver.Conn
	spool  *spool
	shaper *shaper
	rec    *recorder
	cancel context.CancelFunc // of writes

	mu        sync.Mutex
	partition string // "" until the tables are known to be up to date
	refusal   error  // why they never will be
	importing sync.Mutex
	exports   atomic.Uint64 // that were begun
	closing   sync.Once
}

// Open starts to record. It does not wait for the database: Wait does. Only bad
// options and a data directory that cannot be written to are errors.
func Open(o Options) (s *Store, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.WithDefaults()
	s = &Store{opts: o, shaper: newShaper()}
	if o.Mode == Off {
		return s, nil
	}
	if s.spool, err = openSpool(filepath.Join(o.Dir, "spool"), o.SpoolMax, o.Log); err != nil {
		return nil, err
	}
	again := func() <-chan struct{} { return nil }
	if o.Mode == Embedded {
		s.engine, err = engine.Start(engine.Options{
			Lib: o.EnginePath, Dir: filepath.Join(o.Dir, "engine"), Socket: o.Socket,
			Memory: o.Memory, Command: o.Command, Log: o.Log,
		})
		if err != nil {
			s.spool.close()
			return nil, err
		}
		again = s.engine.Changed
	}
	if s.db, err = clickhouse.Open(s.connection()); err != nil {
		s.stopEngine(context.Background(), &err)
		s.spool.close()
		return nil, fmt.Errorf("open history: %w", err)
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.rec = newRecorder(o, s.spool, s.shaper, s.write, again)
	s.rec.start(ctx)
	return s, nil
}

// connection says how the driver reaches the database.
func (s *Store) connection() *clickhouse.Options {
	if s.engine != nil {
		return &clickhouse.Options{
			Addr: []string{"history"}, Protocol: clickhouse.HTTP, DialContext: s.engine.Dial,
			MaxOpenConns: 16, MaxIdleConns: 8,
			// The engine answers when it is through, and a child that hangs is restarted.
			ReadTimeout: time.Hour,
		}
	}
	o, err := parseDSN(s.opts.Mode)
	if err != nil { // Validate has seen it
		return &clickhouse.Options{}
	}
	return o
}

// Record offers an event and never blocks; false means that there was no room
// for it, or no history. e must not be touched afterwards.
func (s *Store) Record(e *Event) bool {
	if s.rec == nil || !known(e.Table) {
		return false
	}
	return s.rec.record(e)
}

// Flush returns when everything that was recorded before can be queried.
func (s *Store) Flush(ctx context.Context) error {
	if s.rec == nil {
		return ErrOff
	}
	return s.rec.flush(ctx)
}

// Wait returns when the database answers and its tables are up to date. ErrNewer
// means that they never will be.
func (s *Store) Wait(ctx context.Context) error {
	if s.rec == nil {
		return ErrOff
	}
	if s.engine != nil {
		if err := s.engine.Wait(ctx); err != nil {
			return err
		}
	}
	return s.prepare(ctx)
}

// prepare brings the tables up to date, once.
func (s *Store) prepare(ctx context.Context) error {
	if s.rec == nil {
		return ErrOff
	}
	if s.engine != nil {
		if err := s.engine.Available(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.partition != "" || s.refusal != nil {
		return s.refusal
	}
	if s.engine != nil {
		if err := dropExports(ctx, s.db); err != nil {
			return err
		}
	}
	partition, err := migrate(ctx, s.db, s.opts.Partition)
	if errors.Is(err, ErrNewer) {
		s.opts.Log.Error("history not used", "error", err)
		s.refusal = err
	}
	if err != nil {
		return err
	}
	s.partition = partition
	return nil
}

// write inserts a group, with a look first at what of it is there already where
// that may be.
func (s *Store) write(ctx context.Context, g *group, look bool) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	for _, b := range g.Batches {
		if look {
			if there, err := b.there(ctx, s.db); err != nil {
				return err
			} else if there {
				continue
			}
		}
		b.split(s.shaper)
		if err := b.send(ctx, s.db); err != nil {
			return err
		}
	}
	return nil
}

// Close writes what was recorded to the database or the spool and ends the
// engine. At the deadline of ctx it gives up waiting for the database.
func (s *Store) Close(ctx context.Context) (err error) {
	if s.rec == nil {
		return nil
	}
	s.closing.Do(func() {
		close(s.rec.stop)
		select {
		case <-s.rec.wrote:
		case <-ctx.Done():
		}
		<-s.rec.collected // it waits for nothing but the disk
		s.cancel()
		s.stopEngine(ctx, &err)
		<-s.rec.wrote
		if e := s.db.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close history: %w", e))
		}
		s.spool.close()
	})
	return err
}

func (s *Store) stopEngine(ctx context.Context, err *error) {
	if s.engine != nil {
		*err = errors.Join(*err, s.engine.Stop(ctx))
	}
}

// Ready tells whether the database can be asked now: ErrOff, ErrUnavailable and the like.
func (s *Store) Ready(ctx context.Context) error { return s.prepare(ctx) }
