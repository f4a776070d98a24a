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
	"takd/store/blob"
	"takd/store/history"
	"takd/store/retain"
)

// The official server's retention API, and takd's own under /api/admin.
func (a *api) retention() []httpd.Route {
	const old = "/Marti/api/retention"
	return on("Retention",
		httpd.Route{Method: "GET", Path: old + "/policy", Summary: "For how many seconds each class of data is kept; null is for ever.", Handler: a.retained(a.retentionPolicy)},
		httpd.Route{Method: "PUT", Path: old + "/policy", Summary: "Change some of that.", Handler: a.retained(a.setRetentionPolicy)},
		httpd.Route{Method: "GET", Path: old + "/service/schedule", Summary: "When runs are due: cron with seconds, or - for never.", Handler: a.retained(a.retentionSchedule)},
		httpd.Route{Method: "PUT", Path: old + "/service/schedule", Summary: "Change that; a bad schedule changes nothing, and the answer is empty.", Handler: a.retained(a.setRetentionSchedule)},
		httpd.Route{Method: "GET", Path: old + "/missionarchiveconfig", Summary: "When missions are archived; without effect until there are missions.", Handler: a.retained(a.missionArchiving)},
		httpd.Route{Method: "PUT", Path: old + "/missionarchiveconfig", Summary: "Change that.", Handler: a.retained(a.setMissionArchiving)},
		httpd.Route{Method: "GET", Path: old + "/missionarchive", Summary: "Archived missions: none.", Handler: missionArchive},
		httpd.Route{Method: "POST", Path: old + "/restoremission", Summary: "There are no missions yet: 404.", Handler: noMissions},
		httpd.Route{Method: "PUT", Path: old + "/mission/{name}/expiry/{time}", Summary: "There are no missions yet: 404.", Handler: noMissions},
		httpd.Route{Method: "PUT", Path: old + "/resource/{name}/expiry/{time}", Summary: "Have files with this hash or uid end at a time in Unix seconds; -1 is never.", Handler: a.resourceExpiry},
		httpd.Route{Method: "GET", Path: "/api/admin/retention", Summary: "What is kept for how long, the next run and the last ones.", Handler: a.retained(a.showRetention)},
		httpd.Route{Method: "PUT", Path: "/api/admin/retention", Summary: "Change policies (seconds by class, null for ever), the schedule, or how many bytes of the disk are kept free.", Handler: a.retained(a.changeRetention)},
		httpd.Route{Method: "GET", Path: "/api/admin/retention/partitions", Summary: "The partitions of the history with their classes, rows, bytes, and the time after which they may go.", Handler: a.retained(a.partitions)},
		httpd.Route{Method: "POST", Path: "/api/admin/retention/run", Summary: "Remove what is too old now; with dry_run=true only tell what that is.", Query: []string{"dry_run"}, Handler: a.retained(a.runRetention)},
	)
}

// retained is a handler of the service, whose errors in what was asked for are the caller's.
func (a *api) retained(h func(*httpd.Request, *retain.Service) error) httpd.Handler {
	return func(r *httpd.Request) error {
		if a.Retention != nil {
			if s := a.Retention(); s != nil {
				return settled(h(r, s))
			}
		}
		return &httpd.Error{Status: http.StatusInternalServerError, Code: 7, Message: "the retention service does not run"}
	}
}

// settled is what a caller is told of an error of retention.
func settled(err error) error {
	if errors.Is(err, retain.ErrInvalid) || errors.Is(err, retain.ErrUnavailable) {
		return httpd.Bad("%v", err)
	}
	return err
}

const policiesType = "RetentionPolicies"

// officialClasses are those that the official server has, by its names.
var officialClasses = map[string]string{
	"cot": retain.Cot, "geochat": retain.Chat, "files": retain.Files, "missionpackages": retain.Packages, "missions": retain.Missions,
}

func (a *api) retentionPolicy(r *httpd.Request, s *retain.Service) error {
	settings, err := s.Settings()
	if err != nil {
		return err
	}
	data := map[string]*int64{}
	for name, class := range officialClasses {
		data[name] = nil
		if ttl, ok := settings.TTL[class]; ok {
			seconds := int64(ttl.Seconds())
			data[name] = &seconds
		}
	}
	return r.Envelope(policiesType, data)
}

func (a *api) setRetentionPolicy(r *httpd.Request, s *retain.Service) error {
	body := map[string]*int64{}
	if err := r.ReadExactJSON(&body); err != nil {
		return err
	}
	ttls := map[string]*int64{}
	for name, ttl := range body {
		class, ok := officialClasses[name]
		if !ok {
			return httpd.Bad("class %.80q: want cot, geochat, files, missionpackages or missions", name)
		}
		ttls[class] = ttl
	}
	if err := s.SetAll(ttls); err != nil {
		return err
	}
	a.Audit.By(r, "retention set", describe(ttls))
	return a.retentionPolicy(r, s)
}

