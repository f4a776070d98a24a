package history_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"takd/store/history"
	"takd/store/history/engine"
	"takd/store/history/engine/enginetest"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

// self runs this test binary as a child; TestMain knows what that means.
var self = []string{os.Args[0], engine.Command}

func TestMain(m *testing.M) {
	enginetest.Child()
	if len(os.Args) > 5 && os.Args[1] == recordCommand {
		first, _ := strconv.Atoi(os.Args[5])
		os.Exit(recorder(os.Args[2], os.Args[3], os.Args[4], first))
	}
	os.Exit(m.Run())
}

// within bounds what a test waits for.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func options(t *testing.T, dir string) history.Options {
	t.Helper()
	run, err := os.MkdirTemp("", "takd") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	return history.Options{Command: self, Dir: dir, Socket: filepath.Join(run, "history.sock"), Flush: 100 * time.Millisecond}
}

func open(t *testing.T, o history.Options) *history.Store {
	t.Helper()
	s, err := history.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, s) })
	return s
}

func shut(t *testing.T, s *history.Store) {
	t.Helper()
	if err := s.Close(within(t)); err != nil {
		t.Error(err)
	}
}

// opened is a store whose database answers.
func opened(t *testing.T, o history.Options) *history.Store {
	t.Helper()
	s := open(t, o)
	if err := s.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	return s
}

func record(t *testing.T, s *history.Store, events ...*history.Event) {
	t.Helper()
	for _, e := range events {
		if !s.Record(e) {
			t.Fatal("not recorded")
		}
	}
}

func flush(t *testing.T, s *history.Store) {
	t.Helper()
	if err := s.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
}

