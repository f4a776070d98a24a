package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// ServeOptions are the flags of the hidden command.
type ServeOptions struct {
	Lib    string `help:"The engine's library." required:""`
	Dir    string `help:"Directory of its data." required:""`
	Socket string `help:"Unix socket to serve on." required:""`
	Memory int64  `help:"Bytes it may use." required:""`
}

const (
	connections = 6                // queries at one time
	closeLimit  = 5 * time.Second  // for queries under way, when it ends
	lockLimit   = 20 * time.Second // for an engine before it to end
	headerLimit = 10 * time.Second // for a request to arrive
	maxInsert   = 1 << 30          // bytes of one insert
)

// Serve runs the engine in this process until in ends: the parent holds its
// other side. It prints a line when it is ready.
func Serve(o ServeOptions, in io.Reader, out io.Writer) (err error) {
	// The parent says when to end; a signal for the whole group is its to handle.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, in)
	}()
	s, err := start(o, gone)
	if err != nil {
		return err
	}
	defer s.close()
	l, err := listen(o.Socket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: headerLimit,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	if _, err := fmt.Fprintln(out, readyLine); err != nil {
		return fmt.Errorf("tell that the engine is ready: %w", err)
	}
	select {
	case err := <-served:
		return fmt.Errorf("serve engine: %w", err)
	case <-gone:
	}
	soon := time.AfterFunc(closeLimit/2, cancel) // queries that still run are killed
	defer soon.Stop()
	deadline, end := context.WithTimeout(context.Background(), closeLimit)
	defer end()
	if err := h.Shutdown(deadline); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stop engine: %w", err)
	}
	return nil
}

func listen(path string) (net.Listener, error) {
	// What is left of a child that was killed. Two children cannot meet here: the
	// engine locks its data, and it is open already.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("engine socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("engine socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("engine socket: %w", err), l.Close())
	}
	return l, nil
}

// server answers queries by the engine.
type server struct {
	version string
	inserts string     // directory for the bodies of inserts
	idle    chan *conn // connections that nobody uses
	killer  chan *conn // holds the one that ends queries
	tag     tags
	lock    *os.File // held as long as this process lives
}

// lock keeps a second engine off the data. The one of a takd that was killed may
// still be about to end: it is waited for.
func lock(path string, gone <-chan struct{}) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock engine: %w", err)
	}
	for end := time.Now().Add(lockLimit); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			return nil, errors.Join(fmt.Errorf("another engine works on the data: %w", err), f.Close())
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-gone:
			return nil, errors.Join(errors.New("not needed any more"), f.Close())
		}
	}
}

func start(o ServeOptions, gone <-chan struct{}) (_ *server, err error) {
	s := &server{
		inserts: filepath.Join(o.Dir, "inserts"),
		idle:    make(chan *conn, connections), killer: make(chan *conn, 1),
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("engine directory: %w", err)
	}
	if s.lock, err = lock(filepath.Join(o.Dir, "lock"), gone); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(s.inserts); err != nil {
		return nil, fmt.Errorf("engine directory: %w", err)
	}
	if err := os.MkdirAll(s.inserts, 0o700); err != nil {
		return nil, fmt.Errorf("engine directory: %w", err)
	}
	config := filepath.Join(o.Dir, "engine.xml")
	if err := os.WriteFile(config, settings(o), 0o600); err != nil {
		return nil, fmt.Errorf("engine settings: %w", err)
	}
	l, err := open(o.Lib)
	if err != nil {
		return nil, err
	}
	args := []string{"clickhouse", "--path=" + filepath.Join(o.Dir, "data"), "--config-file=" + config}
	for i := range connections + 1 {
		c, err := l.dial(args...)
		if err != nil {
			return nil, err
		}
		if i == connections {
			s.killer <- c
			break
		}
		if _, err := c.exec(session(o)); err != nil {
			return nil, fmt.Errorf("engine session: %w", err)
		}
		s.idle <- c
	}
	return s, s.hello()
}

// close gives the connections back; those that still work are left to the end
// of the process.
func (s *server) close() {
	for {
		select {
		case c := <-s.idle:
			c.Close()
		case c := <-s.killer:
			c.Close()
		default:
			return
		}
	}
}

// settings are those of the whole engine: few threads, small caches, no logs.
func settings(o ServeOptions) []byte {
	// The library itself and the memory of its threads count too.
	limit := o.Memory - o.Memory/4
	return fmt.Appendf(nil, `<clickhouse>
  <timezone>UTC</timezone>
  <max_server_memory_usage>%d</max_server_memory_usage>
  <mark_cache_size>%d</mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <mmap_cache_size>0</mmap_cache_size>
  <background_pool_size>2</background_pool_size>
  <background_schedule_pool_size>2</background_schedule_pool_size>
  <background_common_pool_size>2</background_common_pool_size>
  <background_move_pool_size>1</background_move_pool_size>
  <background_fetches_pool_size>1</background_fetches_pool_size>
  <background_buffer_flush_schedule_pool_size>1</background_buffer_flush_schedule_pool_size>
  <background_message_broker_schedule_pool_size>1</background_message_broker_schedule_pool_size>
  <background_distributed_schedule_pool_size>1</background_distributed_schedule_pool_size>
  <merge_tree>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
    <auto_statistics_types></auto_statistics_types>
    <merge_max_block_size_bytes>4194304</merge_max_block_size_bytes>
  </merge_tree>
</clickhouse>
`, limit, o.Memory/16)
}

// session is what every connection sets: one query may take half of the memory
// and then uses the disk.
func session(o ServeOptions) string {
	return fmt.Sprintf("SET max_memory_usage = %d, max_bytes_before_external_group_by = %d, max_bytes_before_external_sort = %d, max_insert_threads = 1, max_threads = 2",
		o.Memory/2, o.Memory/8, o.Memory/8)
}
