package httpd

import (
	"bytes"
	"crypto/rand"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// maxFields bounds the number of header fields; their bytes are bounded by maxHeader.
const maxFields = 100

// front looks at a request before the table does: what two programs could read
// in two ways is refused, and the connection closed.
func (s *Server) front(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if e := suspect(ctx); e != nil {
			s.refuseEarly(ctx, e)
			return
		}
		// A path with a slash at its end is answered like the one without: clients differ.
		if p := ctx.URI().PathOriginal(); len(p) > 1 && p[len(p)-1] == '/' && p[len(p)-2] != '/' {
			ctx.Request.SetRequestURIBytes(append(bytes.Clone(p[:len(p)-1]), query(ctx)...))
		}
		next(ctx)
	}
}

func query(ctx *fasthttp.RequestCtx) []byte {
	q := ctx.URI().QueryString()
	if len(q) == 0 {
		return nil
	}
	return append([]byte{'?'}, q...)
}

// suspect says what is wrong with framing, fields or path.
func suspect(ctx *fasthttp.RequestCtx) *Error {
	h := &ctx.Request.Header
	fields, lengths, codings, hosts := 0, 0, 0, 0
	for line := range bytes.Lines(h.RawHeaders()) {
		name, _, found := bytes.Cut(line, []byte{':'})
		if !found {
			continue
		}
		fields++
		switch strings.ToLower(string(bytes.TrimSpace(name))) {
		case "content-length":
			lengths++
		case "transfer-encoding":
			codings++
		case "host":
			hosts++
		}
	}
	switch {
	case fields > maxFields:
		return fail(fasthttp.StatusRequestHeaderFieldsTooLarge, 2, "headers: %d; want at most %d", []any{fields, maxFields})
	case lengths+codings > 1:
		return Bad("framing: want one Content-Length or one Transfer-Encoding")
	case hosts > 1, hosts == 0 && h.IsHTTP11():
		return Bad("Host: want it once")
	}
	return suspectPath(string(ctx.URI().PathOriginal()))
}

// suspectPath refuses what would be another path after decoding once more.
func suspectPath(path string) *Error {
	for segment := range strings.SplitSeq(path, "/") {
		low := strings.ToLower(segment)
		dots := strings.ReplaceAll(low, "%2e", ".")
		switch {
		case dots == "." || dots == "..":
			return Bad("path: no part of it may be . or ..")
		case strings.ContainsAny(segment, "\x00\\") || strings.Contains(low, "%00") || strings.Contains(low, "%2f") || strings.Contains(low, "%5c"):
			return Bad("path: NUL, slash and backslash may not be in a part of it")
		}
	}
	return nil
}

// boot tells requests of one process from those of the next.
var boot = strings.ToLower(rand.Text()[:6])

// request begins one call. Its id is ours: what a client sends is not believed.
func (s *Server) request(ctx *fasthttp.RequestCtx, which Face) *Request {
	r := &Request{RequestCtx: ctx, Face: which, srv: s, ctx: s.ctx, ID: boot + "-" + strconv.FormatUint(s.calls.Add(1), 36)}
	ctx.Response.Header.Set("X-Request-Id", r.ID)
	return r
}

// refuseEarly answers what reaches no row of the table.
func (s *Server) refuseEarly(ctx *fasthttp.RequestCtx, e *Error) {
	unread(ctx)
	r := s.request(ctx, 0)
	s.refuse(r, e)
	s.stray.Inc()
	s.opts.Log.Debug("request refused", "id", r.ID, "status", e.Status, "peer", ctx.RemoteAddr(), "reason", e.Message)
}

// accepts tells whether a client takes a content coding.
func accepts(header, coding string) bool {
	for one := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(one, ";")
		if !strings.EqualFold(strings.TrimSpace(name), coding) {
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(params), "=")
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		return !strings.EqualFold(strings.TrimSpace(key), "q") || err == nil && q > 0
	}
	return false
}

// Accepts tells whether the caller takes a content coding: "gzip" or "zstd".
func (r *Request) Accepts(coding string) bool {
	return accepts(string(r.Request.Header.Peek(fasthttp.HeaderAcceptEncoding)), coding)
}
