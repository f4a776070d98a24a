package history

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// asSent is the condition of events that a map needs as they are: what they delete or
// draw, and the icon of what somebody has placed, is in the event alone. Who has a
// team is no marker, whoever says where he is.
var (
	asSentTypes = [...]string{"t-x-d-d", "u-d-", "b-m-"}
	asSent      = "(startsWith(type, '" + strings.Join(asSentTypes[:], "') OR startsWith(type, '") + "') OR startsWith(how, 'h-') AND team = '')"
)

// lean calls fn with what a map shows. The few events that are needed whole are read
// first, and come where they belong.
func (s *Store) lean(ctx context.Context, a question, fn func(*Event) error) error {
	var sent []*Event
	err := s.placed(ctx, a.and(asSent), a.in(byMinute), func(e *Event) error {
		sent = append(sent, e)
		return nil
	})
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

// Latest calls fn with the newest event of each uid, the newest first.
func (s *Store) Latest(ctx context.Context, q Query, fn func(*Event) error) error {
	q.Newest = false // it is the order of what is found alone
	a, err := s.asked(ctx, q)
	if err != nil {
		return err
	}
	if q.Lean {
		return s.picture(ctx, a, fn)
	}
	args := append(slices.Clip(a.args), a.args...)
	a.where += " AND (" + place + ") IN (SELECT argMax(bucket, server_time), uid, max(server_time) FROM " + a.table + " WHERE " + a.where + " GROUP BY uid)"
	return s.read(ctx, a.sql(fetched, newestFirst+" LIMIT 1 BY uid"), args, whole(a.table, fn))
}

const newestFirst = " ORDER BY server_time DESC, uid, type"

// picture is Latest of what a map shows. It holds an event of each uid.
func (s *Store) picture(ctx context.Context, a question, fn func(*Event) error) error {
	var found []*Event
	keep := func(e *Event) error {
		found = append(found, e)
		return nil
	}
	limit := a.Limit
	a.Limit = 0
	rest, others, args := a, "", []any(nil)
	if from := a.Until.Add(-near).Truncate(time.Minute); !a.Until.IsZero() && a.Since.Before(from) {
		late := a.and(fromMinute, minute(from), millis(from))
		if err := s.newest(ctx, late, "", nil, keep); err != nil {
			return err
		}
		// The condition on the uid comes first: of who is found nothing else is read.
		rest, others, args = a.and(untilMinute, minute(from), millis(from)), " PREWHERE uid NOT IN ("+late.sql("uid", "")+")", late.args
	}
	if err := s.newest(ctx, rest, others, args, keep); err != nil {
		return err
	}
	slices.SortStableFunc(found, func(x, y *Event) int { return y.Received.Compare(x.Received) })
	if limit > 0 && len(found) > limit {
		found = found[:limit]
	}
	if err := s.fillIn(ctx, a, found); err != nil {
		return err
	}
	for _, e := range found {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// newest calls fn with the newest event of each uid, of those that others leaves.
func (s *Store) newest(ctx context.Context, a question, others string, args []any, fn func(*Event) error) error {
	keys := "SELECT uid, max(server_time) FROM " + a.table + others + " WHERE " + a.where + " GROUP BY uid"
	args = append(slices.Clip(args), a.args...)
	if others != "" { // most often nobody is left, and finding that out is all
		some := false
		err := s.read(ctx, keys+" LIMIT 1", args, func(driver.Rows) error { some = true; return nil })
		if err != nil || !some {
			return err
		}
	}
	sql := "SELECT " + leanly + " FROM " + a.table + " WHERE " + a.where + " AND (uid, server_time) IN (" + keys + ")" + newestFirst + " LIMIT 1 BY uid"
	return s.read(ctx, sql, append(slices.Clip(a.args), args...), lean(a.table, fn))
}

// fillIn puts the events that are needed whole in the place of what a map shows of them.
func (s *Store) fillIn(ctx context.Context, a question, found []*Event) error {
	at := make(map[string]int)
	for i, e := range found {
		if e.asSent() {
			at[e.UID] = i
		}
	}
	if len(at) == 0 {
		return nil
	}
	return s.placed(ctx, a.and(asSent), newestFirst+" LIMIT 1 BY uid", func(e *Event) error {
		if i, ok := at[e.UID]; ok && e.Received.Equal(found[i].Received) {
			found[i] = e
		}
		return nil
	})
}

// asSent is the condition of that name.
func (e *Event) asSent() bool {
	for _, p := range asSentTypes {
		if strings.HasPrefix(e.Type, p) {
			return true
		}
	}
	return strings.HasPrefix(e.How, "h-") && e.Team == ""
}
