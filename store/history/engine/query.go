package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// greeting is the driver's first query. It decodes the answer at its own
// revision, and all that follows at the revision that the answer names.
const greeting = "SELECT displayName(), version(), revision(), timezone()"

// revision is that of the engine's Native blocks: no block info, no custom serialization.
const revision = 0

const maxQuery = 16 << 20

// tags numbers queries, so that one can be found and ended.
type tags struct{ n atomic.Uint64 }

func (t *tags) next() string { return fmt.Sprintf("/*takd:%d*/", t.n.Add(1)) }

// ServeHTTP answers one query as ClickHouse's HTTP interface does.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == pingPath {
		s.ping(w, r)
		return
	}
	params := r.URL.Query()
	for name := range params {
		if strings.HasPrefix(name, "param_") {
			fail(w, errors.New("query parameters are bound by the driver here"))
			return
		}
	}
	if sql := params.Get("query"); sql != "" {
		s.insert(w, r, sql)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuery))
	if err != nil {
		fail(w, err)
		return
	}
	sql := string(body)
	if sql == greeting {
		s.greet(w)
		return
	}
	c, err := s.acquire(r.Context(), params)
	if err != nil {
		fail(w, err)
		return
	}
	defer func() { s.idle <- c }()
	tag := s.tag.next()
	defer s.killWhenGone(r.Context(), tag)()
	if !reads(sql) {
		out, err := c.exec(tag + sql)
		if err != nil {
			fail(w, err)
			return
		}
		// No block is a length of 0 to the driver, never an empty stream.
		w.Header().Set("Content-Length", strconv.Itoa(len(out)))
		_, _ = w.Write(out)
		return
	}
	stream(w, c, tag+sql)
}

// pingPath asks whether the engine still works.
const pingPath = "/ping"

// ping has the engine carry out a query, on a connection that no other query has.
func (s *server) ping(w http.ResponseWriter, r *http.Request) {
	select {
	case c := <-s.killer:
		defer func() { s.killer <- c }()
		if _, err := c.exec("SELECT 1"); err != nil {
			fail(w, err)
		}
	case <-r.Context().Done():
	}
}

// stream sends the result of a query block by block, as it comes.
func stream(w http.ResponseWriter, c *conn, sql string) {
	began := false
	err := c.each(sql, func(piece []byte) error {
		began = true
		_, err := w.Write(piece)
		return err
	})
	switch {
	case err == nil && !began:
		w.Header().Set("Content-Length", "0")
	case err != nil && !began:
		fail(w, err)
	case err != nil:
		// The status is out: the driver finds the error behind the data.
		_, _ = fmt.Fprintf(w, "__exception__\r\n%s\r\n", err)
	}
}

// reads tells whether a statement only reads, and can be streamed.
func reads(sql string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	switch strings.ToUpper(word) {
	case "SELECT", "WITH":
		return true
	}
	return false
}

// acquire takes a connection, and sets on it what the request asks for.
func (s *server) acquire(ctx context.Context, params url.Values) (*conn, error) {
	var c *conn
	select {
	case c = <-s.idle:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	limit, _ := strconv.ParseUint(params.Get("max_execution_time"), 10, 32)
	if _, err := c.exec(fmt.Sprintf("SET max_execution_time = %d", limit)); err != nil {
		s.idle <- c
		return nil, err
	}
	return c, nil
}

// killWhenGone ends the query with that tag when ctx ends before it. The engine
// has no other way to end a query that has not produced anything yet.
func (s *server) killWhenGone(ctx context.Context, tag string) (done func()) {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		select {
		case c := <-s.killer:
			defer func() { s.killer <- c }()
			select {
			case <-ended: // of its own accord, meanwhile
			default:
				_, _ = c.exec("KILL QUERY WHERE startsWith(query, '" + tag + "') ASYNC")
			}
		case <-ended:
		}
	})
	return func() {
		close(ended)
		stop()
	}
}

// insert writes the block to a file and has the engine read it from there:
// given within the statement it would be cut at the engine's parse buffer.
func (s *server) insert(w http.ResponseWriter, r *http.Request, sql string) {
	target, ok := strings.CutSuffix(strings.TrimSpace(sql), " FORMAT Native")
	if !ok {
		fail(w, errors.New("an insert has to be in the Native format"))
		return
	}
	f, err := os.CreateTemp(s.inserts, "*.native")
	if err != nil {
		fail(w, fmt.Errorf("insert: %w", err))
		return
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = io.Copy(f, http.MaxBytesReader(w, r.Body, maxInsert))
	if err := errors.Join(err, f.Close()); err != nil {
		fail(w, fmt.Errorf("insert: %w", err))
		return
	}
	c, err := s.acquire(r.Context(), r.URL.Query())
	if err != nil {
		fail(w, err)
		return
	}
	defer func() { s.idle <- c }()
	if _, err := c.exec(target + " SELECT * FROM file('" + quote(f.Name()) + "', 'Native')"); err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Length", "0")
}

var quote = strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace

// hello asks the engine for its version, for the answer to the driver.
func (s *server) hello() error {
	c := <-s.idle
	defer func() { s.idle <- c }()
	out, err := c.exec("SELECT version()")
	if err != nil {
		return fmt.Errorf("engine version: %w", err)
	}
	if s.version = versions.FindString(string(out)); s.version == "" {
		return errors.New("the engine does not tell its version")
	}
	return nil
}

var versions = regexp.MustCompile(`\d+\.\d+\.\d+(\.\d+)?`)

// greet answers the driver's first query.
func (s *server) greet(w http.ResponseWriter) {
	b := proto.NewBlock()
	for _, c := range []struct {
		name string
		kind column.Type
	}{{"displayName()", "String"}, {"version()", "String"}, {"revision()", "UInt32"}, {"timezone()", "String"}} {
		if err := b.AddColumn(c.name, c.kind); err != nil {
			fail(w, err)
			return
		}
	}
	var buf chproto.Buffer
	err := b.Append("takd", s.version, uint32(revision), "UTC")
	if err == nil {
		err = b.Encode(&buf, clickhouse.ClientTCPProtocolVersion)
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(buf.Buf)))
	_, _ = w.Write(buf.Buf)
}

var (
	errorCode = regexp.MustCompile(`^Code: (\d+)\.`)
	errorName = regexp.MustCompile(`\(([A-Z][A-Z0-9_]+)\)$`)
)

// fail answers with an error as ClickHouse words it.
func fail(w http.ResponseWriter, err error) {
	text := err.Error()
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if m := errorCode.FindStringSubmatch(text); m != nil {
		h.Set("X-Clickhouse-Exception-Code", m[1])
	}
	if m := errorName.FindStringSubmatch(text); m != nil {
		h.Set("X-Clickhouse-Exception-Name", m[1])
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = w.Write([]byte(text))
}
