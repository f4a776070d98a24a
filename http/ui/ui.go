// Package ui serves takd's web page: what `make ui` builds of src, compressed
// and inside the binary. It needs nothing of any other origin.
package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/valyala/fasthttp"

	"takd/http/httpd"
)

// dist holds app, which make ui writes, or nothing: go build needs no Node.
//
//go:embed all:dist
var dist embed.FS

// policy is what the page may do: nothing of it comes from anywhere else, and no
// script or style stands in it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; " +
	"worker-src 'self'; manifest-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// missing is the page of a binary that was built without one.
const missing = `<!doctype html><html lang="en"><meta charset="utf-8"><title>takd</title>
<h1>takd is running</h1><p>This binary was built without its web page: <code>make build</code> makes one that has it.</p></html>
`

// file is one file of the page, ready to be sent.
type file struct {
	kind   string // MIME type
	tag    string // ETag
	gz, br []byte
}

// site are the files by their path: "index.html", "assets/index-abc.js".
type site map[string]file

// load reads what was built; nothing, if nothing was.
func load(from fs.FS) site {
	s := site{}
	_ = fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".gz") {
			return err
		}
		plain := strings.TrimSuffix(name, ".gz")
		gz, err1 := fs.ReadFile(from, name)
		br, err2 := fs.ReadFile(from, plain+".br")
		if err1 == nil && err2 == nil {
			sum := sha256.Sum256(gz)
			s[plain] = file{kind: kindOf(plain), tag: `"` + hex.EncodeToString(sum[:8]) + `"`, gz: gz, br: br}
		}
		return nil
	})
	return s
}

func kindOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".json":
		return "application/json"
	default:
		if kind := mime.TypeByExtension(ext); kind != "" {
			return kind
		}
		return "application/octet-stream"
	}
}

// Routes is the table of the page: for everybody, since it asks who is there by
// itself, and holds no secret.
func Routes() []httpd.Route {
	app, err := fs.Sub(dist, "dist/app")
	if err != nil {
		panic(err) // the path is constant
	}
	return load(app).routes()
}

// Setup is the table of the page while there is no server yet: it answers at /setup
// and nowhere else.
func Setup() []httpd.Route {
	app, err := fs.Sub(dist, "dist/app")
	if err != nil {
		panic(err) // the path is constant
	}
	s := load(app)
	row := func(path, summary string, h httpd.Handler) httpd.Route {
		return httpd.Route{Method: http.MethodGet, Path: path, Faces: httpd.Enroll, Role: httpd.Public, Tag: "First start", Summary: summary, Handler: h}
	}
	return []httpd.Route{row("/setup", "The page of the first start.", s.index), row("/ui/{path:*}", "Files of the web page.", s.asset)}
}

func (s site) routes() []httpd.Route {
	old := []string{"/index.html", "/webtak", "/webtak/index.html", "/setup", "/setup/index.html", "/Marti", "/Marti/index.html", "/Marti/login"}
	rows := append(make([]httpd.Route, 0, 2+len(old)),
		httpd.Route{Path: "/", Summary: "The web page.", Handler: s.index},
		httpd.Route{Path: "/ui/{path:*}", Summary: "Files of the web page.", Handler: s.asset})
	for _, old := range old {
		rows = append(rows, httpd.Route{Path: old, Summary: "Leads to the web page: an address of other servers.", Handler: toPage})
	}
	for i := range rows {
		r := &rows[i]
		r.Method, r.Faces, r.Role, r.Tag = http.MethodGet, httpd.Everyday, httpd.Public, "Page"
	}
	return rows
}

func toPage(r *httpd.Request) error {
	r.Response.Header.Set(fasthttp.HeaderLocation, "/")
	r.SetStatusCode(http.StatusFound)
	return nil
}

func (s site) index(r *httpd.Request) error {
	h := &r.Response.Header
	h.Set(fasthttp.HeaderContentSecurityPolicy, policy)
	h.Set(fasthttp.HeaderCacheControl, "no-cache")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(self)")
	f, ok := s["index.html"]
	if !ok {
		r.Reply(http.StatusOK, "text/html; charset=utf-8", []byte(missing))
		return nil
	}
	return f.send(r)
}

// asset answers a file whose name says what is in it: it never changes.
func (s site) asset(r *httpd.Request) error {
	f, ok := s[r.Param("path")]
	if !ok {
		return httpd.NotFound("Not Found: the page has no such file")
	}
	r.Response.Header.Set(fasthttp.HeaderCacheControl, "public, max-age=31536000, immutable")
	r.Response.Header.Set(fasthttp.HeaderContentSecurityPolicy, policy) // a worker's is that of its own file
	return f.send(r)
}

func (f file) send(r *httpd.Request) error {
	h := &r.Response.Header
	h.Set(fasthttp.HeaderETag, f.tag)
	h.Set(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	if strings.Contains(string(r.Request.Header.Peek(fasthttp.HeaderIfNoneMatch)), f.tag) {
		r.SetStatusCode(http.StatusNotModified)
		return nil
	}
	switch {
	case r.Accepts("br"):
		h.SetContentEncoding("br")
		r.Reply(http.StatusOK, f.kind, f.br)
	case r.Accepts("gzip"):
		h.SetContentEncoding("gzip")
		r.Reply(http.StatusOK, f.kind, f.gz)
	default: // no browser
		z, err := gzip.NewReader(bytes.NewReader(f.gz))
		if err != nil {
			return err
		}
		raw, err := io.ReadAll(z)
		if err != nil {
			return err
		}
		r.Reply(http.StatusOK, f.kind, raw)
	}
	return nil
}
