package history

import (
	"context"
	"fmt"
	"time"

	"takd/store/history/engine"
)

// Partition is what retention removes at once.
type Partition struct {
	ID    string    `json:"id"`
	Rows  uint64    `json:"rows"`
	Bytes uint64    `json:"bytes"`
	From  time.Time `json:"from"` // of its oldest event
	To    time.Time `json:"to"`   // of its newest event
	// End is when it holds no more events: it goes when this is longer ago than its
	// class is kept. Zero for a partition that never goes.
	End time.Time `json:"end,omitzero"`
}

// TableStats is how much a table holds.
type TableStats struct {
	Name       string      `json:"name"`
	Rows       uint64      `json:"rows"`
	Bytes      uint64      `json:"bytes"`
	Partitions []Partition `json:"partitions"` // oldest first
}

// Stats is how history is.
type Stats struct {
	Engine      string        `json:"engine"` // off, embedded or external
	State       string        `json:"state"`
	Reason      string        `json:"reason,omitempty"`
	Child       *engine.State `json:"child,omitempty"`
	PartitionBy string        `json:"partition_by,omitempty"`
	Rows        uint64        `json:"rows"`
	Bytes       uint64        `json:"bytes"`
	Oldest      *time.Time    `json:"oldest"`
	Newest      *time.Time    `json:"newest"`
	Received    uint64        `json:"received"` // since the start
	Written     uint64        `json:"written"`
	Rate        uint64        `json:"rows_per_second"` // written lately
	Errors      uint64        `json:"errors"`          // writes that failed; they are tried again
	Dropped     uint64        `json:"dropped"`         // found no room in memory
	Waiting     int           `json:"waiting"`         // in memory
	Spool       SpoolStats    `json:"spool"`
	Tables      []TableStats  `json:"tables"`
}

