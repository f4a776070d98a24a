package enroll

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"takd/http/httpd"
	"takd/store/auth"
)

// cookieName is the official server's.
const cookieName = "access_token"

// A grant is what /oauth/token answers.
type grant struct {
	Token   string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int64  `json:"expires_in"` // seconds
}

// A grantError is its refusal, as RFC 6749 has it.
type grantError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// oauthToken gives an access token for a user and password. Old versions of
// node-tak send them in the query, also of a POST, newer ones as a form.
func (a *API) oauthToken(r *httpd.Request) error {
	noStore(r)
	arg := func(name string) string {
		if v := r.PostArgs().Peek(name); len(v) > 0 {
			return string(v)
		}
		return string(r.QueryArgs().Peek(name))
	}
	if kind := arg("grant_type"); kind != "password" {
		return r.JSON(http.StatusBadRequest, grantError{"unsupported_grant_type", "grant_type: want password"})
	}
	user, password := arg("username"), arg("password")
	if user == "" || password == "" {
		return r.JSON(http.StatusBadRequest, grantError{"invalid_request", "username and password: want both"})
	}
	s, status, err := a.start(r, user, password)
	switch {
	case status == http.StatusTooManyRequests:
		return r.JSON(status, grantError{"invalid_grant", "Too many wrong passwords; try again later"})
	case status != 0: // node-tak looks for these words, and for 401
		return r.JSON(status, grantError{"invalid_grant", "Bad credentials"})
	case err != nil:
		return err
	}
	// A form on another site must not log its victim in as somebody else.
	if site := string(r.Request.Header.Peek("Sec-Fetch-Site")); site == "" || site == "same-origin" || site == "none" {
		setCookie(r, s.token, s.expires)
	}
	return r.JSON(http.StatusOK, grant{s.token, "Bearer", int64(a.Options().WithDefaults().Session.Seconds())})
}

// A session is who is logged in, for the UI.
type session struct {
	Authenticated bool      `json:"authenticated"`
	User          string    `json:"user"`
	Role          string    `json:"role"`
	In            []string  `json:"in"`
	Out           []string  `json:"out"`
	Via           string    `json:"via"`
	Expires       time.Time `json:"expires,omitzero"`

	token   string
	expires time.Time
}

// start checks a password and makes a token. A status other than 0 says that the
// caller is refused.
func (a *API) start(r *httpd.Request, user, password string) (s session, status int, err error) {
	r.Claim = user
	address := r.RemoteIP().String()
	from, _ := netip.AddrFromSlice(r.RemoteIP())
	p, err := a.Auth.PrincipalForPassword(auth.WithPeer(r.Context(), from), user, password)
	switch {
	case errors.Is(err, auth.ErrThrottled):
		r.Response.Header.Set("Retry-After", "30")
		status = http.StatusTooManyRequests
	case errors.Is(err, auth.ErrBadPassword), errors.Is(err, auth.ErrDisabled):
		status = http.StatusUnauthorized
	}
	if status != 0 {
		a.Log.Warn("login refused", "user", clip(user), "address", address, "reason", err)
		return s, status, nil
	}
	if err != nil {
		return s, 0, err
	}
	if s, err = a.session(r, p); err != nil {
		return s, 0, err
	}
	a.Audit(r.Context(), p.User, "login", "address="+address)
	return s, 0, nil
}

func (a *API) session(r *httpd.Request, p auth.Principal) (session, error) {
	token, expires, err := a.Tokens.Issue(r.Context(), p.User, a.Options().WithDefaults().Session)
	if err != nil {
		return session{}, err
	}
	return session{
		Authenticated: true, User: p.User, Role: p.Role, In: append([]string{}, p.In...), Out: append([]string{}, p.Out...),
		Via: "session", Expires: expires.UTC(), token: token, expires: expires,
	}, nil
}

