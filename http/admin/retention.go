package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/retain"
)

// Retention is the service that removes what is too old. A *retain.Service is one.
type Retention interface {
	Show() retain.View
	Apply(retain.Change) (what string, err error)
	Set(change func(*retain.Config) error) error
	Archiving() retain.Archiving
	Run(ctx context.Context, by string, dryRun bool) (retain.Run, error)
}

// retention has our routes and those of the official server, whose web page and
// scripts set the same three files.
func (a *api) retention() []httpd.Route {
	routes := on("Retention",
		httpd.Route{Method: "GET", Path: "/api/admin/retention", Summary: "For how long each class is kept, the schedule, and the last runs.", Handler: a.retentionShow},
		httpd.Route{Method: "PUT", Path: "/api/admin/retention", Summary: "Change ttl by class (30d, seconds, off), schedule, keep_free_bytes, exempt_keywords; what is not named stays.", Handler: a.retentionApply},
		httpd.Route{Method: "POST", Path: "/api/admin/retention/run", Summary: "Remove what is too old now, or, with dryRun=true, tell what would go.", Query: []string{"dryRun"}, Handler: a.retentionRun},
		httpd.Route{Method: "GET", Path: "/Marti/api/retention/policy", Summary: "Seconds that each class is kept, null for ever.", Handler: a.policy},
		httpd.Route{Method: "PUT", Path: "/Marti/api/retention/policy", Summary: "Set seconds by class; what is not named stays.", Handler: a.setPolicy},
		httpd.Route{Method: "GET", Path: "/Marti/api/retention/service/schedule", Summary: "When runs are: six fields of cron, or - for never.", Handler: a.schedule},
		httpd.Route{Method: "PUT", Path: "/Marti/api/retention/service/schedule", Summary: "Set when runs are; the body is the text.", Handler: a.setSchedule},
		httpd.Route{Method: "GET", Path: "/Marti/api/retention/missionarchiveconfig", Summary: "How missions that nobody uses are put away.", Handler: a.archiving},
		httpd.Route{Method: "PUT", Path: "/Marti/api/retention/missionarchiveconfig", Summary: "Set how missions are put away; this build has none yet.", Handler: a.setArchiving},
		httpd.Route{Method: "GET", Path: "/Marti/api/retention/missionarchive", Summary: "Missions that were put away: none yet.", Handler: a.missionArchive},
		httpd.Route{Method: "POST", Path: "/Marti/api/retention/restoremission", Summary: "Take a mission out of the archive: there is none yet.", Handler: a.restoreMission},
		httpd.Route{Method: "PUT", Path: "/Marti/api/retention/resource/{name}/expiry/{time}", Summary: "Let the files of that name expire, in Unix seconds, or -1 for never.", Handler: a.expireFile},
	)
	for i := range routes {
		handler := routes[i].Handler
		routes[i].Handler = func(r *httpd.Request) error {
			if a.Retention == nil {
				return &httpd.Error{Status: http.StatusServiceUnavailable, Code: 5, Message: "the retention service does not run"}
			}
			return handler(r)
		}
	}
	return routes
}

// bad gives a wrong setting its answer.
func bad(err error) error {
	switch {
	case errors.Is(err, retain.ErrInvalid):
		return httpd.Bad("%v", err)
	case errors.Is(err, retain.ErrBusy):
		return httpd.Conflict("%v", err)
	}
	return err
}

func (a *api) retentionShow(r *httpd.Request) error { return r.JSON(http.StatusOK, a.Retention.Show()) }

func (a *api) retentionApply(r *httpd.Request) error {
	var q retain.Change
	if err := read(r, &q); err != nil {
		return err
	}
	what, err := a.Retention.Apply(q)
	if err != nil {
		return bad(err)
	}
	a.audit(r, "retention set", what)
	return a.retentionShow(r)
}

func (a *api) retentionRun(r *httpd.Request) error {
	dry := false
	if text := string(r.QueryArgs().Peek("dryRun")); text != "" {
		var err error
		if dry, err = strconv.ParseBool(text); err != nil {
			return httpd.Bad("dryRun: want true or false")
		}
	}
	run, err := a.Retention.Run(r.Context(), r.Who.User, dry)
	if err != nil {
		return bad(err)
	}
	return r.JSON(http.StatusOK, run)
}

func (a *api) policy(r *httpd.Request) error {
	out := map[string]*int64{}
	for class, p := range a.Retention.Show().Policies {
		if class != retain.Endpoints { // the official page shows what it is given
			out[class.Official()] = p.TTL
		}
	}
	return r.Envelope("RetentionPolicies", out)
}

func (a *api) setPolicy(r *httpd.Request) error {
	var q map[string]*int64
	if err := read(r, &q); err != nil {
		return err
	}
	change := retain.Change{TTL: map[string]*string{}}
	for class, seconds := range q {
		change.TTL[class] = nil
		if seconds != nil {
			text := strconv.FormatInt(*seconds, 10)
			change.TTL[class] = &text
		}
	}
	what, err := a.Retention.Apply(change)
	if err != nil {
		return bad(err)
	}
	a.audit(r, "retention set", what)
	return a.policy(r)
}

func (a *api) schedule(r *httpd.Request) error {
	return r.Envelope("RetentionServiceSchedule", a.Retention.Show().Schedule)
}

func (a *api) setSchedule(r *httpd.Request) error {
	text := strings.TrimSpace(string(r.PostBody()))
	var quoted string
	if json.Unmarshal([]byte(text), &quoted) == nil {
		text = quoted
	}
	what, err := a.Retention.Apply(retain.Change{Schedule: &text})
	if err != nil {
		return bad(err)
	}
	a.audit(r, "retention set", what)
	return a.schedule(r)
}

func (a *api) archiving(r *httpd.Request) error {
	return r.Envelope("MissionArchiveConfig", a.Retention.Archiving())
}

func (a *api) setArchiving(r *httpd.Request) error {
	q := a.Retention.Archiving()
	if err := read(r, &q); err != nil {
		return err
	}
	if err := a.Retention.Set(func(c *retain.Config) error { c.Archive = q; return nil }); err != nil {
		return bad(err)
	}
	a.audit(r, "retention set", fmt.Sprintf("mission archiving %+v", q))
	return a.archiving(r)
}

// missionArchive has JSON in a string: the official page parses it again.
func (a *api) missionArchive(r *httpd.Request) error {
	return r.Envelope("MissionArchive", `{"missionArchiveStoreEntries":[]}`)
}

func (a *api) restoreMission(*httpd.Request) error {
	return httpd.NotFound("Not Found: no mission is in the archive")
}

func (a *api) expireFile(r *httpd.Request) error {
	at, err := strconv.ParseInt(r.Param("time"), 10, 64)
	if err != nil || at < -1 || at > time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).Unix() {
		return httpd.Bad("time %q: want Unix seconds, or -1 for never", r.Param("time"))
	}
	name := r.Param("name")
	n, err := a.ExpireFiles(r.Context(), name, at)
	if err != nil {
		return err
	}
	if n == 0 {
		return httpd.NotFound("Not Found: no file has that name")
	}
	a.audit(r, "file expiry", fmt.Sprintf("%s at=%d files=%d", name, at, n))
	r.SetStatusCode(http.StatusOK)
	return nil
}
