package history

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// maxRules bounds Options.Archive, and sampled the uids that are sampled at one time.
const (
	maxRules = 256
	sampled  = 1 << 17
)

// Rule says what becomes of some events. All its conditions that are set must
// hold; the first rule that fits an event decides, and what fits none is recorded.
// Events of missions are always recorded: they are the mission.
type Rule struct {
	Input string        `yaml:"input,omitempty" help:"Name of the input it came by."`
	Group string        `yaml:"group,omitempty" help:"A group that it was sent into."`
	Type  string        `yaml:"type,omitempty"  help:"Pattern of its type, such as a-f-* or t-x-?."`
	UID   string        `yaml:"uid,omitempty"   help:"What its uid begins with."`
	Skip  bool          `yaml:"skip,omitempty"  help:"It is not recorded."`
	Every time.Duration `yaml:"every,omitempty" help:"Of each uid's positions one is recorded in this time, 1s to 24h."`
}

func (r Rule) validate() error {
	if _, err := path.Match(r.Type, ""); err != nil {
		return fmt.Errorf("type %q: want a pattern such as a-f-*", r.Type)
	}
	switch {
	case r.Input == "" && r.Group == "" && r.Type == "" && r.UID == "":
		return fmt.Errorf("want input, group, type or uid")
	case r.Skip && r.Every != 0:
		return fmt.Errorf("want skip or every, not both")
	case r.Every != 0 && (r.Every < time.Second || r.Every > 24*time.Hour):
		return fmt.Errorf("every %s: want 1s to 24h", r.Every)
	}
	return nil
}

func (r Rule) fits(e *Event) bool {
	if r.Input != "" && r.Input != e.Source || !strings.HasPrefix(e.UID, r.UID) || r.Group != "" && !slices.Contains(e.Groups, r.Group) {
		return false
	}
	if r.Type == "" {
		return true
	}
	ok, err := path.Match(r.Type, e.Type)
	return ok && err == nil
}

// Policy decides what is recorded. It belongs to one goroutine.
type Policy struct {
	rules []Rule
	last  map[string]time.Time // of the last position that was recorded, by uid
}

// NewPolicy returns a policy of rules that Options.Validate has seen.
func NewPolicy(rules []Rule) *Policy { return &Policy{rules: rules, last: map[string]time.Time{}} }

// Keeps tells whether e is recorded, and remembers that it was. Where more uids
// are sampled than can be remembered, all of theirs is recorded.
func (p *Policy) Keeps(e *Event) bool {
	if e.Table == Mission {
		return true
	}
	i := slices.IndexFunc(p.rules, func(r Rule) bool { return r.fits(e) })
	switch {
	case i < 0:
		return true
	case p.rules[i].Skip:
		return false
	case p.rules[i].Every == 0 || !strings.HasPrefix(e.Type, "a-"):
		return true
	}
	last, known := p.last[e.UID]
	if since := e.Received.Sub(last); known && since >= 0 && since < p.rules[i].Every {
		return false
	}
	if !known && len(p.last) >= sampled {
		p.forget(e.Received)
	}
	if known || len(p.last) < sampled {
		p.last[e.UID] = e.Received
	}
	return true
}

// forget makes room: who was not recorded for longer than any rule looks back.
func (p *Policy) forget(now time.Time) {
	var longest time.Duration
	for _, r := range p.rules {
		longest = max(longest, r.Every)
	}
	for uid, at := range p.last {
		if now.Sub(at) >= longest {
			delete(p.last, uid)
		}
	}
}
