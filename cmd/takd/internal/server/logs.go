package server

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"

	"takd/cmd/takd/internal/config"
)

// logs is where log lines go: DATA/log/takd.log, rotated, and one more writer.
type logs struct {
	*slog.Logger

	opts  config.Log
	level slog.LevelVar
	file  *lumberjack.Logger

	mu     sync.Mutex
	closed bool
}

func openLogs(data string, also io.Writer, o config.Log) (*logs, error) {
	o = config.Config{Log: o}.WithDefaults().Log
	dir := filepath.Join(data, "log")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l := &logs{opts: o, file: &lumberjack.Logger{
		Filename: filepath.Join(dir, "takd.log"), MaxSize: o.MaxSize, MaxBackups: o.Keep,
	}}
	var w io.Writer = untilClosed{l}
	if also != nil {
		w = io.MultiWriter(w, also)
	}
	l.setLevel(o.Level)
	l.Logger = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: &l.level}))
	return l, nil
}

func (l *logs) setLevel(name string) {
	if level, err := config.ParseLevel(name); err == nil {
		l.level.Set(level)
	}
}

// Close closes the file.
func (l *logs) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.file.Close()
}

// untilClosed drops what is said later: the file would be opened once more.
type untilClosed struct{ *logs }

// Write implements io.Writer.
func (l untilClosed) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(b), nil
	}
	return l.file.Write(b)
}
