package config

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Field is one key of the file, for forms.
type Field struct {
	Key     string `json:"key"`     // messaging.max_clients
	Kind    string `json:"kind"`    // bool, text or yaml (a list)
	Help    string `json:"help"`    //
	Default string `json:"default"` // "" for none
	Value   string `json:"value"`   // as YAML, with the default of what the file leaves out
	Local   bool   `json:"local"`   // set by the command line alone
}

// local are the keys that name files and databases of the machine, or open what
// asks nobody who he is: who administers the server over the network does not
// thereby get the machine.
var local = []string{"history.mode", "history.engine_path", "backup.directory", "api.certificate.cert", "api.certificate.key", "ops.address"}

// Local returns the first of the keys that only the command line sets, "" for none.
// A whole section counts as its keys.
func Local(pairs map[string]string) string {
	for key := range pairs {
		for _, l := range local {
			if key == l || strings.HasPrefix(l, key+".") || strings.HasPrefix(key, l+".") {
				return l
			}
		}
	}
	return ""
}

// Fields lists the keys of c in the order of the file.
func (c Config) Fields() ([]Field, error) {
	var all []Field
	err := walk(reflect.ValueOf(c.WithDefaults()), "", &all)
	return all, err
}

func walk(v reflect.Value, prefix string, all *[]Field) error {
	for i := range v.NumField() {
		t := v.Type().Field(i)
		name, _, _ := strings.Cut(t.Tag.Get("yaml"), ",")
		if name == "" || name == "-" || !t.IsExported() {
			continue
		}
		key, inner := prefix+name, v.Field(i)
		if section(inner) {
			if err := walk(inner, key+".", all); err != nil {
				return err
			}
			continue
		}
		text, err := yaml.Marshal(inner.Interface())
		if err != nil {
			return fmt.Errorf("configuration: %s: %w", key, err)
		}
		*all = append(*all, Field{
			Key: key, Kind: kind(inner), Help: t.Tag.Get("help"), Default: t.Tag.Get("default"), Value: Masked(strings.TrimSpace(string(text))), Local: slices.Contains(local, key),
		})
	}
	return nil
}

// section tells whether v has keys of its own.
func section(v reflect.Value) bool {
	_, text := v.Interface().(encoding.TextMarshaler)
	return v.Kind() == reflect.Struct && !text
}

func kind(v reflect.Value) string {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.Slice, reflect.Map, reflect.Struct:
		return "yaml"
	}
	return "text"
}

var secret = regexp.MustCompile(`://[^\s"']*@`)

// Masked is text without the names and passwords of addresses.
func Masked(text string) string { return secret.ReplaceAllString(text, "://***@") }

// Text returns the file as it is.
func (s *Service) Text() ([]byte, error) { return s.read() }
