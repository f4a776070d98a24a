package httpd

import (
	"encoding/json"
	"regexp"
	"strings"
)

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
			"summary": r.Summary, "tags": []string{r.Tag}, "parameters": params,
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
