package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of the times in /proc/PID/stat; it is 100 on every Linux.
const tick = time.Second / 100

// usage is what the server process needed in the measured time.
type usage struct {
	CPU     time.Duration
	Wall    time.Duration
	RSS     int64 // bytes at the end
	PeakRSS int64 // bytes, since the process began
}

// watcher measures one process from outside. Without a pid it does nothing.
type watcher struct {
	pid   int
	cpu   time.Duration
	began time.Time
	err   error
}

func watch(pid int) *watcher { return &watcher{pid: pid} }

func (w *watcher) start() {
	if w.pid != 0 {
		w.began = time.Now()
		w.cpu, w.err = cpuTime(w.pid)
	}
}

func (w *watcher) stop() (usage, error) {
	if w.pid == 0 {
		return usage{}, nil
	}
	cpu, err := cpuTime(w.pid)
	rss, peak, err2 := memory(w.pid)
	if err := errors.Join(w.err, err, err2); err != nil {
		return usage{}, fmt.Errorf("watch the server: %w", err)
	}
	return usage{CPU: cpu - w.cpu, Wall: time.Since(w.began), RSS: rss, PeakRSS: peak}, nil
}

// cpuTime is user and system time of all threads.
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, second, is in parentheses and may hold anything.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

func memory(pid int) (rss, peak int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(string(f[1]), 10, 64)
		switch string(f[0]) {
		case "VmRSS:":
			rss = kib << 10
		case "VmHWM:":
			peak = kib << 10
		}
	}
	return rss, peak, nil
}

// machineUse is in cores.
type machineUse struct{ busy, steal float64 }

// machineWatch measures the whole machine.
type machineWatch struct {
	busy, steal time.Duration
	began       time.Time
	err         error
}

func (w *machineWatch) start() {
	w.began = time.Now()
	w.busy, w.steal, w.err = machineTime()
}

func (w *machineWatch) stop() (machineUse, error) {
	busy, steal, err := machineTime()
	if err := errors.Join(w.err, err); err != nil {
		return machineUse{}, fmt.Errorf("watch the machine: %w", err)
	}
	wall := time.Since(w.began).Seconds()
	return machineUse{busy: (busy - w.busy).Seconds() / wall, steal: (steal - w.steal).Seconds() / wall}, nil
}

// machineTime is what all processors spent on work since the machine started,
// and what its host gave to others meanwhile.
func machineTime() (busy, steal time.Duration, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 {
		return 0, 0, fmt.Errorf("/proc/stat: %d fields", len(fields))
	}
	// cpu user nice system idle iowait irq softirq steal …
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		switch i {
		case 3, 4:
		case 7:
			steal = time.Duration(n) * tick
		default:
			busy += time.Duration(n) * tick
		}
	}
	return busy, steal, nil
}
