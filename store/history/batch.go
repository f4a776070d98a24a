package history

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// batch is what one insert writes: rows of one partition of one table, so that
// it becomes one part, which is there whole or not at all.
type batch struct {
	ID    uint64
	Table string
	Rows  []*Event

	shapes []string // of the rows' events, and what else is in those; nil until split
	rests  [][]byte
}

// split takes the events of b apart, once.
func (b *batch) split(s *shaper) {
	if b.shapes == nil {
		b.shapes, b.rests = s.split(b.Rows)
	}
}

// group is the batches of one flush. Groups are written in order of their IDs.
type group struct {
	ID      uint64
	Batches []*batch

	rows    int
	bytes   int64
	spooled bool
	done    chan error
}

// groupShift makes room in IDs, which are times, for those of a group's batches.
const groupShift = 10

// newGroup sorts events into batches. The partitions of the finest kind are
// used whatever the tables have: an hour is never in two days.
func newGroup(id uint64, events []*Event, bytes int64) *group {
	type key struct {
		table string
		hour  int64
	}
	g := &group{ID: id, rows: len(events), bytes: bytes, done: make(chan error, 1)}
	found := make(map[key]*batch)
	for _, e := range events {
		k := key{e.Table, e.Received.Unix() / 3600}
		b := found[k]
		if b == nil {
			b = &batch{ID: id + uint64(len(g.Batches)), Table: e.Table}
			found[k] = b
			g.Batches = append(g.Batches, b)
		}
		b.Rows = append(b.Rows, e)
	}
	return g
}

// stored are the columns of an insert, in the order of columnar.
const stored = "batch, server_time, lag, start_after, stale_after, uid, callsign, type, how, lat, lon, hae_dm, ce_dm, le_dm, speed_cms, course_ddeg, " +
	"team, role, groups, user, sender, source, dests, flow, mission, room, text, shape, event"

// send inserts a batch.
func (b *batch) send(ctx context.Context, db driver.Conn) error {
	to, err := db.PrepareBatch(ctx, "INSERT INTO "+b.Table+" ("+stored+")")
	if err != nil {
		return fmt.Errorf("insert into %s: %w", b.Table, err)
	}
	defer func() { _ = to.Close() }()
	for i, column := range b.columnar() {
		if err := to.Column(i).Append(column); err != nil {
			return fmt.Errorf("insert into %s: column %d: %w", b.Table, i, err)
		}
	}
	if err := to.Send(); err != nil {
		return fmt.Errorf("insert into %s: %w", b.Table, err)
	}
	return nil
}

// there tells whether the batch is in its table already. The bounds of its time
// keep that a look at a few granules.
func (b *batch) there(ctx context.Context, db driver.Conn) (bool, error) {
	from, to := b.Rows[0].Received, b.Rows[0].Received
	for _, e := range b.Rows {
		if e.Received.Before(from) {
			from = e.Received
		}
		if e.Received.After(to) {
			to = e.Received
		}
	}
	var n uint64
	err := db.QueryRow(ctx, "SELECT count() FROM "+b.Table+" WHERE batch = ? AND server_time >= fromUnixTimestamp64Milli(?) AND server_time <= fromUnixTimestamp64Milli(?)"+
		" AND "+fromBucket+" AND bucket <= toDateTime(?)",
		b.ID, from.UnixMilli(), to.UnixMilli(), bucket(from), hour(from), to.Unix()).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for batch %d: %w", b.ID, err)
	}
	return n > 0, nil
}

// Rows lie together by pieces of time: those of Cot by the hour, others, and those
// of Cot from before version 3 of the schema, by ten minutes.
const (
	bucketSeconds = 600
	hourSeconds   = 3600
)

// fromBucket is the condition of both kinds of buckets from a time on; its arguments
// are what bucket and hour say.
const fromBucket = "(bucket >= toDateTime(?) OR bucket = toDateTime(?))"

// fromMinute and untilMinute are the conditions of times, also by the minute, which
// leads the order of the projection; their arguments are minutes and milliseconds.
const (
	fromMinute  = "toStartOfMinute(server_time) >= toDateTime(?) AND server_time >= fromUnixTimestamp64Milli(?)"
	untilMinute = "toStartOfMinute(server_time) <= toDateTime(?) AND server_time < fromUnixTimestamp64Milli(?)"
)

// minute is the start of the minute of t.
func minute(t time.Time) int64 { return seconds(t) / 60 * 60 }

// bucket is the start of the ten minutes of t, hour that of its hour.
func bucket(t time.Time) int64 { return seconds(t) / bucketSeconds * bucketSeconds }
func hour(t time.Time) int64   { return seconds(t) / hourSeconds * hourSeconds }

func column[T any](rows []*Event, get func(*Event) T) []T {
	out := make([]T, len(rows))
	for i, e := range rows {
		out[i] = get(e)
	}
	return out
}

func (b *batch) columnar() []any {
	r := b.Rows
	text := func(get func(*Event) string) []string { return column(r, func(e *Event) string { return get(e) }) }
	number := func(unit float64, get func(*Event) float64) []int32 {
		return column(r, func(e *Event) int32 { return scaled(get(e), unit) })
	}
	apart := func(get func(*Event) (from, to time.Time)) []int64 {
		return column(r, func(e *Event) int64 {
			from, to := get(e)
			return storable(to).UnixMilli() - storable(from).UnixMilli()
		})
	}
	return []any{
		column(r, func(*Event) uint64 { return b.ID }),
		column(r, func(e *Event) time.Time { return storable(e.Received) }),
		apart(func(e *Event) (from, to time.Time) { return e.Time, e.Received }),
		apart(func(e *Event) (from, to time.Time) { return e.Time, e.Start }),
		apart(func(e *Event) (from, to time.Time) { return e.Time, e.Stale }),
		text(func(e *Event) string { return e.UID }),
		text(func(e *Event) string { return e.Callsign }),
		text(func(e *Event) string { return e.Type }),
		text(func(e *Event) string { return e.How }),
		number(degree, func(e *Event) float64 { return e.Lat }),
		number(degree, func(e *Event) float64 { return e.Lon }),
		number(deci, func(e *Event) float64 { return e.HAE }),
		number(deci, func(e *Event) float64 { return e.CE }),
		number(deci, func(e *Event) float64 { return e.LE }),
		number(centi, func(e *Event) float64 { return e.Speed }),
		number(deci, func(e *Event) float64 { return e.Course }),
		text(func(e *Event) string { return e.Team }),
		text(func(e *Event) string { return e.Role }),
		column(r, func(e *Event) []string { return e.Groups }),
		text(func(e *Event) string { return e.User }),
		text(func(e *Event) string { return e.Sender }),
		text(func(e *Event) string { return e.Source }),
		column(r, func(e *Event) []string { return e.Dests }),
		column(r, func(e *Event) []string { return e.Flow }),
		text(func(e *Event) string { return e.Mission }),
		text(func(e *Event) string { return e.Room }),
		text(func(e *Event) string { return e.Text }),
		b.shapes,
		b.rests,
	}
}

var (
	earliest = time.Unix(0, 0).UTC()
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// storable keeps a time that a client made up within what the database takes, and
// time.Duration between any two.
func storable(t time.Time) time.Time {
	switch {
	case t.Before(earliest): // the zero time as well
		return earliest
	case t.After(latest):
		return latest
	}
	return t
}

// known tells whether there is such a table.
func known(table string) bool { return slices.Contains(Tables, table) }
