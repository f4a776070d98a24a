package history

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// asSent is the condition of events that a map needs as they are: what they delete or
// draw, and the icon of what somebody has placed, is in the event alone. Who has a
// team is no marker, whoever says where he is.
const asSent = "(startsWith(type, 't-x-d-d') OR startsWith(type, 'u-d-') OR startsWith(type, 'b-m-') OR startsWith(how, 'h-') AND team = '')"

// lean calls fn with what a map shows. The few events that are needed whole are read
// first, and come where they belong.
func (s *Store) lean(ctx context.Context, a question, fn func(*Event) error) error {
	sent, err := s.sent(ctx, a, a.in(byMinute))
	if err != nil {
		return err
	}
	order := a.in(byMinute + ", user, lat, lon")
	if a.UID != "" {
		order = a.in("server_time, type, user, lat, lon")
	}
	before := func(x, y *Event) bool {
		if a.Newest {
			x, y = y, x
		}
		if !x.Received.Equal(y.Received) {
			return x.Received.Before(y.Received)
		}
		return x.UID < y.UID || x.UID == y.UID && x.Type < y.Type
	}
	b := a.and("NOT " + asSent)
	return merge(sent, before, a.Limit, fn, func(fn func(*Event) error) error {
		return s.read(ctx, b.sql(leanly, order), b.args, lean(a.table, fn))
	})
}

// sent are the events that are needed whole, in an order of narrow columns. They are
// looked up among those, and read by their places.
func (s *Store) sent(ctx context.Context, a question, order string) (sent []*Event, err error) {
	err = s.placed(ctx, a.and(asSent), order, func(e *Event) error {
		sent = append(sent, e)
		return nil
	})
	return sent, err
}

// merge calls fn with the events of two sorted lists, one of them made by each; limit
// is how many of them, 0 all.
func merge(list []*Event, before func(x, y *Event) bool, limit int, fn func(*Event) error, each func(func(*Event) error) error) error {
	n := 0
	give := func(e *Event) error {
		if n++; limit > 0 && n > limit {
			return nil
		}
		return fn(e)
	}
	err := each(func(e *Event) error {
		for len(list) > 0 && before(list[0], e) {
			if err := give(list[0]); err != nil {
				return err
			}
			list = list[1:]
		}
		return give(e)
	})
	for _, e := range list {
		if err == nil {
			err = give(e)
		}
	}
	return err
}

// near is how long before the end of a window everybody is looked for first: who
// reports does so within it, and few are left.
const near = time.Minute

// last asks for the newest event of each uid, of those that pre leaves.
func (a question) last(pre string, args ...any) (string, []any) {
	from := a.table
	if pre != "" {
		from += " PREWHERE " + pre
	}
	// In the order of the projection nothing is sorted but what is found.
	return "SELECT * FROM (SELECT " + narrow + " FROM " + from + " WHERE " + a.where +
		" ORDER BY toStartOfMinute(server_time) DESC, uid DESC, server_time DESC LIMIT 1 BY uid)", append(slices.Clip(args), a.args...)
}

// Latest calls fn with the newest event of each uid, the newest first.
func (s *Store) Latest(ctx context.Context, q Query, fn func(*Event) error) error {
	q.Newest = false // it is the order of what is found alone
	a, err := s.asked(ctx, q)
	if err != nil {
		return err
	}
	const newest = " ORDER BY server_time DESC, uid"
	if !q.Lean {
		const key = "bucket, uid, server_time"
		args := append(append([]any{}, a.args...), a.args...)
		a.where += " AND (" + key + ") IN (SELECT argMax(bucket, server_time), uid, max(server_time) FROM " + a.table + " WHERE " + a.where + " GROUP BY uid)"
		return s.read(ctx, a.sql(fetched, newest+" LIMIT 1 BY uid"), args, whole(a.table, fn))
	}
	sent, err := s.sent(ctx, a, newest+" LIMIT 1 BY uid")
	if err != nil {
		return err
	}
	limit := a.Limit
	a.Limit = 0
	sql, args := a.and("NOT " + asSent).last("")
	if from := q.Until.Add(-near).Truncate(time.Minute); !q.Until.IsZero() && q.Since.Before(from) {
		// The condition on the uid comes first: of who is found nothing else is read.
		late, early := a.and("NOT "+asSent).and(fromMinute, minute(from), millis(from)), a.and("NOT "+asSent).and(untilMinute, minute(from), millis(from))
		sql, args = late.last("")
		rest, more := early.last("uid NOT IN ("+late.sql("uid", "")+")", late.args...)
		sql, args = sql+" UNION ALL "+rest, append(slices.Clip(args), more...)
	}
	sql = "SELECT " + leanly + " FROM (" + sql + ")" + newest
	if limit > 0 {
		sql += fmt.Sprintf(" LIMIT %d", limit)
	}
	before := func(x, y *Event) bool { return x.Received.After(y.Received) }
	seen := map[string]bool{}
	return merge(sent, before, limit, func(e *Event) error {
		if len(sent) > 0 { // a uid may be in both lists
			if seen[e.UID] {
				return nil
			}
			seen[e.UID] = true
		}
		return fn(e)
	}, func(fn func(*Event) error) error { return s.read(ctx, sql, args, lean(a.table, fn)) })
}
