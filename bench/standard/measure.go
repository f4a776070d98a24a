package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// bench is a folder with certificates and a fresh data directory, from which
// every server starts.
type bench struct {
	bin, dir string
	keep     bool
	progress io.Writer
}

// benchPassword is the administrator's. The server is on loopback, and gone in minutes.
const benchPassword = "bench-password-of-one-run"

const (
	certificates = 200 // that the clients share
	longest      = 15 * time.Minute
	pause        = 500 * time.Millisecond // between two runs, for what the last one left in the kernel
)

func openBench(ctx context.Context, p place, progress io.Writer) (b *bench, err error) {
	b = &bench{bin: p.Bin, dir: p.Work, keep: p.Work != "", progress: progress}
	for _, name := range []string{"takd", "takload", "hub"} {
		if _, err := os.Stat(b.program(name)); err != nil {
			return nil, fmt.Errorf("--bin %s: %w", p.Bin, err)
		}
	}
	if b.keep {
		err = os.MkdirAll(b.dir, 0o755)
	} else {
		b.dir, err = os.MkdirTemp("", "takd-bench-") // short: the path of a socket is limited
	}
	if err != nil {
		return nil, err
	}
	if b.keep { // of an earlier run
		old, err := filepath.Glob(b.path("run-*"))
		if err != nil {
			return nil, err
		}
		for _, name := range append(old, b.path("data"), b.path("load"), b.path("hub")) {
			if err := os.RemoveAll(name); err != nil {
				return nil, err
			}
		}
	}
	data, secret := b.path("data"), b.path("password")
	if err := os.WriteFile(secret, []byte(benchPassword), 0o600); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"init", "--data", data, "--host", "localhost", "--admin-password-file", secret},
		{"cert", "issue", "load", "--ecdsa", "--count", strconv.Itoa(certificates), "--out", b.path("load"), "--data", data},
		{"cert", "issue", "hub", "--server", "--ecdsa", "--san", "localhost", "--out", b.path("hub"), "--data", data},
	} {
		if _, err := b.takd(ctx, args...); err != nil {
			b.close()
			return nil, err
		}
	}
	return b, nil
}

func (b *bench) program(name string) string { return filepath.Join(b.bin, name) }
func (b *bench) path(elements ...string) string {
	return filepath.Join(append([]string{b.dir}, elements...)...)
}

// close removes what nobody asked to keep.
func (b *bench) close() {
	if !b.keep {
		_ = os.RemoveAll(b.dir)
	}
}

// run is one run of takload against one server.
type run struct {
	server  string // takd or hub
	n       int    // 1, 2, …
	command string // what repeats it
	text    string // as takload printed it
	result  *result
	err     error
}

// name of the run of a scenario.
func (r *run) name(scenario string) string { return fmt.Sprintf("%s, %s %d", scenario, r.server, r.n) }

// row is one scenario and all its runs.
type row struct {
	scenario
	config    []string
	compared  bool // with the hub
	takd, hub []run
}

// measure runs a group: every scenario on takd, then the hub, and again. A run
// that fails is part of the result; the error is only about ctx.
func (b *bench) measure(ctx context.Context, g group, quick bool) ([]row, error) {
	rows := make([]row, len(g.scenarios))
	for i, s := range g.scenarios {
		rows[i] = row{scenario: s, config: g.config, compared: g.hub}
	}
	rounds := g.rounds
	if quick {
		rounds = 1
	}
	var hub []run
	for n := 1; n <= rounds; n++ {
		for i := range rows {
			r := b.against(ctx, run{server: "takd", n: n}, rows[i].name, g.config, g.load.flags(quick, "--protocol="+rows[i].protocol))
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			rows[i].takd = append(rows[i].takd, r)
		}
		if !g.hub {
			continue
		}
		r := b.against(ctx, run{server: "hub", n: n}, rows[0].name, nil, g.load.flags(quick, "--protocol=xml", "--hub"))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		hub = append(hub, r)
	}
	for i := range rows {
		rows[i].hub = hub
	}
	return rows, nil
}

// against starts the server of r, loads it and stops it.
func (b *bench) against(ctx context.Context, r run, scenario string, config, flags []string) run {
	name := fmt.Sprintf("run-%s-%s-%d", r.server, scenario, r.n)
	_, _ = fmt.Fprintf(b.progress, "%-24s", r.name(scenario))
	began := time.Now()
	r.command = "takload run " + strings.Join(flags, " ")
	var server *process
	if r.server == "hub" {
		server, r.err = b.startHub(ctx, b.path(name+".log"))
	} else {
		server, r.err = b.startTakd(ctx, name, config)
	}
	if r.err == nil {
		r.text, r.result, r.err = b.takload(ctx, server, b.path(name+".json"), flags)
		r.err = errors.Join(r.err, server.stop())
	}
	_, _ = fmt.Fprintf(b.progress, " %5.1f s  %s\n", time.Since(began).Seconds(), r.summary())
	wait(ctx, pause)
	return r
}

// takload runs the load tool.
func (b *bench) takload(ctx context.Context, server *process, file string, flags []string) (text string, _ *result, _ error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	args := slices.Concat([]string{"run"}, flags, []string{
		"--addr=" + server.addr, "--certs=" + b.path("load"), "--server-pid=" + strconv.Itoa(server.cmd.Process.Pid), "--out=" + file,
	})
	cmd := exec.CommandContext(ctx, b.program("takload"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	out, err := cmd.CombinedOutput()
	text = string(out)
	if err != nil {
		err = fmt.Errorf("takload: %w: %s", err, lastLine(text))
	}
	report, err2 := os.ReadFile(file)
	if err2 != nil {
		return text, nil, errors.Join(err, err2)
	}
	result, err2 := parse(report)
	return text, result, errors.Join(err, err2)
}

// summary is a run in one line of progress.
func (r *run) summary() string {
	var words []string
	if r.result != nil {
		for _, m := range []metric{delivered, latency99, deliveryRate, cpuEach} {
			if v, ok := m.of(r.result); ok {
				words = append(words, m.name+" "+m.text(v))
			}
		}
		if d := r.result.disturbance(); d > quietMachine {
			words = append(words, fmt.Sprintf("disturbed: %.2f cores of others", d))
		}
	}
	if r.err != nil {
		first, _, _ := strings.Cut(r.err.Error(), "\n")
		words = append(words, "FAILED: "+first)
	}
	return strings.Join(words, ", ")
}

// quietMachine is how many cores others may have used while a run counts as
// undisturbed.
const quietMachine = 0.15

// disturbance is the cores that neither server nor load tool used, but somebody did.
func (r *result) disturbance() float64 { return r.Other + r.Steal }

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
