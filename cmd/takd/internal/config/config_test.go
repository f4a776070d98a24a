package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"takd/cmd/takd/internal/config"
	"takd/netcore"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		in   string
		errs []string // all of them are in the error
	}{
		"empty":         {},
		"first":         {in: string(config.First("tak.example.org", config.Addresses{}))},
		"comments only": {in: "# nothing\n"},
		"durations":     {in: "messaging:\n  stall_limit: 45s\n  flush_min: 3ms\n"},
		"switches":      {in: "messaging:\n  flow_tags: false\n  inputs:\n  - {name: udp, protocol: udp, address: ':8087', archive: false}\n"},
		"no yaml":       {in: "a: [", errs: []string{"line 1: "}},
		"unknown field": {in: "log:\n  level: info\n  colour: blue\n", errs: []string{`line 3: unknown field "colour"`}},
		"wrong type":    {in: "messaging:\n  max_clients: many\n", errs: []string{"line 2: messaging.max_clients: "}},
		"not an object": {in: "just text\n", errs: []string{"configuration: "}},
		"all at once": {
			in:   "log: {level: loud, keep: -1}\nops: {address: nowhere}\nserver: {host: 'a b'}\nmessaging: {max_event: 3, loops: 1000}\n",
			errs: []string{"log.level", "log.keep", "ops.address", "server.host", "max_event 3", "loops 1000"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse([]byte(tc.in))
			if (err != nil) != (len(tc.errs) > 0) {
				t.Fatalf("Parse(%q): %v, want %q", tc.in, err, tc.errs)
			}
			for _, want := range tc.errs {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Parse(%q): %v, want %q in it", tc.in, err, want)
				}
			}
			if err != nil && !errors.Is(err, config.ErrInvalid) && !errors.Is(err, netcore.ErrOptions) {
				t.Errorf("Parse(%q): %v is of no known kind", tc.in, err)
			}
		})
	}
}

// Whatever a configuration says, its text with all defaults says the same.
func TestGetGivesWhatParseTakes(t *testing.T) {
	tests := map[string]string{
		"first":  string(config.First("h", config.Addresses{})),
		"more":   "messaging:\n  flow_tags: false\n  absent_ttl: -1s\n  stall_limit: 45s\n  inputs:\n  - {name: p, protocol: tls, auth: password, address: '[::1]:0', groups: [a, 'b: c']}\n",
		"quoted": "server: {host: '2001:db8::1'}\nlog: {level: WARN}\n",
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := config.Parse([]byte(in))
			if err != nil {
				t.Fatal(err)
			}
			text, err := c.Get("")
			if err != nil {
				t.Fatal(err)
			}
			again, err := config.Parse(text)
			if err != nil {
				t.Fatalf("Parse(%s): %v", text, err)
			}
			if diff := cmp.Diff(fmt.Sprintf("%+v", flat(c)), fmt.Sprintf("%+v", flat(again))); diff != "" {
				t.Errorf("after Get and Parse (-want +got):\n%s", diff)
			}
		})
	}
}

// flat is c with the switches as text: they are pointers.
func flat(c config.Config) [2]string {
	c = c.WithDefaults()
	text, err := c.Get("")
	return [2]string{string(text), fmt.Sprint(err, *c.Messaging.FlowTags, c.Messaging.AbsentTTL)}
}

