package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	startTime = 20 * time.Second // a server answers within
	stopTime  = 20 * time.Second // and has ended within
)

// takdFlags keep a server on loopback, and out of the way of others.
var takdFlags = []string{
	"--cot-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--https-addr", "127.0.0.1:0", "--enroll-addr", "127.0.0.1:0", "--federation-addr", "off",
	"--history", "off", // unless it is given again
}

// process is one server under test.
type process struct {
	addr  string
	faces map[string]string // addresses of takd's listeners
	cmd   *exec.Cmd
	log   *os.File
	done  chan struct{} // closed when it has ended
}

// launch starts a program whose output goes to a file, and out to the caller if
// wanted.
func launch(log string, wantOut bool, program string, args ...string) (p *process, out io.Reader, err error) {
	p = &process{cmd: exec.Command(program, args...), done: make(chan struct{})}
	// Of its own group: Ctrl-C is for us, who stop it in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.log, err = os.Create(log); err != nil {
		return nil, nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	var write *os.File
	if wantOut {
		var read *os.File
		if read, write, err = os.Pipe(); err != nil {
			return nil, nil, errors.Join(err, p.log.Close())
		}
		p.cmd.Stdout, out = write, read
	}
	err = p.cmd.Start()
	if write != nil {
		_ = write.Close()
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start %s: %w", filepath.Base(program), err), p.log.Close())
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, out, nil
}

// stop ends the process and waits until it has.
func (p *process) stop() error {
	defer func() { _ = p.log.Close() }()
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself: %s; see %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState, p.log.Name())
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not stop within %v", filepath.Base(p.cmd.Path), stopTime)
	}
}

// startHub runs the hub.
func (b *bench) startHub(ctx context.Context, log string, more ...string) (*process, error) {
	p, out, err := launch(log, true, b.program("hub"), append([]string{
		"--listen", "127.0.0.1:0", "--cert", b.path("hub", "hub.pem"), "--key", b.path("hub", "hub.key"), "--ca", b.path("hub", "ca.pem"),
	}, more...)...)
	if err != nil {
		return nil, err
	}
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n')
		line <- text
	}()
	select {
	case text := <-line:
		addr, ok := strings.CutPrefix(text, "listening on ")
		if !ok {
			return nil, errors.Join(fmt.Errorf("the hub does not listen: %q; see %s", text, log), p.stop())
		}
		p.addr = strings.TrimSpace(addr)
		return p, nil
	case <-ctx.Done():
	case <-time.After(startTime):
	}
	return nil, errors.Join(errors.New("the hub does not start"), p.stop())
}

// startTakd runs takd on a copy of the data directory, with the given
// configuration and more flags.
func (b *bench) startTakd(ctx context.Context, name string, config []string, flags ...string) (*process, error) {
	data := b.path(name)
	if err := os.CopyFS(data, os.DirFS(b.path("data"))); err != nil {
		return nil, fmt.Errorf("copy the data directory: %w", err)
	}
	if len(config) > 0 {
		if _, err := b.takd(ctx, append([]string{"config", "set", "--data", data}, config...)...); err != nil {
			return nil, err
		}
	}
	p, _, err := launch(b.path(name+".log"), false, b.program("takd"), slices.Concat([]string{"run", "--data", data}, takdFlags, flags)...)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(startTime); time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-p.done:
			return nil, p.stop()
		case <-time.After(50 * time.Millisecond):
		}
		text, err := b.takd(ctx, "status", "--json", "--data", data)
		if err != nil {
			continue // not yet
		}
		var status struct {
			Listeners map[string]string `json:"listeners"`
		}
		if err := json.Unmarshal(text, &status); err != nil {
			return nil, errors.Join(fmt.Errorf("takd status: %w", err), p.stop())
		}
		p.faces = status.Listeners
		if p.addr = p.faces["tls"]; p.addr != "" {
			return p, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("takd does not start; see %s", p.log.Name()), ctx.Err(), p.stop())
}

// takd runs one command of takd and returns what it printed.
func (b *bench) takd(ctx context.Context, args ...string) ([]byte, error) {
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, b.program("takd"), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("takd %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return []byte(out.String()), nil
}
