package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/robfig/cron/v3"
)

// Options says when backups are made by themselves, and how many are kept.
type Options struct {
	Schedule   string   `yaml:"schedule"   help:"When: a cron expression (\"0 3 * * *\", local time), daily, or an interval (6h). Empty for never."`
	Directory  string   `yaml:"directory"  help:"Where they are kept; from the data directory where it does not begin with /." default:"backups"`
	Keep       int      `yaml:"keep"       help:"How many are kept; older ones are deleted." default:"7"`
	Recipients []string `yaml:"recipients" help:"Public keys (age1...) to encrypt for; without any, backups are only readable by their owner."`
}

// WithDefaults returns o with every zero field set to its default.
func (o Options) WithDefaults() Options {
	if o.Directory == "" {
		o.Directory = "backups"
	}
	if o.Keep == 0 {
		o.Keep = 7
	}
	return o
}

// Validate reports every bad field at once.
func (o Options) Validate() error {
	o = o.WithDefaults()
	var errs []error
	if _, err := o.times(); err != nil {
		errs = append(errs, err)
	}
	if o.Keep < 1 || o.Keep > 10_000 {
		errs = append(errs, fmt.Errorf("%w: backup.keep %d: want 1 to 10000", ErrInvalid, o.Keep))
	}
	if top, _, _ := strings.Cut(filepath.ToSlash(filepath.Clean(o.Directory)), "/"); top == "." || slices.Contains(append([]string{"blob", "run", "history", "log"}, dirs...), top) {
		errs = append(errs, fmt.Errorf("%w: backup.directory %q: want a folder of its own", ErrInvalid, o.Directory))
	}
	if _, err := Recipients(o.Recipients); err != nil {
		errs = append(errs, fmt.Errorf("backup.recipients: %w", err))
	}
	return errors.Join(errs...)
}

// times is when backups are due; nil for never.
func (o Options) times() (cron.Schedule, error) {
	text := strings.TrimSpace(o.Schedule)
	if text == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		if d < time.Minute {
			return nil, fmt.Errorf("%w: backup.schedule %q: want at least 1m", ErrInvalid, o.Schedule)
		}
		return cron.Every(d), nil
	}
	if slices.Contains([]string{"hourly", "daily", "weekly", "monthly"}, text) {
		text = "@" + text
	}
	s, err := cron.ParseStandard(text)
	if every, ok := s.(cron.ConstantDelaySchedule); err != nil || ok && every.Delay < time.Minute {
		return nil, fmt.Errorf("%w: backup.schedule %q: want a cron expression, daily, or an interval of at least 1m", ErrInvalid, o.Schedule)
	}
	return s, nil
}

// Info is a backup in the directory.
type Info struct {
	Name      string    `json:"name"`
	Size      int64     `json:"size"` // bytes
	Time      time.Time `json:"time"`
	Encrypted bool      `json:"encrypted"`
}

// State says how backups are going.
type State struct {
	Running   bool       `json:"running"`
	Last      *time.Time `json:"last"`       // the last good one; null for none
	LastError string     `json:"last_error"` // of the last one; "" after a good one
	Next      *time.Time `json:"next"`       // when the next is due; null for never
}

// Keeper makes the backups of one server, one at a time, and keeps those of its
// directory. It is safe for concurrent use.
type Keeper struct {
	src     Source
	options func() Options
	done    Done

	busy sync.Mutex // held by who makes one

	mu        sync.Mutex
	running   bool
	last      time.Time
	failed    time.Time
	lastError string
	bytes     int64
	schedule  string // of next
	next      time.Time

	quit chan struct{}
	wait sync.WaitGroup
}

// Done is told of every backup: who had it made, where it is or should be, and
// what came in the way.
type Done func(actor, detail string, err error)

// ErrRunning means that a backup is being made.
var ErrRunning = errors.New("a backup is being made already")

// NewKeeper returns the keeper of src. options is asked each time. done may be nil.
func NewKeeper(src Source, options func() Options, done Done) *Keeper {
	k := &Keeper{src: src, options: func() Options { return options().WithDefaults() }, done: done, quit: make(chan struct{})}
	if k.done == nil {
		k.done = func(string, string, error) {}
	}
	if all, err := k.List(); err == nil && len(all) > 0 {
		k.last, k.bytes = all[0].Time, all[0].Size
	}
	return k
}

func (k *Keeper) dir() string {
	if dir := k.options().Directory; filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(k.src.Data, k.options().Directory)
}

// To writes a backup to a file of the operator's.
func (k *Keeper) To(ctx context.Context, actor, file string, recipients ...age.Recipient) (*Manifest, int64, error) {
	if !k.busy.TryLock() {
		return nil, 0, ErrRunning
	}
	defer k.busy.Unlock()
	return k.make(ctx, actor, file, recipients)
}

