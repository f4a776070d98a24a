package history

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// ErrNewer means that the tables were made by a newer takd.
var ErrNewer = errors.New("history was written by a newer takd")

// The versions of the schema; takd only goes forward. A version is recorded when
// all its statements are through, and each of them can be carried out twice.
var migrations = []func(layout) []string{first, second, third}

const schemaTable = "takd_schema"

// layout is what holds for all tables.
type layout struct {
	partition string // Day or Hour
	cluster   string // where the tables are replicated; "" is one server alone
}

// on is where a statement is carried out.
func (l layout) on() string {
	if l.cluster == "" {
		return ""
	}
	return " ON CLUSTER '" + l.cluster + "'"
}

// create makes a table. In a cluster every server has all of it; {shard} and
// {replica} are what its servers' configuration says, as is usual.
func (l layout) create(table, columns, rest string) string {
	engine := "MergeTree"
	if l.cluster != "" {
		engine = "ReplicatedMergeTree('/clickhouse/tables/{shard}/takd/{database}/" + table + "', '{replica}')"
	}
	return "CREATE TABLE IF NOT EXISTS " + table + l.on() + " (" + columns + "\n) ENGINE = " + engine + " " + rest
}

// columns is the shape of every table; a column that a class of data does not use
// takes no room. Neighbours in the order are reports of one uid, so most columns
// repeat or change little: that is what the codecs are for. For the same reason
// times are kept by their distance in milliseconds (time to server_time, start and
// stale to time), and numbers as no more digits than mean something; the event has
// them all. Coordinates are in 1e-7 degrees.
const columns = `
	batch UInt64 CODEC(Delta, ZSTD(1)),
	bucket DateTime('UTC') MATERIALIZED toStartOfInterval(server_time, INTERVAL 10 MINUTE) CODEC(DoubleDelta, ZSTD(1)),
	server_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
	lag Int64 CODEC(Delta, ZSTD(1)),
	start_after Int64 CODEC(ZSTD(1)),
	stale_after Int64 CODEC(ZSTD(1)),
	time DateTime64(3, 'UTC') ALIAS server_time - toIntervalMillisecond(lag),
	start DateTime64(3, 'UTC') ALIAS time + toIntervalMillisecond(start_after),
	stale DateTime64(3, 'UTC') ALIAS time + toIntervalMillisecond(stale_after),
	uid String CODEC(ZSTD(1)),
	callsign String CODEC(ZSTD(1)),
	type LowCardinality(String),
	how LowCardinality(String),
	lat Int32 CODEC(Delta, ZSTD(1)),
	lon Int32 CODEC(Delta, ZSTD(1)),
	hae_dm Int32 CODEC(Delta, ZSTD(1)),
	ce_dm Int32 CODEC(ZSTD(1)),
	le_dm Int32 CODEC(ZSTD(1)),
	speed_cms Int32 CODEC(Delta, ZSTD(1)),
	course_ddeg Int32 CODEC(Delta, ZSTD(1)),
	team LowCardinality(String),
	role LowCardinality(String),
	groups Array(LowCardinality(String)),
	user String CODEC(ZSTD(1)),
	sender String CODEC(ZSTD(1)),
	source LowCardinality(String),
	dests Array(String) CODEC(ZSTD(1)),
	flow Array(LowCardinality(String)),
	mission LowCardinality(String),
	room String CODEC(ZSTD(1)),
	text String CODEC(ZSTD(1)),
	event String CODEC(ZSTD(3)),
	INDEX lat lat TYPE minmax GRANULARITY 1,
	INDEX lon lon TYPE minmax GRANULARITY 1,
	INDEX callsign callsign TYPE bloom_filter(0.01) GRANULARITY 1,
	INDEX batch batch TYPE minmax GRANULARITY 1`

// first makes the tables. Ten minutes come first in the order, then the uid: a
// window of time is a few ranges of the index, a track one range for each ten
// minutes, and a granule holds few uids, so that an area leaves most of them out.
func first(l layout) []string {
	by := "toYYYYMMDD(server_time)"
	if l.partition == Hour {
		by = "toYYYYMMDD(server_time) * 100 + toHour(server_time)"
	}
	out := make([]string, 0, len(Tables))
	for _, table := range Tables {
		out = append(out, l.create(table, columns, "PARTITION BY "+by+" ORDER BY (bucket, uid, server_time) SETTINGS index_granularity = 2048"))
	}
	return out
}

