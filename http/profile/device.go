package profile

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
)

// maxPaths bounds how many files of a tool one call asks for.
const maxPaths = 1000

func (a *api) devices() []httpd.Route {
	query := []string{"syncSecago", "clientUid"}
	const tool = "Files of a tool by their paths: one as it is, several as a zip; 304 where nothing is newer than If-Modified-Since."
	routes := []httpd.Route{
		{Method: "GET", Path: "/Marti/api/device/profile/connection", Summary: "What a device gets when it connects: a data package, or 204 where nothing is new.", Query: query, Handler: a.connection},
		{Method: "GET", Path: "/Marti/api/device/profile/tool/{tool}", Summary: "Profile of a tool: a data package, or 204.", Query: query, Handler: a.tool},
		{Method: "GET", Path: "/Marti/api/device/profile/tool/{tool}/file", Summary: tool, Query: append([]string{"relativePath"}, query...), Handler: a.toolFiles},
		{Method: "GET", Path: "/Marti/api/tls/profile/tool/{tool}/file", Summary: tool, Query: append([]string{"relativePath"}, query...), Handler: a.toolFiles},
	}
	for i := range routes {
		routes[i].Tag, routes[i].Faces, routes[i].Role = "Profiles", httpd.Everyday, httpd.User
	}
	return routes
}

func none(r *httpd.Request) error {
	r.SetStatusCode(http.StatusNoContent)
	return nil
}

// since is the time syncSecago seconds ago; zero where that is not said, or negative.
func since(r *httpd.Request) (time.Time, error) {
	text := string(r.QueryArgs().Peek("syncSecago"))
	if text == "" || strings.HasPrefix(text, "-") {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return time.Time{}, httpd.Bad("syncSecago: want seconds")
	}
	return time.Now().Add(-time.Duration(seconds) * time.Second), nil
}

// connection packs what changed within syncSecago seconds.
func (a *api) connection(r *httpd.Request) error {
	from, err := since(r)
	if err != nil {
		return err
	}
	p, err := Open(a.Dir, Connection, r.Who, from)
	if err != nil {
		return err
	}
	return p.Reply(r)
}

// toolDir is the folder of the tool that the path names, or 404.
func (a *api) toolDir(r *httpd.Request) (name, dir string, err error) {
	name = r.Param("tool")
	if validName("tool", name) != nil {
		return "", "", httpd.NotFound("Not Found: there is no such tool")
	}
	return name, filepath.Join(a.Dir, "tool", name), nil
}

func (a *api) tool(r *httpd.Request) error {
	from, err := since(r)
	if err != nil {
		return err
	}
	name, _, err := a.toolDir(r)
	if err != nil {
		return none(r) // ATAK asks for profiles of its tools; a 404 would be noise in its log
	}
	p, err := open(a.Dir, filepath.Join("tool", name), name, from, func(string) bool { return true })
	if err != nil {
		return err
	}
	return p.Reply(r)
}

func (a *api) toolFiles(r *httpd.Request) error {
	name, dir, err := a.toolDir(r)
	if err != nil {
		return err
	}
	root, err := folder(dir)
	if err != nil {
		return err
	}
	if root == nil {
		return httpd.NotFound("Not Found: there is no such tool")
	}
	p := &Package{name: name, roots: []*os.Root{root}}
	var newest time.Time
	for _, raw := range r.QueryArgs().PeekMulti("relativePath") {
		f, err := find(root, string(raw))
		if err == nil && len(p.files) >= maxPaths {
			err = httpd.Bad("relativePath: want at most %d", maxPaths)
		}
		if err != nil {
			return errors.Join(err, p.Close())
		}
		if f.info.ModTime().After(newest) {
			newest = f.info.ModTime()
		}
		p.files = append(p.files, f)
	}
	if len(p.files) == 0 {
		return errors.Join(httpd.Bad("relativePath: want at least one"), p.Close())
	}
	h := &r.Response.Header
	h.Set("Last-Modified", newest.UTC().Format(http.TimeFormat))
	if t, err := http.ParseTime(string(r.Request.Header.Peek("If-Modified-Since"))); err == nil && !newest.Truncate(time.Second).After(t) {
		r.SetStatusCode(http.StatusNotModified)
		return p.Close()
	}
	if len(p.files) > 1 {
		return p.Reply(r)
	}
	return p.single(r)
}

// find is the file of a tool at a relative path, which may begin with a slash.
func find(root *os.Root, relative string) (file, error) {
	name := strings.TrimPrefix(relative, "/")
	missing := httpd.NotFound("Not Found: relativePath: there is no such file")
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") || strings.Contains("/"+name, "/.") {
		return file{}, missing
	}
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return file{}, missing
	}
	return file{root: root, path: name, name: name, info: info}, nil
}

// single answers with the only file, as it is.
func (p *Package) single(r *httpd.Request) error {
	f := &p.files[0]
	in, err := f.root.Open(f.path)
	if err := errors.Join(err, p.Close()); err != nil {
		return err
	}
	r.SetContentType("application/octet-stream")
	r.Response.Header.Set("Content-Disposition", attachment(path.Base(f.path)))
	if r.IsHead() {
		r.Response.SkipBody = true
		r.Response.Header.SetContentLength(int(f.info.Size()))
		return in.Close()
	}
	r.Response.SetBodyStream(in, int(f.info.Size())) // which closes it
	return nil
}