// login starts a session of the UI: JSON, or a form.
func (a *API) login(r *httpd.Request) error {
	noStore(r)
	var q struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	kind, _, _ := strings.Cut(string(r.Request.Header.ContentType()), ";")
	switch {
	case strings.EqualFold(strings.TrimSpace(kind), "application/json"):
		if err := r.ReadJSON(&q); err != nil {
			return err
		}
	case len(r.Request.Header.Peek("X-Requested-With")) == 0:
		// Any site can have a browser send a form, but not with a header of its choice.
		return httpd.Forbidden("login: want JSON, or the header X-Requested-With")
	default:
		q.Username, q.Password = string(r.PostArgs().Peek("username")), string(r.PostArgs().Peek("password"))
	}
	if q.Username == "" || q.Password == "" {
		return httpd.Bad("username and password: want both")
	}
	s, status, err := a.start(r, q.Username, q.Password)
	switch {
	case status == http.StatusTooManyRequests:
		return &httpd.Error{Status: status, Code: 6, Message: "Too many wrong passwords; try again later"}
	case status != 0:
		return httpd.Unauthorized("Bad credentials")
	case err != nil:
		return err
	}
	setCookie(r, s.token, s.expires)
	return r.JSON(http.StatusOK, s)
}

// whoami tells the UI whether it must ask for a password.
func (a *API) whoami(r *httpd.Request) error {
	noStore(r)
	s := session{User: r.Who.User, In: append([]string{}, r.Who.In...), Out: append([]string{}, r.Who.Out...), Via: r.Who.Via}
	if s.User != "" {
		s.Authenticated, s.Role = true, roleName(r.Who.Role)
		if at, err := a.Tokens.Expires(accessToken(r)); err == nil && (s.Via == "token" || s.Via == "session") {
			s.Expires = at.UTC()
		}
	}
	return r.JSON(http.StatusOK, s)
}

func roleName(r httpd.Role) string {
	switch r {
	case httpd.Admin:
		return auth.RoleAdmin
	case httpd.Writer:
		return auth.RoleUser
	}
	return auth.RoleReadonly
}

// refresh gives a new token for one that is still good. Other ways in have no
// session to prolong, and an invitation must not become one.
func (a *API) refresh(r *httpd.Request) error {
	noStore(r)
	if r.Who.Via != "session" && r.Who.Via != "token" {
		return httpd.Forbidden("There is no login to prolong")
	}
	p, err := a.Auth.Principal(r.Context(), r.Who.User)
	if err != nil {
		return refusal(err)
	}
	s, err := a.session(r, p)
	if err != nil {
		return refusal(err)
	}
	setCookie(r, s.token, s.expires)
	return r.JSON(http.StatusOK, s)
}

// logout ends the session for good: a copy of its token is worth nothing, too.
func (a *API) logout(r *httpd.Request) error {
	noStore(r)
	if token := accessToken(r); token != "" {
		if err := a.Tokens.Revoke(r.Context(), token); err != nil && !errors.Is(err, auth.ErrBadToken) {
			return err
		}
		if r.Who.User != "" {
			a.Audit.By(r, "logout", "address="+r.RemoteIP().String())
		}
	}
	setCookie(r, "", fasthttp.CookieExpireDelete)
	return r.JSON(http.StatusOK, session{In: []string{}, Out: []string{}})
}

// accessToken is the token of the header, or else of the cookie.
func accessToken(r *httpd.Request) string {
	scheme, rest, _ := strings.Cut(string(r.Request.Header.Peek("Authorization")), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(rest)
	}
	return string(r.Request.Header.Cookie(cookieName))
}

// setCookie keeps the token from scripts, and from requests of other sites.
func setCookie(r *httpd.Request, token string, expires time.Time) {
	var c fasthttp.Cookie
	c.SetKey(cookieName)
	c.SetValue(token)
	c.SetPath("/")
	c.SetExpire(expires)
	c.SetHTTPOnly(true)
	c.SetSecure(true)
	c.SetSameSite(fasthttp.CookieSameSiteStrictMode)
	r.Response.Header.SetCookie(&c)
}

func noStore(r *httpd.Request) { r.Response.Header.Set("Cache-Control", "no-store") }

func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}
