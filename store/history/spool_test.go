package history_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"takd/store/history"
)

// Without the engine events wait on disk, and follow when it is there.
func TestSpoolIsDrained(t *testing.T) {
	dir := t.TempDir()
	o := options(t, dir)
	o.EnginePath = filepath.Join(dir, "none.so")
	s := open(t, o)
	const n = 3000
	for i := range n {
		record(t, s, at(fmt.Sprint(i), i))
		if i%1000 == 0 {
			time.Sleep(150 * time.Millisecond) // several segments
		}
	}
	if err := s.Query(within(t), history.Query{}, nil); !errors.Is(err, history.ErrUnavailable) {
		t.Errorf("Query = %v; want ErrUnavailable", err)
	}
	shut(t, s)
	if st := s.Health().Spool; st.Segments < 2 || st.Rows != n || st.Dropped != 0 {
		t.Errorf("spool %+v; want %d rows in some segments", st, n)
	}
	o.EnginePath = ""
	s = opened(t, o)
	flush(t, s)
	once(t, s, n)
	if st := s.Health().Spool; st.Segments != 0 || st.Bytes != 0 {
		t.Errorf("spool %+v; want nothing", st)
	}
}

// A segment that was written to the database, and not yet removed, is not written again.
func TestSpoolAfterACrash(t *testing.T) {
	dir := t.TempDir()
	o := options(t, dir)
	o.EnginePath = filepath.Join(dir, "none.so")
	s := open(t, o)
	record(t, s, at("a", 0), at("b", 1), at("c", 86400))
	shut(t, s)
	segments, _ := filepath.Glob(filepath.Join(dir, "spool", "*.seg"))
	if len(segments) != 1 {
		t.Fatalf("segments %q; want one", segments)
	}
	kept, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	o.EnginePath = ""
	for range 3 {
		if err := os.WriteFile(segments[0], kept, 0o600); err != nil {
			t.Fatal(err)
		}
		s = opened(t, o)
		flush(t, s)
		once(t, s, 3)
		shut(t, s)
	}
}

// Past the cap the oldest go, and are counted. A damaged segment is set aside.
func TestSpoolCapAndDamage(t *testing.T) {
	dir := t.TempDir()
	o := options(t, dir)
	o.EnginePath = filepath.Join(dir, "none.so")
	o.SpoolMax = 1 << 20
	s := open(t, o)
	noise := make([]byte, 200<<10)
	for i := range noise {
		noise[i] = byte(i * i >> 3 * 7919 >> (i % 11)) // does not compress away
	}
	const n = 12
	for i := range n {
		raw := slices.Clone(noise)
		for j := range raw {
			raw[j] ^= byte((j*2654435761 + i*40503) >> 13)
		}
		record(t, s, at(fmt.Sprint(i), i, func(e *history.Event) { e.Raw = raw }))
		time.Sleep(150 * time.Millisecond)
	}
	shut(t, s)
	st := s.Health().Spool
	if st.Bytes > o.SpoolMax || st.Dropped == 0 || st.Dropped+st.Rows != n {
		t.Fatalf("spool %+v; want at most %d bytes, and %d rows with those dropped", st, o.SpoolMax, n)
	}
	segments, _ := filepath.Glob(filepath.Join(dir, "spool", "*.seg"))
	b, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(segments[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(segments[1], 10); err != nil {
		t.Fatal(err)
	}
	o.EnginePath = ""
	s = opened(t, o)
	flush(t, s)
	got := query(t, s, history.Query{})
	if len(got) != len(segments)-2 || got[len(got)-1].UID != fmt.Sprint(n-1) {
		t.Errorf("%d events; want those of %d segments, the newest included", len(got), len(segments)-2)
	}
	if st := s.Health().Spool; st.Damaged != 2 || st.Segments != 0 {
		t.Errorf("spool %+v; want 2 damaged", st)
	}
}
