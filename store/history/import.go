package history

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// imported marks the ids of imported batches; those of others are times, and lower.
const imported = 1 << 63

// Import inserts events and returns how many are new. They are named by what is
// in them: the same events, in the same pieces, are inserted once. It goes past
// the queue and the spool, so that an error leaves the rest to whoever has it.
func (s *Store) Import(ctx context.Context, events []*Event) (added int, err error) {
	for i, e := range events {
		if !known(e.Table) {
			return 0, fmt.Errorf("%w: event %d: table %q", ErrInvalid, i, e.Table)
		}
	}
	if err := s.prepare(ctx); err != nil {
		return 0, err
	}
	s.importing.Lock()
	defer s.importing.Unlock()
	for _, b := range newGroup(0, events, 0).Batches {
		b.ID = b.sum()
		there, err := b.there(ctx, s.db)
		if err == nil && !there {
			b.split(s.shaper)
			err = b.send(ctx, s.db)
			added += len(b.Rows)
		}
		if err != nil {
			return added, fmt.Errorf("import history: %w", err)
		}
	}
	return added, nil
}

// sum is the id of an imported batch.
func (b *batch) sum() uint64 {
	h := sha256.New()
	for _, e := range b.Rows {
		_, _ = fmt.Fprintf(h, "%d %q %q %q %q %q %q\n%d ", e.Received.UnixMilli(), b.Table, e.User, e.Sender, e.Groups, e.Dests, e.Mission, len(e.Raw))
		_, _ = h.Write(e.Raw)
	}
	return binary.BigEndian.Uint64(h.Sum(nil)) | imported
}

// Ping asks the database for its version and tells how long the answer took.
func (s *Store) Ping(ctx context.Context) (version string, took time.Duration, err error) {
	if err := s.prepare(ctx); err != nil {
		return "", 0, err
	}
	began := time.Now()
	if err := s.db.QueryRow(ctx, "SELECT version()").Scan(&version); err != nil {
		return "", 0, fmt.Errorf("ping history: %w", err)
	}
	return version, time.Since(began), nil
}

// SchemaVersion is what the tables are brought up to.
const SchemaVersion = 3
