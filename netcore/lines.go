package netcore

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// lines hands log lines to a goroutine that writes them, so that a terminal
// which is stopped, or a disk that hangs, stops no event loop. What nobody takes
// is dropped and counted.
type lines struct {
	ring    chan line
	dropped atomic.Uint64
	done    chan struct{}
}

type line struct {
	h    slog.Handler
	r    slog.Record
	sync chan struct{} // closed when everything before it is written
}

const mostLines = 4096

func newLines() *lines {
	l := &lines{ring: make(chan line, mostLines), done: make(chan struct{})}
	go l.run() // ends with close, or with the program where the writer hangs
	return l
}

func (l *lines) run() {
	defer close(l.done)
	for x := range l.ring {
		if x.sync != nil {
			close(x.sync)
			continue
		}
		_ = x.h.Handle(context.Background(), x.r)
	}
}

// flush waits until what was said so far is written, or ctx ends.
func (l *lines) flush(ctx context.Context) {
	written := make(chan struct{})
	select {
	case l.ring <- line{sync: written}:
	case <-ctx.Done():
		return
	}
	select {
	case <-written:
	case <-ctx.Done():
	}
}

// handler is a slog.Handler in front of h that never blocks.
type handler struct {
	slog.Handler
	l *lines
}

func (l *lines) logger(to *slog.Logger) *slog.Logger { return slog.New(handler{to.Handler(), l}) }

// Handle implements slog.Handler.
func (h handler) Handle(_ context.Context, r slog.Record) error {
	select {
	case h.l.ring <- line{h: h.Handler, r: r.Clone()}:
	default:
		h.l.dropped.Add(1)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.l}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.l}
}
