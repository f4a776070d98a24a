package files

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
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
	f, err := a.Store.First(r, viewer(r), q)
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
		if errors.Is(err, errRange) {
			h.Set("Content-Range", "bytes */"+formatInt(f.Size))
		}
		return err
	}
	h.Set("Content-Disposition", quote(f.Name))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("api-version", "3")
	r.SetContentType(f.MIME)
	r.SetStatusCode(http.StatusOK)
	if part.partial {
		r.SetStatusCode(http.StatusPartialContent)
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.from, part.from+part.n-1, f.Size))
	}
	file, err := a.Store.Open(f.Hash)
	if err != nil {
		return refused(err)
	}
	if r.IsHead() {
		r.Response.SkipBody = true
		h.SetContentLength(int(part.n))
		return file.Close()
	}
	if _, err := file.Seek(part.from, io.SeekStart); err != nil {
		_ = file.Close()
		return fmt.Errorf("read file %s: %w", f.Hash, err)
	}
	r.Response.SetBodyStream(&section{io.LimitedReader{R: file, N: part.n}, file}, int(part.n))
	return nil
}

// section is a part of a file, closed with the answer.
type section struct {
	io.LimitedReader
	file *os.File
}

// Close implements io.Closer.
func (s *section) Close() error { return s.file.Close() }

// extent is the part of a file that is asked for.
type extent struct {
	from, n int64
	partial bool // answered with 206
}

var errRange = &httpd.Error{Status: http.StatusRequestedRangeNotSatisfiable, Code: 2, Message: "range: the file is shorter"}

// wanted finds out which part of size bytes. ATAK resumes with offset and takes
// nothing but 200; length and the Range header give 206.
func wanted(r *httpd.Request, p params, size int64, tag string) (extent, error) {
	if p.get("offset") != "" || p.get("length") != "" {
		offset, err := p.integer("offset", 0)
		if err != nil {
			return extent{}, err
		}
		if offset > size {
			return extent{}, errRange
		}
		length, err := p.integer("length", size)
		if err != nil {
			return extent{}, err
		}
		e := extent{from: offset, n: min(size-offset, length)}
		e.partial = e.n < size-offset && e.n > 0
		return e, nil
	}
	whole := extent{n: size}
	text, found := strings.CutPrefix(string(r.Request.Header.Peek("Range")), "bytes=")
	if cond := string(r.Request.Header.Peek("If-Range")); !found || cond != "" && cond != tag {
		return whole, nil
	}
	first, last, found := strings.Cut(strings.TrimSpace(text), "-")
	if !found {
		return whole, nil // not understood, or several: the whole is a right answer
	}
	from, errFrom := strconv.ParseUint(first, 10, 62)
	to, errTo := strconv.ParseUint(last, 10, 62)
	switch {
	case first == "" && errTo == nil: // the last so many
		n := min(int64(to), size)
		if n == 0 {
			return extent{}, errRange
		}
		return extent{size - n, n, true}, nil
	case errFrom != nil, errTo != nil && last != "", last != "" && to < from:
		return whole, nil
	case int64(from) >= size:
		return extent{}, errRange
	case last == "":
		return extent{int64(from), size - int64(from), true}, nil
	}
	return extent{int64(from), min(int64(to)+1, size) - int64(from), true}, nil
}

// Two forms of time: padded where ATAK parses it, and as Java prints it elsewhere.
func padded(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func unpadded(t time.Time) string {
	t = t.UTC()
	return t.Format("2006-01-02T15:04:05.") + strconv.Itoa(t.Nanosecond()/1e6) + "Z"
}
