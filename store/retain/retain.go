// Package retain is the Retention service: it removes what is older than its
// class may be. History goes by whole partitions, files one by one.
//
// What to keep is in three files of the directory conf/retention, with the names
// and keys of the official server, so that an operator may bring his own.
package retain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"takd/store/history"
)

// Class is what has a time to live of its own, as files and the API name it.
type Class string

// The classes.
const (
	Cot             Class = "cot"   // positions and all that is in no other class
	Chat            Class = "chat"  // "geochat" on the official server
	Files           Class = "files" // data packages too, as on the official server
	MissionPackages Class = "missionpackages"
	Missions        Class = "missions"
	Endpoints       Class = "endpoint_events"
)

// Classes are all of them, in the order in which they are shown.
var Classes = []Class{Cot, Chat, Files, MissionPackages, Missions, Endpoints}

// tables are those of history that a class owns. Events of missions are in a
// table of their own, which no class removes.
var tables = map[Class]string{Cot: history.Cot, Chat: history.Chat, Endpoints: history.Endpoints}

// Unavailable are classes that can be set, and do nothing yet: there is nothing
// to remove. A run says so.
var Unavailable = map[Class]string{
	MissionPackages: "files covers data packages",
	Missions:        "this build has no missions",
}

// Official is the name of c in the three files and the official API.
func (c Class) Official() string {
	if c == Chat {
		return "geochat"
	}
	return string(c)
}

// ParseClass accepts the official names and ours.
func ParseClass(name string) (Class, error) {
	if name == Chat.Official() {
		return Chat, nil
	}
	if c := Class(name); slices.Contains(Classes, c) {
		return c, nil
	}
	return "", fmt.Errorf("%w: class %q: want cot, chat, files, missionpackages, missions or endpoint_events", ErrInvalid, name)
}

// Limits of a time to live.
const (
	MinTTL = time.Hour
	MaxTTL = 100 * 365 * 24 * time.Hour
)

// ParseTTL reads a time to live: seconds, or a number with h, d, w, m (30 days)
// or y (365 days), or "off", which is 0.
func ParseTTL(text string) (time.Duration, error) {
	bad := fmt.Errorf("%w: ttl %q: want 1h to 100y, such as 36h, 30d, 12w, 6m or 1y, seconds, or off", ErrInvalid, text)
	if text == "off" {
		return 0, nil
	}
	unit := time.Second
	number := text
	if n := len(text); n > 0 {
		units := map[byte]time.Duration{'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour, 'm': 30 * 24 * time.Hour, 'y': 365 * 24 * time.Hour}
		if u, ok := units[text[n-1]]; ok {
			unit, number = u, text[:n-1]
		}
	}
	v, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || v <= 0 || v > int64(MaxTTL/unit) || time.Duration(v)*unit < MinTTL {
		return 0, bad
	}
	return time.Duration(v) * unit, nil
}

// ErrInvalid is what bad input gives.
var ErrInvalid = errors.New("invalid")

// ErrBusy means that a run is under way.
var ErrBusy = errors.New("retention runs already")

// History is what a run needs of history. A *history.Store is one.
type History interface {
	Drop(ctx context.Context, table string, ttl time.Duration, dryRun bool) ([]history.Dropped, error)
	DropOldest(ctx context.Context, tables []string) (history.Dropped, error)
}

// FileStore is what a run needs of files. A *blob.Store is one.
type FileStore interface {
	Retain(ctx context.Context, before time.Time, exempt []string, dryRun bool) (files int, bytes int64, err error)
}

// Options configures New.
type Options struct {
	Dir     string                                       // required: of the three files
	History History                                      // nil: history is off
	Files   FileStore                                    // nil: there are none
	Free    func() (uint64, error)                       // bytes that the disk has left; nil: nobody asks
	Audit   func(context.Context, string, string, error) // who, and what was done
	Log     *slog.Logger
}

// Service removes what is too old, when its schedule says so.
type Service struct {
	opts Options
	run  sync.Mutex // held by the one run there is

	mu   sync.Mutex
	conf Config
	seen stamp
	bad  error // why the files cannot be read: the last good ones hold
	runs []Run // newest first
	next time.Time

	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

// keepRuns is how many runs are remembered.
const keepRuns = 20

// New reads the files, and makes those that are not there.
func New(o Options) (*Service, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{opts: o, wake: make(chan struct{}, 1)}
	var err error
	if s.conf, s.seen, err = load(o.Dir); err != nil {
		return nil, err
	}
	return s, nil
}

// Start lets the schedule run, until Stop.
func (s *Service) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan struct{})
	s.plan(time.Now())
	go s.loop(ctx)
}

// Stop ends a run at its next step and waits for it.
func (s *Service) Stop(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("retention: a run does not end: %w", ctx.Err())
	}
}

// look is how often the files and the disk are looked at.
const look = 2 * time.Second

