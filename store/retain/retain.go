// Package retain removes what is too old: whole partitions of the history, and
// files. What is kept for how long stands in three files with the names and keys
// of the official server; nothing is removed until somebody says so.
//
// A run is started by the schedule, by a disk that gets full, or by an operator.
// Events of missions are never removed here.
package retain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"takd/store/blob"
	"takd/store/contact"
	"takd/store/history"
	"takd/store/meta"
)

// ErrInvalid is wrapped by errors in what an operator says.
var ErrInvalid = errors.New("invalid retention setting")

// ErrUnavailable is a class that this takd cannot remove.
var ErrUnavailable = errors.New("not available")

// How often the files and the disk are looked at.
var (
	watchEvery = 2 * time.Second
	diskEvery  = 30 * time.Second
)

// Options says what is looked after. Without DB runs are not remembered; without
// the others their classes are declared unavailable.
type Options struct {
	Offline bool // no server runs: only the settings are read and written

	Dir      string // of the files
	Data     string // its disk is what KeepFree is about; "": Dir
	DB       *meta.DB
	History  *history.Store
	Blobs    *blob.Store
	Contacts *contact.Store
	// Held returns the SHA-256, in hex, of files that profiles hold.
	Held func(context.Context) (map[string]bool, error)
	// Free tells how many bytes are free on the disk; nil asks the system.
	Free  func() (int64, error)
	Audit func(ctx context.Context, actor, action, detail string) error
	Log   *slog.Logger // nil: no log
}

// Service is the retention of a server. It is safe for concurrent use.
type Service struct {
	opts Options

	mu       sync.Mutex
	settings Settings
	seen     [3]string // of the files, when they were read
	wrong    error     // why the files do not hold
	next     time.Time // zero: never
	failed   error     // how the last run ended
	totals   totals

	running sync.Mutex // one run at a time
	cancel  context.CancelFunc
	done    chan struct{}
}

type totals struct {
	runs, rows, bytes, files uint64
	last                     time.Time
}

// Open reads the files, and makes those that are not there. Files that cannot be
// used are no error: nothing is removed then, and State says why.
func Open(o Options) (*Service, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Data == "" {
		o.Data = o.Dir
	}
	if o.Free == nil {
		o.Free = func() (int64, error) { return freeSpace(o.Data) }
	}
	if err := create(o.Dir); err != nil {
		return nil, err
	}
	s := &Service{opts: o}
	s.reload(time.Now())
	return s, nil
}

// Start watches the files, the schedule and the disk until Stop.
func (s *Service) Start(ctx context.Context) {
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		var looked time.Time
		for {
			select {
			case now := <-tick.C:
				s.Tick(ctx, now)
				if now.Sub(looked) >= diskEvery {
					looked = now
					s.Watermark(ctx)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
}

// Stop ends a run under way after what it is removing just now.
func (s *Service) Stop(ctx context.Context) error {
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop retention: %w", ctx.Err())
	}
}

// Tick reads files that have changed, and runs when the schedule says so.
func (s *Service) Tick(ctx context.Context, now time.Time) {
	s.mu.Lock()
	changed := stamps(s.opts.Dir) != s.seen
	s.mu.Unlock()
	if changed {
		s.reload(now)
	}
	s.mu.Lock()
	due := !s.next.IsZero() && !now.Before(s.next)
	if due {
		s.next = s.settings.next(now)
	}
	s.mu.Unlock()
	if due {
		_, _ = s.Run(ctx, "schedule", false) // it is in the log and in State
	}
}

func (s *Settings) next(now time.Time) time.Time {
	if s.due == nil {
		return time.Time{}
	}
	return s.due.Next(now)
}

// reload reads the files. Where they cannot be used the old settings hold, but
// nothing is due.
func (s *Service) reload(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = stamps(s.opts.Dir)
	settings, err := load(s.opts.Dir)
	if s.wrong = err; err != nil {
		s.next = time.Time{}
		s.opts.Log.Error("retention settings not used: nothing is removed", "error", err)
		return
	}
	s.settings, s.next = settings, settings.next(now)
	for class := range settings.TTL {
		if why := s.unavailable(class); why != "" {
			s.opts.Log.Warn("retention policy without effect", "class", class, "reason", why)
		}
	}
}

// unavailable says why nothing of a class can be removed.
func (s *Service) unavailable(class string) string {
	if why := Unavailable(class); why != "" || s.opts.Offline {
		return why
	}
	switch {
	case (class == Cot || class == Chat) && s.opts.History == nil:
		return "history is off"
	case class == Files && s.opts.Blobs == nil:
		return "only a running server removes files"
	}
	return ""
}

// Set says how long a class is kept; nil is for ever.
func (s *Service) Set(class string, ttl *int64) error {
	return s.SetAll(map[string]*int64{class: ttl})
}

// SetAll is Set for several classes, all or none.
func (s *Service) SetAll(ttls map[string]*int64) error {
	for class, ttl := range ttls {
		if !known(class) {
			return fmt.Errorf("%w: class %.80q: want one of %q", ErrInvalid, class, Classes)
		}
		if ttl == nil {
			continue
		}
		if why := Unavailable(class); why != "" {
			return fmt.Errorf("%s: %w: %s", class, ErrUnavailable, why)
		}
		if err := checkTTL(class, *ttl); err != nil {
			return err
		}
	}
	return s.change(func() error {
		return change(s.opts.Dir, policyFile, func(p *policyYAML) {
			if p.Map == nil {
				p.Map = map[string]*int64{}
			}
			for class, ttl := range ttls {
				p.Map[official(class)] = ttl
			}
		})
	})
}

// SetSchedule says when runs are due.
func (s *Service) SetSchedule(text string) error {
	if _, err := ParseSchedule(text); err != nil {
		return err
	}
	return s.change(func() error {
		return change(s.opts.Dir, serviceFile, func(v *serviceYAML) { v.Cron = text })
	})
}

// SetKeepFree says how much of the disk is kept free; 0 is nothing.
func (s *Service) SetKeepFree(n blob.Size) error {
	if n < 0 {
		return fmt.Errorf("%w: keep free %d: want 0 or more", ErrInvalid, n)
	}
	return s.change(func() error {
		return change(s.opts.Dir, serviceFile, func(v *serviceYAML) { v.KeepFree = n })
	})
}

// SetMissions changes the configuration of the mission archive.
func (s *Service) SetMissions(a Archiving) error {
	if err := a.validate(); err != nil {
		return err
	}
	return s.change(func() error { return save(s.opts.Dir, missionsFile, a) })
}

func (s *Service) change(write func() error) error {
	s.running.Lock() // a run works with one policy
	defer s.running.Unlock()
	if err := write(); err != nil {
		return err
	}
	s.reload(time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrong
}

// Settings returns what holds now, or why nothing does.
func (s *Service) Settings() (Settings, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.settings
	out.TTL = maps.Clone(out.TTL)
	return out, s.wrong
}

// State tells whether the service works; reason is "" where it does.
func (s *Service) State() (reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.wrong != nil:
		return "nothing is removed: " + s.wrong.Error()
	case s.failed != nil:
		return "the last run: " + s.failed.Error()
	}
	return ""
}
