package history_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"takd/store/history"
)

// Kills with SIGKILL, ten of the engine and ten of takd, during a run:
//
//	go test ./store/history -run '^$' -bench Killed -benchtime 1x
//
// lost-ms is how long before its kill takd received the oldest event that is missing.
func BenchmarkKilled(b *testing.B) {
	b.Run("engine", func(b *testing.B) {
		for b.Loop() {
			killedEngine(b)
		}
	})
	b.Run("takd", func(b *testing.B) {
		for b.Loop() {
			killedServer(b)
		}
	})
}

const kills = 10

func killedEngine(b *testing.B) {
	b.Helper()
	run := must(os.MkdirTemp("", "takd"))
	defer func() { _ = os.RemoveAll(run) }()
	s := must(history.Open(history.Options{Command: self, Dir: b.TempDir(), Socket: filepath.Join(run, "s")}))
	defer func() { _ = s.Close(b.Context()) }()
	if err := s.Wait(b.Context()); err != nil {
		b.Fatal(err)
	}
	n := 0
	for killed, next := 0, time.Now().Add(time.Second); killed < kills; time.Sleep(10 * time.Millisecond) {
		for range 50 {
			if s.Record(at(fmt.Sprint(n), n%3600)) {
				n++
			}
		}
		if c := s.Health().Child; time.Now().After(next) && c.PID != 0 {
			_ = syscall.Kill(c.PID, syscall.SIGKILL)
			killed, next = killed+1, time.Now().Add(time.Second)
		}
	}
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	report(b, s, n)
}

// report counts what of n events is missing, and what is there twice.
func report(b *testing.B, s *history.Store, n int) (seen map[string]int) {
	b.Helper()
	seen, twice := map[string]int{}, 0
	if err := s.Query(b.Context(), history.Query{}, func(e *history.Event) error {
		if seen[e.UID]++; seen[e.UID] > 1 {
			twice++
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n), "events")
	b.ReportMetric(float64(n-len(seen)), "missing")
	b.ReportMetric(float64(twice), "twice")
	return seen
}

func killedServer(b *testing.B) {
	b.Helper()
	run := must(os.MkdirTemp("", "takd"))
	defer func() { _ = os.RemoveAll(run) }()
	o := history.Options{Command: self, Dir: b.TempDir(), Socket: filepath.Join(run, "s")}
	before := map[int]int64{} // of each event, how many milliseconds before the kill it came
	n := 0
	for range kills {
		cmd := exec.Command(os.Args[0], recordCommand, o.Dir, o.Socket, "", strconv.Itoa(n))
		out := must(cmd.StdoutPipe())
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		time.AfterFunc(2500*time.Millisecond, func() { _ = cmd.Process.Kill() })
		at := map[int]int64{}
		last := int64(0)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			var ms int64
			if _, err := fmt.Sscan(sc.Text(), &n, &ms); err == nil {
				at[n], last = ms, ms
			}
		}
		_ = cmd.Wait()
		for i, ms := range at {
			before[i] = last - ms
		}
		n += 10
	}
	s := must(history.Open(o))
	defer func() { _ = s.Close(b.Context()) }()
	if err := s.Wait(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	seen, oldest := report(b, s, len(before)), int64(0)
	missing := 0
	for i, ms := range before {
		if seen[fmt.Sprint("n", i)] == 0 {
			missing++
			oldest = max(oldest, ms)
		}
	}
	b.ReportMetric(float64(missing), "missing")
	b.ReportMetric(float64(oldest), "lost-ms")
}
