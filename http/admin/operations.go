package admin

import (
	"net/http"
	"strconv"
	"time"

	"takd/http/httpd"
)

// Emergency is an alarm that is repeated until somebody cancels it.
type Emergency struct {
	UID      string    `json:"uid"`
	Type     string    `json:"type"`
	Callsign string    `json:"callsign"`
	User     string    `json:"user"`   // "": an anonymous client
	Client   string    `json:"client"` // uid of who raised it
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
}

// Live is the messaging engine, as administrators see it.
type Live interface {
	// Reach tells whether b sees a, and why or why not. Of somebody who is not
	// connected it tells why he was last refused.
	Reach(a, b string) (visible bool, reasons []string)
	// Emergencies are those under way, oldest first.
	Emergencies() []Emergency
	// CancelEmergency reports whether there was one.
	CancelEmergency(uid string) bool
	// Everybody is who is connected, oldest first.
	Everybody() []Client
	// Kick closes a connection and reports whether there was one.
	Kick(id uint64) bool
}

func (a *api) operations() []httpd.Route {
	return on("Operation",
		httpd.Route{Method: "GET", Path: "/api/admin/reach", Summary: "Whether b sees a, each a callsign, uid or user, with reasons; also why who is not here was last refused.", Query: []string{"a", "b"}, Handler: a.reach},
		httpd.Route{Method: "GET", Path: "/api/admin/emergencies", Summary: "Emergencies under way.", Handler: a.emergencies},
		httpd.Route{Method: "DELETE", Path: "/api/admin/emergencies/{uid}", Summary: "End an emergency for everybody.", Handler: a.cancelEmergency},
		httpd.Route{Method: "GET", Path: "/api/admin/audit", Summary: "Who changed what, the newest first.", Query: []string{"limit"}, Handler: a.auditLog},
	)
}

func (a *api) reach(r *httpd.Request) error {
	from, to := string(r.QueryArgs().Peek("a")), string(r.QueryArgs().Peek("b"))
	if from == "" || to == "" {
		return httpd.Bad("a and b: want a callsign, uid or user for each")
	}
	visible, reasons := a.Live.Reach(from, to)
	return r.JSON(http.StatusOK, struct {
		Visible bool     `json:"visible"`
		Reasons []string `json:"reasons"`
	}{visible, append([]string{}, reasons...)})
}

func (a *api) emergencies(r *httpd.Request) error {
	return r.JSON(http.StatusOK, append([]Emergency{}, a.Live.Emergencies()...))
}

func (a *api) cancelEmergency(r *httpd.Request) error {
	uid := r.Param("uid")
	if !a.Live.CancelEmergency(uid) {
		return httpd.NotFound("Not Found: there is no such emergency")
	}
	a.Audit.By(r, "emergency cancel", uid)
	r.SetStatusCode(http.StatusNoContent)
	return nil
}

const maxAudit = 10_000

func (a *api) auditLog(r *httpd.Request) error {
	limit := 100
	if text := string(r.QueryArgs().Peek("limit")); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxAudit {
			return httpd.Bad("limit: want a number from 1 to %d", maxAudit)
		}
		limit = n
	}
	all, err := a.AuditLog(r.Context(), int64(limit))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, all)
}
