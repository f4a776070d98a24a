package history_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"takd/store/history"
)

// How many rows the figures are measured with. They are a day of reports every
// five seconds, of as many tracks as that takes.
var figureRows = flag.Int("history.rows", 200_000, "rows of BenchmarkFigures")

// How many tracks, where that is to be another number.
var figureTracks = flag.Int("history.tracks", 0, "tracks of BenchmarkFigures")

// How many of the rows are recorded at least, where there are more: whole hours. The
// engine makes the rest from them, the same tracks at later hours.
var figureRecorded = flag.Int("history.recorded", 3_000_000, "rows of BenchmarkFigures that are recorded, about")

const (
	reportsOfADay   = 24 * 3600 / 5
	reportsOfAnHour = 3600 / 5
)

// The figures of the history in one go; -history.rows=50000000 is a large day:
//
//	go test ./store/history -run '^$' -bench Figures -benchtime 1x -timeout 0 -history.rows 50000000
//
// These take minutes and little memory, as more rows than -history.recorded are copies
// that the engine makes; the figures of -history.tracks 10000 are those of a replay.
// rows/s is measured after the first tenth of what is recorded, with the making of the
// events on the same machine; make-us/row tells what that takes. Questions are the best
// of three; the drop is that of the older day, with the look at what there is. An insert
// holds rows of one hour, so few rows make small inserts: figures are those of millions.
func BenchmarkFigures(b *testing.B) {
	for b.Loop() {
		figures(b, *figureRows)
	}
}

// fill has the engine copy what is recorded, to later times, until there are so many
// rows, and no merges; it returns how many they are.
func fill(b *testing.B, s *history.Store, recorded, rows int, span time.Duration) int {
	b.Helper()
	n := max(1, rows/recorded)
	for i := 1; i < n; i++ {
		if err := s.Copy(b.Context(), i, time.Duration(i)*span); err != nil {
			b.Fatal(err)
		}
	}
	for began := time.Now(); n > 1 && must(s.Merging(b.Context())) > 0 && time.Since(began) < 2*time.Minute; {
		time.Sleep(100 * time.Millisecond)
	}
	return n * recorded
}

func figures(b *testing.B, rows int) {
	b.Helper()
	run := must(os.MkdirTemp("", "takd"))
	defer func() { _ = os.RemoveAll(run) }()
	s := must(history.Open(history.Options{Command: self, Dir: b.TempDir(), Socket: filepath.Join(run, "s")}))
	defer func() { _ = s.Close(b.Context()) }()
	if err := s.Wait(b.Context()); err != nil {
		b.Fatal(err)
	}
	tracks := max(10, rows/reportsOfADay)
	if *figureTracks > 0 {
		tracks = *figureTracks
	}
	began, sample := time.Now(), newTraffic(tracks)
	for range 20_000 {
		sample.next()
	}
	b.ReportMetric(time.Since(began).Seconds()*1e6/20_000, "make-us/row")

	recorded := rows
	if hour := tracks * reportsOfAnHour; rows > max(*figureRecorded, hour) {
		recorded = max(1, *figureRecorded/hour) * hour
	}
	f, warm := newTraffic(tracks), recorded/10
	var first *history.Event
	for i := range recorded {
		e := f.next()
		if i == 0 {
			copied := *e
			first = &copied
		}
		if i == warm {
			if err := s.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			began = time.Now()
		}
		push(s, []*history.Event{e})
	}
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(recorded-warm)/time.Since(began).Seconds(), "rows/s")
	rows = fill(b, s, recorded, rows, time.Duration(recorded/tracks)*5*time.Second)
	st := must(s.Stats(b.Context()))
	if st.Rows != uint64(rows) {
		b.Fatalf("%d rows of %d", st.Rows, rows)
	}
	b.ReportMetric(float64(st.Bytes)/float64(st.Rows), "B/row")
	b.ReportMetric(float64(st.Child.Memory>>20), "MiB")

	end := noon.Add(time.Duration(rows/tracks) * 5 * time.Second)
	hour := end.Add(-90 * time.Minute)
	ask(b, s, "uid-24h", history.Query{UID: first.UID, Since: end.Add(-24 * time.Hour)})
	ask(b, s, "track-24h", history.Query{UID: first.UID, Since: end.Add(-24 * time.Hour), Lean: true})
	ask(b, s, "box-20km-1h", history.Query{Box: &history.Box{South: 48, West: 11, North: 48.18, East: 11.27}, Since: hour, Until: hour.Add(time.Hour)})
	picture := history.Query{Types: []string{"a-"}, Since: end.Add(-10 * time.Minute), Until: end, Limit: 32 << 10, Lean: true, Viewer: &history.Viewer{Groups: teams}}
	best, seen := time.Hour, 0
	for range 3 {
		began, seen = time.Now(), 0
		if err := s.Latest(b.Context(), picture, func(*history.Event) error { seen++; return nil }); err != nil {
			b.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	b.ReportMetric(best.Seconds()*1000, "replay-first-ms")
	b.ReportMetric(float64(seen), "replay-first-tracks")
	ask(b, s, "replay-page", history.Query{Types: []string{"a-"}, Since: hour, Until: hour.Add(10 * time.Minute), Limit: 8192, Lean: true})

	began = time.Now()
	dropped := must(s.DropOldest(b.Context(), []string{history.Cot}))
	b.ReportMetric(time.Since(began).Seconds()*1000, "drop-ms")
	for _, d := range dropped {
		b.ReportMetric(float64(d.Rows), "drop-rows")
	}
}
