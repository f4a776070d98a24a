package history_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"takd/store/history"
)

// traffic makes positions of tracks that move, one of each track a round, as
// ATAK words them.
type traffic struct {
	tracks int
	n      int
	lat    []float64
	lon    []float64
	rnd    *rand.Rand
}

func newTraffic(tracks int) *traffic {
	f := &traffic{tracks: tracks, rnd: rand.New(rand.NewPCG(1, 2))}
	for range tracks {
		f.lat = append(f.lat, 47+2*f.rnd.Float64())
		f.lon = append(f.lon, 10+3*f.rnd.Float64())
	}
	return f
}

// What clients differ in.
var (
	devices = [][2]string{
		{"5.1.0.11 (a1b2c3).1700000000-CIV", "SAMSUNG SM-S911B"},
		{"5.2.0.4 (77ab01).1721100000-CIV", "SAMSUNG SM-G736U1"},
		{"4.10.0.9 (0ff3c9).1690000000-CIV", "GOOGLE PIXEL 8"},
		{"5.3.0.1 (9e01d2).1735000000-CIV", "ONEPLUS CPH2449"},
		{"5.0.0.7 (c3d4e5).1710000000-CIV", "ZEBRA TC57X"},
	}
	teams = []string{"Cyan", "Blue", "Red", "Green", "Yellow", "White", "Magenta"}
	types = []string{"a-f-G-U-C", "a-f-G-E-V", "a-f-A-M-H", "a-n-A-C-F", "a-u-G", "a-f-S-X-M", "a-h-G-I-R-A", "a-f-G-U-C-I", "a-n-S", "a-f-A-M-F-Q"}
)

const layout = "2006-01-02T15:04:05.000Z"

func (f *traffic) next() *history.Event {
	i := f.n % f.tracks
	when := noon.Add(time.Duration(f.n/f.tracks)*5*time.Second + time.Duration(f.rnd.IntN(5000))*time.Millisecond)
	f.n++
	course := math.Mod(float64(i*37)+10*f.rnd.Float64(), 360)
	f.lat[i] += 7e-5 * math.Cos(course*math.Pi/180)
	f.lon[i] += 1e-4 * math.Sin(course*math.Pi/180)
	uid, sign := fmt.Sprintf("ANDROID-%016x", uint64(i)*0x9e3779b97f4a7c15), fmt.Sprintf("UNIT %d", i)
	hae, speed := 500+float64(i%100)+f.rnd.Float64(), 1.4+f.rnd.Float64()/10
	kind := devices[i%len(devices)]
	team, group, typ := teams[i%len(teams)], teams[i%4], types[i%len(types)]
	raw := fmt.Sprintf(`<event version="2.0" uid="%s" type="%s" how="m-g" time="%s" start="%s" stale="%s"><point lat="%.7f" lon="%.7f" hae="%.3f" ce="4.2" le="9999999.0"/><detail><takv os="%d" version="%s" device="%s" platform="ATAK-CIV"/><contact endpoint="*:-1:stcp" callsign="%s"/><uid Droid="%s"/><precisionlocation altsrc="GPS" geopointsrc="GPS"/><__group role="Team Member" name="%s"/><status battery="%d"/><track course="%.6f" speed="%.6f"/></detail></event>`,
		uid, typ, when.Format(layout), when.Format(layout), when.Add(75*time.Second).Format(layout), f.lat[i], f.lon[i], hae,
		30+i%6, kind[0], kind[1], sign, sign, team, 90-f.n/f.tracks%60, course, speed)
	return &history.Event{
		Table: history.Cot, Received: when.Add(40 * time.Millisecond), Time: when, Start: when, Stale: when.Add(75 * time.Second),
		UID: uid, Callsign: sign, Type: typ, How: "m-g", Lat: f.lat[i], Lon: f.lon[i], HAE: hae, CE: 4.2, LE: history.Unknown,
		Speed: speed, Course: course, Team: team, Role: "Team Member", Groups: []string{group}, User: sign, Sender: uid, Source: "tls",
		Raw: []byte(raw),
	}
}

// From Record to the database, position traffic of 1,000 tracks: about as many
// reports of one uid lie together as in ten minutes of 5-second reports, or over the spool.
func BenchmarkRecord(b *testing.B) {
	for _, way := range []string{"direct", "spool"} {
		b.Run(way, func(b *testing.B) {
			dir, run := b.TempDir(), must(os.MkdirTemp("", "takd"))
			defer func() { _ = os.RemoveAll(run) }()
			o := history.Options{Command: self, Dir: dir, Socket: filepath.Join(run, "s"), QueueBytes: 1 << 40}
			f := newTraffic(1000)
			events := make([]*history.Event, b.N)
			for i := range events {
				events[i] = f.next()
			}
			if way == "spool" {
				o.EnginePath = filepath.Join(dir, "none.so")
				s := must(history.Open(o))
				b.ResetTimer()
				push(s, events)
				_ = s.Close(b.Context())
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "spooled/s")
				b.ReportMetric(float64(s.Health().Spool.Bytes)/float64(b.N), "spoolB/row")
				o.EnginePath = ""
			}
			s := must(history.Open(o))
			defer func() { _ = s.Close(b.Context()) }()
			b.ResetTimer()
			if way == "direct" {
				if err := s.Wait(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.ResetTimer()
				push(s, events)
			}
			if err := s.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			st := must(s.Stats(b.Context()))
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(st.Bytes)/float64(st.Rows), "B/row")
			b.ReportMetric(float64(st.Child.Memory>>20), "MiB")
			b.ReportMetric(cpu(st.Child.PID)/float64(b.N)*1e6, "engine-us/row")
			if st.Rows != uint64(b.N) {
				b.Fatalf("%d rows of %d", st.Rows, b.N)
			}
			for name, bytes := range must(s.ColumnSizes(b.Context())) {
				if per := float64(bytes) / float64(b.N); per >= 0.5 {
					fmt.Fprintf(os.Stderr, "%-12s %6.2f B/row\n", name, per)
				}
			}
			ask(b, s, "uid", history.Query{UID: events[0].UID})
			ask(b, s, "box", history.Query{Box: &history.Box{South: 48, West: 11, North: 48.18, East: 11.27}, Since: noon, Until: noon.Add(time.Hour)})
			ask(b, s, "first", history.Query{Since: noon, Limit: 1})
		})
	}
}

func ask(b *testing.B, s *history.Store, name string, q history.Query) {
	b.Helper()
	best, n := time.Hour, 0
	for range 3 {
		began := time.Now()
		n = 0
		if err := s.Query(b.Context(), q, func(*history.Event) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	b.ReportMetric(best.Seconds()*1000, name+"-ms")
	b.ReportMetric(float64(n), name+"-rows")
}

// push records as fast as there is room.
func push(s *history.Store, events []*history.Event) {
	for _, e := range events {
		for !s.Record(e) {
			time.Sleep(time.Millisecond)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// cpu is how many seconds of processor time a process took.
func cpu(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return float64(user+system) / 100
}
