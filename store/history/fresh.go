package history

import (
	"context"
	"fmt"
	"time"
)

// Fresh calls fn with the newest position of each uid and user that was received
// since, where it holds at now by the clock of who made it: at most limit of them,
// the newest first chosen. What was for somebody alone is left out. The first pass
// reads narrow columns; events are read of what is found.
func (s *Store) Fresh(ctx context.Context, since, now time.Time, limit int, fn func(*Event) error) error {
	if limit < 1 {
		return fmt.Errorf("%w: limit %d", ErrInvalid, limit)
	}
	const of = fromBucket + " AND server_time >= fromUnixTimestamp64Milli(?) AND startsWith(type, 'a-') AND empty(dests) AND user != ''"
	window := []any{bucket(since), hour(since), millis(since)}
	where := of + " AND (uid, user, server_time) IN (SELECT uid, user, max(server_time) FROM " + Cot + " WHERE " + of +
		" GROUP BY uid, user HAVING toUnixTimestamp64Milli(max(server_time)) + argMax(stale_after, server_time) > ?" +
		fmt.Sprintf(" ORDER BY max(server_time) DESC LIMIT %d)", limit)
	args := append(append(append([]any{}, window...), window...), now.UnixMilli())
	if err := s.prepare(ctx); err != nil {
		return err
	}
	return s.read(ctx, "SELECT "+fetched+" FROM "+Cot+" WHERE "+where+" LIMIT 1 BY uid, user", args, whole(Cot, fn))
}
