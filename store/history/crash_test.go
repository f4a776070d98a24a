package history_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"takd/store/history"
)

// recordCommand makes this test binary a process that records until it is killed.
const recordCommand = "record-until-killed"

// recorder records one event after the other and prints what it has recorded,
// and when.
func recorder(dir, socket, lib string, first int) int {
	s, err := history.Open(history.Options{Command: self, Dir: dir, Socket: socket, EnginePath: lib, Flush: crashFlush})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for n := first; ; n++ {
		if !s.Record(at(fmt.Sprint("n", n), n%3600)) {
			return 1
		}
		fmt.Println(n, time.Now().UnixMilli())
		time.Sleep(time.Millisecond)
	}
}

const crashFlush = 300 * time.Millisecond

// A takd that is killed loses what it received in the last flush interval, and
// nothing else; nothing is there twice. With the engine and without it.
func TestKilledServer(t *testing.T) {
	dir := t.TempDir()
	o := options(t, dir)
	n := 0
	var sure []int // recorded longer ago than the interval, when it was killed
	for _, lib := range []string{"", "none.so", ""} {
		cmd := exec.Command(os.Args[0], recordCommand, dir, o.Socket, lib, strconv.Itoa(n))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(2500*time.Millisecond, func() { _ = cmd.Process.Kill() })
		type line struct {
			n  int
			at int64
		}
		var lines []line
		for sc := bufio.NewScanner(out); sc.Scan(); {
			var l line
			if _, err := fmt.Sscan(sc.Text(), &l.n, &l.at); err == nil {
				lines = append(lines, l)
			}
		}
		_ = cmd.Wait()
		if len(lines) < 100 {
			t.Fatalf("only %d events were recorded", len(lines))
		}
		killed := lines[len(lines)-1].at
		for _, l := range lines {
			// Busy machines are late; the interval itself is what must not grow with the run.
			if l.at < killed-2*crashFlush.Milliseconds() {
				sure = append(sure, l.n)
			}
		}
		n = lines[len(lines)-1].n + 10
	}
	s := opened(t, o)
	flush(t, s)
	seen := make(map[string]int)
	for _, e := range query(t, s, history.Query{}) {
		seen[e.UID]++
	}
	var missing, twice []string
	for _, i := range sure {
		if uid := fmt.Sprint("n", i); seen[uid] == 0 {
			missing = append(missing, uid)
		}
	}
	for uid, k := range seen {
		if k > 1 {
			twice = append(twice, uid)
		}
	}
	if len(missing) > 0 || len(twice) > 0 {
		t.Errorf("of %d events %d are missing (%s), %d there more than once (%s)", len(sure),
			len(missing), strings.Join(missing[:min(5, len(missing))], " "), len(twice), strings.Join(twice[:min(5, len(twice))], " "))
	}
}
