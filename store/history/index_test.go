package history

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// Neither an area nor a track is found by reading the day.
func TestIndexesLeaveOutMost(t *testing.T) {
	ctx, o := embedded(t)
	s := opened(ctx, t, o)
	day := time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)
	const uids, each = 200, 600
	for i := range uids * each {
		uid := i % uids
		e := &Event{
			Table: Cot, Received: day.Add(time.Duration(i/uids) * 2 * time.Second), UID: fmt.Sprintf("u%03d", uid), Callsign: fmt.Sprint("c", uid),
			Lat: float64(uid) / 4, Lon: float64(uid) / 4,
		}
		for !s.Record(e) {
			time.Sleep(time.Millisecond)
		}
	}
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Exec(ctx, "OPTIMIZE TABLE cot FINAL"); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		columns string
		q       Query
	}{
		"area":     {"event", Query{Box: &Box{South: 19.9, West: 19.9, North: 20.1, East: 20.1}}},
		"uid":      {"event", Query{UID: "u080", Since: day}},
		"window":   {leanly, Query{Since: day, Until: day.Add(5 * time.Minute)}},
		"callsign": {"event", Query{Callsign: "c20"}},
	} {
		where, args, err := tc.q.where()
		if err != nil {
			t.Fatal(err)
		}
		rows, err := s.db.Query(ctx, "EXPLAIN indexes = 1 SELECT "+tc.columns+" FROM cot WHERE "+where, args...)
		if err != nil {
			t.Fatal(err)
		}
		read, all, text := 0, 0, ""
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			text += line + "\n"
			if m := granules.FindStringSubmatch(line); m != nil {
				read, _ = strconv.Atoi(m[1])
				n, _ := strconv.Atoi(m[2])
				all = max(all, n)
			}
		}
		_ = rows.Close()
		t.Logf("%s: %d of %d granules", name, read, all)
		if all == 0 || read > all/2+1 {
			t.Errorf("%s reads %d of %d granules:\n%s", name, read, all, text)
		}
	}
}

var granules = regexp.MustCompile(`Granules: (\d+)/(\d+)`)
