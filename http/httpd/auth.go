package httpd

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// What an Authenticator says of a caller that it lets not in.
var (
	ErrUnknown   = errors.New("nobody is known by that")   // 401
	ErrRefused   = errors.New("the caller is refused")     // 401 too: known, but disabled
	ErrThrottled = errors.New("too many wrong passwords")  // 429
	errNoCreds   = errors.New("no certificate, no login")  // 401
	errForeign   = errors.New("request of another origin") // 403
)

// Authenticator knows who calls. An error that wraps none of the above is a
// failure of the server.
type Authenticator interface {
	// Certificate checks the chain that a client sent, the leaf first, and
	// whether it is revoked.
	Certificate(ctx context.Context, chain []*x509.Certificate) (Principal, error)
	// Password is for Basic. The password may also be the token of an
	// invitation: then Via is ViaInvite or ViaSpent, and only enrollment is open.
	// Guesses count for the address that they come from.
	Password(ctx context.Context, user, password string, from netip.Addr) (Principal, error)
	// Token is for Bearer and for the cookie of a session.
	Token(ctx context.Context, token string) (Principal, error)
}

const (
	cookieName = "access_token" // as the official server's
	// knownFor bounds how long a connection's certificate is not looked up
	// again; Forget ends it at once.
	knownFor = 10 * time.Second
	// badCredentials is what CloudTAK looks for in a refusal: it then enrolls again by itself.
	badCredentials = "org.springframework.security.authentication.BadCredentialsException"
)

// identify finds out who calls: by certificate, else by the Authorization
// header, else by the cookie of a session. With a certificate the header is
// somebody else's: clients put tokens of missions there.
func (s *Server) identify(r *Request) (Principal, error) {
	c, _ := r.Conn().(*conn)
	if c != nil {
		if chain := c.ConnectionState().PeerCertificates; len(chain) > 0 {
			return s.byCertificate(r, c, chain)
		}
	}
	if r.Face == Federation || r.Face == API && s.opts.CertificateOnly {
		return Principal{}, fmt.Errorf("%w: this port wants a client certificate", errNoCreds)
	}
	scheme, rest, _ := strings.Cut(string(r.Request.Header.Peek(fasthttp.HeaderAuthorization)), " ")
	cookie := r.Request.Header.Cookie(cookieName)
	basic := strings.EqualFold(scheme, "Basic")
	if !basic && !strings.EqualFold(scheme, "Bearer") && len(cookie) == 0 {
		return Principal{}, errNoCreds
	}
	ip := address(r.RemoteAddr())
	if err := s.throttled(r, ip); err != nil {
		return Principal{}, err
	}
	var who Principal
	var err error
	switch {
	case basic:
		who, err = s.byPassword(r, rest)
	case scheme != "":
		who, err = s.opts.Auth.Token(r.Context(), strings.TrimSpace(rest))
		def(&who.Via, "token")
	default:
		who, err = s.opts.Auth.Token(r.Context(), string(cookie))
		def(&who.Via, "session")
		if err == nil && writes(r.RequestCtx) && len(r.Request.Header.Peek(fasthttp.HeaderXRequestedWith)) == 0 {
			err = fmt.Errorf("%w: a session that changes something sends X-Requested-With", errForeign)
		}
	}
	s.noteFailure(ip, err)
	return who, err
}

// Recheck returns what tells, once the request is over, whether its caller would
// still be let in: for connections that outlive it. It asks for tokens only,
// which can end before their user does; what becomes of users and certificates,
// those who keep such connections are told.
func (r *Request) Recheck() func(context.Context) error {
	auth, token := r.srv.opts.Auth, ""
	switch r.Who.Via {
	case "token":
		_, rest, _ := strings.Cut(string(r.Request.Header.Peek(fasthttp.HeaderAuthorization)), " ")
		token = strings.TrimSpace(rest)
	case "session":
		token = string(r.Request.Header.Cookie(cookieName))
	default:
		return func(context.Context) error { return nil }
	}
	return func(ctx context.Context) error {
		_, err := auth.Token(ctx, token)
		return err
	}
}

