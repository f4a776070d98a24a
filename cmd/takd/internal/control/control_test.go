package control_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"takd/cmd/takd/internal/control"
)

// failing is an operation that fails with the error of that name.
const failing control.Op[control.Name, control.Closed] = "failing"

func listen(t *testing.T, data string, m control.Mux) *control.Client {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(data, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(data, m, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.Dial(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), l.Stop(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return c
}

// An error has the same kind and text on both sides of the socket.
func TestErrorsPassTheSocket(t *testing.T) {
	tests := map[string]struct{ kind error }{
		"bad":       {kind: control.ErrBad},
		"not found": {kind: control.ErrNotFound},
		"exists":    {kind: control.ErrExists},
		"no server": {kind: control.ErrNoServer},
		"other":     {},
		"none":      {},
	}
	m := control.Mux{}
	control.Handle(m, failing, func(_ context.Context, q control.Name) (control.Closed, error) {
		if q.Name == "none" {
			return control.Closed{Closed: 7}, nil
		}
		return control.Closed{}, control.Errorf(tests[q.Name].kind, "it is \"%s\"\n<so>", q.Name)
	})
	client := listen(t, t.TempDir(), m)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			here, errHere := failing.Call(t.Context(), m, control.Name{Name: name})
			there, errThere := failing.Call(t.Context(), client, control.Name{Name: name})
			if here != there || (errHere == nil) != (errThere == nil) {
				t.Fatalf("Call = %v, %v here and %v, %v there", here, errHere, there, errThere)
			}
			if errHere != nil && errHere.Error() != errThere.Error() {
				t.Errorf("text = %q here and %q there", errHere, errThere)
			}
			if tc.kind != nil && (!errors.Is(errHere, tc.kind) || !errors.Is(errThere, tc.kind)) {
				t.Errorf("kind of %v and %v, want %v", errHere, errThere, tc.kind)
			}
		})
	}
	if _, err := control.StatusOp.Call(t.Context(), client, control.None{}); !errors.Is(err, control.ErrBad) {
		t.Errorf("unknown operation: %v, want %v", err, control.ErrBad)
	}
}

func TestSocket(t *testing.T) {
	data := t.TempDir()
	if _, err := control.Dial(t.Context(), data); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("Dial without a socket = %v, want %v", err, control.ErrNoServer)
	}
	path := filepath.Join(data, "run", "takd.sock")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	if _, err := control.Dial(t.Context(), data); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("Dial of a stale socket = %v, want %v", err, control.ErrNoServer)
	}
	listen(t, data, control.Mux{})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info, err)
	}
	long := filepath.Join("/", strings.Repeat("long", 30))
	if _, err := control.SocketPath(long); !errors.Is(err, control.ErrBad) {
		t.Errorf("SocketPath(%s) = %v, want %v", long, err, control.ErrBad)
	}
}

func TestLock(t *testing.T) {
	data := t.TempDir()
	first, err := control.Acquire(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := control.Holder(data), fmt.Sprint(os.Getpid()); got != want {
		t.Errorf("Holder = %q, want %s", got, want)
	}
	// Nobody waits without an end, also who brings no deadline.
	began := time.Now()
	if _, err := control.Acquire(context.Background(), data); !errors.Is(err, control.ErrExists) || time.Since(began) > 15*time.Second {
		t.Errorf("Acquire of a locked directory = %v after %s", err, time.Since(began))
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := control.Acquire(gone, data); !errors.Is(err, control.ErrExists) || !strings.Contains(err.Error(), "pid ") {
		t.Errorf("second Acquire = %v, want %v with a pid", err, control.ErrExists)
	}
	done := make(chan error, 1)
	go func() { // waits for the first one to end
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		l, err := control.Acquire(ctx, data)
		if err == nil {
			err = l.Release()
		}
		done <- err
	}()
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Acquire after Release = %v", err)
	}
	if got := control.Holder(data); got != "" {
		t.Errorf("Holder of a free directory = %q", got)
	}
}

// A server that does not answer keeps nobody waiting, and says who it is.
func TestSilentServer(t *testing.T) {
	data := t.TempDir()
	lock, err := control.Acquire(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Release() }()
	m := control.Mux{}
	control.Handle(m, failing, func(ctx context.Context, _ control.Name) (control.Closed, error) {
		<-ctx.Done() // who asked has gone
		return control.Closed{}, ctx.Err()
	})
	c := listen(t, data, m)
	c.Wait = 50 * time.Millisecond
	_, err = failing.Call(context.Background(), c, control.Name{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) || !strings.Contains(err.Error(), "within 50ms") {
		t.Errorf("Call of a silent server = %v", err)
	}
}
