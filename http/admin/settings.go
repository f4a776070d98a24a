package admin

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"takd/http/httpd"
)

// Settings are the configuration of the server. What an operator did wrong comes
// back as ErrSetting.
type Settings interface {
	// Show returns what JSON makes of the keys, the text of the file and its old versions.
	Show() (any, error)
	// Set changes keys, whose values are YAML; it returns those that need a restart.
	Set(pairs map[string]string) (restart []string, err error)
	// Preview returns the file as Set would make it, without passwords.
	Preview(pairs map[string]string) (string, error)
	// Old returns an old version of the file, without passwords.
	Old(n int) (string, error)
	// Rollback goes back to an old version.
	Rollback(n int) (restart []string, err error)
}

// ErrSetting is a key or a value that cannot be.
var ErrSetting = errors.New("refused")

// maxSettings is how many keys one call sets.
const maxSettings = 200

func (a *api) settings() []httpd.Route {
	return on("Operation",
		httpd.Route{Method: "GET", Path: "/api/admin/config", Summary: "Each key of the configuration with its help, default and value; the file, without passwords; its old versions.", Handler: a.showSettings},
		httpd.Route{Method: "PUT", Path: "/api/admin/config", Summary: "Set keys to YAML values; all or none. Keys that name files of the machine are set by the command line alone. With dryRun=1 only answer what the file would be.", Query: []string{"dryRun"}, Handler: a.setSettings},
		httpd.Route{Method: "GET", Path: "/api/admin/config/versions/{n}", Summary: "An old version of the file, without passwords, as text.", Handler: a.oldSettings},
		httpd.Route{Method: "POST", Path: "/api/admin/config/rollback/{n}", Summary: "Go back to an old version of the file.", Handler: a.rollbackSettings},
		httpd.Route{Method: "GET", Path: "/api/admin/log", Summary: "The end of the log, as text: at most 256 KiB.", Handler: a.logTail},
	)
}

func (a *api) showSettings(r *httpd.Request) error {
	all, err := a.Settings.Show()
	if err != nil {
		return err
	}
	r.Response.Header.Set("Cache-Control", "no-store")
	return r.JSON(http.StatusOK, all)
}

func (a *api) setSettings(r *httpd.Request) error {
	pairs := map[string]string{}
	if err := r.ReadExactJSON(&pairs); err != nil {
		return err
	}
	if len(pairs) == 0 || len(pairs) > maxSettings {
		return httpd.Bad("body: want 1 to %d keys", maxSettings)
	}
	if string(r.QueryArgs().Peek("dryRun")) == "1" {
		text, err := a.Settings.Preview(pairs)
		return fileText(r, text, err)
	}
	restart, err := a.Settings.Set(pairs)
	keys := slices.Sorted(maps.Keys(pairs))
	return a.settled(r, "set "+strings.Join(keys, " "), restart, err)
}

// fileText answers what a file would be, or was.
func fileText(r *httpd.Request, text string, err error) error {
	if errors.Is(err, ErrSetting) {
		return httpd.Bad("%v", err)
	} else if err != nil {
		return err
	}
	r.Response.Header.Set("Cache-Control", "no-store")
	r.Reply(http.StatusOK, "text/plain; charset=utf-8", []byte(text))
	return nil
}

func version(r *httpd.Request) (int, error) {
	n, err := strconv.Atoi(r.Param("n"))
	if err != nil || n < 1 {
		return 0, httpd.Bad("n %.20q: want the number of a version", r.Param("n"))
	}
	return n, nil
}

func (a *api) oldSettings(r *httpd.Request) error {
	n, err := version(r)
	if err != nil {
		return err
	}
	text, err := a.Settings.Old(n)
	return fileText(r, text, err)
}

func (a *api) rollbackSettings(r *httpd.Request) error {
	n, err := version(r)
	if err != nil {
		return err
	}
	restart, err := a.Settings.Rollback(n)
	return a.settled(r, fmt.Sprintf("rollback %d", n), restart, err)
}

func (a *api) settled(r *httpd.Request, detail string, restart []string, err error) error {
	if errors.Is(err, ErrSetting) {
		return httpd.Bad("%v", err)
	} else if err != nil {
		return err
	}
	a.Audit.By(r, "config", detail)
	return r.JSON(http.StatusOK, map[string][]string{"restart_needed": append([]string{}, restart...)})
}

func (a *api) logTail(r *httpd.Request) error {
	text, err := a.LogTail()
	if err != nil {
		return err
	}
	r.Response.Header.Set("Cache-Control", "no-store")
	r.Reply(http.StatusOK, "text/plain; charset=utf-8", text)
	return nil
}
