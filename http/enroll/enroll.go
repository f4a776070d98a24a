// Package enroll is how devices and people get in: certificates by request,
// invitations with their QR codes, and logging in with a password.
//
// Its routes belong on 8446, where nobody has a certificate yet. Who calls is
// known before a handler runs, but for logging in itself; and a caller gets
// certificates for himself only. No password or token is ever logged.
package enroll

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"takd/http/httpd"
	"takd/store/auth"
	"takd/store/pki"
)

// ErrOptions is wrapped by what Validate reports.
var ErrOptions = errors.New("enrollment options")

// Options configures enrollment and login. The zero value of a field means its default.
type Options struct {
	Validity time.Duration `yaml:"validity" help:"How long certificates by enrollment are valid." default:"8760h"`
	Session  time.Duration `yaml:"session"  help:"How long a login lasts." default:"130m"`
}

// Bounds of the options.
const (
	minValidity = time.Hour
	maxValidity = 10 * 365 * 24 * time.Hour
	minSession  = time.Minute
	// defaultSession is the official server's, in minutes that some clients count on.
	defaultSession = 130 * time.Minute
)

// WithDefaults returns o with every zero field set to its default.
func (o Options) WithDefaults() Options {
	if o.Validity == 0 {
		o.Validity = pki.EnrollLife
	}
	if o.Session == 0 {
		o.Session = defaultSession
	}
	return o
}

// Validate reports every bad field at once.
func (o Options) Validate() error {
	o = o.WithDefaults()
	var errs []error
	if o.Validity < minValidity || o.Validity > maxValidity {
		errs = append(errs, fmt.Errorf("%w: validity %s: want %s to %s", ErrOptions, o.Validity, minValidity, maxValidity))
	}
	if o.Session < minSession || o.Session > auth.MaxTokenLife {
		errs = append(errs, fmt.Errorf("%w: session %s: want %s to %s", ErrOptions, o.Session, minSession, auth.MaxTokenLife))
	}
	return errors.Join(errs...)
}

// Deps is what the API needs. Only Log may be nil.
type Deps struct {
	Auth     *auth.Service
	Tokens   *auth.Tokens
	PKI      *pki.Authority
	Profiles string         // directory of device profiles; need not exist
	Site     func() Site    // asked each time: the configuration may change
	Options  func() Options // the same
	Audit    httpd.Audit
	Log      *slog.Logger
}

// API answers.
type API struct {
	Deps

	keys chan struct{} // bounds how many RSA keys are made at once
}

// New returns the API.
func New(d Deps) *API {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &API{Deps: d, keys: make(chan struct{}, 2)}
}

// Routes is the table of what there is to call.
func Routes(d Deps) []httpd.Route { return New(d).Routes() }

// maxForm bounds the bodies of all but certificate requests.
const maxForm = 16 << 10

// Routes is the table of what there is to call.
func (a *API) Routes() []httpd.Route { return slices.Concat(a.enrollment(), a.logins(), a.invites()) }

func (a *API) enrollment() []httpd.Route {
	device := []string{"clientUid", "version"}
	return on("Enrollment", httpd.Enroll, httpd.User, []httpd.Route{
		{Method: http.MethodGet, Path: "/Marti/api/tls/config", Summary: "What a certificate request must name.", Handler: a.config},
		{Method: http.MethodPost, Path: "/Marti/api/tls/signClient/v2", Summary: "Sign a certificate request; XML or JSON.", Query: device, MaxBody: pki.MaxRequest, Handler: a.signV2},
		{Method: http.MethodPost, Path: "/Marti/api/tls/signClient", Summary: "Sign a certificate request; PKCS#12.", Query: device, MaxBody: pki.MaxRequest, Handler: a.signV1},
		{Method: http.MethodGet, Path: "/Marti/api/tls/profile/enrollment", Summary: "What a device that has enrolled is to set.", Query: device[:1], Spent: true, Handler: a.profile},
		{Method: http.MethodGet, Path: "/Marti/api/tls/makeClientKeyStore", Summary: "Key and certificate as PKCS#12.", Query: []string{"cn", "clientUid", "password"}, Handler: a.keyStore},
	})
}

func (a *API) logins() []httpd.Route {
	query := []string{"grant_type", "username", "password"}
	routes := on("Login", httpd.Everyday, httpd.Public, []httpd.Route{
		{Method: http.MethodPost, Path: "/oauth/token", Summary: "Get an access token for a user and password.", Query: query, Handler: a.oauthToken},
		{Method: http.MethodGet, Path: "/oauth/token", Summary: "Get an access token for a user and password.", Query: query, Handler: a.oauthToken},
		{Method: http.MethodGet, Path: "/login", Summary: "Who is logged in.", Handler: a.whoami},
		{Method: http.MethodPost, Path: "/login", Summary: "Log in with user and password.", Handler: a.login},
		{Method: http.MethodGet, Path: "/logout", Summary: "Log out.", Handler: a.logout},
		{Method: http.MethodPost, Path: "/logout", Summary: "Log out.", Handler: a.logout},
		{Method: http.MethodPost, Path: "/login/refresh", Summary: "Prolong a login.", Handler: a.refresh},
	})
	for i := range routes {
		r := &routes[i]
		r.Login = r.Path == "/oauth/token" || r.Path == "/login" && r.Method == http.MethodPost
	}
	routes[len(routes)-1].Role = httpd.User
	return routes
}

func (a *API) invites() []httpd.Route {
	routes := on("Invitations", httpd.Everyday, httpd.Admin, []httpd.Route{
		{Method: http.MethodGet, Path: "/api/v1/invites", Summary: "List invitations.", Handler: a.listInvites},
		{Method: http.MethodPost, Path: "/api/v1/invites", Summary: "Invite a user; the token is shown only now.", Handler: a.addInvite},
		{Method: http.MethodDelete, Path: "/api/v1/invites/{id}", Summary: "Remove an invitation.", Handler: a.removeInvite},
		{Method: http.MethodGet, Path: packagePath, Summary: "Connection package for the holder of an invitation.", Query: []string{"token", "for"}, Handler: a.invitedPackage},
	})
	// The handler asks for the token, since a link is all that a browser has.
	link := &routes[len(routes)-1]
	link.Faces, link.Role, link.Login = httpd.Enroll, httpd.Public, true
	return routes
}

// on completes the rows of one chapter.
func on(tag string, faces httpd.Face, role httpd.Role, routes []httpd.Route) []httpd.Route {
	for i := range routes {
		r := &routes[i]
		r.Tag, r.Faces, r.Role = tag, faces, role
		if r.MaxBody == 0 {
			r.MaxBody = maxForm
		}
	}
	return routes
}
