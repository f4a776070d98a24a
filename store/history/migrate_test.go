package history

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Rows from before version 3, of other buckets and without the projection, are found
// among those from after it, in order, however they are asked for.
func TestRowsFromBeforeVersion3(t *testing.T) {
	ctx, o := embedded(t)
	all := migrations
	defer func() { migrations = all }()
	start := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	want := []string{}
	for step, known := range [][]func(layout) []string{all[:2], all} {
		migrations = known
		s := opened(ctx, t, o)
		for i := range 40 { // each minute of two thirds of an hour, old and new in turns
			at := start.Add(time.Duration(i)*time.Minute + time.Duration(step)*10*time.Second)
			e := &Event{Table: Cot, Received: at, Time: at, Start: at, Stale: at, UID: fmt.Sprint("u", i%7), Type: "a-f", Groups: []string{"Blue"}, User: "x"}
			if i%10 == 9 {
				e.Type, e.Raw = "t-x-d-d", fmt.Appendf(nil, "<event uid='%s' time='%s'/>", e.UID, at.Format(time.RFC3339))
			}
			want = append(want, at.Format("04:05")+" "+e.UID)
			s.Record(e)
		}
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if step == 0 {
			if err := s.Close(ctx); err != nil {
				t.Fatal(err)
			}
			continue
		}
		slices.Sort(want)
		same(ctx, t, s, start, want)
	}
}

func same(ctx context.Context, t *testing.T, s *Store, start time.Time, want []string) {
	t.Helper()
	hour, v := start.Add(time.Hour), &Viewer{Groups: []string{"Blue"}}
	turned := slices.Clone(want)
	slices.Reverse(turned)
	of := func(uid string, from []string) (out []string) {
		for _, w := range from {
			if strings.HasSuffix(w, " "+uid) {
				out = append(out, w)
			}
		}
		return out
	}
	for name, tc := range map[string]struct {
		q    Query
		want []string
	}{
		"all":         {Query{}, want},
		"all, newest": {Query{Newest: true}, turned},
		"few":         {Query{Limit: 30}, want[:30]},
		"few, newest": {Query{Limit: 30, Newest: true}, turned[:30]},
		"window":      {Query{Since: start.Add(5 * time.Minute), Until: start.Add(15 * time.Minute), Viewer: v}, want[10:30]},
		"uid":         {Query{UID: "u3"}, of("u3", want)},
		"uid, newest": {Query{UID: "u3", Newest: true, Limit: 3}, of("u3", turned)[:3]},
		"box":         {Query{Box: &Box{South: -1, North: 1, West: -1, East: 1}, Limit: 50}, want[:50]},
		"lean page":   {Query{Lean: true, Since: start.Add(5 * time.Minute), Until: hour, Limit: 20, Viewer: v}, want[10:30]},
		"lean uid":    {Query{Lean: true, UID: "u2", Since: start, Limit: 100}, of("u2", want)},
		"lean newest": {Query{Lean: true, Newest: true, Limit: 20}, turned[:20]},
	} {
		var got []string
		err := s.Query(ctx, tc.q, func(e *Event) error {
			got = append(got, e.Received.Format("04:05")+" "+e.UID)
			if deletes := e.Type == "t-x-d-d"; deletes != (len(e.Raw) > 0) {
				t.Errorf("%s: %s has %q", name, e.Type, e.Raw)
			}
			return nil
		})
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, %v;\nwant %q", name, got, err, tc.want)
		}
	}
	for name, q := range map[string]Query{
		"latest": {Viewer: v}, "latest until": {Until: hour, Limit: 100}, "lean latest": {Lean: true, Viewer: v}, "lean latest until": {Lean: true, Since: start, Until: start.Add(40 * time.Minute), Limit: 100, Viewer: v},
	} {
		var got []string
		err := s.Latest(ctx, q, func(e *Event) error {
			got = append(got, e.Received.Format("04:05")+" "+e.UID)
			return nil
		})
		if last := turned[:0:0]; true {
			seen := map[string]bool{}
			for _, w := range turned {
				if uid := w[len("04:05 "):]; !seen[uid] {
					seen[uid], last = true, append(last, w)
				}
			}
			if err != nil || !slices.Equal(got, last) {
				t.Errorf("%s: %q, %v; want %q", name, got, err, last)
			}
		}
	}
}

// What the projection takes is counted with the rows, and goes with them.
func TestProjectionGoesWithItsRows(t *testing.T) {
	ctx, o := embedded(t)
	s := opened(ctx, t, o)
	now := time.Now()
	for i := range 200 {
		s.Record(&Event{Table: Cot, Received: now.AddDate(0, 0, -10*(i%2)), UID: fmt.Sprint(i), Type: "a-f", Groups: []string{"Blue"}})
	}
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	size := func(what string) (n uint64) {
		if err := s.db.QueryRow(ctx, "SELECT toUInt64(sum("+what+")) FROM system.projection_parts WHERE active AND table = 'cot' AND name = 'minutes'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	var columns uint64
	if err := s.db.QueryRow(ctx, "SELECT toUInt64(sum(column_bytes_on_disk)) FROM system.parts_columns WHERE active AND table = 'cot'").Scan(&columns); err != nil {
		t.Fatal(err)
	}
	if rows, bytes := size("rows"), size("bytes_on_disk"); rows != 200 || bytes == 0 {
		t.Errorf("the projection has %d rows, %d bytes", rows, bytes)
	}
	if st, err := s.Stats(ctx); err != nil || st.Bytes < columns+size("bytes_on_disk") {
		t.Errorf("%d bytes counted, %v; the columns are %d, the projection %d", st.Bytes, err, columns, size("bytes_on_disk"))
	}
	if dropped, err := s.Drop(ctx, Cot, 5*24*time.Hour, false); err != nil || len(dropped) != 1 || dropped[0].Rows != 100 {
		t.Errorf("dropped %+v, %v", dropped, err)
	}
	if n := size("rows"); n != 100 {
		t.Errorf("%d rows are left in the projection; want 100", n)
	}
}