// second has events as shapes and rests: see shape.go. Those from before are whole.
func second(l layout) []string {
	out := make([]string, 0, len(Tables))
	for _, table := range Tables {
		out = append(out, "ALTER TABLE "+table+l.on()+" ADD COLUMN IF NOT EXISTS shape LowCardinality(String) AFTER text")
	}
	return out
}

// third has reports of one uid lie together by the hour, not by ten minutes: its day
// is 24 ranges of the index. What was recorded before keeps its buckets; whoever asks
// for a bucket asks for both. Windows of time, which would have to read the hour, are
// answered from a projection, the narrow columns by the minute: a part has its own, so
// that it comes and goes with the rows. Parts from before have none and are read
// themselves. A projection knows no codecs but that of the table. Blocks are small, as
// of a track a few rows are wanted from each.
//
// The type has an index because events that delete others are looked for alone.
func third(l layout) []string {
	alter := "ALTER TABLE " + Cot + l.on() + " "
	out := []string{
		alter + "MODIFY COLUMN bucket DateTime('UTC') MATERIALIZED toStartOfHour(server_time) CODEC(DoubleDelta, ZSTD(1))",
		alter + "MODIFY SETTING default_compression_codec = 'ZSTD(1)'",
		alter + "ADD INDEX IF NOT EXISTS type type TYPE set(64) GRANULARITY 1",
		alter + "ADD PROJECTION IF NOT EXISTS minutes (SELECT " + narrow + " ORDER BY toStartOfMinute(server_time), uid, server_time)",
	}
	for c := range strings.FieldsSeq(small) {
		out = append(out, alter+"MODIFY COLUMN "+c+" MODIFY SETTING min_compress_block_size = 8192")
	}
	return out
}

// small are columns of which a granule takes little: they have small blocks.
const small = "server_time lag start_after stale_after type how lat lon hae_dm ce_dm le_dm speed_cms course_ddeg team role source mission shape"

// narrow are the columns of the projection: those that a map shows, and those that
// say who may see it.
const narrow = "bucket, server_time, lag, stale_after, uid, callsign, type, how, lat, lon, hae_dm, speed_cms, course_ddeg, team, role, groups, user, dests"

// unknownSetting tells that a database is older than a setting, which only saves room.
func unknownSetting(err error) bool {
	var e *clickhouse.Exception
	return errors.As(err, &e) && e.Code == 115
}

// migrate brings the tables up to date and returns their partition.
func migrate(ctx context.Context, db driver.Conn, l layout) (string, error) {
	versions := l.create(schemaTable, "version UInt32, partition LowCardinality(String), applied DateTime DEFAULT now()", "ORDER BY version")
	if err := db.Exec(ctx, versions); err != nil {
		return "", fmt.Errorf("history schema: %w", err)
	}
	var (
		at   uint32
		made string
	)
	if err := db.QueryRow(ctx, "SELECT max(version), any(partition) FROM takd_schema").Scan(&at, &made); err != nil {
		return "", fmt.Errorf("history schema: %w", err)
	}
	if int(at) > len(migrations) {
		return "", fmt.Errorf("%w: version %d, this one knows %d", ErrNewer, at, len(migrations))
	}
	if made != "" {
		l.partition = made // it cannot change with the tables in place
	}
	for i := int(at); i < len(migrations); i++ {
		for _, sql := range migrations[i](l) {
			if err := db.Exec(ctx, sql); err != nil && !unknownSetting(err) {
				name, _, _ := strings.Cut(sql, "(")
				return "", fmt.Errorf("history schema version %d: %s: %w", i+1, strings.TrimSpace(name), err)
			}
		}
		if err := db.Exec(ctx, "INSERT INTO takd_schema (version, partition) SELECT ?, ?", i+1, l.partition); err != nil {
			return "", fmt.Errorf("history schema version %d: %w", i+1, err)
		}
	}
	return l.partition, nil
}
