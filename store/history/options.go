package history

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Where history is kept, other than a DSN.
const (
	Off      = "off"
	Embedded = "embedded"
)

// Partitions.
const (
	Day  = "day"
	Hour = "hour"
)

// Options configures Open. The zero value of a field means its default.
type Options struct {
	Mode       string        `yaml:"mode"           help:"Where history is kept: embedded for the engine in the data directory, off, or a DSN such as clickhouse://user:password@host:9000/takd or https://host:8443/takd." default:"embedded"`
	EnginePath string        `yaml:"engine_path"    help:"The embedded engine's library; where make engine put it, or next to the program, when empty."`
	Memory     int64         `yaml:"memory"         help:"Bytes of memory that the embedded engine may use." default:"1073741824"`
	Flush      time.Duration `yaml:"flush_interval" help:"What a crash can cost: events are in the database or on disk after this time." default:"1s"`
	BatchRows  int           `yaml:"batch_rows"     help:"Events of one insert." default:"50000"`
	BatchBytes int           `yaml:"batch_bytes"    help:"Bytes of one insert." default:"33554432"`
	QueueBytes int64         `yaml:"queue_bytes"    help:"Bytes of events that may wait in memory. Events beyond are dropped and counted." default:"134217728"`
	SpoolMax   int64         `yaml:"spool_max"      help:"Bytes on disk for events that the database has not taken yet; the oldest go when it is full." default:"4294967296"`
	Partition  string        `yaml:"partition"      help:"What retention removes at once, day or hour. It holds from when the tables are made." default:"day"`
	Cluster    string        `yaml:"cluster,omitempty" help:"With a DSN: the cluster whose servers each keep all tables (ReplicatedMergeTree, one shard). The DSN may name several of them: clickhouse://user:password@a:9000,b:9000/takd. It holds from when the tables are made."`
	Archive    []Rule        `yaml:"archive,omitempty" kong:"-" help:"What is recorded, and how much of it; the first rule that fits an event decides."`

	Dir     string       `yaml:"-" kong:"-"` // required: of the embedded engine and the spool
	Socket  string       `yaml:"-" kong:"-"` // required with Embedded: the engine's
	Command []string     `yaml:"-" kong:"-"` // runs engine.Serve; nil is this program's own command
	Log     *slog.Logger `yaml:"-" kong:"-"` // nil: no log
}

// ErrOptions is what every bad option gives.
var ErrOptions = errors.New("bad history option")

// WithDefaults returns o with every zero field set to its default.
func (o Options) WithDefaults() Options {
	set(&o.Mode, Embedded)
	set(&o.Memory, 1<<30)
	set(&o.Flush, time.Second)
	set(&o.BatchRows, 50_000)
	set(&o.BatchBytes, 32<<20)
	set(&o.QueueBytes, 128<<20)
	set(&o.SpoolMax, 4<<30)
	set(&o.Partition, Day)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports every bad field at once.
func (o Options) Validate() error {
	o = o.WithDefaults()
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrOptions}, args...)...))
	}
	if o.Mode != Off && o.Mode != Embedded {
		if !strings.Contains(o.Mode, "://") {
			bad("mode %q: want off, embedded or a DSN", o.Mode)
		} else if _, err := parseDSN(o.Mode); err != nil {
			bad("mode: the DSN cannot be read") // the error may show the password
		}
	}
	if o.Cluster != "" && (o.Mode == Embedded || !clusterName.MatchString(o.Cluster)) {
		bad("cluster %.70q: want a name of letters, digits, _, - and ., and a DSN as the mode", o.Cluster)
	}
	if o.Memory < 256<<20 {
		bad("memory %d: want at least 268435456", o.Memory)
	}
	if o.Flush < 10*time.Millisecond || o.Flush > time.Minute {
		bad("flush_interval %s: want 10ms to 1m", o.Flush)
	}
	if o.BatchRows < 1 || o.BatchRows > 500_000 {
		bad("batch_rows %d: want 1 to 500000", o.BatchRows)
	}
	if o.BatchBytes < 1<<10 || o.BatchBytes > 128<<20 {
		bad("batch_bytes %d: want 1024 to 134217728", o.BatchBytes)
	}
	if o.QueueBytes < 1<<20 {
		bad("queue_bytes %d: want at least 1048576", o.QueueBytes)
	}
	if o.SpoolMax < 1<<20 {
		bad("spool_max %d: want at least 1048576", o.SpoolMax)
	}
	if o.Partition != Day && o.Partition != Hour {
		bad("partition %q: want day or hour", o.Partition)
	}
	if len(o.Archive) > maxRules {
		bad("archive: %d rules: want at most %d", len(o.Archive), maxRules)
	}
	for i, r := range o.Archive {
		if err := r.validate(); err != nil {
			bad("archive[%d]: %w", i, err)
		}
	}
	return errors.Join(errs...)
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// parseDSN reads a DSN. https says by itself that the connection is secure.
func parseDSN(dsn string) (*clickhouse.Options, error) {
	// Not by url.Parse: it knows no list of hosts.
	_, text, found := strings.Cut(dsn, "?")
	if q, err := url.ParseQuery(text); err == nil && strings.HasPrefix(dsn, "https://") && !q.Has("secure") {
		sep := "?"
		if found {
			sep = "&"
		}
		dsn += sep + "secure=true"
	}
	return clickhouse.ParseDSN(dsn)
}