func query(t *testing.T, s *history.Store, q history.Query) (out []*history.Event) {
	t.Helper()
	err := s.Query(within(t), q, func(e *history.Event) error {
		out = append(out, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// full is an event with something in every field.
func full() *history.Event {
	return &history.Event{
		Table: history.Chat, Received: noon, Time: noon.Add(-time.Second), Start: noon.Add(-2 * time.Second), Stale: noon.Add(time.Minute),
		UID: "u", Callsign: "O'Neil \\ ?", Type: "b-t-f", How: "h-g-i-g-o", Lat: 48.1371234, Lon: -11.5751234,
		HAE: 520.5, CE: 5, LE: history.Unknown, Speed: 1.5, Course: 270, Team: "Cyan", Role: "HQ",
		Groups: []string{"Blue", "Red"}, User: "anna", Sender: "ANDROID-1", Source: "tls", Dests: []string{"bob"},
		Flow: []string{"s1"}, Mission: "m", Room: "All", Text: "hällo\n", Raw: []byte("<event>\x00\xff</event>"),
	}
}

// at is a position of a uid, some seconds after noon.
func at(uid string, s int, change ...func(*history.Event)) *history.Event {
	e := &history.Event{
		Table: history.Cot, Received: noon.Add(time.Duration(s) * time.Second), Time: noon, Start: noon, Stale: noon.Add(time.Minute),
		UID: uid, Callsign: "c-" + uid, Type: "a-f-G-U-C", How: "m-g", Groups: []string{"Blue"}, User: "u-" + uid,
		Raw: []byte("<event uid='" + uid + "'/>"),
	}
	for _, f := range change {
		f(e)
	}
	return e
}

// What was recorded comes back as it was, whichever way it took, and after a restart.
func TestRoundTrip(t *testing.T) {
	o := options(t, t.TempDir())
	s := open(t, o) // before the engine answers: over the spool
	record(t, s, full())
	flush(t, s)
	want := []*history.Event{full()}
	if diff := cmp.Diff(want, query(t, s, history.Query{Table: history.Chat})); diff != "" {
		t.Errorf("over the spool (-want +got):\n%s", diff)
	}
	second := full()
	second.Received = noon.Add(time.Second)
	record(t, s, second)
	flush(t, s)
	want = append(want, full())
	want[1].Received = noon.Add(time.Second)
	if diff := cmp.Diff(want, query(t, s, history.Query{Table: history.Chat})); diff != "" {
		t.Errorf("direct (-want +got):\n%s", diff)
	}
	shut(t, s)
	s = opened(t, o)
	if diff := cmp.Diff(want, query(t, s, history.Query{Table: history.Chat})); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}

// What is strange is stored within bounds, and does not stop what comes after it.
func TestStrangeEvents(t *testing.T) {
	s := opened(t, options(t, t.TempDir()))
	record(t, s,
		&history.Event{Table: history.Cot, Received: noon},
		at("far", 1, func(e *history.Event) {
			e.Time, e.Stale = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
			e.Lat, e.Lon = 1e300, -1e300
			e.UID = string([]byte{0xff, 0, '\''})
		}))
	if s.Record(&history.Event{Table: "nosuch"}) {
		t.Error("recorded into a table that is not there")
	}
	flush(t, s)
	if got := query(t, s, history.Query{}); len(got) != 2 || got[1].UID != "\xff\x00'" {
		t.Errorf("got %d events", len(got))
	}
}

func TestQuery(t *testing.T) {
	s := opened(t, options(t, t.TempDir()))
	place := func(lat, lon float64) func(*history.Event) {
		return func(e *history.Event) { e.Lat, e.Lon = lat, lon }
	}
	record(t, s,
		at("a", 0, place(48, 11)),
		at("b", 1, place(48, 179.5), func(e *history.Event) { e.Groups = []string{"Red"} }),
		at("a", 1200, place(49, -179.5), func(e *history.Event) { e.Type = "a-h-G" }),
		at("c", 1300, place(-10, 20), func(e *history.Event) { e.Dests = []string{"DEV", "x"} }),
		at("d'", 86400, func(e *history.Event) { e.Groups = nil }),
	)
	flush(t, s)
	after := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }
	tests := map[string]struct {
		q    history.Query
		want string
	}{
		"all":           {want: "a0 b1 a1200 c1300 d'86400"},
		"newest":        {q: history.Query{Newest: true, Limit: 2}, want: "d'86400 c1300"},
		"limit":         {q: history.Query{Limit: 1}, want: "a0"},
		"uid":           {q: history.Query{UID: "a"}, want: "a0 a1200"},
		"quoted":        {q: history.Query{UID: "d'"}, want: "d'86400"},
		"not an escape": {q: history.Query{UID: "' OR 1=1 --"}, want: ""},
		"callsign":      {q: history.Query{Callsign: "c-b"}, want: "b1"},
		"type":          {q: history.Query{Type: "a-f"}, want: "a0 b1 c1300 d'86400"},
		"no wildcards":  {q: history.Query{Type: "%"}, want: ""},
		"user":          {q: history.Query{User: "u-c"}, want: "c1300"},
		"since":         {q: history.Query{Since: after(1)}, want: "b1 a1200 c1300 d'86400"},
		"until":         {q: history.Query{Until: after(1200)}, want: "a0 b1"},
		"window":        {q: history.Query{Since: after(1), Until: after(1300)}, want: "b1 a1200"},
		"always":        {q: history.Query{Since: time.Unix(-1e12, 0), Until: time.Unix(1e12, 0)}, want: "a0 b1 a1200 c1300 d'86400"},
		"box":           {q: history.Query{Box: &history.Box{South: 47, West: 10, North: 50, East: 12}}, want: "a0"},
		"date line":     {q: history.Query{Box: &history.Box{South: 47, West: 179, North: 50, East: -179}}, want: "b1 a1200"},
		"nobody":        {q: history.Query{Viewer: &history.Viewer{}}, want: ""},
		"group":         {q: history.Query{Viewer: &history.Viewer{Groups: []string{"Blue", ""}}}, want: "a0 a1200"},
		"other group":   {q: history.Query{Viewer: &history.Viewer{Groups: []string{"Red"}}}, want: "b1"},
		"destination":   {q: history.Query{Viewer: &history.Viewer{Groups: []string{"Blue"}, UIDs: []string{"DEV"}}}, want: "a0 a1200 c1300"},
		"not his group": {q: history.Query{Viewer: &history.Viewer{Groups: []string{"Red"}, UIDs: []string{"DEV"}}}, want: "b1"},
		"his own":       {q: history.Query{Viewer: &history.Viewer{User: "u-c"}}, want: "c1300"},
		"other table":   {q: history.Query{Table: history.Chat}, want: ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := names(query(t, s, tc.q)); got != tc.want {
				t.Errorf("Query(%+v) = %q; want %q", tc.q, got, tc.want)
			}
		})
	}
	for name, q := range map[string]history.Query{
		"table": {Table: "system.parts"}, "limit": {Limit: -1}, "box": {Box: &history.Box{South: 2, North: 1}},
	} {
		if err := s.Query(within(t), q, nil); !errors.Is(err, history.ErrInvalid) {
			t.Errorf("%s: %v; want ErrInvalid", name, err)
		}
	}
	var latest []*history.Event
	if err := s.Latest(within(t), history.Query{Until: after(2000)}, func(e *history.Event) error {
		latest = append(latest, e)
		return nil
	}); err != nil || names(latest) != "c1300 a1200 b1" {
		t.Errorf("Latest = %q, %v", names(latest), err)
	}
}

func names(events []*history.Event) (out string) {
	for i, e := range events {
		if i > 0 {
			out += " "
		}
		out += fmt.Sprint(e.UID, int(e.Received.Sub(noon).Seconds()))
	}
	return out
}

// A caller that has enough, or goes away, ends the query.
func TestQueryEnds(t *testing.T) {
	s := opened(t, options(t, t.TempDir()))
	for i := range 30_000 {
		record(t, s, at(fmt.Sprint(i%100), i))
	}
	flush(t, s)
	enough := errors.New("enough")
	n := 0
	if err := s.Query(within(t), history.Query{}, func(*history.Event) error {
		n++
		return enough
	}); !errors.Is(err, enough) || n != 1 {
		t.Errorf("Query = %v after %d events", err, n)
	}
	ctx, cancel := context.WithCancel(within(t))
	if err := s.Query(ctx, history.Query{}, func(*history.Event) error {
		cancel()
		return nil
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("Query = %v; want Canceled", err)
	}
	for range 20 { // no connection was lost by that
		if got := query(t, s, history.Query{UID: "1"}); len(got) != 300 {
			t.Fatalf("%d events; want 300", len(got))
		}
	}
}

// Nothing is missing and nothing there twice when the engine is killed again and again.
func TestKilledEngine(t *testing.T) {
	o := options(t, t.TempDir())
	s := opened(t, o)
	const kills, each = 5, 4000
	n := 0
	for range kills {
		for range each {
			record(t, s, at(fmt.Sprint("k", n), n%3600))
			if n++; n%500 == 0 {
				time.Sleep(20 * time.Millisecond)
			}
		}
		if child := s.Health().Child; child.PID != 0 {
			_ = syscall.Kill(child.PID, syscall.SIGKILL)
		}
	}
	flush(t, s)
	once(t, s, n)
	if h := s.Health(); h.Child.Restarts == 0 || h.Spool.Segments != 0 || h.Spool.Dropped != 0 {
		t.Errorf("health %+v", h)
	}
}

// once checks that each of n events is there, and once.
func once(t *testing.T, s *history.Store, n int) {
	t.Helper()
	seen := make(map[string]int)
	for _, e := range query(t, s, history.Query{}) {
		seen[e.UID]++
	}
	twice := 0
	for _, k := range seen {
		if k > 1 {
			twice++
		}
	}
	if len(seen) != n || twice > 0 {
		t.Errorf("%d of %d events are there, %d more than once", len(seen), n, twice)
	}
}

// A partition goes when its newest possible event is too old; other tables keep theirs.
func TestDrop(t *testing.T) {
	for name, by := range map[string]struct{ partition, id string }{
		"day":  {history.Day, "20060102"},
		"hour": {history.Hour, "2006010215"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, t.TempDir())
			o.Partition = by.partition
			s := opened(t, o)
			now := time.Now().UTC()
			for _, days := range []int{0, 1, 10, 20} {
				for range 3 {
					record(t, s, at("x", 0, func(e *history.Event) { e.Received = now.AddDate(0, 0, -days) }))
				}
			}
			record(t, s, at("y", 0, func(e *history.Event) { e.Table, e.Received = history.Chat, now.AddDate(0, 0, -20) }))
			flush(t, s)
			want := []string{now.AddDate(0, 0, -20).Format(by.id), now.AddDate(0, 0, -10).Format(by.id)}
			for _, dry := range []bool{true, false} {
				got, err := s.Drop(within(t), history.Cot, 9*24*time.Hour, dry)
				var ids []string
				for _, d := range got {
					ids = append(ids, d.Partition)
					if d.Rows != 3 || d.Bytes == 0 || d.Table != history.Cot {
						t.Errorf("dropped %+v; want 3 rows", d)
					}
				}
				if err != nil || !slices.Equal(ids, want) {
					t.Errorf("Drop(dry %v) = %q, %v; want %q", dry, ids, err, want)
				}
			}
			st, err := s.Stats(within(t))
			if err != nil || st.Rows != 7 || st.Tables[0].Rows != 6 || st.Tables[1].Rows != 1 || st.Oldest == nil ||
				st.Oldest.Format(by.id) != want[0] || st.PartitionBy != by.partition || st.State != engine.Ready {
				t.Errorf("Stats = %+v, %v", st, err)
			}
			if got, err := s.Drop(within(t), history.Cot, 9*24*time.Hour, false); err != nil || len(got) != 0 {
				t.Errorf("a second Drop = %v, %v; want nothing", got, err)
			}
		})
	}
}

func TestOff(t *testing.T) {
	s := open(t, history.Options{Mode: history.Off})
	if s.Record(at("a", 0)) || s.Health().State != history.Off {
		t.Error("it records")
	}
	if err := s.Flush(within(t)); !errors.Is(err, history.ErrOff) {
		t.Errorf("Flush = %v", err)
	}
	if err := s.Query(within(t), history.Query{}, nil); !errors.Is(err, history.ErrOff) {
		t.Errorf("Query = %v", err)
	}
}

// Fresh finds what holds now: the newest of each uid and user, and nothing that was
// for somebody alone.
func TestFresh(t *testing.T) {
	s := opened(t, options(t, t.TempDir()))
	life := func(d time.Duration) func(*history.Event) {
		return func(e *history.Event) { e.User, e.Time, e.Stale = "ann", e.Received, e.Received.Add(d) }
	}
	long, short := life(time.Hour), life(10*time.Second)
	record(
		t, s, at("a", 0, long), at("a", 30, long), at("b", 10, short), at("c", 50, short), at("d", 0, long), at("d", 50, life(time.Second)),
		at("a", 20, long, func(e *history.Event) { e.User = "bob" }), at("e", 50, long, func(e *history.Event) { e.Dests = []string{"x"} }),
		at("f", 50, long, func(e *history.Event) { e.Type = "b-m-p" }), at("g", 50, long, func(e *history.Event) { e.User = "" }),
	)
	flush(t, s)
	fresh := func(limit int) (got []string) {
		err := s.Fresh(within(t), at("", 0).Received, at("", 55).Received, limit, func(e *history.Event) error {
			got = append(got, fmt.Sprint(e.UID, " ", e.User, " ", e.Received.Sub(at("", 0).Received), " ", len(e.Raw) > 0))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		return got
	}
	raw := fmt.Sprint(len(at("", 0).Raw) > 0)
	if d := cmp.Diff([]string{"a ann 30s " + raw, "a bob 20s " + raw, "c ann 50s " + raw}, fresh(10)); d != "" {
		t.Error(d)
	}
	if got := fresh(1); len(got) != 1 || got[0] != "c ann 50s "+raw {
		t.Errorf("the newest one is %q", got)
	}
}
