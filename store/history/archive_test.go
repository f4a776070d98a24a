package history_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"takd/store/history"
)

func TestPolicy(t *testing.T) {
	p := history.NewPolicy([]history.Rule{
		{UID: "KEEP-"},
		{Input: "feed", Every: 10 * time.Second},
		{Group: "Exercise", Type: "t-x-*", Skip: true},
		{Type: "b-m-p-s-p-?", Skip: true},
	})
	at := time.UnixMilli(1767323045000)
	for i, step := range []struct {
		after time.Duration
		event history.Event
		want  bool
	}{
		{0, history.Event{UID: "A", Source: "feed", Type: "a-n-A"}, true},
		{9 * time.Second, history.Event{UID: "A", Source: "feed", Type: "a-n-A"}, false},
		{9 * time.Second, history.Event{UID: "B", Source: "feed", Type: "a-n-A"}, true},
		{9 * time.Second, history.Event{UID: "A", Source: "feed", Type: "b-t-f"}, true},
		{9 * time.Second, history.Event{UID: "KEEP-A", Source: "feed", Type: "a-n-A"}, true},
		{9 * time.Second, history.Event{UID: "A", Source: "feed", Type: "a-n-A", Table: history.Mission}, true},
		{10 * time.Second, history.Event{UID: "A", Source: "feed", Type: "a-n-A"}, true},
		{0, history.Event{UID: "A", Source: "tls", Type: "t-x-d", Groups: []string{"Blue", "Exercise"}}, false},
		{0, history.Event{UID: "A", Source: "tls", Type: "t-x-d", Groups: []string{"Blue"}}, true},
		{0, history.Event{UID: "A", Source: "tls", Type: "b-m-p-s-p-i"}, false},
		{0, history.Event{UID: "A", Source: "tls", Type: "b-m-p-s-p-op"}, true},
	} {
		step.event.Received = at.Add(step.after)
		if got := p.Keeps(&step.event); got != step.want {
			t.Errorf("step %d: Keeps = %v, want %v", i, got, step.want)
		}
	}
}

// Uids from outside do not fill the memory: past the limit everything is recorded.
func TestPolicyIsBounded(t *testing.T) {
	p := history.NewPolicy([]history.Rule{{Type: "a-*", Every: time.Minute}})
	at := time.UnixMilli(1767323045000)
	for i := range history.Sampled {
		p.Keeps(&history.Event{UID: fmt.Sprint(i), Type: "a-f-G", Received: at})
	}
	for range 2 {
		if !p.Keeps(&history.Event{UID: "one more", Type: "a-f-G", Received: at}) {
			t.Error("an event that cannot be sampled was not recorded")
		}
	}
	if n := p.Size(); n != history.Sampled {
		t.Errorf("%d uids are remembered, at most %d may be", n, history.Sampled)
	}
	p.Keeps(&history.Event{UID: "later", Type: "a-f-G", Received: at.Add(time.Hour)})
	if n := p.Size(); n != 1 {
		t.Errorf("%d uids are remembered after an hour, want 1", n)
	}
}

func TestRulesAreValidated(t *testing.T) {
	for name, r := range map[string]history.Rule{
		"empty": {}, "both": {UID: "a", Skip: true, Every: time.Minute}, "short": {UID: "a", Every: time.Millisecond}, "pattern": {Type: "a-[", Skip: true},
	} {
		if err := (history.Options{Archive: []history.Rule{r}}).Validate(); !errors.Is(err, history.ErrOptions) {
			t.Errorf("%s: Validate = %v", name, err)
		}
	}
	if err := (history.Options{Archive: make([]history.Rule, 1000)}).Validate(); !errors.Is(err, history.ErrOptions) {
		t.Errorf("1000 rules: Validate = %v", err)
	}
}
