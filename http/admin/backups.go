package admin

import (
	"errors"
	"io/fs"
	"net/http"

	"takd/http/httpd"
	"takd/store/backup"
)

// backups are the routes of backups in the server's own directory. One holds the
// keys of the server, so they are for administrators alone, and each download
// is in the audit log.
func (a *api) backups() []httpd.Route {
	return on("Operation",
		httpd.Route{Method: "GET", Path: "/api/admin/backups", Summary: "Backups that are kept, the newest first, and how the last went.", Handler: a.listBackups},
		httpd.Route{Method: "POST", Path: "/api/admin/backups", Summary: "Begin a backup; the list tells when it is there.", Handler: a.beginBackup},
		httpd.Route{Method: "GET", Path: "/api/admin/backups/{name}", Summary: "Download a backup.", Handler: a.downloadBackup},
	)
}

func (a *api) listBackups(r *httpd.Request) error {
	all, err := a.Backups.List()
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, struct {
		backup.State
		Backups []backup.Info `json:"backups"`
	}{a.Backups.State(), all})
}

func (a *api) beginBackup(r *httpd.Request) error {
	name, err := a.Backups.Begin(r.Who.User)
	if errors.Is(err, backup.ErrRunning) {
		return httpd.Conflict("%v", err)
	} else if err != nil {
		return err
	}
	return r.JSON(http.StatusAccepted, map[string]string{"name": name})
}

func (a *api) downloadBackup(r *httpd.Request) error {
	name := r.Param("name")
	file, err := a.Backups.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return httpd.NotFound("Not Found: there is no such backup")
	} else if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return err
	}
	a.Audit.By(r, "backup download", name)
	r.SetContentType("application/octet-stream")
	r.Response.Header.Set("Content-Disposition", "attachment; filename="+name)
	r.Response.SetBodyStream(file, int(info.Size())) // which closes it
	return nil
}