func open(t *testing.T) (*config.Service, string) {
	t.Helper()
	dir := t.TempDir()
	if err := config.Create(dir, "h", config.Addresses{}); err != nil {
		t.Fatal(err)
	}
	s, err := config.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func TestSetKeepsCommentsAndVersions(t *testing.T) {
	s, _ := open(t)
	for i := range config.Keep + 5 {
		if _, err := s.Set(map[string]string{"messaging.max_clients": fmt.Sprint(100 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"max_clients: 114", "# Ways in for CoT.", "# The configuration of takd."} {
		if !strings.Contains(string(text), want) {
			t.Errorf("file has no %q:\n%s", want, text)
		}
	}
	versions, err := s.History()
	if err != nil || len(versions) != config.Keep || versions[0].N != 15 || versions[9].N != 6 {
		t.Fatalf("History = %+v, %v; want versions 15 to 6", versions, err)
	}
	if _, err := s.Rollback(6); err != nil {
		t.Fatal(err)
	}
	if got := s.Current().Messaging.MaxClients; got != 104 {
		t.Errorf("after Rollback(6): max_clients = %d, want 104", got)
	}
	if _, err := s.Rollback(1); !errors.Is(err, config.ErrVersion) {
		t.Errorf("Rollback(1) = %v, want %v", err, config.ErrVersion)
	}
}

// What the server does not take changes neither the file nor the snapshot.
func TestRefusedChangeLeavesNoTrace(t *testing.T) {
	refuse := errors.New("not today")
	tests := map[string]struct {
		pairs map[string]string
		apply config.Apply
		want  error
	}{
		"invalid":     {pairs: map[string]string{"log.level": "loud"}, want: config.ErrInvalid},
		"not yaml":    {pairs: map[string]string{"log.level": "[a"}, want: config.ErrInvalid},
		"unknown key": {pairs: map[string]string{"log.colour": "blue"}, want: config.ErrInvalid},
		"empty key":   {pairs: map[string]string{"": "blue"}, want: config.ErrNoKey},
		"below value": {pairs: map[string]string{"log.level.deep": "1"}, want: config.ErrNoKey},
		"refused": {
			pairs: map[string]string{"log.level": "debug"}, want: refuse,
			apply: func(*config.Config) ([]string, error) { return nil, refuse },
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t)
			s.OnChange(tc.apply)
			before, snapshot := read(t, s), s.Current()
			if _, err := s.Set(tc.pairs); !errors.Is(err, tc.want) {
				t.Errorf("Set(%v) = %v, want %v", tc.pairs, err, tc.want)
			}
			if diff := cmp.Diff(before, read(t, s)); diff != "" {
				t.Errorf("the file changed (-want +got):\n%s", diff)
			}
			if s.Current() != snapshot {
				t.Error("the snapshot changed")
			}
			if v, err := s.History(); len(v) > 0 || err != nil {
				t.Errorf("History = %v, %v; want nothing", v, err)
			}
		})
	}
}

// Without a place for the old version nothing changes, in the file or in the
// running services.
func TestNoHistoryNoChange(t *testing.T) {
	s, _ := open(t)
	s.OnChange(func(*config.Config) ([]string, error) {
		t.Error("the services were asked")
		return nil, nil
	})
	history := filepath.Join(filepath.Dir(s.Path()), "history")
	if err := os.WriteFile(history, nil, 0o600); err != nil { // root may write to any folder, but not to this
		t.Fatal(err)
	}
	before, snapshot := read(t, s), s.Current()
	if restart, err := s.Set(map[string]string{"log.level": "debug"}); err == nil || restart != nil {
		t.Errorf("Set = %v, %v; want an error", restart, err)
	}
	if diff := cmp.Diff(before, read(t, s)); diff != "" || s.Current() != snapshot {
		t.Errorf("it changed (-want +got):\n%s", diff)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(s.Path()), ".takd-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// Where the new file cannot be put in its place the services get back the old one.
func TestUnwritableFileIsTakenBack(t *testing.T) {
	s, _ := open(t)
	var levels []string
	s.OnChange(func(c *config.Config) ([]string, error) {
		levels = append(levels, c.WithDefaults().Log.Level)
		if len(levels) == 1 { // a folder with something in it cannot be replaced
			if err := errors.Join(os.Remove(s.Path()), os.MkdirAll(filepath.Join(s.Path(), "x"), 0o700)); err != nil {
				t.Error(err)
			}
		}
		return []string{"messaging.loops"}, nil
	})
	snapshot := s.Current()
	if restart, err := s.Set(map[string]string{"log.level": "debug"}); err == nil || restart != nil {
		t.Errorf("Set = %v, %v; want an error", restart, err)
	}
	if diff := cmp.Diff([]string{"debug", "info"}, levels); diff != "" || s.Current() != snapshot {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	if v, err := s.History(); len(v) > 0 || err != nil {
		t.Errorf("History = %v, %v; want nothing", v, err)
	}
}

func read(t *testing.T, s *config.Service) string {
	t.Helper()
	text, err := os.ReadFile(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReloadTakesAnEditedFile(t *testing.T) {
	s, _ := open(t)
	s.OnChange(func(c *config.Config) ([]string, error) { return []string{c.Log.Level}, nil })
	if err := os.WriteFile(s.Path(), []byte("log: {level: warn}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	restart, err := s.Reload()
	if diff := cmp.Diff([]string{"warn"}, restart); diff != "" || err != nil {
		t.Errorf("Reload: %v (-want +got):\n%s", err, diff)
	}
	if err := os.WriteFile(s.Path(), []byte("log: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reload(); err == nil || s.Current().Log.Level != "warn" {
		t.Errorf("Reload of a bad file = %v, level %s; want an error, and the old level", err, s.Current().Log.Level)
	}
}

func TestOpenTellsWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	if _, err := config.Open(dir); !errors.Is(err, config.ErrMissing) || !strings.Contains(err.Error(), filepath.Join(dir, "conf")) {
		t.Errorf("Open = %v, want %v with the path", err, config.ErrMissing)
	}
}

// Every key of the configuration has a help text, and none shows a password.
func TestFields(t *testing.T) {
	c := config.Config{}
	c.History.Mode = "clickhouse://takd:pass@word@db:9000/takd"
	all, err := c.Fields()
	if err != nil || len(all) < 40 {
		t.Fatalf("%d fields, %v", len(all), err)
	}
	for _, f := range all {
		if f.Help == "" || strings.Contains(f.Value, "word") {
			t.Errorf("field %+v", f)
		}
	}
}
