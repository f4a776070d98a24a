package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// thisMachine describes where the figures come from.
func thisMachine() string {
	words := []string{fmt.Sprintf("%s, %d cores", or(procField("/proc/cpuinfo", "model name"), runtime.GOARCH), runtime.NumCPU())}
	memory := strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB")
	if kib, err := strconv.Atoi(memory); err == nil {
		words = append(words, fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20)))
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	words = append(words, "Linux "+or(string(bytes.TrimSpace(kernel)), "unknown"), "Go "+strings.TrimPrefix(runtime.Version(), "go"))
	return strings.Join(words, ", ")
}

// procField is what stands behind name in a file of /proc, "" without one.
func procField(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if key, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// commit is the state of the sources in the working directory.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return string(bytes.TrimSpace(out))
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