func (s *Service) loop(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-tick.C:
		}
		s.reload()
		now := time.Now()
		if s.due(now) {
			if _, err := s.Run(ctx, "schedule", false); err != nil && !errors.Is(err, ErrBusy) {
				s.opts.Log.Error("retention failed", "error", err)
			}
			s.plan(now)
		}
		s.relieve(ctx)
	}
}

func (s *Service) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.next.IsZero() && !now.Before(s.next)
}

// plan finds out when the next run is.
func (s *Service) plan(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = time.Time{}
	if schedule, err := parseCron(s.conf.Cron); err == nil && schedule != nil {
		s.next = schedule.Next(now)
	}
}

// reload takes over files that somebody has changed. Bad ones change nothing.
func (s *Service) reload() {
	s.mu.Lock()
	same := s.seen == stampOf(s.opts.Dir)
	s.mu.Unlock()
	if same {
		return
	}
	conf, seen, err := load(s.opts.Dir)
	s.mu.Lock()
	s.seen, s.bad = seen, err
	if err == nil {
		s.conf = conf
	}
	s.mu.Unlock()
	if err != nil {
		s.opts.Log.Error("retention files not taken over", "error", err)
		return
	}
	s.opts.Log.Info("retention files taken over")
	s.plan(time.Now())
}

// View is what there is to see of the service.
type View struct {
	Enabled  bool             `json:"enabled"`  // some class has a time to live
	Schedule string           `json:"schedule"` // six fields of cron, or - for never
	NextRun  *time.Time       `json:"next_run"`
	KeepFree int64            `json:"keep_free_bytes"` // 0: nobody looks at the disk
	Exempt   []string         `json:"exempt_keywords"`
	Policies map[Class]Policy `json:"policies"`
	LastRuns []Run            `json:"last_runs"`       // newest first
	Error    string           `json:"error,omitempty"` // why the files are not what holds
}

// Policy is what becomes of one class.
type Policy struct {
	TTL         *int64 `json:"ttl_seconds"` // nil: for ever
	Unavailable string `json:"unavailable,omitempty"`
}

// Show tells how the service is set and what it has done.
func (s *Service) Show() View {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := View{
		Enabled: s.conf.Enabled(), Schedule: s.conf.Cron, KeepFree: s.conf.KeepFree, Exempt: append([]string{}, s.conf.Exempt...),
		Policies: map[Class]Policy{}, LastRuns: append([]Run{}, s.runs...),
	}
	for _, class := range Classes {
		p := Policy{Unavailable: Unavailable[class]}
		if ttl := s.conf.TTL[class]; ttl > 0 {
			seconds := int64(ttl / time.Second)
			p.TTL = &seconds
		}
		v.Policies[class] = p
	}
	if !s.next.IsZero() {
		next := s.next
		v.NextRun = &next
	}
	if s.bad != nil {
		v.Error = s.bad.Error()
	}
	return v
}

// Archiving tells how missions are put away.
func (s *Service) Archiving() Archiving {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conf.Archive
}

// Change is what somebody wants otherwise; nil leaves a field as it is.
type Change struct {
	TTL      map[string]*string `json:"ttl,omitempty"`      // by class: 30d, seconds, off; nil is off
	Schedule *string            `json:"schedule,omitempty"` // six fields of cron, or -
	KeepFree *int64             `json:"keep_free_bytes,omitempty"`
	Exempt   []string           `json:"exempt_keywords,omitempty"`
}

// Apply does what q says and tells it in words, for the audit.
func (s *Service) Apply(q Change) (what string, err error) {
	var words []string
	err = s.Set(func(c *Config) error {
		for name, text := range q.TTL {
			class, err := ParseClass(name)
			if err != nil {
				return err
			}
			off := "off"
			if text == nil {
				text = &off
			}
			if c.TTL[class], err = ParseTTL(*text); err != nil {
				return fmt.Errorf("%s: %w", class, err)
			}
			words = append(words, string(class)+"="+*text)
		}
		if q.Schedule != nil {
			c.Cron, words = *q.Schedule, append(words, "schedule="+*q.Schedule)
		}
		if q.KeepFree != nil {
			c.KeepFree, words = *q.KeepFree, append(words, fmt.Sprintf("keep_free=%d", *q.KeepFree))
		}
		if q.Exempt != nil {
			c.Exempt, words = q.Exempt, append(words, fmt.Sprintf("exempt=%q", q.Exempt))
		}
		return nil
	})
	slices.Sort(words)
	return strings.Join(words, " "), err
}

// Set changes how the service is set, in memory and in the files, whole or not at
// all. change may return an error.
func (s *Service) Set(change func(*Config) error) error {
	s.mu.Lock()
	conf := s.conf.clone()
	err := change(&conf)
	if err == nil {
		err = conf.Validate()
	}
	if err == nil {
		err = save(s.opts.Dir, conf)
	}
	if err == nil {
		s.conf, s.seen, s.bad = conf, stampOf(s.opts.Dir), nil
	}
	s.mu.Unlock()
	if err == nil {
		s.plan(time.Now())
	}
	return err
}
