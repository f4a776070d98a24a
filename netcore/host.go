package netcore

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/panjf2000/gnet/v2"

	"takd/netcore/session"
)

// events is the gnet side of the engine. gnet calls each method on the event
// loop of the connection. Three of its habits shape what is here: after OnClose
// a connection must not be touched, its descriptor may be another client's; a
// failing write calls OnClose before it returns; and nothing recovers a panic.
type events struct {
	gnet.BuiltinEventEngine
	e *Engine
}

// gnetHost runs a loop on a gnet event loop.
type gnetHost struct {
	el gnet.EventLoop
	e  *Engine
}

// Run implements host.
func (h *gnetHost) Run(f func()) {
	err := h.el.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
		defer func() {
			if r := recover(); r != nil {
				h.e.stats.panics.Add(1)
				h.e.log.Error("panic on an event loop", "panic", r)
			}
		}()
		f()
		return nil
	}))
	if err != nil && !h.e.stopping.Load() {
		h.e.log.Error("event loop does not run", "err", err)
	}
}

// Close implements host.
func (h *gnetHost) Close(c session.Conn) { _ = h.el.Close(c.(gnet.Conn)) }

// loopOf returns our side of a gnet loop, making it for the first connection.
func (ev *events) loopOf(el gnet.EventLoop) *loop {
	e := ev.e
	for _, l := range e.allLoops() {
		if h, ok := l.host.(*gnetHost); ok && h.el == el {
			return l
		}
	}
	e.loopMu.Lock()
	defer e.loopMu.Unlock()
	return e.addLoop(&gnetHost{el: el, e: e})
}

// OnOpen implements gnet.EventHandler.
func (ev *events) OnOpen(conn gnet.Conn) (out []byte, action gnet.Action) {
	c, ok := conn.Context().(*client)
	if !ok {
		return nil, gnet.Close
	}
	c.loop = ev.loopOf(conn.EventLoop())
	defer ev.guard(c)
	c.loop.open(c, conn)
	return nil, gnet.None
}

// OnTraffic implements gnet.EventHandler.
func (ev *events) OnTraffic(conn gnet.Conn) gnet.Action {
	c, ok := conn.Context().(*client)
	if !ok {
		return gnet.Close
	}
	defer ev.guard(c)
	in, _ := conn.Next(-1) // everything: nothing is left for gnet to keep
	c.loop.traffic(c, in)
	return gnet.None
}

// OnClose implements gnet.EventHandler.
func (ev *events) OnClose(conn gnet.Conn, err error) gnet.Action {
	if c, ok := conn.Context().(*client); ok && c.loop != nil {
		defer ev.guard(c)
		c.loop.closed(c, err)
	}
	return gnet.None
}

// guard keeps a defect from ending the process: the client that met it is
// closed, the others go on.
func (ev *events) guard(c *client) {
	if r := recover(); r != nil {
		ev.e.stats.panics.Add(1)
		ev.e.log.Error("panic on an event loop", "peer", c.Remote, "user", c.User, "panic", r)
	}
}

// gnetLog passes gnet's own messages on.
type gnetLog struct{ log *slog.Logger }

func (g gnetLog) put(level slog.Level, format string, args []any) {
	g.log.Log(context.Background(), level, "gnet", "says", fmt.Sprintf(format, args...))
}

// gnet's information and warnings, such as of an event for a connection that
// was closed in the same round, mean nothing to an operator.
func (g gnetLog) Debugf(format string, args ...any) { g.put(slog.LevelDebug, format, args) }
func (g gnetLog) Infof(format string, args ...any)  { g.put(slog.LevelDebug, format, args) }
func (g gnetLog) Warnf(format string, args ...any)  { g.put(slog.LevelDebug, format, args) }
func (g gnetLog) Errorf(format string, args ...any) { g.put(slog.LevelError, format, args) }
func (g gnetLog) Fatalf(format string, args ...any) { g.put(slog.LevelError, format, args) }
