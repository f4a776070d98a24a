package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Keep is how many old versions of the file are kept.
const Keep = 10

// Version is one version of the configuration file that was replaced.
type Version struct {
	N    int       `json:"n"`    // what rollback takes
	Time time.Time `json:"time"` // when it was replaced
	Size int64     `json:"size"`
}

// Apply makes a running server take c. It returns the names of the changed
// fields that hold only after a restart.
type Apply func(c *Config) (restart []string, err error)

// Service owns DATA/conf/takd.yaml. It may be used by several goroutines.
type Service struct {
	dir     string // DATA/conf
	current atomic.Pointer[Config]

	mu    sync.Mutex // one change at a time
	apply Apply
}

// Create writes the first configuration file of a data directory, unless there
// is one.
func Create(data, host string, a Addresses) error {
	s := &Service{dir: filepath.Join(data, "conf")}
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return fmt.Errorf("create configuration: %w", err)
	}
	if _, err := os.Stat(s.Path()); err == nil {
		return nil
	}
	text := First(host, a)
	if _, err := Parse(text); err != nil {
		return err
	}
	return s.write(text)
}

// Open loads the configuration of a data directory.
func Open(data string) (*Service, error) {
	s := &Service{dir: filepath.Join(data, "conf")}
	text, err := s.read()
	if err != nil {
		return nil, err
	}
	c, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path(), err)
	}
	s.current.Store(&c)
	return s, nil
}

// Path is the name of the file.
func (s *Service) Path() string { return filepath.Join(s.dir, "takd.yaml") }

// Current returns the snapshot that holds now. It must not be changed.
func (s *Service) Current() *Config { return s.current.Load() }

// OnChange sets who takes a new configuration.
func (s *Service) OnChange(a Apply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply = a
}

// Reload reads the file again after somebody edited it.
func (s *Service) Reload() (restart []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := s.read()
	if err != nil {
		return nil, err
	}
	return s.take(text)
}

// Set changes keys of the file, keeps its comments and the old version, and
// applies the result. Nothing changes when any of it is wrong.
func (s *Service) Set(pairs map[string]string) (restart []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, changed, err := s.edited(pairs)
	if err != nil {
		return nil, err
	}
	return s.replace(text, changed)
}

// Preview returns the file as Set would make it, and changes nothing.
func (s *Service) Preview(pairs map[string]string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, changed, err := s.edited(pairs)
	if err != nil {
		return nil, err
	}
	_, err = Parse(changed)
	return changed, err
}

// edited is the file as it is, and with changed keys.
func (s *Service) edited(pairs map[string]string) (text, changed []byte, err error) {
	if text, err = s.read(); err != nil {
		return nil, nil, err
	}
	changed, err = edit(text, pairs)
	return text, changed, err
}

// Old returns the text of an old version.
func (s *Service) Old(n int) ([]byte, error) {
	old, err := os.ReadFile(s.version(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %d; see `takd config history`", ErrVersion, n)
	} else if err != nil {
		return nil, fmt.Errorf("read old version: %w", err)
	}
	return old, nil
}

// Rollback goes back to an old version; what holds now becomes a version too.
func (s *Service) Rollback(n int) (restart []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.Old(n)
	if err != nil {
		return nil, err
	}
	text, err := s.read()
	if err != nil {
		return nil, err
	}
	return s.replace(text, old)
}

// History lists the old versions, newest first.
func (s *Service) History() ([]Version, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "history"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read history: %w", err)
	}
	var all []Version
	for _, e := range entries {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "takd-"), ".yaml"))
		if err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // removed meanwhile
		}
		all = append(all, Version{N: n, Time: info.ModTime().UTC(), Size: info.Size()})
	}
	slices.SortFunc(all, func(a, b Version) int { return b.N - a.N })
	return all, nil
}

// replace makes text the configuration. All that may fail for want of a disk
// comes before the running services are asked, and is undone if they refuse.
func (s *Service) replace(old, text []byte) (restart []string, err error) {
	if bytes.Equal(old, text) {
		return nil, nil
	}
	c, err := Parse(text)
	if err != nil {
		return nil, err
	}
	version, err := s.remember(old)
	if err != nil {
		return nil, err
	}
	staged, err := stage(s.Path(), text)
	if err != nil {
		_ = os.Remove(version)
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	before := s.Current()
	restart, err = s.adopt(&c)
	if err == nil {
		if err = os.Rename(staged, s.Path()); err != nil {
			err = fmt.Errorf("write configuration: %w", err)
			if before != nil {
				_, back := s.adopt(before)
				err = errors.Join(err, back)
			}
		}
	}
	if err != nil {
		_, _ = os.Remove(staged), os.Remove(version)
		return nil, err
	}
	s.prune()
	return restart, nil
}

func (s *Service) take(text []byte) (restart []string, err error) {
	c, err := Parse(text)
	if err != nil {
		return nil, err
	}
	return s.adopt(&c)
}

// adopt applies c and makes it the snapshot.
func (s *Service) adopt(c *Config) (restart []string, err error) {
	if s.apply != nil {
		if restart, err = s.apply(c); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrApply, err)
		}
	}
	s.current.Store(c)
	return restart, nil
}

func (s *Service) version(n int) string {
	return filepath.Join(s.dir, "history", fmt.Sprintf("takd-%06d.yaml", n))
}

// remember keeps text as the newest old version and returns its file.
func (s *Service) remember(text []byte) (string, error) {
	all, err := s.History()
	if err != nil {
		return "", err
	}
	n := 1
	if len(all) > 0 {
		n = all[0].N + 1
	}
	name := s.version(n)
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return "", fmt.Errorf("keep old version: %w", err)
	}
	if err := writeFile(name, text); err != nil {
		return "", fmt.Errorf("keep old version: %w", err)
	}
	return name, nil
}

// prune forgets the oldest versions. What cannot be removed now is tried again
// with the next change.
func (s *Service) prune() {
	all, _ := s.History()
	for _, v := range all[min(len(all), Keep):] {
		_ = os.Remove(s.version(v.N))
	}
}

func (s *Service) read() ([]byte, error) {
	text, err := os.ReadFile(s.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrMissing, s.Path())
	} else if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return text, nil
}

func (s *Service) write(text []byte) error {
	if err := writeFile(s.Path(), text); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// writeFile replaces a file whole: after a crash there is the old one or the
// new one.
func writeFile(name string, text []byte) error {
	staged, err := stage(name, text)
	if err != nil {
		return err
	}
	if err := os.Rename(staged, name); err != nil {
		return errors.Join(err, os.Remove(staged))
	}
	return nil
}

// stage writes text beside name, ready to be renamed to it.
func stage(name string, text []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".takd-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// Broken returns a Service whose file nobody has looked at: it can set keys, go
// back and list versions, which may mend the file. Current is nil until then.
func Broken(data string) *Service { return &Service{dir: filepath.Join(data, "conf")} }
