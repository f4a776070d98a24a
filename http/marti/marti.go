// Package marti is the API that TAK clients know as /Marti/api: what this server
// is, who is here, and which groups a caller is in.
//
// It sees live clients through the interface Live, and only those whose groups
// the caller may receive from.
package marti

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/auth"
	"takd/store/contact"
	"takd/store/history"
)

// Client is one connected client.
type Client struct {
	ID       uint64 // of the connection
	UID      string // "" before its first position
	Callsign string
	User     string
	Team     string
	Role     string
	Takv     string // "platform version"
	Address  string // host:port
	Protocol string // xml or protobuf
	In, Out  []string

	Since, LastEvent time.Time
	EventsOut        uint64
	Queue            int // bytes that wait for it
}

// Live is the messaging engine, as the API sees it.
type Live interface {
	// Clients returns everybody who is connected, oldest first.
	Clients() []Client
	// Kick closes a connection and reports whether there was one.
	Kick(id uint64) bool
	// Regroup has the sessions of a user take the groups that are switched on now.
	Regroup(ctx context.Context, user string)
	// Replay gives the clients of a user, or of these only the one with this uid,
	// the latest position of everybody whom they may see.
	Replay(user, uid string)
	// Settle records who has left since it was last called.
	Settle(ctx context.Context)
}

// Deps is what the API needs.
type Deps struct {
	Live    Live
	Streams Streams
	Publish httpd.Publish
	Auth    *auth.Service
	Contact *contact.Store
	History *history.Store // nil: there is none
	NodeID  string
	Version string
	Upload  func() int // largest upload in MB
	Audit   httpd.Audit
	Log     *slog.Logger
}

type api struct {
	Deps
	contacts view
	asking   chan struct{} // has room for who asks the history
}

// Routes is the table of what there is to call.
func Routes(d Deps) []httpd.Route {
	a := &api{Deps: d, asking: make(chan struct{}, asking)}
	return slices.Concat(a.server(), a.people(), a.groupRoutes(), a.streamRoutes(), a.recall(), a.locateRoutes())
}

// on completes the rows of one chapter; they are for users unless they say otherwise.
func on(tag string, routes ...httpd.Route) []httpd.Route {
	for i := range routes {
		r := &routes[i]
		r.Tag, r.Faces = tag, httpd.Everyday
		if r.Role == 0 {
			r.Role = httpd.User
		}
	}
	return routes
}

func (a *api) server() []httpd.Route {
	return on("Server",
		httpd.Route{Method: "GET", Path: "/Marti/api/version", Summary: "Version as text.", Handler: a.version},
		httpd.Route{Method: "GET", Path: "/Marti/api/ver", Summary: "The same.", Handler: a.version},
		httpd.Route{Method: "GET", Path: "/Marti/api/version/config", Summary: "Version and host name; ATAK asks first for this.", Handler: a.versionConfig},
		httpd.Route{Method: "GET", Path: "/Marti/api/version/info", Summary: "Version in parts.", Handler: a.versionInfo},
		httpd.Route{Method: "GET", Path: "/Marti/api/node/id", Summary: "Id of this server.", Handler: a.nodeID},
		httpd.Route{Method: "GET", Path: "/Marti/GetTime", Summary: "Time in Unix milliseconds.", Handler: getTime},
		httpd.Route{Method: "GET", Path: "/Marti/api/util/isAdmin", Role: httpd.Admin, Summary: "Whether the caller is an administrator.", Handler: isAdmin},
		httpd.Route{Method: "GET", Path: "/Marti/api/util/user/roles", Summary: "Roles of the caller.", Handler: roles},
		httpd.Route{Method: "GET", Path: "/files/api/config", Summary: "Largest upload in MB.", Handler: a.filesConfig},
		httpd.Route{Method: "GET", Path: "/Marti/api/home", Summary: "Where the pages of this server begin.", Handler: home},
		// ATAK asks for these; a 404 would be noise in its log.
		httpd.Route{Method: "GET", Path: "/Marti/api/citrap", Summary: "Reports: none.", Handler: emptyList},
		httpd.Route{Method: "PUT", Path: "/Marti/api/missions/citrap/subscription", Summary: "Subscribe to reports.", Handler: created},
	)
}

func (a *api) version(r *httpd.Request) error {
	r.Text("TAK Server " + a.Version) // ATAK looks for these words
	return nil
}

type serverConfig struct {
	Version  string `json:"version"`
	API      string `json:"api"`
	Hostname string `json:"hostname"`
}

func (a *api) versionConfig(r *httpd.Request) error {
	return r.Envelope("ServerConfig", serverConfig{Version: a.Version, API: "3", Hostname: hostname(r)})
}

// hostname is how the caller reached this server.
func hostname(r *httpd.Request) string {
	host := string(r.Host())
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

type versionInfo struct {
	Major   int    `json:"major"`
	Minor   int    `json:"minor"`
	Patch   int    `json:"patch"`
	Branch  string `json:"branch"`
	Variant string `json:"variant"`
}

func (a *api) versionInfo(r *httpd.Request) error {
	v := versionInfo{Branch: a.Version, Variant: "takd"}
	numbers, _, _ := strings.Cut(strings.TrimPrefix(a.Version, "v"), "-")
	for i, part := range strings.SplitN(numbers, ".", 3) {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		*[]*int{&v.Major, &v.Minor, &v.Patch}[i] = n
	}
	return r.JSON(http.StatusOK, v)
}

func (a *api) nodeID(r *httpd.Request) error {
	r.Text(a.NodeID)
	return nil
}

func getTime(r *httpd.Request) error {
	r.Reply(http.StatusOK, "application/json", []byte(`{ "time" : "`+strconv.FormatInt(time.Now().UnixMilli(), 10)+`" }`))
	return nil
}

func isAdmin(r *httpd.Request) error { return r.JSON(http.StatusOK, true) }

// roles are those of the official server that come nearest.
func roles(r *httpd.Request) error {
	list := []string{"ROLE_ANONYMOUS"}
	switch {
	case r.Who.Role == httpd.Admin:
		list = append([]string{"ROLE_ADMIN"}, list...)
	case r.Who.Role == httpd.User, len(r.Who.In) == 0:
		list = append(list, "ROLE_READONLY")
	}
	return r.JSON(http.StatusOK, list)
}

func (a *api) filesConfig(r *httpd.Request) error {
	return r.JSON(http.StatusOK, map[string]int{"uploadSizeLimit": a.Upload()})
}

// home answers programs with the address of the page, and leads people there.
func home(r *httpd.Request) error {
	r.Response.Header.Set("Vary", "Accept")
	if strings.Contains(string(r.Request.Header.Peek("Accept")), "text/html") {
		r.Response.Header.Set("Location", "/")
		r.SetStatusCode(http.StatusFound)
		return nil
	}
	r.Text("/")
	return nil
}

func emptyList(r *httpd.Request) error { return r.JSON(http.StatusOK, []string{}) }

func created(r *httpd.Request) error {
	r.SetStatusCode(http.StatusCreated)
	return nil
}

// reaches reports whether a client in the groups in can be seen by who receives
// from out. Both are sorted.
func reaches(in, out []string) bool {
	for len(in) > 0 && len(out) > 0 {
		switch c := strings.Compare(in[0], out[0]); {
		case c == 0:
			return true
		case c < 0:
			in = in[1:]
		default:
			out = out[1:]
		}
	}
	return false
}
