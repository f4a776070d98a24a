package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Box is an area. Where West is greater than East it spans the 180th meridian.
type Box struct{ South, West, North, East float64 }

// Viewer is who asks: he sees what he would have received, and what he sent.
type Viewer struct {
	User   string
	UIDs   []string  // uids and callsigns that are his; what was for him as a user he sees anyway
	Groups []string  // that he may receive from, now
	Since  time.Time // when he got his name: what somebody else of that name sent or received is not his
}

// Query says which events are wanted. The zero value of a field asks nothing.
type Query struct {
	Table    string // Cot when empty
	UID      string
	Callsign string
	Type     string   // prefix
	Types    []string // one of these prefixes
	User     string
	Mission  string
	Room     string
	Group    string    // that it was sent into
	Since    time.Time // by the time of receipt, Until excluded
	Until    time.Time
	Box      *Box
	Viewer   *Viewer // nil: an operator, who sees everything
	Newest   bool    // newest first
	Lean     bool    // what a map shows: the events only of those that delete, draw or were placed by hand, and no start, errors, sender and the like
	Limit    int     // 0: all
}

// where builds the conditions, with their arguments.
func (q Query) where() (sql string, args []any, err error) {
	cond := []string{"1"}
	add := func(s string, a ...any) {
		cond = append(cond, s)
		args = append(args, a...)
	}
	for _, f := range []struct{ column, value string }{
		{"uid", q.UID}, {"callsign", q.Callsign}, {"user", q.User}, {"mission", q.Mission}, {"room", q.Room},
	} {
		if f.value != "" {
			add(f.column+" = ?", f.value)
		}
	}
	if q.Group != "" {
		add("has(groups, ?)", q.Group)
	}
	if q.Type != "" {
		add("startsWith(type, ?)", q.Type)
	}
	if len(q.Types) > 0 {
		or, values := make([]string, 0, len(q.Types)), make([]any, 0, len(q.Types))
		for _, t := range q.Types {
			or, values = append(or, "startsWith(type, ?)"), append(values, t)
		}
		add("("+strings.Join(or, " OR ")+")", values...)
	}
	// The bucket leads the order of the table.
	if !q.Since.IsZero() {
		add(fromBucket+" AND "+fromMinute, bucket(q.Since), hour(q.Since), minute(q.Since), millis(q.Since))
	}
	if !q.Until.IsZero() {
		add("bucket <= toDateTime(?) AND "+untilMinute, seconds(q.Until), minute(q.Until), millis(q.Until))
	}
	if b := q.Box; b != nil {
		if !(b.South <= b.North && b.South >= -90 && b.North <= 90 && math.Abs(b.West) <= 180 && math.Abs(b.East) <= 180) {
			return "", nil, fmt.Errorf("%w: box %v", ErrInvalid, *b)
		}
		add("lat >= ? AND lat <= ?", scaled(b.South, degree), scaled(b.North, degree))
		if b.West <= b.East {
			add("lon >= ? AND lon <= ?", scaled(b.West, degree), scaled(b.East, degree))
		} else {
			add("(lon >= ? OR lon <= ?)", scaled(b.West, degree), scaled(b.East, degree))
		}
	}
	if v := q.Viewer; v != nil {
		uids := v.UIDs
		if v.User != "" {
			uids = append([]string{ForUser(v.User)}, uids...)
		}
		add("((hasAny(groups, ?) AND (empty(dests) OR (hasAny(dests, ?) AND server_time >= fromUnixTimestamp64Milli(?)))) OR (user = ? AND user != '' AND server_time >= fromUnixTimestamp64Milli(?)))",
			named(v.Groups), named(uids), millis(v.Since), v.User, millis(v.Since))
	}
	return strings.Join(cond, " AND "), args, nil
}

// named leaves out empty names, which stand for nobody. The list is never empty:
// an array of nothing has no type of its own.
func named(list []string) []string {
	out := []string{"\x01"} // in no event: XML has no such character
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// seconds and millis keep a time within what the columns hold.
func seconds(t time.Time) int64 { return min(max(t.Unix(), 0), math.MaxUint32) }
func millis(t time.Time) int64  { return seconds(t)*1000 + int64(t.Nanosecond())/1e6 }

// Validate tells whether the question makes sense: ErrInvalid.
func (q Query) Validate() error {
	if q.Table != "" && !known(q.Table) || q.Limit < 0 {
		return fmt.Errorf("%w: table %q, limit %d", ErrInvalid, q.Table, q.Limit)
	}
	_, _, err := q.where()
	return err
}

// Query calls fn with each event that is asked for, in order of receipt, as they
// come; an error of fn ends it and is returned.
func (s *Store) Query(ctx context.Context, q Query, fn func(*Event) error) error {
	a, err := s.asked(ctx, q)
	switch {
	case err != nil:
		return err
	case q.Lean:
		return s.lean(ctx, a, fn)
	case a.table != Cot || q.UID != "":
		return s.read(ctx, a.sql(fetched, a.receipt()), a.args, whole(a.table, fn))
	case q.Limit > 0 && q.Limit <= maxKeys && q.Box == nil:
		return s.placed(ctx, a, a.in(byMinute), fn)
	}
	return s.pieces(ctx, a, fn)
}

// read calls fn with each row of an answer.
func (s *Store) read(ctx context.Context, sql string, args []any, row func(driver.Rows) error) error {
	ctx, cancel := context.WithCancel(ctx) // the engine works for nobody else
	defer cancel()
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("query history: %w", err)
	}
	defer func() {
		cancel()
		_ = rows.Close() // what matters of it is in rows.Err
	}()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	if err := errors.Join(rows.Err(), ctx.Err()); err != nil {
		return fmt.Errorf("query history: %w", err)
	}
	return nil
}
