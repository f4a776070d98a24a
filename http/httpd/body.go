package httpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
)

// ReadJSON takes in a body. What v has no field for is left out: clients send more
// than is asked for.
func (r *Request) ReadJSON(v any) error { return badJSON(json.Unmarshal(r.PostBody(), v)) }

// ReadExactJSON is ReadJSON for takd's own routes: what v has no field for is refused,
// for a misspelt list of groups must not become an empty one.
func (r *Request) ReadExactJSON(v any) error {
	d := json.NewDecoder(bytes.NewReader(r.PostBody()))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Bad("body: more after the JSON")
	}
	return nil
}

// badJSON is 400 with the field, and what it should be in words of JSON: types of
// the program say nothing to a caller.
func badJSON(err error) error {
	var t *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return Bad("body: want JSON, not nothing")
	case errors.As(err, &t) && t.Field != "":
		return Bad("body: %.200s: want %s, not %.40s", t.Field, kind(t.Type), t.Value)
	case errors.As(err, &t):
		return Bad("body: want %s, not %.40s", kind(t.Type), t.Value)
	}
	return Bad("body: want JSON: %.200s", strings.TrimPrefix(err.Error(), "json: "))
}

// kind names a type as JSON has it.
func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a whole number" // the only other kinds that bodies have
}
