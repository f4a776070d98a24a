package history

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"takd/store/history/engine"
)

// Sampled is how many uids are sampled at one time.
const Sampled = sampled

// Size is how many uids are remembered.
func (p *Policy) Size() int { return len(p.last) }

// ColumnSizes tells what each column takes; for measurements.
func (s *Store) ColumnSizes(ctx context.Context) (out map[string]uint64, err error) {
	rows, err := s.db.Query(ctx, "SELECT column, sum(column_data_compressed_bytes) FROM system.parts_columns WHERE active AND table = 'cot' GROUP BY column ORDER BY 2 DESC")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out = make(map[string]uint64)
	for rows.Next() {
		var (
			name  string
			bytes uint64
		)
		if err := rows.Scan(&name, &bytes); err != nil {
			return nil, err
		}
		out[name] = bytes
	}
	return out, rows.Err()
}

// Copy inserts what was recorded of cot once more, later, without it passing here
// again: number tells the copies apart, 1 and up. Only what is recorded is copied.
func (s *Store) Copy(ctx context.Context, number int, later time.Duration) error {
	to := strings.Replace(stored, "batch, server_time", fmt.Sprintf("%d, server_time + toIntervalMillisecond(%d)", number, later.Milliseconds()), 1)
	uids := strings.Split("0123456789abcdefg", "") // what they begin with, to have pieces that fit into memory
	for i := range 16 {
		sql := fmt.Sprintf("INSERT INTO cot (%s) SELECT %s FROM cot WHERE batch > 4294967296 AND uid >= 'ANDROID-%s' AND uid < 'ANDROID-%s' SETTINGS min_insert_block_size_rows = 150000, min_insert_block_size_bytes = 0", stored, to, uids[i], uids[i+1])
		if err := s.db.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// Merging tells how many merges are under way.
func (s *Store) Merging(ctx context.Context) (n uint64, err error) {
	return n, s.db.QueryRow(ctx, "SELECT count() FROM system.merges").Scan(&n)
}

// embedded are the options of a history of t's own, and a context for it.
func embedded(t *testing.T) (context.Context, Options) {
	t.Helper()
	run, err := os.MkdirTemp("", "takd") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx, Options{Command: []string{os.Args[0], engine.Command}, Dir: t.TempDir(), Socket: filepath.Join(run, "history.sock")}
}

// opened is a history whose engine answers. It is closed behind the test.
func opened(ctx context.Context, t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(ctx) })
	if err := s.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}
