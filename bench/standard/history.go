package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// historyCmd measures the stream without history, with it, and while its engine hangs.
type historyCmd struct {
	place
	Quick bool   `help:"Shorter: a first look, not a measurement."`
	Out   string `help:"File to write the results into; BENCHMARKS.md when left out, and none with --quick." placeholder:"FILE"`
}

// The ways to run takd that are compared.
const (
	without = iota
	recording
	hanging // the engine is stopped under the load, and goes on after it
	ways
)

var wayNames = [ways]string{"without history", "with history", "with an engine that hangs"}

// historyBench is what came of the runs: the figure of each, by way.
type historyBench struct {
	sheet

	p99, rate               [ways][]float64 // ms, deliveries/s
	came, recorded, dropped float64         // events, with history
}

// Run is called by kong.
func (c *historyCmd) Run(ctx context.Context, s streams) error {
	b, err := openBench(ctx, c.place, s.progress)
	if err != nil {
		return err
	}
	defer b.close()
	h := &historyBench{sheet: sheet{bench: b, quick: c.Quick}}
	began := time.Now()
	rounds := 3
	if c.Quick {
		rounds = 1
	}
	for range rounds {
		for way := range ways {
			if err := h.round(ctx, way); err != nil {
				return err
			}
		}
	}
	h.judge()
	return h.publish(ctx, s.out, besidePart, c.Out, "The stream beside history", "make bench-history", began,
		"Each run has a server of its own, with the embedded engine on the same two cores. Medians; every run stands behind its median.")
}

// round is one steady and one fan-out load, each on a server of its own.
func (h *historyBench) round(ctx context.Context, way int) error {
	steady := []string{"--mode=steady", "--clients=500", "--publishers=50", "--rate=2", "--mix=sa", "--protocol=xml", "--warmup=3s", "--duration=" + h.long(12*time.Second)}
	fanout := []string{"--mode=max", "--clients=100", "--publishers=4", "--window=64", "--protocol=xml", "--warmup=3s", "--duration=" + h.long(12*time.Second)}
	r, err := h.one(ctx, way, steady)
	if err != nil {
		return err
	}
	h.p99[way] = append(h.p99[way], r.Latency.P99)
	if r, err = h.one(ctx, way, fanout); err != nil {
		return err
	}
	v, _ := deliveryRate.of(r)
	h.rate[way] = append(h.rate[way], v)
	return nil
}

// one runs a server and a load.
func (h *historyBench) one(ctx context.Context, way int, load []string) (r *result, err error) {
	flags := []string{"--history", "off"}
	if way != without {
		flags = []string{"--history", "embedded"}
	}
	server, err := h.startTakd(ctx, fmt.Sprintf("run-history-%d", h.raw.Len()), nil, flags...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	if way != without {
		if err := h.until(ctx, server, func(m map[string]float64) bool { return m["takd_history_up"] == 1 }); err != nil {
			return nil, err
		}
	}
	wait(ctx, pause)
	if way == hanging {
		engine, err := childOf(server.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		if err := syscall.Kill(engine, syscall.SIGSTOP); err != nil {
			return nil, err
		}
		defer func() { _ = syscall.Kill(engine, syscall.SIGCONT) }() // it may have been replaced meanwhile
	}
	_, _ = fmt.Fprintf(&h.raw, "# %s\n", wayNames[way])
	r = new(result)
	if err := h.report(ctx, r, slices.Concat([]string{"run"}, load, []string{"--addr=" + server.addr, "--server-pid=" + strconv.Itoa(server.cmd.Process.Pid)})...); err != nil {
		return nil, err
	}
	if way == recording {
		return r, h.count(ctx, server)
	}
	return r, nil
}

// count waits until all is written that came in.
func (h *historyBench) count(ctx context.Context, server *process) error {
	var last map[string]float64
	err := h.until(ctx, server, func(m map[string]float64) bool {
		last = m
		return m["takd_history_written_total"]+m["takd_history_dropped_total"] >= m["takd_history_received_total"] && m["takd_history_spool_rows"] == 0
	})
	h.came += last["takd_history_received_total"]
	h.recorded += last["takd_history_written_total"]
	h.dropped += last["takd_history_dropped_total"] + last["takd_history_spool_dropped_total"] + last[`takd_tap_dropped_total{tap="history"}`]
	return err
}

func (h *historyBench) judge() {
	const noise = 1.1
	base := median(h.p99[without])
	for _, way := range []int{recording, hanging} {
		v := median(h.p99[way])
		must := noise * slices.Max(h.p99[without])
		h.add("p99 of the stream at 50,000 deliveries/s, "+wayNames[way], fmt.Sprintf("≤ %.1f ms: the worst run without, and a tenth", must),
			fmt.Sprintf("%.1f ms %s; without %.1f ms %s", v, each(h.p99[way], "%.1f"), base, each(h.p99[without], "%.1f")), v <= must)
	}
	base = median(h.rate[without])
	for _, way := range []int{recording, hanging} {
		v := median(h.rate[way])
		h.add("fan-out, 100 clients, "+wayNames[way], "≥ 0.9 × without", fmt.Sprintf("%.2f × (%.2f M/s %s; without %.2f M/s %s)",
			v/base, v/1e6, each(h.rate[way], "%.0f"), base/1e6, each(h.rate[without], "%.0f")), v >= 0.9*base)
	}
	h.add("events recorded of those that came, and dropped", "all, 0", fmt.Sprintf("%.0f of %.0f, %.0f", h.recorded, h.came, h.dropped),
		h.recorded == h.came && h.dropped == 0)
}

func each(values []float64, format string) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprintf(format, v)
	}
	return "(" + strings.Join(words, ", ") + ")"
}

// until reads the server's metrics until ok takes them.
func (h *historyBench) until(ctx context.Context, server *process, ok func(map[string]float64) bool) error {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); wait(ctx, 200*time.Millisecond) {
		m, err := metricsOf(ctx, server.faces["ops"])
		if err != nil {
			return err
		}
		if ok(m) {
			return nil
		}
	}
	return fmt.Errorf("the history is not where it should be; see %s", server.log.Name())
}

// metricsOf reads takd's metrics, by name with labels.
func metricsOf(ctx context.Context, addr string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	all := make(map[string]float64)
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 16<<20))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
		}
	}
	return all, lines.Err()
}

// childOf is the one child process of pid: takd's is the engine.
func childOf(pid int) (int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // of a thread that has ended
		}
		if child, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return child, nil
		}
	}
	return 0, fmt.Errorf("process %d has no child: does the engine run?", pid)
}
