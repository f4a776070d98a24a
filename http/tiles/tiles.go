// Package tiles is the API of base maps: PMTiles files that an administrator puts
// there, and that pages read in parts, by Range requests.
package tiles

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"takd/http/httpd"
	"takd/store/tiles"
)

const (
	idleTime   = 60 * time.Second // for the next part of a body
	uploadTime = 6 * time.Hour
	at         = "/api/v1/tiles"
)

// Deps is what the API needs.
type Deps struct {
	Library *tiles.Library
	Audit   httpd.Audit
}

type api struct{ Deps }

// Routes is the table of what there is to call.
func Routes(d Deps) []httpd.Route {
	a := &api{d}
	rows := []httpd.Route{
		{Method: http.MethodGet, Path: at, Role: httpd.User, Handler: a.list, Summary: "Base maps: name, size, type (mvt, png, jpg, webp, avif), zooms and bounds (west, south, east, north)."},
		{Method: http.MethodGet, Path: at + "/{name}", Role: httpd.User, Handler: a.get, Summary: "A base map, PMTiles of version 3, or with a Range header a part of it."},
		{
			Method: http.MethodPut, Path: at + "/{name}", Role: httpd.Admin, Handler: a.put, Stream: true, Timeout: idleTime, MaxBody: 1 << 50,
			Summary: "Keep a base map: the body is a PMTiles file, of at most tiles.max_file, for a name that is not taken.",
		},
		{Method: http.MethodDelete, Path: at + "/{name}", Role: httpd.Admin, Handler: a.remove, Summary: "Delete a base map."},
	}
	for i := range rows {
		rows[i].Faces, rows[i].Tag = httpd.Everyday, "Base maps"
	}
	return rows
}

func (a *api) list(r *httpd.Request) error {
	all, err := a.Library.List()
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, append([]tiles.Info{}, all...))
}

func (a *api) get(r *httpd.Request) error {
	file, info, err := a.Library.Open(r.Param("name"))
	if err != nil {
		return refused(err)
	}
	h, tag := &r.Response.Header, `"`+info.Tag+`"`
	h.Set("ETag", tag)
	h.Set("Accept-Ranges", "bytes")
	h.Set("Cache-Control", "private, no-cache")
	part, err := r.Range(info.Size, tag)
	if err != nil {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(info.Size, 10))
		return errors.Join(file.Close(), err)
	}
	h.Set("Content-Disposition", "attachment; filename="+info.Name)
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	r.SetContentType("application/vnd.pmtiles")
	return r.SendFile(file, part, info.Size)
}

func (a *api) put(r *httpd.Request) error {
	announced := int64(r.Request.Header.ContentLength())
	if announced == 0 {
		return httpd.Bad("body: want a PMTiles file")
	}
	name := r.Param("name")
	body := &patient{r: r, from: r.Body(), until: time.Now().Add(uploadTime)}
	info, err := a.Library.Add(name, body, max(announced, -1))
	if err != nil {
		return refused(err)
	}
	a.Audit.By(r, "base map add", name)
	return r.JSON(http.StatusCreated, info)
}

func (a *api) remove(r *httpd.Request) error {
	name := r.Param("name")
	if err := a.Library.Remove(name); err != nil {
		return refused(err)
	}
	a.Audit.By(r, "base map remove", name)
	r.SetStatusCode(http.StatusNoContent)
	return nil
}

// refused is what a caller is told of an error of the library.
func refused(err error) error {
	switch {
	case errors.Is(err, tiles.ErrNotFound):
		return httpd.NotFound("Not Found: there is no such base map")
	case errors.Is(err, tiles.ErrInvalid):
		return httpd.Bad("%v", err)
	case errors.Is(err, tiles.ErrExists):
		return httpd.Conflict("%v", err)
	case errors.Is(err, tiles.ErrLimit):
		return httpd.TooLarge("%v", err)
	case errors.Is(err, tiles.ErrFull):
		return &httpd.Error{Status: http.StatusInsufficientStorage, Code: 2, Message: err.Error()}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &httpd.Error{Status: http.StatusRequestTimeout, Code: 2, Message: "body: it takes too long"}
	case errors.Is(err, errBody):
		return httpd.Bad("body: it is cut off")
	}
	return err
}

var errBody = errors.New("the body cannot be read")

// patient reads a body whose sender has idleTime for each next part.
type patient struct {
	r     *httpd.Request
	from  io.Reader
	until time.Time
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	next := time.Now().Add(idleTime)
	if next.After(p.until) {
		next = p.until
	}
	if err := p.r.Conn().SetReadDeadline(next); err != nil {
		return 0, errors.Join(errBody, err)
	}
	n, err := p.from.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = errors.Join(errBody, err)
	}
	return n, err
}