func describe(ttls map[string]*int64) string {
	words := make([]string, 0, len(ttls))
	for _, class := range retain.Classes {
		ttl, ok := ttls[class]
		switch {
		case !ok:
		case ttl == nil:
			words = append(words, class+" for ever")
		default:
			words = append(words, fmt.Sprintf("%s for %d s", class, *ttl))
		}
	}
	return strings.Join(words, ", ")
}

func (a *api) retentionSchedule(r *httpd.Request, s *retain.Service) error {
	settings, err := s.Settings()
	if err != nil {
		return err
	}
	return r.Envelope("RetentionServiceSchedule", settings.Schedule)
}

func (a *api) setRetentionSchedule(r *httpd.Request, s *retain.Service) error {
	text := strings.Trim(strings.TrimSpace(string(r.PostBody())), `"`) // raw, or as JSON
	if err := s.SetSchedule(text); errors.Is(err, retain.ErrInvalid) {
		return nil // as the official server does
	} else if err != nil {
		return err
	}
	a.Audit.By(r, "retention set", "schedule "+text)
	return a.retentionSchedule(r, s)
}

const archivingType = "MissionArchiveConfig"

func (a *api) missionArchiving(r *httpd.Request, s *retain.Service) error {
	settings, err := s.Settings()
	if err != nil {
		return err
	}
	return r.Envelope(archivingType, settings.Missions)
}

func (a *api) setMissionArchiving(r *httpd.Request, s *retain.Service) error {
	settings, err := s.Settings()
	if err != nil {
		return err
	}
	c := settings.Missions
	if err := r.ReadExactJSON(&c); err != nil {
		return err
	}
	if err := s.SetMissions(c); err != nil {
		return err
	}
	a.Audit.By(r, "retention set", fmt.Sprintf("mission archive %+v", c))
	return r.Envelope(archivingType, c)
}

// missionArchive answers with JSON in a string, which is what clients expect.
func missionArchive(r *httpd.Request) error {
	return r.Envelope("MissionArchive", `{"missionArchiveStoreEntries":[]}`)
}

func noMissions(*httpd.Request) error {
	return httpd.NotFound("Not Found: %s", retain.Unavailable(retain.Missions))
}

func (a *api) resourceExpiry(r *httpd.Request) error {
	at, err := strconv.ParseInt(r.Param("time"), 10, 64)
	if err != nil || at < blob.Never || at > 1<<40 {
		return httpd.Bad("time %.40q: want Unix seconds, or -1 for never", r.Param("time"))
	}
	found, err := a.Blobs.Find(r.Context(), blob.Viewer{Admin: true}, blob.Query{HashOrUID: r.Param("name"), Limit: 10_000})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return httpd.NotFound("Not Found: there is no such file")
	}
	ids := make([]int64, 0, len(found))
	for i := range found {
		ids = append(ids, found[i].ID)
	}
	if err := a.Blobs.Update(r.Context(), ids, blob.Change{Expires: &at}); err != nil {
		return err
	}
	a.Audit.By(r, "file expiry", fmt.Sprintf("%s at %d", r.Param("name"), at))
	return nil
}

func (a *api) showRetention(r *httpd.Request, s *retain.Service) error {
	o, err := s.Show(r.Context())
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, o)
}

func (a *api) changeRetention(r *httpd.Request, s *retain.Service) error {
	var body struct {
		Policies map[string]*int64 `json:"policies"`
		Schedule *string           `json:"schedule"`
		KeepFree *int64            `json:"keep_free"`
	}
	if err := r.ReadExactJSON(&body); err != nil {
		return err
	}
	if len(body.Policies) > 0 {
		if err := s.SetAll(body.Policies); err != nil {
			return err
		}
	}
	if body.Schedule != nil {
		if err := s.SetSchedule(*body.Schedule); err != nil {
			return err
		}
	}
	if body.KeepFree != nil {
		if err := s.SetKeepFree(blob.Size(*body.KeepFree)); err != nil {
			return err
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	a.Audit.By(r, "retention set", string(text))
	return a.showRetention(r, s)
}

func (a *api) partitions(r *httpd.Request, s *retain.Service) error {
	all, err := s.Partitions(r.Context())
	if errors.Is(err, history.ErrUnavailable) {
		return &httpd.Error{Status: http.StatusServiceUnavailable, Code: 7, Message: "the history is not available now"}
	} else if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, all)
}

// runLimit bounds a run that a caller waits for.
const runLimit = 10 * time.Minute

func (a *api) runRetention(r *httpd.Request, s *retain.Service) error {
	dry := string(r.QueryArgs().Peek("dry_run"))
	if dry != "" && dry != "true" && dry != "false" {
		return httpd.Bad("dry_run %.20q: want true or false", dry)
	}
	// Not the request's context: the database's connections look at theirs also after
	// the answer, and by then the request is another one.
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	report, err := s.Run(ctx, r.Who.User, dry == "true")
	if err != nil && report.Error == "" {
		return err
	}
	if err != nil { // what the engine says is for the log; partitions that went are for the caller
		a.Log.Error("retention", "error", err)
		report.Error = "some of it failed; see the log"
	}
	return r.JSON(http.StatusOK, report)
}
