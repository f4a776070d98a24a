package files

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/blob"
)

// content serves a file by its hash, or the newest with a uid: the attachment of
// a marker. Clients add receiver= and more to the address; that changes nothing.
func (a *api) content(r *httpd.Request) error {
	p := query(r)
	q := blob.Query{UID: p.get("uid")}
	if text := p.get("hash"); text != "" {
		hash, err := validHash(text)
		if err != nil {
			return err
		}
		q = blob.Query{Hash: hash}
	}
	if q.Hash == "" && q.UID == "" {
		return httpd.Bad("hash: want it, or uid")
	}
	return a.serve(r, q, p)
}

func (a *api) byHash(r *httpd.Request) error {
	hash, err := validHash(r.Param("hash"))
	if err != nil {
		return err
	}
	return a.serve(r, blob.Query{Hash: hash}, query(r))
}

func (a *api) serve(r *httpd.Request, q blob.Query, p params) error {
	f, err := a.Store.First(r.Context(), viewer(r), q)
	if err != nil {
		return refused(err)
	}
	h := &r.Response.Header
	tag := `"` + f.Hash + `"`
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Last-Modified", f.Time().Format(http.TimeFormat))
	if match := string(r.Request.Header.Peek("If-None-Match")); match != "" && (match == "*" || strings.Contains(match, tag)) {
		r.SetStatusCode(http.StatusNotModified)
		return nil
	}
	h.Set("Accept-Ranges", "bytes")
	part, err := wanted(r, p, f.Size, tag)
	if err != nil {
		if errors.Is(err, httpd.ErrRange) {
			h.Set("Content-Range", "bytes */"+formatInt(f.Size))
		}
		return err
	}
	h.Set("Content-Disposition", quote(f.Name))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("api-version", "3")
	r.SetContentType(f.MIME)
	file, err := a.Store.Open(f.Hash)
	if err != nil {
		return refused(err)
	}
	return r.SendFile(file, part, f.Size)
}

// wanted finds out which part of size bytes. ATAK resumes with offset and takes
// nothing but 200; length and the Range header give 206.
func wanted(r *httpd.Request, p params, size int64, tag string) (httpd.Part, error) {
	if p.get("offset") == "" && p.get("length") == "" {
		return r.Range(size, tag)
	}
	offset, err := p.integer("offset", 0)
	if err != nil {
		return httpd.Part{}, err
	}
	if offset > size {
		return httpd.Part{}, httpd.ErrRange
	}
	length, err := p.integer("length", size)
	if err != nil {
		return httpd.Part{}, err
	}
	e := httpd.Part{From: offset, N: min(size-offset, length)}
	e.Partial = e.N < size-offset && e.N > 0
	return e, nil
}

// Two forms of time: padded where ATAK parses it, and as Java prints it elsewhere.
func padded(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func unpadded(t time.Time) string {
	t = t.UTC()
	return t.Format("2006-01-02T15:04:05.") + strconv.Itoa(t.Nanosecond()/1e6) + "Z"
}
