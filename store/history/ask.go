package history

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// How a question is asked depends on what it is about: events of one uid lie together
// by the hour, and are read there. What is wanted of everybody in a stretch of time is
// looked up in the projection of Cot, which has the minutes together, but not the
// events. Where events are wanted too, a few are then read by their place in the
// table, and many hour by hour, sorted outside of memory.

// question is a Query as SQL.
type question struct {
	Query
	table, where string
	args         []any
}

// asked checks what is asked for.
func (s *Store) asked(ctx context.Context, q Query) (a question, err error) {
	if err := q.Validate(); err != nil {
		return a, err
	}
	a = question{Query: q, table: cmp.Or(q.Table, Cot)}
	if a.where, a.args, err = q.where(); err != nil {
		return a, err
	}
	return a, s.prepare(ctx)
}

// and is a with one more condition.
func (a question) and(cond string, args ...any) question {
	a.where += " AND " + cond
	a.args = append(slices.Clip(a.args), args...)
	return a
}

// in orders by these columns.
func (a question) in(columns string) string {
	if a.Newest {
		columns = strings.ReplaceAll(columns, ",", " DESC,") + " DESC"
	}
	return " ORDER BY " + columns
}

// receipt is the order of receipt. The bucket leads the order of the table; in Cot
// there are two kinds of them.
func (a question) receipt() string {
	if a.table == Cot {
		return a.in("toStartOfHour(bucket), server_time, uid, type, batch")
	}
	return a.in("bucket, server_time, uid, type, batch")
}

// sql asks for columns in order of receipt.
func (a question) sql(columns, order string) string {
	sql := "SELECT " + columns + " FROM " + a.table + " WHERE " + a.where + order
	if a.Limit > 0 {
		sql += fmt.Sprintf(" LIMIT %d", a.Limit)
	}
	return sql
}

// maxKeys is how many events are read by their places.
const maxKeys = 20_000

// byMinute is the order of the projection, and then that of receipt.
const byMinute = "toStartOfMinute(server_time), server_time, uid, type"

// place is where an event lies in the table.
const place = "bucket, uid, server_time"

// placed finds events in the projection, whose columns order is of, and reads them by
// their places in the table.
func (s *Store) placed(ctx context.Context, a question, order string, fn func(*Event) error) error {
	inner := a.sql(place, order)
	args := append(slices.Clip(a.args), a.args...)
	a.where += " AND (" + place + ") IN (" + inner + ")"
	return s.read(ctx, a.sql(fetched, order), args, whole(a.table, fn))
}

// pieceRows is how many rows are sorted at once, where an hour does not have more.
const pieceRows = 200_000

// pieces reads many events of a stretch of time: the engine would have to hold an hour
// in memory to give it in order, so each piece is sorted, on disk where it is large.
func (s *Store) pieces(ctx context.Context, a question, fn func(*Event) error) error {
	cuts, err := s.cuts(ctx, a)
	if err != nil {
		return err
	}
	left := a.Limit
	count := whole(a.table, func(e *Event) error {
		left--
		return fn(e)
	})
	for i := 0; i+1 < len(cuts); i++ {
		p := a
		p.Since, p.Until, p.Limit = cuts[i], cuts[i+1], left
		if a.Newest {
			p.Since, p.Until = p.Until, p.Since
		}
		if p.where, p.args, err = p.Query.where(); err != nil {
			return err
		}
		sql := p.sql(fetched, p.in("server_time, uid, type, batch")) + " SETTINGS optimize_read_in_order = 0"
		if err := s.read(ctx, sql, p.args, count); err != nil {
			return err
		}
		if a.Limit > 0 && left <= 0 {
			return nil
		}
	}
	return nil
}

// cuts are the bounds of pieces of whole hours, in the order in which they are read.
func (s *Store) cuts(ctx context.Context, a question) (cuts []time.Time, err error) {
	type hours struct {
		at   time.Time
		rows uint64
	}
	var found []hours
	if !a.Since.IsZero() && !a.Until.IsZero() && a.Until.Sub(a.Since) <= time.Hour { // one anyway
		return a.clip([]time.Time{a.Since, a.Until}), nil
	}
	err = s.read(ctx, "SELECT toStartOfHour(bucket) AS hour, count() FROM "+a.table+" WHERE "+a.where+" GROUP BY hour ORDER BY hour", a.args, func(rows driver.Rows) error {
		var h hours
		if err := rows.Scan(&h.at, &h.rows); err != nil {
			return fmt.Errorf("query history: %w", err)
		}
		found = append(found, h)
		return nil
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	rows := uint64(0)
	for i, h := range found {
		if i == 0 {
			cuts = append(cuts, h.at)
		} else if rows+h.rows > pieceRows {
			cuts, rows = append(cuts, h.at), 0
		}
		rows += h.rows
	}
	cuts = append(cuts, found[len(found)-1].at.Add(time.Hour))
	return a.clip(cuts), nil
}

// clip turns cuts around for the newest first. Nothing of what is asked for is outside
// of the hours, but more may be in them.
func (a question) clip(cuts []time.Time) []time.Time {
	if cuts[0].Before(a.Since) {
		cuts[0] = a.Since
	}
	if last := len(cuts) - 1; !a.Until.IsZero() && cuts[last].After(a.Until) {
		cuts[last] = a.Until
	}
	if a.Newest {
		slices.Reverse(cuts)
	}
	return cuts
}
