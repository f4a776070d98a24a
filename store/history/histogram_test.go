package history_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"takd/store/history"
)

// Events are counted by time and class: each once, in all pieces there are, for
// whoever may see them.
func TestHistogram(t *testing.T) {
	s := opened(t, options(t, t.TempDir()))
	typed := func(text string, groups ...string) func(*history.Event) {
		return func(e *history.Event) {
			e.Type = text
			if len(groups) > 0 {
				e.Groups = groups
			}
		}
	}
	chat := at("d", 61, typed("b-t-f"))
	chat.Table = history.Chat
	record(
		t, s, at("a", 0), at("a", 59), at("b", 60, typed("a-h-A", "Red")), at("c", 130, typed("a-u-G")),
		at("z", 130, typed("x' OR 1")), chat, at("late", 180), at("soon", -1),
	)
	flush(t, s)
	bucket := func(s int, rows uint64, classes map[string]uint64) history.Bucket {
		return history.Bucket{At: noon.Add(time.Duration(s) * time.Second), Rows: rows, Classes: classes}
	}
	q := history.Query{Since: noon, Until: noon.Add(3 * time.Minute)}
	blue := q
	blue.Viewer = &history.Viewer{User: "x", Groups: []string{"Blue"}}
	long := history.Query{Since: noon, Until: noon.Add(10 * time.Minute), Table: history.Cot}
	for name, tc := range map[string]struct {
		q    history.Query
		step time.Duration
		want []history.Bucket
	}{
		"all": {q, time.Minute, []history.Bucket{
			bucket(0, 2, map[string]uint64{"friend": 2}),
			bucket(60, 2, map[string]uint64{"hostile": 1, "chat": 1}),
			bucket(120, 2, map[string]uint64{"position": 1, "other": 1}),
		}},
		"a viewer": {blue, 90 * time.Second, []history.Bucket{
			bucket(0, 3, map[string]uint64{"friend": 2, "chat": 1}),
			bucket(90, 2, map[string]uint64{"position": 1, "other": 1}),
		}},
		"ten minutes of a table": {long, 10 * time.Minute, []history.Bucket{
			bucket(0, 6, map[string]uint64{"friend": 3, "hostile": 1, "position": 1, "other": 1}),
		}},
	} {
		got, err := s.Histogram(within(t), tc.q, tc.step)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, bad := range map[string]struct {
		q    history.Query
		step time.Duration
	}{
		"no step": {q, 0}, "half a second": {q, time.Second / 2}, "no since": {history.Query{Until: noon}, time.Minute},
		"no until": {history.Query{Since: noon}, time.Minute}, "backwards": {history.Query{Since: noon, Until: noon.Add(-1)}, time.Minute},
		"too many": {history.Query{Since: noon, Until: noon.Add(history.MaxBuckets*time.Second + 1)}, time.Second},
		"table":    {history.Query{Since: noon, Until: noon.Add(time.Second), Table: "system.parts"}, time.Second},
	} {
		if _, err := s.Histogram(within(t), bad.q, bad.step); !errors.Is(err, history.ErrInvalid) {
			t.Errorf("%s: %v; want ErrInvalid", name, err)
		}
	}
}
