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
