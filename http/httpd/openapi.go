package httpd

import (
	"bytes"
	"encoding/json"
	"html/template"
	"regexp"
	"strings"

	"github.com/valyala/fasthttp"
)

// documents are the routes that describe the others.
func (s *Server) documents() []Route {
	doc := func(r *Request) error {
		b, err := OpenAPI(s.opts.Title, s.opts.Routes)
		r.Reply(fasthttp.StatusOK, "application/json", b)
		return err
	}
	row := func(path, summary string, h Handler) Route {
		return Route{Method: fasthttp.MethodGet, Path: path, Faces: Everyday, Role: User, Tag: "Server", Summary: summary, Handler: h}
	}
	return []Route{
		row("/openapi.json", "This document, OpenAPI 3.1.", doc),
		row("/api/docs", "The routes as a page.", func(r *Request) error {
			b, err := page(s.opts.Title, s.opts.Routes)
			r.Reply(fasthttp.StatusOK, "text/html; charset=utf-8", b)
			r.Response.Header.Set(fasthttp.HeaderContentSecurityPolicy, "default-src 'none'; style-src 'unsafe-inline'")
			return err
		}),
	}
}

var docs = template.Must(template.New("docs").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>{{.Title}} API</title>
<style>body{font:15px sans-serif;margin:2em}td{padding:.2em 1em .2em 0;vertical-align:top}code{white-space:nowrap}</style>
<h1>{{.Title}} API</h1><p>For programs: <a href="/openapi.json">openapi.json</a></p><table>
{{range .Routes}}<tr><td>{{.Tag}}<td><code>{{.Method}} {{.Path}}</code><td>{{.Role}}<td>{{.Summary}}
{{end}}</table></html>
`))

// page is the table for people.
func page(title string, routes []Route) ([]byte, error) {
	var b bytes.Buffer
	err := docs.Execute(&b, struct {
		Title  string
		Routes []Route
	}{title, routes})
	return b.Bytes(), err
}

var parameter = regexp.MustCompile(`\{([a-zA-Z0-9_]+)(:[^}]*)?\}`)

// OpenAPI describes the table as an OpenAPI 3.1 document.
func OpenAPI(title string, routes []Route) ([]byte, error) {
	type object = map[string]any
	paths := map[string]object{}
	for i := range routes {
		r := &routes[i]
		path := parameter.ReplaceAllString(r.Path, "{$1}")
		names := parameter.FindAllStringSubmatch(r.Path, -1)
		params := make([]object, 0, len(names)+len(r.Query))
		for _, m := range names {
			params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
		}
		for _, q := range r.Query {
			params = append(params, object{"name": q, "in": "query", "schema": object{"type": "string"}})
		}
		op := object{
			"operationId": operation(r),
			"summary":     r.Summary, "tags": []string{r.Tag}, "parameters": params,
			"responses":   object{"200": object{"description": "Done."}, "default": object{"description": "An error: status, code and message."}},
			"description": "For " + r.Role.String() + ", on " + strings.Join(r.Faces.ports(), " and ") + ".",
		}
		if r.Role == Public {
			op["security"] = []object{}
		}
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path][strings.ToLower(r.Method)] = op
	}
	return json.Marshal(object{
		"openapi": "3.1.0",
		"info":    object{"title": title, "version": "1"},
		"paths":   paths,
		"components": object{"securitySchemes": object{
			"certificate": object{"type": "mutualTLS"}, "password": object{"type": "http", "scheme": "basic"},
			"token": object{"type": "http", "scheme": "bearer"},
		}},
		"security": []object{{"certificate": []string{}}, {"password": []string{}}, {"token": []string{}}},
	})
}

// operation names a row: "get_Marti_api_version".
func operation(r *Route) string {
	return strings.ToLower(r.Method) + strings.NewReplacer("/", "_", "{", "", "}", "", ":*", "", ".", "_").Replace(r.Path)
}

// String names who a role is.
func (r Role) String() string {
	switch r {
	case Public:
		return "everybody"
	case User:
		return "users"
	case Writer:
		return "users who may send"
	}
	return "administrators"
}

func (f Face) ports() []string {
	var ports []string
	for _, one := range []Face{API, Enroll, Federation} {
		if f&one != 0 {
			ports = append(ports, one.String())
		}
	}
	return ports
}
