package history

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// MaxBuckets bounds the pieces of time of a histogram.
const MaxBuckets = 1500

// Classes are what a histogram counts apart, by the beginning of the type; the first
// that fits counts, and what fits none is "other".
var Classes = []struct{ Name, Prefix string }{
	{"friend", "a-f"},
	{"hostile", "a-h"},
	{"neutral", "a-n"},
	{"position", "a-"},
	{"chat", "b-t-f"},
	{"alarm", "b-a"},
	{"marker", "b-m"},
	{"drawing", "u-"},
	{"tasking", "t-"},
}

const otherClass = "other"

// Bucket is how many events came within one piece of time.
type Bucket struct {
	At      time.Time         `json:"at"` // its start
	Rows    uint64            `json:"rows"`
	Classes map[string]uint64 `json:"classes"` // those that are not 0
}

// Histogram counts the events that q asks for between q.Since and q.Until, in pieces
// of step, a whole number of seconds. Pieces begin at multiples of step since 1970,
// so that the first may begin before Since; those without events are there too. With
// no table it is what passed the server, in Cot and Chat. q.Limit does not count.
func (s *Store) Histogram(ctx context.Context, q Query, step time.Duration) ([]Bucket, error) {
	every := int64(step / time.Second)
	if every < 1 || step%time.Second != 0 {
		return nil, fmt.Errorf("%w: step %s: want whole seconds", ErrInvalid, step)
	}
	if q.Since.IsZero() || !q.Since.Before(q.Until) {
		return nil, fmt.Errorf("%w: since and until: want a time and a later one", ErrInvalid)
	}
	first := seconds(q.Since) / every
	last := (seconds(q.Until.Add(time.Second-1)) - 1) / every
	if n := last - first + 1; n > MaxBuckets {
		return nil, fmt.Errorf("%w: %d pieces of %s: at most %d", ErrInvalid, n, step, MaxBuckets)
	}
	tables := []string{Cot, Chat}
	if q.Table != "" {
		tables = []string{q.Table}
	}
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	out := make([]Bucket, max(last-first+1, 0))
	for i := range out {
		out[i] = Bucket{At: time.Unix((first+int64(i))*every, 0).UTC(), Classes: map[string]uint64{}}
	}
	for _, table := range tables {
		if err := s.count(ctx, table, q, every, first, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// count adds what is in one table.
func (s *Store) count(ctx context.Context, table string, q Query, every, first int64, to []Bucket) error {
	where, args, err := q.where()
	if err != nil {
		return err
	}
	at := "toUnixTimestamp(server_time)"
	if every%hourSeconds == 0 {
		at = "toUnixTimestamp(bucket)" // reads a tenth
	}
	sql := fmt.Sprintf("SELECT toInt64(intDiv(%s, %d)) AS piece, %s AS class, count() FROM %s WHERE %s GROUP BY piece, class", at, every, classSQL, table, where)
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("history histogram: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var (
			piece int64
			class string
			n     uint64
		)
		if err := rows.Scan(&piece, &class, &n); err != nil {
			return fmt.Errorf("history histogram: %w", err)
		}
		if i := piece - first; i >= 0 && i < int64(len(to)) {
			to[i].Rows += n
			to[i].Classes[class] += n
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("history histogram: %w", err)
	}
	return nil
}

// classSQL is the class of a row.
var classSQL = func() string {
	var b strings.Builder
	b.WriteString("multiIf(")
	for _, c := range Classes {
		fmt.Fprintf(&b, "startsWith(type, '%s'), '%s', ", c.Prefix, c.Name)
	}
	return b.String() + "'" + otherClass + "')"
}()
