package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// readyLine is what the child prints when it answers.
const readyLine = "ready"

// supervise runs one child after the other until ctx ends.
func (e *Engine) supervise(ctx context.Context) {
	defer e.set(Stopped, "", 0)
	wait, failed := backoffMin, 0
	for ctx.Err() == nil {
		began := time.Now()
		ready, err := e.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if ready {
			failed = 0
		} else {
			failed++
		}
		if ready && time.Since(began) > steady {
			wait = backoffMin
		}
		name := Restarting
		if failed >= giveUp || errors.Is(err, errNoLibrary) {
			name = Unavailable
		}
		if s := e.now(); s.Name != name || s.Reason != err.Error() {
			e.log.Warn("history engine ended", "state", name, "error", err, "next_try", wait)
		}
		e.set(name, err.Error(), 0)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, backoffMax)
	}
}

// run runs one child to its end. ready tells whether it ever answered.
func (e *Engine) run(ctx context.Context) (ready bool, err error) {
	lib := e.opts.Lib
	if lib == "" {
		if lib, err = Find(); err != nil {
			return false, err
		}
	} else if _, err := os.Stat(lib); err != nil {
		return false, fmt.Errorf("%w: %w", errNoLibrary, err)
	}
	args := slices.Concat(e.opts.Command[1:], []string{
		"--lib", lib, "--dir", e.opts.Dir, "--socket", e.opts.Socket, "--memory", strconv.FormatInt(e.opts.Memory, 10),
	})
	cmd := exec.Command(e.opts.Command[0], args...) //nolint:gosec // this program, or what a test runs
	// A group of its own: Ctrl-C is for the parent, which still has to flush.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	tail := &tail{}
	cmd.Stderr = tail
	in, err := cmd.StdinPipe()
	if err != nil {
		return false, fmt.Errorf("start engine: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("start engine: %w", err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("start engine: %w", err)
	}
	pid := cmd.Process.Pid
	// All its threads, those to come too. Where the processor is full, the history waits for the stream.
	if err := syscall.Setpriority(syscall.PRIO_PGRP, pid, niceness); err != nil {
		e.log.Warn("history engine runs at the priority of the server", "err", err)
	}
	if s := e.now(); s.Name != Unavailable { // it stays that until it answers
		e.set(Starting, "", pid)
	}
	answers, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for first := true; lines.Scan(); {
			if first && lines.Text() == readyLine {
				first = false
				close(answers)
			}
		}
		ended <- cmd.Wait()
	}()
	ready, why := e.watch(ctx, pid, answers, ended, in, began)
	return ready, reason(why, tail.String())
}

// watch waits until the child has ended, and ends it when it must.
func (e *Engine) watch(ctx context.Context, pid int, answers <-chan struct{}, ended <-chan error, in io.Closer, began time.Time) (ready bool, err error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	late := time.NewTimer(startLimit)
	defer late.Stop()
	hangs := make(chan error, 1)
	var pings sync.WaitGroup
	defer pings.Wait()
	pinging, done := context.WithCancel(ctx)
	defer done()
	for {
		select {
		case <-answers:
			answers, ready = nil, true
			e.log.Info("history engine ready", "pid", pid, "took", time.Since(began).Round(time.Millisecond))
			e.set(Ready, "", pid)
			pings.Go(func() { e.pings(pinging, hangs) })
		case err := <-ended:
			if err == nil {
				err = errors.New("engine ended by itself")
			}
			return ready, err
		case <-late.C:
			if !ready {
				kill(pid)
				return false, errors.Join(errors.New("engine did not get ready in time"), <-ended)
			}
		case err := <-hangs:
			kill(pid)
			return ready, fmt.Errorf("%w (%w)", err, <-ended)
		case <-tick.C:
			if used := resident(pid, "RssAnon:"); used > e.opts.Memory {
				kill(pid)
				return ready, fmt.Errorf("engine took %d MiB of memory, %d are allowed (%w)", used>>20, e.opts.Memory>>20, <-ended)
			}
		case <-ctx.Done():
			_ = in.Close() // it sees that and ends
			select {
			case err := <-ended:
				return ready, err
			case <-time.After(stopLimit):
				kill(pid)
				return ready, <-ended
			}
		}
	}
}

// pings asks the child from time to time whether it works, until ctx ends, and
// says so when it no longer does. What the engine refuses is an answer too.
func (e *Engine) pings(ctx context.Context, hangs chan<- error) {
	client := &http.Client{
		Timeout:   e.limit,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx, "") }},
	}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-time.After(e.every):
		case <-ctx.Done():
			return
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://history"+pingPath, http.NoBody)
		if err != nil {
			return
		}
		res, err := client.Do(req)
		if err == nil {
			err = res.Body.Close()
		}
		if err != nil && ctx.Err() == nil {
			hangs <- fmt.Errorf("engine does not answer: %w", err)
			return
		}
	}
}

// reason joins why a child ended with what it said last.
func reason(err error, said string) error {
	if said = strings.TrimSpace(said); said == "" || err == nil {
		return err
	}
	if i := strings.LastIndexByte(said, '\n'); i >= 0 {
		said = said[i+1:]
	}
	return fmt.Errorf("%w: %s", err, said)
}

func kill(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }

// resident reads how much memory a process holds.
func resident(pid int, field string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// tail keeps the end of what a child writes.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
