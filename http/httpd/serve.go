package httpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/fasthttp/router"
	"github.com/fasthttp/websocket"
	"github.com/klauspost/compress/zstd"
	"github.com/valyala/fasthttp"
)

const (
	maxHeader   = 16 << 10
	defaultBody = 1 << 20
	minCompress = 1 << 10
	streamTime  = 10 * time.Minute // for a body that a handler reads itself, unless the route says otherwise
)

// check reports every row that cannot be served.
func check(routes []Route) error {
	var errs []error
	seen := map[string]Face{}
	for i := range routes {
		r := &routes[i]
		name := r.Method + " " + r.Path
		switch {
		case !strings.HasPrefix(r.Path, "/") || r.Method == "" || r.Method != strings.ToUpper(r.Method):
			errs = append(errs, fmt.Errorf("%w: route %q: want an upper-case verb and a path", ErrOptions, name))
		case r.Handler == nil || r.Faces == 0:
			errs = append(errs, fmt.Errorf("%w: route %q: want a handler and a face", ErrOptions, name))
		case r.Role < Admin || r.Role > Public:
			errs = append(errs, fmt.Errorf("%w: route %q: want a role", ErrOptions, name))
		case seen[name]&r.Faces != 0:
			errs = append(errs, fmt.Errorf("%w: route %q: is there twice", ErrOptions, name))
		}
		seen[name] |= r.Faces
	}
	return errors.Join(errs...)
}

// router makes the tree of the rows of one face.
func (s *Server) router(which Face) *router.Router {
	rt := router.New()
	rt.RedirectTrailingSlash, rt.RedirectFixedPath, rt.HandleOPTIONS = false, false, false
	rt.NotFound = s.plain(NotFound("Not Found: there is no such path"))
	rt.MethodNotAllowed = s.plain(fail(fasthttp.StatusMethodNotAllowed, 2, "Method Not Allowed", nil))
	for i := range s.opts.Routes {
		route := &s.opts.Routes[i]
		if route.Faces&which == 0 {
			continue
		}
		h := s.handler(which, route)
		methods := []string{route.Method}
		if route.Method == fasthttp.MethodGet {
			methods = append(methods, fasthttp.MethodHead)
		}
		for _, m := range methods {
			rt.Handle(m, route.Path, h)
		}
	}
	return rt
}

func (s *Server) plain(e *Error) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) { s.refuseEarly(ctx, e) }
}

// broken answers what is not even a request.
func (s *Server) broken(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	e := Bad("request: cannot be read")
	var ne net.Error
	switch {
	case errors.As(err, &small):
		e = fail(fasthttp.StatusRequestHeaderFieldsTooLarge, 2, "headers: want at most %d bytes", []any{maxHeader})
	case errors.As(err, &ne) && ne.Timeout():
		e = fail(fasthttp.StatusRequestTimeout, 2, "request: want it within %v", []any{s.opts.Limits.Request})
	}
	s.refuseEarly(ctx, e)
}

// handler is one row on one face.
func (s *Server) handler(which Face, route *Route) fasthttp.RequestHandler {
	took := s.stats.NewHistogram(fmt.Sprintf(`takd_http_request_duration_seconds{method=%q,route=%q,face=%q}`, route.Method, route.Path, which))
	var classes [6]*metrics.Counter
	for i := range classes {
		classes[i] = s.stats.NewCounter(fmt.Sprintf(`takd_http_requests_total{method=%q,route=%q,face=%q,status="%dxx"}`, route.Method, route.Path, which, i))
	}
	return func(ctx *fasthttp.RequestCtx) {
		began := time.Now()
		r := s.request(ctx, which)
		var cancel context.CancelFunc
		r.ctx, cancel = context.WithCancel(s.ctx)
		s.answer(r, route)
		cancel()
		s.finish(r)
		d := time.Since(began)
		took.Update(d.Seconds())
		classes[min(ctx.Response.StatusCode()/100, 5)].Inc()
		// Never the query: clients put passwords and tokens into it.
		s.opts.Log.Debug("request", "id", r.ID, "method", route.Method, "path", route.Path, "status", ctx.Response.StatusCode(), "user", r.Who.User,
			"peer", ctx.RemoteAddr(), "took", d)
	}
}

