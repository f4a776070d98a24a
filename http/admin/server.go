package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"takd/http/httpd"
	"takd/store/auth"
)

// Client is a connection of the stream, with what passes.
type Client struct {
	ID        uint64            `json:"id"`
	Callsign  string            `json:"callsign"`
	UID       string            `json:"uid"`
	User      string            `json:"user"`
	Address   string            `json:"address"`
	Input     string            `json:"input"`
	Protocol  string            `json:"protocol"` // xml or protobuf
	In        []string          `json:"in"`       // groups
	Out       []string          `json:"out"`
	Team      string            `json:"team"`
	Role      string            `json:"role"`
	Takv      string            `json:"takv"`
	Since     time.Time         `json:"since"`
	LastEvent time.Time         `json:"last_event,omitzero"`
	EventsIn  uint64            `json:"events_in"`
	EventsOut uint64            `json:"events_out"`
	RateIn    float64           `json:"rate_in"` // events a second
	RateOut   float64           `json:"rate_out"`
	Queue     int               `json:"queue"`     // bytes that wait for it
	Held      int               `json:"held"`      // bytes of it that wait
	Behind    bool              `json:"behind"`    // it reads too slowly
	Conflated uint64            `json:"conflated"` // positions that gave way to newer ones
	Drops     uint64            `json:"drops"`     // events of it that were not passed on
	Reasons   map[string]uint64 `json:"drop_reasons,omitempty"`
	Nodes     int               `json:"nodes"` // uids that it carries as a gateway
}

func (a *api) server() []httpd.Route {
	return on("Operation",
		httpd.Route{Method: "GET", Path: "/api/admin/clients", Summary: "Who is connected, with rates, queues and what was not passed on.", Handler: a.clients},
		httpd.Route{Method: "DELETE", Path: "/api/admin/clients/{id}", Summary: "Close a connection; the client may come back.", Handler: a.kick},
		httpd.Route{Method: "GET", Path: "/api/admin/users", Summary: "Users with their roles and groups.", Handler: a.fullUsers},
		httpd.Route{Method: "PUT", Path: "/api/admin/users/{name}", Summary: "Change role or disabled of a user.", Handler: a.setUser},
		httpd.Route{Method: "GET", Path: "/api/admin/groups", Summary: "Groups, with the number of their users.", Handler: a.fullGroups},
		httpd.Route{Method: "GET", Path: "/api/admin/status", Summary: "Version, services and listeners.", Handler: a.status},
		httpd.Route{Method: "GET", Path: "/api/admin/metrics", Summary: "The numbers of /metrics, as Prometheus text.", Handler: a.metrics},
	)
}

func (a *api) clients(r *httpd.Request) error {
	return r.JSON(http.StatusOK, append([]Client{}, a.Live.Everybody()...))
}

func (a *api) kick(r *httpd.Request) error {
	id, err := strconv.ParseUint(r.Param("id"), 10, 64)
	if err != nil || id == 0 {
		return httpd.Bad("id: want the number of a connection")
	}
	if !a.Live.Kick(id) {
		return httpd.NotFound("Not Found: there is no such connection")
	}
	a.Audit.By(r, "kick", "id="+strconv.FormatUint(id, 10))
	r.SetStatusCode(http.StatusNoContent)
	return nil
}

func (a *api) fullUsers(r *httpd.Request) error {
	all, err := a.Auth.Users(r.Context())
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, append([]auth.User{}, all...))
}

func (a *api) setUser(r *httpd.Request) error {
	var q struct {
		Role     *string `json:"role"`
		Disabled *bool   `json:"disabled"`
	}
	if err := r.ReadExactJSON(&q); err != nil {
		return err
	}
	name := r.Param("name")
	if name == r.Who.User { // or nobody is left who could undo it
		return httpd.Conflict("An administrator cannot take away his own role or account")
	}
	if err := a.Auth.SetUser(r.Context(), name, auth.Change{Role: q.Role, Disabled: q.Disabled}); err != nil {
		return refusal(err)
	}
	text, err := json.Marshal(q)
	a.Audit.By(r, "user set", fmt.Sprintf("%s %s", name, text))
	r.SetStatusCode(http.StatusNoContent)
	return err
}

func (a *api) fullGroups(r *httpd.Request) error {
	all, err := a.Auth.Groups(r.Context())
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, append([]auth.Group{}, all...))
}

func (a *api) status(r *httpd.Request) error { return r.JSON(http.StatusOK, a.Status()) }

func (a *api) metrics(r *httpd.Request) error {
	var b bytes.Buffer
	a.Metrics(&b)
	r.Response.Header.Set("Cache-Control", "no-store")
	r.Reply(http.StatusOK, "text/plain; version=0.0.4", b.Bytes())
	return nil
}