func (k *Keeper) make(ctx context.Context, actor, file string, recipients []age.Recipient) (m *Manifest, size int64, err error) {
	k.mu.Lock()
	k.running = true
	k.mu.Unlock()
	m, size, err = Create(ctx, k.src, file, recipients...)
	k.mu.Lock()
	k.running = false
	if err == nil {
		k.last, k.bytes, k.lastError = time.Now(), size, ""
	} else {
		k.failed, k.lastError = time.Now(), err.Error()
	}
	k.mu.Unlock()
	detail := file
	if err == nil {
		detail = fmt.Sprintf("%s files=%d bytes=%d", file, len(m.Files), size)
	}
	k.done(actor, detail, err)
	return m, size, err
}

// Begin begins a backup in the directory, which goes on by itself, and returns
// its name. Close waits for it.
func (k *Keeper) Begin(actor string) (name string, err error) {
	if !k.busy.TryLock() {
		return "", ErrRunning
	}
	name = "takd-" + time.Now().UTC().Format("20060102T150405.000") + ".tar.zst"
	if len(k.options().Recipients) > 0 {
		name += ".age"
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.wait.Go(func() {
		select {
		case <-k.quit:
			cancel()
		case <-ctx.Done():
		}
	})
	k.wait.Go(func() {
		defer k.busy.Unlock()
		defer cancel()
		k.keep(ctx, actor, name)
	})
	return name, nil
}

// keep makes one in the directory and deletes the oldest.
func (k *Keeper) keep(ctx context.Context, actor, name string) {
	recipients, err := Recipients(k.options().Recipients)
	if err == nil {
		err = os.MkdirAll(k.dir(), 0o700)
	}
	if err != nil {
		k.mu.Lock()
		k.failed, k.lastError = time.Now(), err.Error()
		k.mu.Unlock()
		k.done(actor, name, err)
		return
	}
	if _, _, err := k.make(ctx, actor, filepath.Join(k.dir(), name), recipients); err != nil {
		return // told; what there is is kept
	}
	all, err := k.List()
	for _, old := range all[min(len(all), k.options().Keep):] {
		err = errors.Join(err, os.Remove(filepath.Join(k.dir(), old.Name)))
	}
	if err != nil && k.src.Log != nil {
		k.src.Log.Error("old backups not deleted", "error", err)
	}
}

// ours is the form of the names that Begin gives. Nothing else is listed, served or deleted.
var ours = regexp.MustCompile(`^takd-[0-9]{8}T[0-9]{6}\.[0-9]{3}\.tar\.zst(\.age)?$`)

// List returns the backups in the directory, the newest first.
func (k *Keeper) List() ([]Info, error) {
	entries, err := os.ReadDir(k.dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("backups: %w", err)
	}
	all := []Info{}
	for _, e := range slices.Backward(entries) {
		info, err := e.Info()
		if err != nil || !ours.MatchString(e.Name()) || !info.Mode().IsRegular() {
			continue
		}
		all = append(all, Info{Name: e.Name(), Size: info.Size(), Time: info.ModTime().UTC(), Encrypted: strings.HasSuffix(e.Name(), ".age")})
	}
	return all, nil
}

// Open opens a backup of the directory.
func (k *Keeper) Open(name string) (*os.File, error) {
	if !ours.MatchString(name) {
		return nil, fmt.Errorf("backup %.80q: %w", name, fs.ErrNotExist)
	}
	root, err := os.OpenRoot(k.dir())
	if err != nil {
		return nil, fmt.Errorf("backups: %w", err)
	}
	defer func() { _ = root.Close() }()
	return root.Open(name)
}

// State says how it is going.
func (k *Keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := State{Running: k.running, LastError: k.lastError}
	for to, t := range map[**time.Time]time.Time{&s.Last: k.last, &s.Next: k.next} {
		if !t.IsZero() {
			t = t.UTC()
			*to = &t
		}
	}
	return s
}

// WriteMetrics writes when the last ones were, in the Prometheus text format.
func (k *Keeper) WriteMetrics(w io.Writer) {
	unix := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.Unix()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	_, _ = fmt.Fprintf(w, "takd_backup_last_success_timestamp_seconds %d\ntakd_backup_last_failure_timestamp_seconds %d\ntakd_backup_last_bytes %d\n",
		unix(k.last), unix(k.failed), k.bytes)
}

// lookEvery is how often the schedule is looked at.
const lookEvery = 10 * time.Second

// Run makes backups when they are due, until Close.
func (k *Keeper) Run() {
	k.wait.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			if k.due(time.Now()) {
				_, _ = k.Begin("server") // one that is being made will do
			}
			select {
			case <-tick.C:
			case <-k.quit:
				return
			}
		}
	})
}

// due tells whether a backup is due, and if so sets when the next is. One that
// fell into a time when no server ran is made up for.
func (k *Keeper) due(now time.Time) bool {
	o := k.options()
	times, err := o.times()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil || times == nil {
		k.schedule, k.next = "", time.Time{}
		return false
	}
	if k.schedule != o.Schedule {
		from := now
		if !k.last.IsZero() {
			from = k.last
		}
		k.schedule, k.next = o.Schedule, times.Next(from)
	}
	if now.Before(k.next) {
		return false
	}
	k.next = times.Next(now)
	return true
}

// Close ends what is under way, and returns when nothing runs any more.
func (k *Keeper) Close() {
	close(k.quit)
	k.wait.Wait()
}
