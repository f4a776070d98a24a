package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"takd/store/history/engine"
	"takd/store/history/engine/enginetest"
)

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// self runs this test binary as a child; TestMain knows what that means.
var self = []string{os.Args[0], engine.Command}

func TestMain(m *testing.M) {
	enginetest.Child()
	os.Exit(m.Run())
}

func start(t *testing.T, dir string) (*engine.Engine, driver.Conn) {
	t.Helper()
	run, err := os.MkdirTemp("", "takd") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Start(engine.Options{Command: self, Dir: dir, Socket: filepath.Join(run, "history.sock")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(func() {
		stop, end := context.WithTimeout(context.Background(), patience)
		defer end()
		if err := e.Stop(stop); err != nil {
			t.Error(err)
		}
		cancel()
		_ = os.RemoveAll(run)
	})
	if err := e.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	db, err := clickhouse.Open(&clickhouse.Options{
		Addr: []string{"history"}, Protocol: clickhouse.HTTP, DialContext: e.Dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return e, db
}

// What the driver writes comes back, in blocks, typed errors included.
func TestDriver(t *testing.T) {
	_, db := start(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := db.Exec(ctx, "CREATE TABLE t (n UInt64, s LowCardinality(String), g Array(LowCardinality(String)), at DateTime64(3, 'UTC'), x String) ENGINE = MergeTree ORDER BY n"); err != nil {
		t.Fatal(err)
	}
	var none uint64
	if err := db.QueryRow(ctx, "SELECT n FROM t").Scan(&none); err == nil {
		t.Error("a row of an empty table")
	}
	const rows = 100_000
	now := time.Now().UTC().Truncate(time.Millisecond)
	b, err := db.PrepareBatch(ctx, "INSERT INTO t (n, s, g, at, x)")
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if err := b.Append(uint64(i), fmt.Sprint("s", i%7), []string{"a", "b"}, now, "it's \\ and \n?"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Send(); err != nil {
		t.Fatal(err)
	}
	got, err := db.Query(ctx, "SELECT n, s, g, at, x FROM t WHERE x = ? ORDER BY n", "it's \\ and \n?")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	n := 0
	for ; got.Next(); n++ {
		var (
			i    uint64
			s, x string
			g    []string
			at   time.Time
		)
		if err := got.Scan(&i, &s, &g, &at, &x); err != nil {
			t.Fatal(err)
		}
		if int(i) != n || s != fmt.Sprint("s", n%7) || len(g) != 2 || !at.Equal(now) {
			t.Fatalf("row %d = %d %q %q %v", n, i, s, g, at)
		}
	}
	if err := got.Err(); err != nil || n != rows {
		t.Fatalf("%d rows, error %v; want %d", n, err, rows)
	}
	var parts uint64
	if err := db.QueryRow(ctx, "SELECT count() FROM system.parts WHERE active").Scan(&parts); err != nil || parts != 1 {
		t.Errorf("one insert made %d parts, %v: it has to be all or nothing", parts, err)
	}
	var typed *clickhouse.Exception
	if err := db.Exec(ctx, "SELECT nosuch"); !errors.As(err, &typed) || typed.Code != 47 {
		t.Errorf("unknown column: %v; want code 47", err)
	}
	late, err := db.Query(ctx, "SELECT throwIf(number > 500000) FROM numbers(1000000)")
	if err == nil {
		for late.Next() {
		}
		err = errors.Join(late.Err(), late.Close())
	}
	if err == nil || !strings.Contains(err.Error(), "throwIf") {
		t.Errorf("an error behind data: %v", err)
	}
}

// Who no longer wants an answer does not keep the engine busy.
func TestCancel(t *testing.T) {
	_, db := start(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := db.Exec(ctx, "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"); err == nil {
		t.Fatal("no error")
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var n uint64
		if err := db.QueryRow(t.Context(), "SELECT count() FROM system.processes WHERE query LIKE '%sipHash%' AND query NOT LIKE '%processes%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the query still runs")
		}
	}
}

// A killed child comes back with what it had acknowledged.
func TestKilled(t *testing.T) {
	e, db := start(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := db.Exec(ctx, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := db.Exec(ctx, fmt.Sprintf("INSERT INTO t VALUES (%d)", i)); err != nil {
			t.Fatal(err)
		}
		changed := e.Changed()
		if err := syscall.Kill(e.State().PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-changed
		if err := e.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var n uint64
	if err := db.QueryRow(ctx, "SELECT count() FROM t").Scan(&n); err != nil || n != 3 {
		t.Errorf("%d rows, %v; want 3", n, err)
	}
	if s := e.State(); s.Restarts != 3 || s.Memory == 0 {
		t.Errorf("state %+v; want 3 restarts and some memory", s)
	}
}

// The child's threads give way to the server's.
func TestGivesWay(t *testing.T) {
	e, db := start(t, t.TempDir())
	if err := db.Exec(t.Context(), "SELECT sum(number) FROM numbers_mt(1000000)"); err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", e.State().PID))
	if err != nil || len(threads) < 3 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		name, rest, _ := strings.Cut(string(text), ") ")                                                   // rest begins with the third field
		if nice := strings.Fields(rest)[19-3]; nice != "10" && !strings.HasSuffix(name, "(MemoryWorker") { // that one it raises itself, to keep its limit
			t.Errorf("%s (%s): nice %s; want 10", file, name, nice)
		}
	}
}

// A query that wants too much is refused; the child lives, within its limit.
func TestMemory(t *testing.T) {
	e, db := start(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	pid := e.State().PID
	var typed *clickhouse.Exception
	err := db.Exec(ctx, "SELECT length(groupArray(toString(number))) FROM numbers(100000000) SETTINGS max_memory_usage = 0")
	if !errors.As(err, &typed) || typed.Code != 241 {
		t.Errorf("%v; want code 241", err)
	}
	if s := e.State(); s.PID != pid || s.Restarts != 0 || s.Memory > s.Limit {
		t.Errorf("state %+v; want process %d, within its limit", s, pid)
	}
}

// A child that hangs is killed, and comes back.
func TestHangs(t *testing.T) {
	defer engine.SetPings(50*time.Millisecond, 500*time.Millisecond)()
	e, db := start(t, t.TempDir())
	changed := e.Changed()
	if err := syscall.Kill(e.State().PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-changed:
	case <-ctx.Done():
		t.Fatal("nobody noticed")
	}
	if err := e.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if err := db.Ping(ctx); err != nil || e.State().Restarts != 1 {
		t.Errorf("Ping = %v, state %+v", err, e.State())
	}
}

// Without the library there is a reason to show, and nothing else happens.
func TestNoLibrary(t *testing.T) {
	dir := t.TempDir()
	e, err := engine.Start(engine.Options{Command: self, Lib: filepath.Join(dir, "none.so"), Dir: dir, Socket: filepath.Join(dir, "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Stop(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := e.Wait(ctx); !errors.Is(err, engine.ErrUnavailable) || !strings.Contains(err.Error(), "none.so") {
		t.Errorf("Wait = %v; want ErrUnavailable with the path", err)
	}
	if _, err := e.Dial(ctx, ""); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("Dial = %v; want ErrUnavailable", err)
	}
}

// What is no library fails as often as it is tried, with what the loader says.
func TestBrokenLibrary(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "broken.so")
	if err := os.WriteFile(path, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Start(engine.Options{Command: self, Lib: path, Dir: dir, Socket: filepath.Join(dir, "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Stop(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := e.Wait(ctx); !errors.Is(err, engine.ErrUnavailable) || !strings.Contains(err.Error(), "broken.so") {
		t.Errorf("Wait = %v; want ErrUnavailable with what the loader said", err)
	}
}
