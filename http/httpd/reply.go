package httpd

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/valyala/fasthttp"
)

// Error is an answer that is not a success, in the form of the official server:
// {"status":"NOT_FOUND","code":1,"message":"Not Found: …"}.
type Error struct {
	Status  int    // HTTP status
	Code    int    // of the official server
	Message string // shown to the caller
}

func (e *Error) Error() string { return e.Message }

// Errors for handlers. The text is for the caller: it names the field and the
// limit, and never a path, a query or a secret.

// NotFound is 404.
func NotFound(format string, args ...any) *Error { return fail(http.StatusNotFound, 1, format, args) }

// Bad is 400: the request makes no sense.
func Bad(format string, args ...any) *Error { return fail(http.StatusBadRequest, 2, format, args) }

// Conflict is 409: it exists already.
func Conflict(format string, args ...any) *Error { return fail(http.StatusConflict, 4, format, args) }

// Gone is 410: it was, and was deleted.
func Gone(format string, args ...any) *Error { return fail(http.StatusGone, 8, format, args) }

// Unauthorized is 401: nobody knows who calls.
func Unauthorized(format string, args ...any) *Error {
	return fail(http.StatusUnauthorized, 9, format, args)
}

// Forbidden is 403: the caller may not do that.
func Forbidden(format string, args ...any) *Error {
	return fail(http.StatusForbidden, 10, format, args)
}

// TooLarge is 413.
func TooLarge(format string, args ...any) *Error {
	return fail(http.StatusRequestEntityTooLarge, 2, format, args)
}

func fail(status, code int, format string, args []any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// envelope is what most JSON answers are wrapped in.
type envelope struct {
	Version string `json:"version"`
	Type    string `json:"type"`
	Data    any    `json:"data"`
	NodeID  string `json:"nodeId,omitempty"`
}

// Envelope answers 200 with data in the envelope of the official server. typ is
// the name that clients look for, such as "com.bbn.marti.remote.groups.Group".
// data must not be nil: an empty list is [] and not null.
func (r *Request) Envelope(typ string, data any) error {
	return r.JSON(fasthttp.StatusOK, envelope{Version: "3", Type: typ, Data: data, NodeID: r.srv.nodeID()})
}

// EnvelopeStatus is Envelope with another status, such as 201.
func (r *Request) EnvelopeStatus(status int, typ string, data any) error {
	return r.JSON(status, envelope{Version: "3", Type: typ, Data: data, NodeID: r.srv.nodeID()})
}

// JSON answers with v as JSON. The content type has no charset: node-tak hands
// on anything but exactly application/json as text.
func (r *Request) JSON(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("answer as JSON: %w", err)
	}
	r.Reply(status, "application/json", b)
	return nil
}

// Reply answers with body, which the request takes over, as contentType.
func (r *Request) Reply(status int, contentType string, body []byte) {
	r.SetStatusCode(status)
	r.SetContentType(contentType)
	r.Response.SetBodyRaw(body)
}

// Text answers 200 with plain text.
func (r *Request) Text(s string) { r.Reply(fasthttp.StatusOK, "text/plain", []byte(s)) }