// Health is Stats without the tables: it does not ask the database.
func (s *Store) Health() Stats {
	if s.rec == nil {
		return Stats{Engine: Off, State: Off, Tables: []TableStats{}}
	}
	st := Stats{
		Engine: "external", State: engine.Ready, Tables: []TableStats{},
		Received: s.rec.taken.Load(), Written: s.rec.written.Load(), Dropped: s.rec.dropped.Load(),
		Rate: s.rec.rate.Load(), Errors: s.rec.errors.Load(),
		Waiting: len(s.rec.queue), Spool: s.spool.stats(),
	}
	if s.engine != nil {
		child := s.engine.State()
		st.Engine, st.State, st.Reason, st.Child = Embedded, child.Name, child.Reason, &child
	}
	s.rec.mu.Lock()
	failed := s.rec.failed
	s.rec.mu.Unlock()
	if failed != nil && st.Reason == "" {
		st.Reason = failed.Error()
		if s.engine == nil {
			st.State = engine.Unavailable
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.PartitionBy = s.partition
	if s.refusal != nil {
		st.State, st.Reason = engine.Unavailable, s.refusal.Error()
	}
	return st
}

// Stats asks the database too. Where that does not answer, what is known without
// it comes with the error.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	st := s.Health()
	if s.rec == nil {
		return st, nil
	}
	if err := s.prepare(ctx); err != nil {
		return st, err
	}
	for _, name := range Tables {
		t, err := s.table(ctx, name)
		if err != nil {
			return s.Health(), err
		}
		st.Tables = append(st.Tables, t)
		st.Rows += t.Rows
		st.Bytes += t.Bytes
		for _, p := range t.Partitions {
			if st.Oldest == nil || p.From.Before(*st.Oldest) {
				st.Oldest = &p.From
			}
			if st.Newest == nil || p.To.After(*st.Newest) {
				st.Newest = &p.To
			}
		}
	}
	return st, nil
}

// table reads the partitions of a table. Both queries read what the engine keeps
// about parts, not rows.
func (s *Store) table(ctx context.Context, name string) (t TableStats, err error) {
	t = TableStats{Name: name, Partitions: []Partition{}}
	rows, err := s.db.Query(ctx, "SELECT _partition_id, count(), min(server_time), max(server_time) FROM "+name+" GROUP BY _partition_id ORDER BY _partition_id")
	if err != nil {
		return t, fmt.Errorf("history partitions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var p Partition
		if err := rows.Scan(&p.ID, &p.Rows, &p.From, &p.To); err != nil {
			return t, fmt.Errorf("history partitions: %w", err)
		}
		t.Partitions = append(t.Partitions, p)
	}
	if err := rows.Err(); err != nil {
		return t, fmt.Errorf("history partitions: %w", err)
	}
	sizes, err := s.sizes(ctx, name)
	if err != nil {
		return t, err
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		p.Bytes = sizes[p.ID]
		p.End, _ = partitionEnd(p.ID)
		t.Rows += p.Rows
		t.Bytes += p.Bytes
	}
	return t, nil
}

func (s *Store) sizes(ctx context.Context, name string) (map[string]uint64, error) {
	rows, err := s.db.Query(ctx, "SELECT partition_id, sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table = ? GROUP BY partition_id", name)
	if err != nil {
		return nil, fmt.Errorf("history partitions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := make(map[string]uint64)
	for rows.Next() {
		var (
			id    string
			bytes uint64
		)
		if err := rows.Scan(&id, &bytes); err != nil {
			return nil, fmt.Errorf("history partitions: %w", err)
		}
		out[id] = bytes
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("history partitions: %w", err)
	}
	return out, nil
}

// Dropped is a partition that went, or would go.
type Dropped struct {
	Table     string `json:"table"`
	Partition string `json:"partition"`
	Rows      uint64 `json:"rows"`
	Bytes     uint64 `json:"bytes"`
}

// Drop removes the partitions of a table whose newest possible event is older
// than ttl, oldest first; with dryRun it only tells which. What was dropped comes
// back with an error too.
func (s *Store) Drop(ctx context.Context, table string, ttl time.Duration, dryRun bool) ([]Dropped, error) {
	if !known(table) || ttl < 0 {
		return nil, fmt.Errorf("%w: drop %q, ttl %s", ErrInvalid, table, ttl)
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	t, err := s.table(ctx, table)
	if err != nil {
		return nil, err
	}
	limit := time.Now().Add(-ttl)
	out := []Dropped{}
	for _, p := range t.Partitions {
		end, ok := partitionEnd(p.ID)
		if !ok || end.After(limit) {
			continue
		}
		if !dryRun {
			if err := s.dropPartition(ctx, table, p.ID); err != nil {
				return out, err
			}
		}
		out = append(out, Dropped{Table: table, Partition: p.ID, Rows: p.Rows, Bytes: p.Bytes})
	}
	return out, nil
}

// DropOldest removes the oldest partition of these tables, but never the newest of
// one. Nothing is returned where there is none to remove.
func (s *Store) DropOldest(ctx context.Context, tables []string) ([]Dropped, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	var oldest *Dropped
	var at time.Time
	for _, name := range tables {
		if !known(name) {
			return nil, fmt.Errorf("%w: table %q", ErrInvalid, name)
		}
		t, err := s.table(ctx, name)
		if err != nil {
			return nil, err
		}
		if len(t.Partitions) < 2 {
			continue
		}
		p := t.Partitions[0]
		if end, ok := partitionEnd(p.ID); ok && (oldest == nil || end.Before(at)) {
			oldest, at = &Dropped{Table: name, Partition: p.ID, Rows: p.Rows, Bytes: p.Bytes}, end
		}
	}
	if oldest == nil {
		return nil, nil
	}
	return []Dropped{*oldest}, s.dropPartition(ctx, oldest.Table, oldest.Partition)
}

func (s *Store) dropPartition(ctx context.Context, table, id string) error {
	if err := s.db.Exec(ctx, "ALTER TABLE "+table+" DROP PARTITION ID '"+id+"'"); err != nil {
		return fmt.Errorf("drop partition %s of %s: %w", id, table, err)
	}
	return nil
}

// partitionEnd returns the first moment after a partition, 20060102 or 2006010215.
func partitionEnd(id string) (time.Time, bool) {
	if t, err := time.Parse("20060102", id); err == nil {
		return t.AddDate(0, 0, 1), true
	}
	if t, err := time.Parse("2006010215", id); err == nil {
		return t.Add(time.Hour), true
	}
	return time.Time{}, false
}