// answer runs the handler, whose panic is nobody else's.
func (s *Server) answer(r *Request, route *Route) {
	defer func() {
		if p := recover(); p != nil {
			s.opts.Log.Error("panic in a handler", "id", r.ID, "route", route.Path, "panic", p, "stack", string(debug.Stack()))
			r.Response.Reset()
			r.Response.Header.Set("X-Request-Id", r.ID)
			s.refuse(r, &Error{Status: fasthttp.StatusInternalServerError, Code: 5, Message: "Internal Server Error"})
		}
	}()
	err := s.admit(r, route)
	if err == nil {
		err = r.readBody(route)
	} else if r.Request.IsBodyStream() {
		unread(r.RequestCtx)
	}
	if err == nil {
		if err = route.Handler(r); err != nil && route.Stream && r.Request.IsBodyStream() {
			unread(r.RequestCtx) // nobody wants the rest
		}
	}
	if err != nil {
		s.refuse(r, err)
	}
	if route.Login && r.Response.StatusCode() == fasthttp.StatusUnauthorized {
		s.fails.note(address(r.RemoteAddr()), time.Now())
		if err == nil { // else admit has told
			s.tell(r.Face, address(r.RemoteAddr()), r.Claim, ErrUnknown.Error())
		}
	}
}

// readBody takes in the body, unless the handler does.
func (r *Request) readBody(route *Route) error {
	limit := route.MaxBody
	def(&limit, defaultBody)
	if n := int64(r.Request.Header.ContentLength()); n > limit {
		unread(r.RequestCtx)
		return TooLarge("body: %d bytes; want at most %d", n, limit)
	}
	d := route.Timeout
	if route.Stream {
		def(&d, streamTime)
	}
	if d > 0 { // else that of the whole request holds
		if err := r.Conn().SetReadDeadline(time.Now().Add(d)); err != nil {
			return err
		}
	}
	if route.Stream {
		return nil
	}
	stream := r.RequestBodyStream()
	if stream == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(stream, limit+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		unread(r.RequestCtx)
		return fail(fasthttp.StatusRequestTimeout, 2, "body: it takes too long", nil)
	case err != nil:
		unread(r.RequestCtx)
		return Bad("body: cannot be read")
	case int64(len(body)) > limit:
		unread(r.RequestCtx)
		return TooLarge("body: want at most %d bytes", limit)
	}
	r.Request.SetBodyRaw(body)
	return nil
}

// Body reads what the caller sends, up to the limit of the route: for routes
// with Stream.
func (r *Request) Body() io.Reader {
	if s := r.RequestBodyStream(); s != nil {
		return s
	}
	return bytes.NewReader(r.Request.Body())
}

// refuse answers with an error.
func (s *Server) refuse(r *Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		s.opts.Log.Error("request failed", "id", r.ID, "method", string(r.Method()), "path", string(r.Path()), "user", r.Who.User, "error", err)
		e = &Error{Status: fasthttp.StatusInternalServerError, Code: 5, Message: "Internal Server Error"}
	}
	name := strings.ToUpper(strings.ReplaceAll(fasthttp.StatusMessage(e.Status), " ", "_"))
	_ = r.JSON(e.Status, struct {
		Status  string `json:"status"`
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{name, e.Code, e.Message})
	s.secure(r)
}

