package httpd_test

import (
	"strings"
	"testing"

	"takd/http/httpd"
	"takd/http/httpd/httpdtest"
)

// What is wrong with a body is said by field and in words of JSON, and shortly.
func TestWrongBodies(t *testing.T) {
	type inner struct {
		Port int `json:"port"`
	}
	type body struct {
		Name   string            `json:"name"`
		On     *bool             `json:"on"`
		Height float64           `json:"height"`
		List   []inner           `json:"list"`
		More   map[string]string `json:"more"`
	}
	read := func(exact bool) httpd.Handler {
		return func(r *httpd.Request) error {
			var b body
			if exact {
				return r.ReadExactJSON(&b)
			}
			return r.ReadJSON(&b)
		}
	}
	s := httpdtest.New(t, []httpd.Route{
		{Method: "POST", Path: "/any", Faces: httpd.Enroll, Role: httpd.Public, Handler: read(false)},
		{Method: "POST", Path: "/exact", Faces: httpd.Enroll, Role: httpd.Public, Handler: read(true)},
	})
	for text, want := range map[string]string{
		``: "body: want JSON", `{`: "body: want JSON: unexpected", `<x/>`: "body: want JSON: invalid character", `[]`: "body: want an object, not array", `7`: "body: want an object, not number",
		`{"name":7}`: "body: name: want a string, not number", `{"on":"yes"}`: "body: on: want true or false, not string", `{"height":{}}`: "body: height: want a number, not object",
		`{"list":{}}`: "body: list: want a list, not object", `{"list":[{"port":1.5}]}`: "body: list.port: want a whole number, not number 1.5",
		`{"list":[{"port":"x"}]}`: "body: list.port: want a whole number, not string", `{"more":{"a":1}}`: "a string, not number",
		`{"list":[{"port":` + strings.Repeat("9", 10_000) + `}]}`: "body: list.port: want a whole number, not number 9",
	} {
		for _, path := range []string{"/any", "/exact"} {
			if got := s.Want(400, "", "POST", path, text).Body; !strings.Contains(got, want) || strings.Contains(got, "Go ") || len(got) > 400 {
				t.Errorf("%s with %.100s: %s, want %s", path, text, got, want)
			}
		}
	}
	s.Want(200, "", "POST", "/any", `{"nam":"x"}`)
	for text, want := range map[string]string{`{"nam":"x"}`: `unknown field \"nam\"`, `{"name":"x"} {}`: "more after the JSON", `{"` + strings.Repeat("x", 10_000) + `":1}`: "unknown field"} {
		if got := s.Want(400, "", "POST", "/exact", text).Body; !strings.Contains(got, want) || len(got) > 400 {
			t.Errorf("%.100s: %s, want %s", text, got, want)
		}
	}
}
