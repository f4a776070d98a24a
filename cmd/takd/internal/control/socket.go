package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxRequest bounds a request: a CSV file with many users is the largest.
const maxRequest = 64 << 20

// maxPath is the longest path of a unix socket that every system takes.
const maxPath = 100

// SocketPath returns where the control socket of a data directory is, in the
// shortest form that names it from the working directory.
func SocketPath(data string) (string, error) { return Socket(data, "takd.sock") }

// Socket is SocketPath of another socket of the data directory. Where there is room
// for the control socket, there is for one with a name up to six bytes longer.
func Socket(data, name string) (string, error) {
	path, limit := filepath.Join(data, "run", name), maxPath+max(0, len(name)-len("takd.sock"))
	if len(path) > limit {
		if wd, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
				path = rel
			}
		}
	}
	if len(path) > limit {
		return "", Errorf(ErrBad, "the path of a socket is too long (%d bytes, at most %d): %s; use a shorter --data, or run takd from inside it with --data .",
			len(path), limit, path)
	}
	return path, nil
}

// Bounds of every wait: for another command that works on the data directory,
// for the control socket, and for what most operations take.
const (
	lockWait = 3 * time.Second
	dialWait = 5 * time.Second
	opWait   = 30 * time.Second
)

// slow are operations that may take longer than opWait.
var slow = map[string]time.Duration{
	string(UserImport): 2 * time.Hour, // hashes a password for every line
	string(CertIssue):  5 * time.Minute,

	string(HistoryFlush):   2 * time.Minute,
	string(HistoryImport):  5 * time.Minute,
	string(HistoryParquet): 2 * time.Hour,
	string(RetentionRun):   2 * time.Hour,
	string(HistoryMigrate): 10 * time.Minute,
	string(BackupOp):       6 * time.Hour, // files of all users
	string(MoveOp):         6 * time.Hour,
	string(TilesAdd):       6 * time.Hour,
}

// Lock holds a data directory for this process.
type Lock struct{ f *os.File }

// Acquire locks a data directory, so that two processes never work on it at
// one time. It waits for short commands until ctx ends, or for a few seconds,
// and then says who holds it.
func Acquire(ctx context.Context, data string) (*Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	name := lockFile(data)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("lock data directory: %w", err)
		}
		select {
		case <-ctx.Done():
			pid := holder(f)
			_ = f.Close()
			return nil, Errorf(ErrExists, "another takd (pid %s) works on %s: stop it first, or use another --data", pid, data)
		case <-time.After(50 * time.Millisecond):
		}
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return &Lock{f: f}, nil
}

func lockFile(data string) string { return filepath.Join(data, "run", "takd.lock") }

func holder(f *os.File) string {
	pid, _ := io.ReadAll(io.LimitReader(f, 20))
	return cmp.Or(strings.TrimSpace(string(pid)), "unknown")
}

// Holder is the process id of the takd that works on a data directory, "" if
// there is none. It waits for nobody and changes nothing.
func Holder(data string) string {
	f, err := os.Open(lockFile(data))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return ""
	}
	return holder(f)
}

// Release gives the data directory free.
func (l *Lock) Release() error { return l.f.Close() }

// Listener answers operations on the control socket.
type Listener struct {
	http *http.Server
	done chan error
}

// Listen answers what comes in on the socket of a data directory with d. The
// caller holds the Lock, so that a socket that is there already is stale.
func Listen(data string, d Doer, log *slog.Logger) (*Listener, error) {
	path, err := SocketPath(data)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // the folder is 0700: nobody got in before
		_ = ln.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l := &Listener{
		done: make(chan error, 1),
		http: &http.Server{
			Handler:           handler(d, log),
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
	go func() { l.done <- l.http.Serve(ln) }()
	return l, nil
}

// Stop waits for the operations under way.
func (l *Listener) Stop(ctx context.Context) error {
	err := l.http.Shutdown(ctx)
	if served := <-l.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func handler(d Doer, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		op := strings.TrimPrefix(r.URL.Path, "/")
		if f, ok := d.(feeder); ok && strings.HasPrefix(op, feedPrefix) {
			serveFeed(w, r, f, op, request)
			return
		}
		response, err := d.Do(r.Context(), op, request)
		if err == nil {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(response)
			return
		}
		log.Debug("control operation failed", "op", op, "error", err)
		refuse(w, err)
	})
}

// refuse answers with an error and its kind.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			status = k.status
		}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(err.Error())
}

// Client is the running server behind a control socket.
type Client struct {
	http http.Client
	data string

	// Wait bounds each operation; 0 is what fits the operation.
	Wait time.Duration
}

// Dial finds the running server of a data directory. It returns ErrNoServer
// when there is none.
func Dial(ctx context.Context, data string) (*Client, error) {
	path, err := SocketPath(data)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialWait}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) }
	conn, err := dial(ctx, "", "")
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, Errorf(ErrNoServer, "no server runs on %s; start it with: takd run --data %s", data, data)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("not allowed to use %s; run this as the user that runs the server", path)
	case err != nil:
		return nil, fmt.Errorf("control socket: %w", err)
	}
	_ = conn.Close()
	return &Client{data: data, http: http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// Close closes idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Do implements Doer.
func (c *Client) Do(ctx context.Context, op string, request []byte) ([]byte, error) {
	wait := cmp.Or(c.Wait, slow[op], opWait)
	ctx, cancel := context.WithTimeoutCause(ctx, wait, errSilent)
	defer cancel()
	body, err := c.post(ctx, op, request)
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		return nil, fmt.Errorf("the running server (pid %s) has not answered %s within %s", cmp.Or(Holder(c.data), "unknown"), op, wait)
	}
	return body, err
}

// errSilent ends an operation that takes too long.
var errSilent = errors.New("no answer")

func (c *Client) post(ctx context.Context, op string, request []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://takd/"+op, bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the running server: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("ask the running server: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return body, nil
	}
	return nil, refusal(resp.StatusCode, body)
}

// refusal reads what refuse wrote.
func refusal(status int, body []byte) error {
	e := &Error{}
	if json.Unmarshal(body, &e.Text) != nil {
		e.Text = strings.TrimSpace(string(body))
	}
	for _, k := range kinds {
		if status == k.status {
			e.Kind = k.err
		}
	}
	return e
}
