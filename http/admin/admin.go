// Package admin is the API of administrators: users and groups in the form of
// the official server's user management, the certificates that were issued, and
// takd's own routes under /api/admin.
//
// Every change is in the audit log. What is changed here holds at once for live
// connections, because store tells those who act on them.
package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"takd/http/httpd"
	"takd/store/auth"
	"takd/store/backup"
	"takd/store/blob"
	"takd/store/history"
	"takd/store/injector"
	"takd/store/meta"
	"takd/store/pki"
	"takd/store/retain"
)

// Deps is what the API needs.
type Deps struct {
	Auth *auth.Service
	PKI  *pki.Authority
	Live Live
	// Period is how often emergencies are repeated; SetPeriod changes that.
	Period    func() time.Duration
	SetPeriod func(time.Duration) error
	// Backups makes and keeps backups.
	Backups *backup.Keeper
	// RemoveUser removes a user and revokes its certificates.
	RemoveUser func(ctx context.Context, name string) error
	Audit      httpd.Audit
	AuditLog   func(ctx context.Context, limit int64) ([]meta.AuditEntry, error)
	Blobs      *blob.Store
	// Retention is the service that removes old data; it returns nil while that does not run.
	Retention func() *retain.Service
	Injectors *injector.Store
	Refusals  func() []Refusal // the newest first
	Diagnose  Diagnose
	History   *history.Store  // nil where the server keeps none
	Status    func() any      // of the server
	Metrics   func(io.Writer) // of the server, as Prometheus text
	Settings  Settings
	LogTail   func() ([]byte, error) // the end of the log
	Log       *slog.Logger
}

type api struct {
	Deps

	exporting atomic.Int32
}

// Routes is the table of what there is to call: for administrators alone.
func Routes(d Deps) []httpd.Route {
	a := &api{Deps: d}
	return slices.Concat(a.users("/user-management/api"), a.users("/Marti/api/user-management/api"), a.certs(), a.operations(), a.server(),
		a.retention(), a.history(), a.backups(), a.repeater(), a.diag(), a.injectors(), a.settings(), a.bulk())
}

// on completes the rows of one chapter.
func on(tag string, routes ...httpd.Route) []httpd.Route {
	for i := range routes {
		r := &routes[i]
		r.Tag, r.Faces, r.Role = tag, httpd.Everyday, httpd.Admin
	}
	return routes
}

// refusal is what a caller is told of an error of the store.
func refusal(err error) error {
	switch {
	case errors.Is(err, auth.ErrExists):
		return httpd.Conflict("%v", err)
	case errors.Is(err, auth.ErrNotFound):
		return httpd.NotFound("Not Found: %v", err)
	case errors.Is(err, auth.ErrInvalid):
		return httpd.Bad("%v", err)
	}
	return err
}
