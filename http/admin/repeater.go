package admin

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
)

// Repeatable is an emergency, in the form of the official server.
type Repeatable struct {
	UID       string `json:"uid"`
	Kind      string `json:"repeatType"` // 911 Alert
	Type      string `json:"cotType"`
	Activated string `json:"dateTimeActivated"`
	XML       string `json:"xml"` // not kept in this form: ""
	Callsign  string `json:"callsign"`
}

// types are the CoT types of emergencies.
var types = map[string]string{
	"911 Alert": "b-a-o-tbl", "Ring The Bell": "b-a-o-pan", "Geo-fence Breached": "b-a-g", "In Contact": "b-a-o-opn", "Troops In Contact": "b-a-o-opn",
}

func (a *api) repeater() []httpd.Route {
	return on("Operation",
		httpd.Route{Method: "GET", Path: "/Marti/api/repeater/list", Summary: "Emergencies that are repeated.", Handler: a.repeats},
		httpd.Route{Method: "GET", Path: "/Marti/api/repeater/remove/{uid}", Summary: "End an emergency for everybody; data says whether there was one.", Handler: a.stopRepeat},
		httpd.Route{Method: "GET", Path: "/Marti/api/repeater/period", Summary: "How often emergencies are repeated, in milliseconds.", Handler: a.period},
		httpd.Route{Method: "POST", Path: "/Marti/api/repeater/period", Summary: "Set how often emergencies are repeated, in milliseconds: the body is the number.", MaxBody: 64, Handler: a.setPeriod},
	)
}

func (a *api) repeats(r *httpd.Request) error {
	all := a.Live.Emergencies()
	list := make([]Repeatable, 0, len(all))
	for _, e := range all {
		kind := types[e.Type]
		if kind == "" {
			kind = "b-a-o-tbl"
		}
		list = append(list, Repeatable{UID: e.UID, Kind: e.Type, Type: kind, Activated: e.Since.UTC().Format("2006-01-02T15:04:05.000Z"), Callsign: e.Callsign})
	}
	return r.Envelope("Repeatable", list)
}

// stopRepeat changes something by GET, as the official server has it: a page of
// another site must not make a browser do that.
func (a *api) stopRepeat(r *httpd.Request) error {
	if site := string(r.Request.Header.Peek("Sec-Fetch-Site")); r.IsHead() || site != "" && site != "same-origin" && site != "none" {
		return httpd.Forbidden("this is not for other sites, and HEAD ends nothing")
	}
	uid := r.Param("uid")
	ended := a.Live.CancelEmergency(uid)
	if ended {
		a.Audit.By(r, "emergency cancel", uid)
	}
	return r.Envelope("java.lang.Boolean", ended)
}

func (a *api) period(r *httpd.Request) error {
	return r.Envelope("java.lang.Integer", max(0, a.Period().Milliseconds()))
}

func (a *api) setPeriod(r *httpd.Request) error {
	ms, err := strconv.Atoi(strings.TrimSpace(string(r.PostBody())))
	if err != nil || ms < 1000 || ms > 3_600_000 {
		return httpd.Bad("body: want milliseconds from 1000 to 3600000")
	}
	if err := a.SetPeriod(time.Duration(ms) * time.Millisecond); err != nil {
		return err
	}
	a.Audit.By(r, "config", "set messaging.emergency_period="+strconv.Itoa(ms)+"ms")
	r.SetStatusCode(http.StatusOK)
	return nil
}