func (s *Server) secure(r *Request) {
	h := &r.Response.Header
	h.Set(fasthttp.HeaderStrictTransportSecurity, "max-age=63072000")
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set(fasthttp.HeaderXFrameOptions, "DENY")
	h.Set(fasthttp.HeaderReferrerPolicy, "no-referrer")
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// finish marks an answer with its ETag, and compresses it where that helps.
func (s *Server) finish(r *Request) {
	if r.Hijacked() {
		return
	}
	s.secure(r)
	resp := &r.Response
	if resp.IsBodyStream() || resp.StatusCode() != fasthttp.StatusOK || len(resp.Header.ContentEncoding()) > 0 {
		return
	}
	body := resp.Body()
	if (r.IsGet() || r.IsHead()) && len(body) > 0 && len(resp.Header.Peek(fasthttp.HeaderETag)) == 0 {
		tag := fmt.Sprintf(`W/"%x-%08x"`, len(body), crc32.Checksum(body, castagnoli))
		resp.Header.Set(fasthttp.HeaderETag, tag)
		if strings.Contains(string(r.Request.Header.Peek(fasthttp.HeaderIfNoneMatch)), tag) {
			resp.ResetBody()
			r.SetStatusCode(fasthttp.StatusNotModified)
			return
		}
	}
	if len(body) < minCompress || r.IsHead() || !compressible(string(resp.Header.ContentType())) {
		return
	}
	resp.Header.Add(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	switch {
	case r.Accepts("zstd"):
		resp.Header.SetContentEncoding("zstd")
		resp.SetBodyRaw(encoder.EncodeAll(body, nil))
	case r.Accepts("gzip"):
		resp.Header.SetContentEncoding("gzip")
		resp.SetBodyRaw(fasthttp.AppendGzipBytesLevel(nil, body, fasthttp.CompressBestSpeed))
	}
}

var encoder = func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
}()

func compressible(kind string) bool {
	return strings.HasPrefix(kind, "text/") || strings.HasPrefix(kind, "application/json") || strings.HasPrefix(kind, "application/xml") ||
		strings.HasPrefix(kind, "application/javascript")
}

// String is the port by which the face is known.
func (f Face) String() string {
	switch f {
	case API:
		return "8443"
	case Enroll:
		return "8446"
	case Federation:
		return "8444"
	}
	return "several"
}

var upgrader = websocket.FastHTTPUpgrader{
	HandshakeTimeout: 30 * time.Second,
	ReadBufferSize:   4 << 10,
	WriteBufferSize:  4 << 10,
	CheckOrigin:      sameOrigin,
}

// sameOrigin keeps pages of other sites from using a session. Apps send no origin.
func sameOrigin(ctx *fasthttp.RequestCtx) bool {
	origin := ctx.Request.Header.Peek(fasthttp.HeaderOrigin)
	return len(origin) == 0 || string(origin) == "https://"+string(ctx.Host())
}

// Upgrade turns the request into a WebSocket, which serve has until it returns.
// Messages above limit bytes end it. Shutdown cuts it off, and waits for serve.
func (r *Request) Upgrade(limit int64, serve func(*websocket.Conn)) error {
	if !sameOrigin(r.RequestCtx) {
		return Forbidden("Origin: want this server's")
	}
	srv, log := r.srv, r.srv.logger()
	if c, ok := r.Conn().(*conn); ok {
		c.raw.release()
	}
	err := upgrader.Upgrade(r.RequestCtx, func(c *websocket.Conn) {
		if !srv.enter() {
			return // it stops; the connection is closed
		}
		defer srv.sockets.Done()
		defer func() {
			if p := recover(); p != nil {
				log.Error("panic in a WebSocket", "panic", p, "stack", string(debug.Stack()))
			}
			_ = c.Close()
		}()
		c.SetReadLimit(limit)
		serve(c)
	})
	if err != nil {
		return Bad("upgrade: %v", err)
	}
	return nil
}

// enter counts one more WebSocket, unless the server stops.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.sockets.Add(1)
	return true
}

func (s *Server) logger() *slog.Logger {
	if s == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.opts.Log
}
