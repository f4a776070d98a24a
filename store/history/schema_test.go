package history

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Tables of a newer takd are left alone: what is recorded waits in the spool.
func TestNewerSchemaIsRefused(t *testing.T) {
	ctx, o := embedded(t)
	o.Flush = 50 * time.Millisecond
	s := opened(ctx, t, o)
	if err := s.db.Exec(ctx, "INSERT INTO takd_schema (version, partition) SELECT ?, ?", len(migrations)+1, "century"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(ctx); !errors.Is(err, ErrNewer) {
		t.Errorf("Wait = %v; want ErrNewer", err)
	}
	if !s.Record(&Event{Table: Cot, UID: "a", Received: time.Now()}) {
		t.Error("not recorded")
	}
	if err := s.Query(ctx, Query{}, nil); !errors.Is(err, ErrNewer) {
		t.Errorf("Query = %v; want ErrNewer", err)
	}
	if _, err := s.Drop(ctx, Cot, 0, false); !errors.Is(err, ErrNewer) {
		t.Errorf("Drop = %v; want ErrNewer", err)
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	if st := s.Health(); st.Spool.Rows != 1 || st.Reason == "" {
		t.Errorf("health %+v; want one row in the spool, and why", st)
	}
}

// A migration that was cut off is carried out again.
func TestMigrationIsRepeated(t *testing.T) {
	ctx, o := embedded(t)
	s := opened(ctx, t, o)
	for _, sql := range []string{"DROP TABLE " + Mission, "TRUNCATE TABLE takd_schema"} {
		if err := s.db.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	if by, err := migrate(ctx, s.db, layout{partition: Day}); err != nil || by != Day {
		t.Fatalf("migrate = %q, %v", by, err)
	}
	if by, err := migrate(ctx, s.db, layout{partition: Hour}); err != nil || by != Day {
		t.Fatalf("migrate to other partitions = %q, %v; want those that are there", by, err)
	}
	var n uint64
	if err := s.db.QueryRow(ctx, "SELECT count() FROM "+Mission).Scan(&n); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	tests := map[string]struct {
		o  Options
		ok bool
	}{
		"default":   {ok: true},
		"off":       {o: Options{Mode: Off}, ok: true},
		"native":    {o: Options{Mode: "clickhouse://u:p@host:9000/db"}, ok: true},
		"https":     {o: Options{Mode: "https://host:8443/db"}, ok: true},
		"hosts":     {o: Options{Mode: "clickhouse://u:p@a:9000,b:9000/db", Cluster: "takd_1"}, ok: true},
		"cluster":   {o: Options{Cluster: "takd"}}, // embedded
		"injection": {o: Options{Mode: "clickhouse://u:p@a:9000/db", Cluster: "x' SYNC"}},
		"mode":      {o: Options{Mode: "on"}},
		"dsn":       {o: Options{Mode: "clickhouse://h:x:y"}},
		"memory":    {o: Options{Memory: 1}},
		"flush":     {o: Options{Flush: time.Hour}},
		"rows":      {o: Options{BatchRows: -1}},
		"bytes":     {o: Options{BatchBytes: 1}},
		"queue":     {o: Options{QueueBytes: 1}},
		"spool":     {o: Options{SpoolMax: 1}},
		"partition": {o: Options{Partition: "week"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tc.o.Validate(); (err == nil) != tc.ok || (err != nil && !errors.Is(err, ErrOptions)) {
				t.Errorf("Validate(%+v) = %v; want ok %v", tc.o, err, tc.ok)
			}
		})
	}
}

// In a cluster every table is made on all servers, and replicated.
func TestClusterStatements(t *testing.T) {
	one, many := layout{partition: Day}, layout{partition: Hour, cluster: "c1"}
	for i, m := range migrations {
		for j, sql := range m(many) {
			if alone := m(one)[j]; strings.Contains(alone, "CLUSTER") || strings.Contains(alone, "Replicated") {
				t.Errorf("version %d: one server: %s", i+1, alone)
			}
			head, _, _ := strings.Cut(sql, "(")
			if !strings.Contains(head, " ON CLUSTER 'c1'") {
				t.Errorf("version %d: %s", i+1, head)
			}
			if !strings.HasPrefix(sql, "CREATE") {
				continue
			}
			if want := "ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/takd/{database}/" + Tables[j] + "', '{replica}') PARTITION BY"; !strings.Contains(sql, want) {
				t.Errorf("version %d: %s", i+1, sql)
			}
		}
	}
}

// What a DSN says reaches the driver: several servers, encryption, the protocol.
func TestDSN(t *testing.T) {
	for dsn, want := range map[string]struct {
		hosts    string
		protocol clickhouse.Protocol
		secure   bool
	}{
		"clickhouse://u:p@a:9000,b:9001/db":        {"a:9000 b:9001", clickhouse.Native, false},
		"clickhouse://u:p@a:9440/db?secure=true":   {"a:9440", clickhouse.Native, true},
		"http://u:p@a:8123/db":                     {"a:8123", clickhouse.HTTP, false},
		"https://u:p@a:8443,b:8443/db":             {"a:8443 b:8443", clickhouse.HTTP, true},
		"https://u:p@a:8443/db?dial_timeout=200ms": {"a:8443", clickhouse.HTTP, true},
	} {
		o, err := parseDSN(dsn)
		if err != nil || strings.Join(o.Addr, " ") != want.hosts || o.Protocol != want.protocol || (o.TLS != nil) != want.secure || o.Auth.Username != "u" || o.Auth.Database != "db" {
			t.Errorf("%s: %+v, %v", dsn, o, err)
		}
	}
}
