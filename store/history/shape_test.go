package history

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"takd/store/history/engine"
)

var shaped = time.Date(2026, 5, 4, 12, 0, 5, 7e6, time.UTC)

func position(raw string) *Event {
	return &Event{
		UID: "ANDROID-1", Callsign: "ALPHA 1", Time: shaped, Start: shaped, Stale: shaped.Add(75 * time.Second), Lat: 48.1234567, Lon: -11.5, HAE: 520.178, CE: 4.2,
		LE: Unknown, Speed: 1.412345, Course: 123.456789, Raw: []byte(raw),
	}
}

const usual = `<event version="2.0" uid="ANDROID-1" type="a-f-G-U-C" how="m-g" time="2026-05-04T12:00:05.007Z" start="2026-05-04T12:00:05.007Z" stale="2026-05-04T12:01:20.007Z">` +
	`<point lat="48.1234567" lon="-11.5" hae="520.178" ce="4.2" le="9999999.0"/><detail><contact endpoint="*:-1:stcp" callsign="ALPHA 1"/><status battery="87"/>` +
	`<track course="123.456789" speed="1.412345"/></detail></event>`

// Whatever an event looks like, it comes back byte for byte; and one as clients send
// them leaves next to nothing.
func TestShapes(t *testing.T) {
	texts := []string{
		usual, strings.ReplaceAll(usual, `"`, `'`), strings.ReplaceAll(usual, ".007Z", "Z"), strings.ReplaceAll(usual, ".007Z", ".007000Z"),
		strings.ReplaceAll(usual, `lat="48.1234567"`, `lat="48.12345671234"`), strings.ReplaceAll(usual, `lon="-11.5"`, `lon="-11.5000000"`),
		strings.ReplaceAll(usual, `lon="-11.5"`, `lon = "-11.5"`), strings.ReplaceAll(usual, `-11.5`, `-11.50`), strings.ReplaceAll(usual, `-11.5`, `-0.0`),
		strings.ReplaceAll(usual, `4.2`, `+4.2`), strings.ReplaceAll(usual, `4.2`, `004.2`), strings.ReplaceAll(usual, `4.2`, `4.`), strings.ReplaceAll(usual, `4.2`, `.2`),
		strings.ReplaceAll(usual, `4.2`, `4.2E0`), strings.ReplaceAll(usual, `9999999.0`, `9999999`), strings.ReplaceAll(usual, `520.178`, `-0.178`),
		strings.ReplaceAll(usual, `520.178`, `99999999999999999999`), strings.ReplaceAll(usual, `520.178`, `1.1.1`), strings.ReplaceAll(usual, `520.178`, `NaN`),
		strings.ReplaceAll(usual, `520.178`, ``), strings.ReplaceAll(usual, `520.178`, `-`), strings.ReplaceAll(usual, `ALPHA 1`, `Ä &amp; "`),
		"", "=", `="`, `=""`, `a="1`, "<event>\x01\x02</event>", "\x01u", "\x02", "\x00\xff", strings.Repeat(`<a b="1"/>`, 2000), `lat="48.1234567"`, ` lat="48.1234567"`,
	}
	s := newShaper()
	split := 0
	for _, text := range texts {
		for range 2 {
			e := position(text)
			shapes, rests := s.split([]*Event{e})
			if shapes[0] == "" {
				if string(rests[0]) != text {
					t.Errorf("whole: %q of %q", rests[0], text)
				}
				continue
			}
			split++
			got, ok := join(nil, shapes[0], rests[0], e.cells())
			if !ok || string(got) != text {
				t.Errorf("joined %q, %v; want %q", got, ok, text)
			}
		}
	}
	if split < len(texts)/2 {
		t.Errorf("only %d of %d were taken apart", split, len(texts))
	}
	if _, rests := s.split([]*Event{position(usual)}); len(rests[0]) > 30 {
		t.Errorf("rest of a usual event: %q", rests[0])
	}
}

// What is remembered of shapes is bounded.
func TestShapesAreBounded(t *testing.T) {
	s := newShaper()
	for i := range 3 * maxShapes {
		s.split([]*Event{position(fmt.Sprintf(`<event a="x%d"/>`, i))})
	}
	if n := len(s.young) + len(s.old); n > 2*maxShapes {
		t.Errorf("%d shapes", n)
	}
	if shapes, rests := s.split([]*Event{position(strings.Repeat("<a/>", maxShape))}); shapes[0] != "" || len(rests[0]) != 4*maxShape {
		t.Error("a long shape was remembered")
	}
}

func FuzzShapes(f *testing.F) {
	f.Add([]byte(usual), 48.1234567, int64(1777896005007))
	f.Add([]byte(`<a lat='-0.0' time='2026-05-04T12:00:05Z'>`), -90.0, int64(-5))
	f.Fuzz(func(t *testing.T, raw []byte, n float64, ms int64) {
		e := position("")
		e.Raw, e.Lat, e.HAE, e.Speed, e.Time = raw, n, n, n, time.UnixMilli(ms)
		s := newShaper()
		s.split([]*Event{e})
		shapes, rests := s.split([]*Event{e})
		got, ok := rests[0], true
		if shapes[0] != "" {
			got, ok = join(nil, shapes[0], rests[0], e.cells())
		}
		if !ok || !bytes.Equal(got, raw) {
			t.Errorf("joined %q, %v; want %q", got, ok, raw)
		}
	})
}

// Events that were recorded before there were shapes come back with those that came
// after; tables of the first version are brought up to date with what is in them.
func TestMigrateWithData(t *testing.T) {
	run, err := os.MkdirTemp("", "takd")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(run) }()
	o := Options{Command: []string{os.Args[0], engine.Command}, Dir: t.TempDir(), Socket: filepath.Join(run, "s"), Flush: 50 * time.Millisecond}
	all := migrations
	defer func() { migrations = all }()
	migrations = all[:1]
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := s.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	for _, table := range Tables {
		old := "INSERT INTO " + table + " (batch, server_time, lag, stale_after, uid, type, lat, groups, event) SELECT 1, fromUnixTimestamp64Milli(1777896000000 + number), 5, 60000, 'old', 'a-f', 481234567, ['Blue'], concat('<event n=\"', toString(number), '\"/>') FROM numbers(1000)"
		if err := s.db.Exec(ctx, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	migrations = all
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(ctx) }()
	for range 3 {
		e := position(usual)
		e.Table, e.Received = Cot, shaped
		s.Record(e)
	}
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for _, table := range Tables {
		old, n := 0, 0
		err := s.Query(ctx, Query{Table: table}, func(e *Event) error {
			n++
			switch e.UID {
			case "old":
				if string(e.Raw) != fmt.Sprintf(`<event n="%d"/>`, old) || e.Lat != 48.1234567 || e.Received.Sub(e.Time) != 5*time.Millisecond {
					t.Errorf("%s: %+v, %s", table, e, e.Raw)
				}
				old++
			default:
				if string(e.Raw) != usual {
					t.Errorf("%s: %s", table, e.Raw)
				}
			}
			return nil
		})
		want := 1000
		if table == Cot {
			want += 3
		}
		if err != nil || old != 1000 || n != want {
			t.Errorf("%s: %d events, %d of them old: %v; want %d", table, n, old, err, want)
		}
	}
	var shapes uint64
	if err := s.db.QueryRow(ctx, "SELECT countIf(shape != '') FROM cot").Scan(&shapes); err != nil || shapes < 2 {
		t.Errorf("%d events have a shape, %v; want 2 or more", shapes, err)
	}
}
