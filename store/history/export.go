package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// exported are the columns of a Parquet file: readable, and without what is only
// for this server.
const exported = "server_time, time, start, stale, uid, callsign, type, how, lat / 1e7 AS lat, lon / 1e7 AS lon, " +
	"nullIf(hae_dm, 99999990) / 10 AS hae, nullIf(speed_cms, 999999900) / 100 AS speed, nullIf(course_ddeg, 99999990) / 10 AS course, " +
	"team, role, groups, user, sender, source, mission, room, event"

// Parquet has the embedded engine write what q asks for to a file, which must not
// exist. A database elsewhere cannot write here: ErrInvalid.
func (s *Store) Parquet(ctx context.Context, q Query, file string) (rows uint64, size int64, err error) {
	err = s.parquet(ctx, q, func(made string, n uint64) error {
		rows = n
		size, err = copyNew(made, file)
		return err
	})
	return rows, size, err
}

// ParquetFile is Parquet to a file that has no name any more: it is gone when it
// is closed.
func (s *Store) ParquetFile(ctx context.Context, q Query) (f *os.File, err error) {
	err = s.parquet(ctx, q, func(made string, _ uint64) error {
		f, err = os.Open(made)
		return err
	})
	return f, err
}

// parquet calls fn with the name of a file, which is removed afterwards, and how
// many rows are in it.
func (s *Store) parquet(ctx context.Context, q Query, fn func(made string, rows uint64) error) error {
	if s.rec == nil {
		return ErrOff
	}
	if s.engine == nil {
		return fmt.Errorf("%w: only the embedded engine writes Parquet files here", ErrInvalid)
	}
	if q.Table == "" {
		q.Table = Cot
	}
	if !known(q.Table) || q.Limit < 0 {
		return fmt.Errorf("%w: table %q, limit %d", ErrInvalid, q.Table, q.Limit)
	}
	if err := q.Validate(); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(s.opts.Dir, "export-") // a name that means nothing to the engine
	if err != nil {
		return fmt.Errorf("export history: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	made := filepath.Join(tmp, "out.parquet")
	table := exportTable + strconv.FormatUint(s.exports.Add(1), 10)
	defer func() { _ = s.db.Exec(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS "+table) }()
	if err := s.db.Exec(ctx, "CREATE TABLE "+table+" ENGINE = Log EMPTY AS SELECT "+exported+" FROM (SELECT *, time, start, stale FROM "+q.Table+")"); err != nil {
		return fmt.Errorf("export history: %w", err)
	}
	rows, err := s.collect(ctx, q, table)
	if err != nil {
		return err
	}
	if err := s.db.Exec(ctx, "INSERT INTO FUNCTION file('"+literal.Replace(made)+"', 'Parquet') SELECT * FROM "+table); err != nil {
		return fmt.Errorf("export history: %w", err)
	}
	return fn(made, rows)
}

// exportTable begins the names of tables that hold what is about to be a file.
const exportTable = "takd_export_"

// dropExports removes what a crash has left of them.
func dropExports(ctx context.Context, db driver.Conn) error {
	var names []string
	err := db.QueryRow(ctx, "SELECT groupArray(name) FROM system.tables WHERE database = currentDatabase() AND startsWith(name, '"+exportTable+"')").Scan(&names)
	for _, name := range names {
		err = errors.Join(err, db.Exec(ctx, "DROP TABLE "+name))
	}
	if err != nil {
		return fmt.Errorf("remove old exports: %w", err)
	}
	return nil
}

// exportRows is how many rows get there at once.
const exportRows = 20_000

// collect fills a table with what q asks for: events are whole only here.
func (s *Store) collect(ctx context.Context, q Query, table string) (rows uint64, err error) {
	var to driver.Batch
	send := func() error {
		if to == nil {
			return nil
		}
		err := to.Send()
		to = nil
		return err
	}
	defer func() {
		if to != nil {
			_ = to.Abort()
		}
	}()
	err = s.Query(ctx, q, func(e *Event) (err error) {
		if to == nil {
			if to, err = s.db.PrepareBatch(ctx, "INSERT INTO "+table); err != nil {
				return fmt.Errorf("export history: %w", err)
			}
		}
		rows++
		err = to.Append(e.Received, e.Time, e.Start, e.Stale, e.UID, e.Callsign, e.Type, e.How, e.Lat, e.Lon, told(e.HAE), told(e.Speed), told(e.Course),
			e.Team, e.Role, e.Groups, e.User, e.Sender, e.Source, e.Mission, e.Room, string(e.Raw))
		if err == nil && to.Rows() >= exportRows {
			err = send()
		}
		return err
	})
	return rows, errors.Join(err, send())
}

// copyNew copies a file to one that must not exist.
func copyNew(from, to string) (n int64, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, fmt.Errorf("export history: %w", err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	n, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return 0, fmt.Errorf("export history: %w", errors.Join(err, os.Remove(to)))
	}
	return n, nil
}

// literal makes a text part of a string of SQL. A question mark would be taken for
// an argument by the driver.
var literal = strings.NewReplacer("\\", "\\\\", "'", "\\'", "?", "\\x3F")
