package retain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/robfig/cron/v3"

	"takd/store/blob"
)

// The files, with the names and keys of the official server.
const (
	policyFile   = "retention-policy.yml"
	serviceFile  = "retention-service.yml"
	missionsFile = "mission-archiving-config.yml"
)

// Never is the schedule that is never due.
const Never = "-"

// Permanent is the keyword of files that stay.
const Permanent = "permanent"

// Classes of data. The official server calls chat geochat.
const (
	Cot      = "cot"
	Chat     = "chat"
	Files    = "files"
	Packages = "missionpackages"
	Missions = "missions"
	Endpoint = "endpoint_events"
)

// Classes lists all of them.
var Classes = []string{Cot, Chat, Files, Packages, Missions, Endpoint}

// Unavailable says why a class has no policy, "" for one that has.
func Unavailable(class string) string {
	switch class {
	case Missions:
		return "this takd has no missions yet"
	case Packages:
		return "data packages are files: the policy of files holds for them"
	}
	return ""
}

// official is the name of a class in the official file and API.
func official(class string) string {
	if class == Chat {
		return "geochat"
	}
	return class
}

const (
	maxTTL      = 200 * 365 * 24 * 60 * 60
	maxKeywords = 100
	maxFile     = 1 << 20
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
	Cron     string    `yaml:"cronExpression"`
	KeepFree blob.Size `yaml:"keepFree"` // this takd's own
}

// Archiving is the configuration of the official server's mission archive.
type Archiving struct {
	Cron           string  `yaml:"missionCronExpression"                  json:"missionCronExpression"`
	RemoveAfter    float64 `yaml:"removeFromArchiveAfterDays"             json:"removeFromArchiveAfterDays"`
	ArchiveAfter   int     `yaml:"timeToArchiveAfterNoActivityDays"       json:"timeToArchiveAfterNoActivityDays"`
	ByContent      bool    `yaml:"archiveMissionByNoContentActivity"      json:"archiveMissionByNoContentActivity"`
	BySubscription bool    `yaml:"archiveMissionByNoSubscriptionActivity" json:"archiveMissionByNoSubscriptionActivity"`
}

// Settings is what the files say.
type Settings struct {
	TTL      map[string]time.Duration // by class; a class that is not there is kept for ever
	Exempt   []string                 // keywords of files that stay
	Schedule string
	KeepFree blob.Size // 0: no watermark
	Missions Archiving

	due cron.Schedule // nil: never
}

// seconds6 reads schedules with seconds, as the official server has them.
var seconds6 = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// ParseSchedule reads a cron expression of six fields, or "-" for never.
func ParseSchedule(text string) (cron.Schedule, error) {
	text = strings.TrimSpace(text)
	if text == Never || text == "" {
		return nil, nil
	}
	if strings.Contains(text, "TZ=") || len(text) > 200 {
		return nil, fmt.Errorf("%w: schedule %.200q: want six fields, or - for never", ErrInvalid, text)
	}
	fields := strings.Fields(text)
	if len(fields) == 6 && fields[5] == "7" {
		fields[5] = "0" // both are Sunday
	}
	s, err := seconds6.Parse(strings.Join(fields, " "))
	if err != nil {
		return nil, fmt.Errorf("%w: schedule %q: want six fields, seconds first, or - for never: %w", ErrInvalid, text, err)
	}
	if s.Next(time.Now()).IsZero() {
		return nil, fmt.Errorf("%w: schedule %q is never due", ErrInvalid, text)
	}
	return s, nil
}

func checkTTL(class string, seconds int64) error {
	if seconds < 1 || seconds > maxTTL {
		return fmt.Errorf("%w: %s: %d seconds: want 1 to %d", ErrInvalid, class, seconds, int64(maxTTL))
	}
	return nil
}

// create writes the files that are not there: nothing is removed by default.
func create(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("retention: %w", err)
	}
	policy := policyYAML{Map: map[string]*int64{}}
	for _, class := range Classes {
		policy.Map[official(class)] = nil
	}
	policy.Settings.Files.Exempt = []string{Permanent}
	for name, v := range map[string]any{
		policyFile: policy, serviceFile: serviceYAML{Cron: Never},
		missionsFile: Archiving{Cron: Never, RemoveAfter: 1065, ArchiveAfter: 365},
	} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := save(dir, name, v); err != nil {
			return err
		}
	}
	return nil
}

// load reads all files; any error means that none of them holds.
func load(dir string) (Settings, error) {
	var (
		policy  policyYAML
		service serviceYAML
		s       Settings
	)
	for name, v := range map[string]any{policyFile: &policy, serviceFile: &service, missionsFile: &s.Missions} {
		text, err := read(filepath.Join(dir, name))
		if err == nil {
			err = yaml.Unmarshal(text, v)
		}
		if err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n")
			return s, fmt.Errorf("%w: %s: %s", ErrInvalid, name, first)
		}
	}
	s.TTL = map[string]time.Duration{}
	for _, class := range Classes {
		ttl := policy.Map[official(class)]
		if ttl == nil {
			continue
		}
		if err := checkTTL(official(class), *ttl); err != nil {
			return s, fmt.Errorf("%s: %w", policyFile, err)
		}
		s.TTL[class] = time.Duration(*ttl) * time.Second
	}
	s.Exempt = policy.Settings.Files.Exempt
	if len(s.Exempt) > maxKeywords {
		return s, fmt.Errorf("%w: %s: exemptKeywords: more than %d", ErrInvalid, policyFile, maxKeywords)
	}
	if s.Exempt == nil {
		s.Exempt = []string{Permanent}
	}
	var err error
	s.Schedule, s.KeepFree = strings.TrimSpace(service.Cron), service.KeepFree
	if s.Schedule == "" {
		s.Schedule = Never
	}
	if s.due, err = ParseSchedule(s.Schedule); err != nil {
		return s, fmt.Errorf("%s: %w", serviceFile, err)
	}
	if err := s.Missions.validate(); err != nil {
		return s, fmt.Errorf("%s: %w", missionsFile, err)
	}
	return s, nil
}

func (a Archiving) validate() error {
	if _, err := ParseSchedule(a.Cron); err != nil {
		return err
	}
	if a.RemoveAfter < 0 || a.RemoveAfter > 1e6 || a.ArchiveAfter < 0 || a.ArchiveAfter > 1e6 {
		return fmt.Errorf("%w: mission archive: want 0 to 1000000 days", ErrInvalid)
	}
	return nil
}

func read(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%d bytes: at most %d", info.Size(), maxFile)
	}
	return os.ReadFile(name)
}

// save replaces a file whole: after a crash there is the old one or the new one.
func save(dir, name string, v any) error {
	text, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("retention: %w", err)
	}
	f, err := os.CreateTemp(dir, ".retention-*")
	if err != nil {
		return fmt.Errorf("retention: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("retention: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// stamps tells when the files were changed, and how large they are.
func stamps(dir string) (out [3]string) {
	for i, name := range []string{policyFile, serviceFile, missionsFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			out[i] = fmt.Sprint(info.ModTime().UnixNano(), info.Size())
		}
	}
	return out
}

// change reads a file, has fn change it, and writes it.
func change[V any](dir, name string, fn func(*V)) error {
	var v V
	text, err := read(filepath.Join(dir, name))
	if err == nil {
		err = yaml.Unmarshal(text, &v)
	}
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return fmt.Errorf("%w: %s: %s", ErrInvalid, name, first)
	}
	fn(&v)
	return save(dir, name, v)
}

// known tells whether there is such a class.
func known(class string) bool { return slices.Contains(Classes, class) }
