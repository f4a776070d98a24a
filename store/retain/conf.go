package retain

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/robfig/cron/v3"
)

// Never is the schedule of a service that does not run by itself.
const Never = "-"

// Permanent is the keyword of files that no run removes, unless the policy names others.
const Permanent = "permanent"

// Config is what the three files hold.
type Config struct {
	TTL      map[Class]time.Duration // 0, or no entry: for ever
	Exempt   []string                // keywords of files that stay
	Cron     string                  // Spring's six fields, or Never
	KeepFree int64                   // bytes of the disk: below, the oldest history goes first; 0 is off
	Archive  Archiving
}

// Archiving is how missions that nobody uses are put away. It is kept for when
// there are missions.
type Archiving struct {
	Cron           string  `yaml:"missionCronExpression" json:"missionCronExpression"`
	RemoveAfter    float64 `yaml:"removeFromArchiveAfterDays" json:"removeFromArchiveAfterDays"`
	AfterDays      int     `yaml:"timeToArchiveAfterNoActivityDays" json:"timeToArchiveAfterNoActivityDays"`
	ByContent      bool    `yaml:"archiveMissionByNoContentActivity" json:"archiveMissionByNoContentActivity"`
	BySubscription bool    `yaml:"archiveMissionByNoSubscriptionActivity" json:"archiveMissionByNoSubscriptionActivity"`
}

// The files, and what is in them.
const (
	policyFile  = "retention-policy.yml"
	serviceFile = "retention-service.yml"
	archiveFile = "mission-archiving-config.yml"
	maxFile     = 64 << 10
	maxExempt   = 100
)

type policyYAML struct {
	Map      map[string]*int64 `yaml:"dataRetentionMap"`
	Settings struct {
		Files struct {
			Exempt []string `yaml:"exemptKeywords"`
		} `yaml:"files"`
	} `yaml:"retentionSettings"`
}

type serviceYAML struct {
	Cron     string `yaml:"cronExpression"`
	KeepFree int64  `yaml:"keepFreeBytes"`
}

func defaults() Config {
	return Config{
		TTL: map[Class]time.Duration{}, Exempt: []string{Permanent}, Cron: Never,
		Archive: Archiving{Cron: Never, RemoveAfter: 1065, AfterDays: 365},
	}
}

func (c Config) clone() Config {
	c.TTL, c.Exempt = maps.Clone(c.TTL), slices.Clone(c.Exempt)
	return c
}

// Enabled tells whether anything is ever removed by age.
func (c Config) Enabled() bool {
	for _, ttl := range c.TTL {
		if ttl > 0 {
			return true
		}
	}
	return false
}

// Validate reports every bad field at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	for class, ttl := range c.TTL {
		if !slices.Contains(Classes, class) {
			bad("dataRetentionMap: no class %q", class)
		} else if ttl != 0 && (ttl < MinTTL || ttl > MaxTTL) {
			bad("%s: %d seconds: want %d to %d, or none", class, ttl/time.Second, MinTTL/time.Second, MaxTTL/time.Second)
		}
	}
	for _, word := range c.Exempt {
		if word == "" || len(word) > 256 {
			bad("exemptKeywords: want 1 to 256 bytes each")
		}
	}
	if len(c.Exempt) > maxExempt {
		bad("exemptKeywords: %d; want at most %d", len(c.Exempt), maxExempt)
	}
	for field, text := range map[string]string{"cronExpression": c.Cron, "missionCronExpression": c.Archive.Cron} {
		if _, err := parseCron(text); err != nil {
			bad("%s %q: want six fields, second minute hour day month weekday, or -", field, text)
		}
	}
	if c.KeepFree < 0 {
		bad("keepFreeBytes %d: want 0 or more", c.KeepFree)
	}
	if c.Archive.RemoveAfter < 0 || c.Archive.AfterDays < 0 {
		bad("mission archiving: want days of 0 or more")
	}
	return errors.Join(errs...)
}

var fields = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// parseCron returns nil for Never.
func parseCron(text string) (cron.Schedule, error) {
	if text == Never {
		return nil, nil
	}
	return fields.Parse(text)
}

// stamp tells whether files have changed.
type stamp [3]struct {
	at   time.Time
	size int64
}

func stampOf(dir string) (s stamp) {
	for i, name := range []string{policyFile, serviceFile, archiveFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			s[i].at, s[i].size = info.ModTime(), info.Size()
		}
	}
	return s
}

// load reads the files, and writes those that are not there.
func load(dir string) (Config, stamp, error) {
	seen := stampOf(dir)
	c := defaults()
	var policy policyYAML
	service := serviceYAML{Cron: c.Cron}
	policy.Settings.Files.Exempt = c.Exempt
	missing := false
	for name, into := range map[string]any{policyFile: &policy, serviceFile: &service, archiveFile: &c.Archive} {
		err := read(filepath.Join(dir, name), into)
		if errors.Is(err, fs.ErrNotExist) {
			missing = true
		} else if err != nil {
			return c, seen, fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, seconds := range policy.Map {
		class, err := ParseClass(name)
		if err != nil {
			return c, seen, fmt.Errorf("%s: %w", policyFile, err)
		}
		if seconds != nil && *seconds > int64(MaxTTL/time.Second) || seconds != nil && *seconds < 0 {
			return c, seen, fmt.Errorf("%s: %w: %s: %d seconds: want at most %d", policyFile, ErrInvalid, class, *seconds, MaxTTL/time.Second)
		}
		if seconds != nil {
			c.TTL[class] = time.Duration(*seconds) * time.Second
		}
	}
	c.Exempt, c.Cron, c.KeepFree = policy.Settings.Files.Exempt, service.Cron, service.KeepFree
	if err := c.Validate(); err != nil {
		return c, seen, err
	}
	if missing {
		if err := save(dir, c); err != nil {
			return c, seen, err
		}
		seen = stampOf(dir)
	}
	return c, seen, nil
}

func read(path string, into any) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxFile {
		return fmt.Errorf("%w: %d bytes; want at most %d", ErrInvalid, info.Size(), maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return yaml.UnmarshalWithOptions(text, into, yaml.Strict())
}

// save writes each file beside and renames it.
func save(dir string, c Config) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("retention files: %w", err)
	}
	policy := policyYAML{Map: map[string]*int64{}}
	for _, class := range Classes {
		policy.Map[class.Official()] = nil
		if ttl := c.TTL[class]; ttl > 0 {
			seconds := int64(ttl / time.Second)
			policy.Map[class.Official()] = &seconds
		}
	}
	policy.Settings.Files.Exempt = c.Exempt
	for name, from := range map[string]any{policyFile: policy, serviceFile: serviceYAML{c.Cron, c.KeepFree}, archiveFile: c.Archive} {
		text, err := yaml.Marshal(from)
		if err != nil {
			return fmt.Errorf("retention files: %w", err)
		}
		if err := write(filepath.Join(dir, name), text); err != nil {
			return fmt.Errorf("retention files: %w", err)
		}
	}
	return nil
}

func write(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".retention-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
