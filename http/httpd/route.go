package httpd

import (
	"context"
	"net/url"
	"time"

	"github.com/valyala/fasthttp"
)

// Face is one of the listeners, or several. What is not served on a face does
// not exist there.
type Face uint8

// The faces, and the usual sets of them.
const (
	API        Face = 1 << iota // 8443: client certificate
	Enroll                      // 8446: no client certificate; enrollment, login, the same API by password or token
	Federation                  // 8444: certificates of federated servers; file exchange only

	Everyday = API | Enroll // what clients use
)

// Role is the least that a caller must be.
type Role uint8

// The roles. A route says Public only where clients cannot know anything yet. The
// zero value is none of them: New refuses a route that does not say for whom it is.
const (
	Admin  Role = iota + 1
	User        // anybody who is known
	Writer      // known, and may send: not readonly
	Public      // nobody asks
)

// Principal is who calls. It is immutable; User is "" on Public routes where
// nobody said who he is.
type Principal struct {
	User    string
	Role    Role     // Admin, Writer (an ordinary user) or User (readonly)
	In, Out []string // groups that it may send to and receive from, sorted
	Serial  string   // of the client certificate, lower-case hex; "" without one
	Via     string   // "certificate", "password", "token", "session", ViaInvite, ViaSpent or ViaFederate
}

// Values of Principal.Via for who shows the token of an invitation.
const (
	ViaInvite = "invite"       // that is open: routes of Enroll alone
	ViaSpent  = "spent invite" // that gave a certificate a moment ago: routes with Spent
)

// ViaFederate is Principal.Via of another server, on Federation.
const ViaFederate = "federate"

// Handler answers one request. An error that is an *Error becomes its status
// and text; any other is logged and becomes 500 without details.
type Handler func(*Request) error

// Route is one row of the table that the server, the authorisation test and the
// OpenAPI document are made of.
type Route struct {
	Method  string        // upper case
	Path    string        // "/Marti/api/missions/{name}"; "{path:*}" takes the rest
	Faces   Face          // where it is served
	Role    Role          // who may call it
	Tag     string        // chapter of the API document: "Contacts"
	Summary string        // one sentence for it
	Query   []string      // query parameters, for it: "clientUid", "secago"
	Handler Handler       //
	MaxBody int64         // largest body in bytes; 0 is 1 MiB
	Stream  bool          // the handler reads Request.Body itself; else Request.PostBody holds it
	Timeout time.Duration // for reading the body; 0 is Limits.Request, and 10 min with Stream
	Login   bool          // the handler checks a password or token: 401 counts against the address
	Spent   bool          // an invitation that was just used up is still good here
}

// Request is one call: fasthttp's context, and who makes it. It is valid until
// the handler returns.
type Request struct {
	*fasthttp.RequestCtx
	Who  Principal
	Face Face
	// Claim is who the caller says he is, for the record where he is refused. A
	// handler with Login sets it.
	Claim string
	ID    string // in the log and in the answer's X-Request-Id
	srv   *Server
	ctx   context.Context
}

// Context ends when the handler returns, or the server does. What a handler
// calls gets this one, never the RequestCtx: that is another request's as soon as
// the handler has returned, while the callee may still look at it.
func (r *Request) Context() context.Context { return r.ctx }

// ServerContext ends with the server: for a body that is written after the
// handler has returned.
func (r *Request) ServerContext() context.Context { return r.srv.ctx }

// Param is a parameter of the path, decoded. "" where there is none.
func (r *Request) Param(name string) string {
	raw, _ := r.UserValue(name).(string)
	text, err := url.PathUnescape(raw)
	if err != nil {
		return raw
	}
	return text
}