// throttled tells whether an address has shown too many wrong passwords.
func (s *Server) throttled(r *Request, ip netip.Addr) error {
	left, full := s.fails.full(ip, time.Now())
	if !full {
		return nil
	}
	r.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(int(left.Seconds())+1))
	return ErrThrottled
}

func (s *Server) noteFailure(ip netip.Addr, err error) {
	if errors.Is(err, ErrUnknown) {
		s.fails.note(ip, time.Now())
	}
}

func writes(ctx *fasthttp.RequestCtx) bool {
	return !ctx.IsGet() && !ctx.IsHead() && !ctx.IsOptions()
}

func (s *Server) byCertificate(r *Request, c *conn, chain []*x509.Certificate) (Principal, error) {
	epoch, now := s.epoch.Load(), time.Now()
	if known := c.who.Load(); known != nil && known.epoch == epoch && now.Before(known.until) {
		return known.who, nil
	}
	ask, via := s.opts.Auth.Certificate, "certificate"
	if r.Face == Federation { // another trust: a client's certificate is nothing there
		if ask, via = s.opts.Federate, ViaFederate; ask == nil {
			return Principal{}, fmt.Errorf("%w: no server is federated", ErrUnknown)
		}
	}
	who, err := ask(r.Context(), chain)
	if err != nil {
		r.Claim = chain[0].Subject.CommonName
		return who, err
	}
	who.Via = via
	c.who.Store(&identity{who: who, epoch: epoch, until: now.Add(knownFor)})
	return who, nil
}

func (s *Server) byPassword(r *Request, encoded string) (Principal, error) {
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	user, password, ok := strings.Cut(string(text), ":")
	if err != nil || !ok {
		return Principal{}, fmt.Errorf("%w: Authorization: want Basic with user:password in base64", ErrUnknown)
	}
	r.Claim = user
	who, err := s.opts.Auth.Password(r.Context(), user, password, address(r.RemoteAddr()))
	def(&who.Via, "password")
	return who, err
}

// may reports whether the caller's role is enough for the route.
func (r *Route) may(who *Principal) bool {
	if who.User == "" {
		return r.Role == Public
	}
	switch {
	case r.Role == Public:
		return true
	case who.Via == ViaInvite && r.Faces != Enroll, who.Via == ViaSpent && !r.Spent:
		return false // an invitation opens enrollment, and nothing else
	}
	switch r.Role {
	case User:
		return who.Role == User || who.Role == Writer || who.Role == Admin
	case Writer:
		return who.Role == Writer || who.Role == Admin
	case Admin:
		return who.Role == Admin
	}
	return false
}

// admit finds out who calls and whether that is enough.
func (s *Server) admit(r *Request, route *Route) error {
	who, err := s.identify(r)
	switch {
	case err == nil:
		r.Who = who
	case route.Role == Public: // whoever it is
		err = nil
	}
	if err == nil && route.Login {
		err = s.throttled(r, address(r.RemoteAddr()))
	}
	if errors.Is(err, ErrUnknown) || errors.Is(err, ErrRefused) || errors.Is(err, ErrThrottled) {
		s.tell(r.Face, address(r.RemoteAddr()), r.Claim, err.Error())
	}
	switch {
	case err == nil:
	case errors.Is(err, errNoCreds), errors.Is(err, ErrUnknown), errors.Is(err, ErrRefused):
		if len(r.Request.Header.Peek(fasthttp.HeaderXRequestedWith)) == 0 { // else the page asks, not the browser
			r.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, `Basic realm="takd"`)
		}
		return Unauthorized("%s: %v", badCredentials, err)
	case errors.Is(err, errForeign):
		return Forbidden("%v", err)
	case errors.Is(err, ErrThrottled):
		return fail(fasthttp.StatusTooManyRequests, 6, "%v: try again later", []any{ErrThrottled})
	default:
		return err
	}
	if !route.may(&r.Who) {
		if r.Who.Via == ViaSpent {
			return Unauthorized("%s: the invitation is used up", badCredentials)
		}
		return Forbidden("Access is denied: %s %s is not for you", route.Method, route.Path)
	}
	return nil
}
