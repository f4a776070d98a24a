package history

import (
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// The words of an event, all that is text, are the same in most rows of an answer. So
// the engine makes one text of them (RowBinary: each with its length in front, a list
// with its number of texts), and those that were seen are not taken apart again.
const (
	fetched = "toUnixTimestamp64Milli(server_time) AS received, lag, start_after, stale_after, lat, lon, hae_dm, ce_dm, le_dm, speed_cms, course_ddeg, " +
		"formatRow('RowBinary', uid, callsign, type, how, team, role, groups, user, sender, source, dests, flow, mission, room, text) AS words, shape, event"

	// leanly is what a map shows of an event.
	leanly = "toUnixTimestamp64Milli(server_time) AS received, lag, stale_after, lat, lon, hae_dm, speed_cms, course_ddeg, " +
		"formatRow('RowBinary', uid, callsign, type, how, team, role, groups, user) AS words"
)

// maxWords is how many different words of one answer are remembered.
const maxWords = 4096

// words reads the words of events; the lists are shared by events of the same words.
type words struct {
	table string
	seen  map[string]*Event
}

func newWords(table string) *words { return &words{table: table, seen: map[string]*Event{}} }

var errWords = errors.New("query history: the words of an event cannot be read")

// event is a new event with those words.
func (w *words) event(b []byte, lean bool) (*Event, error) {
	if e, ok := w.seen[string(b)]; ok {
		copied := *e
		return &copied, nil
	}
	if len(w.seen) >= maxWords {
		clear(w.seen)
	}
	all := string(b)
	e, u := &Event{Table: w.table}, &unpacker{left: b, all: all}
	for _, to := range [...]*string{&e.UID, &e.Callsign, &e.Type, &e.How, &e.Team, &e.Role} {
		*to = u.long()
	}
	e.Groups, e.User = u.longs(), u.long()
	if !lean {
		e.Sender, e.Source = u.long(), u.long()
		e.Dests, e.Flow = u.longs(), u.longs()
		e.Mission, e.Room, e.Text = u.long(), u.long(), u.long()
	}
	if u.bad || len(u.left) > 0 {
		return nil, errWords
	}
	w.seen[all] = e
	copied := *e
	return &copied, nil
}

// whole reads rows of the columns fetched.
func whole(table string, fn func(*Event) error) func(driver.Rows) error {
	var (
		w                                = newWords(table)
		received, lag, start, stale      int64
		lat, lon, hae, ce, le, v, course int32
		text, rest                       []byte
		shape                            string
	)
	return func(rows driver.Rows) error {
		if err := rows.Scan(&received, &lag, &start, &stale, &lat, &lon, &hae, &ce, &le, &v, &course, &text, &shape, &rest); err != nil {
			return fmt.Errorf("query history: %w", err)
		}
		e, err := w.event(text, false)
		if err != nil {
			return err
		}
		e.times(received, lag, start, stale)
		e.place(lat, lon, hae, v, course)
		e.CE, e.LE = float64(ce)/deci, float64(le)/deci
		e.Raw = rest
		if shape != "" {
			c := &cells{
				uid: e.UID, callsign: e.Callsign, time: received - lag, start: received - lag + start, stale: received - lag + stale,
				numbers: [7]int32{lat, lon, hae, ce, le, v, course},
			}
			var ok bool
			if e.Raw, ok = join(make([]byte, 0, len(shape)+len(rest)+128), shape, rest, c); !ok {
				return fmt.Errorf("query history: event of %s at %s does not fit its shape", e.UID, e.Received)
			}
		}
		return fn(e)
	}
}

// lean reads rows of the columns leanly.
func lean(table string, fn func(*Event) error) func(driver.Rows) error {
	var (
		w                        = newWords(table)
		received, lag, stale     int64
		lat, lon, hae, v, course int32
		text                     []byte
	)
	return func(rows driver.Rows) error {
		if err := rows.Scan(&received, &lag, &stale, &lat, &lon, &hae, &v, &course, &text); err != nil {
			return fmt.Errorf("query history: %w", err)
		}
		e, err := w.event(text, true)
		if err != nil {
			return err
		}
		e.times(received, lag, 0, stale)
		e.place(lat, lon, hae, v, course)
		e.CE, e.LE = Unknown, Unknown
		return fn(e)
	}
}

// times sets the times, of what is stored of them.
func (e *Event) times(received, lag, start, stale int64) {
	e.Received = utc(received)
	e.Time, e.Start, e.Stale = utc(received-lag), utc(received-lag+start), utc(received-lag+stale)
}

func (e *Event) place(lat, lon, hae, speed, course int32) {
	e.Lat, e.Lon, e.HAE = float64(lat)/degree, float64(lon)/degree, float64(hae)/deci
	e.Speed, e.Course = float64(speed)/centi, float64(course)/deci
}

// longs is a list of texts that are written whole, each.
func (u *unpacker) longs() []string {
	n := u.count()
	l := make([]string, 0, min(n, 1024))
	for range n {
		l = append(l, u.long())
	}
	return l[:len(l):len(l)] // events share it
}
