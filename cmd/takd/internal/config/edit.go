package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Get returns the value of a key such as messaging.max_clients, as YAML, with
// the defaults of what the file leaves out; the whole configuration for "".
func (c Config) Get(key string) ([]byte, error) {
	text, err := yaml.Marshal(c.WithDefaults())
	if err != nil || key == "" {
		return text, err
	}
	var v any
	if err := yaml.UnmarshalWithOptions(text, &v, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(key, ".") {
		m, _ := v.(yaml.MapSlice)
		i := slices.IndexFunc(m, func(item yaml.MapItem) bool { return item.Key == part })
		if i < 0 {
			return nil, fmt.Errorf("%w: %s; `takd config get` shows all", ErrNoKey, key)
		}
		v = m[i].Value
	}
	return yaml.Marshal(v)
}

// edit returns text with the keys of pairs set, its comments kept.
func edit(text []byte, pairs map[string]string) ([]byte, error) {
	var doc yaml.MapSlice
	comments := yaml.CommentMap{}
	if err := yaml.UnmarshalWithOptions(text, &doc, yaml.UseOrderedMap(), yaml.CommentToMap(comments)); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, oneLine(err, text))
	}
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		var v any
		if err := yaml.UnmarshalWithOptions([]byte(pairs[key]), &v, yaml.UseOrderedMap()); err != nil {
			return nil, fmt.Errorf("%w: value of %s: %s", ErrInvalid, key, oneLine(err, nil))
		}
		var err error
		if doc, err = put(doc, strings.Split(key, "."), v); err != nil {
			return nil, fmt.Errorf("%w: %s", err, key)
		}
	}
	return yaml.MarshalWithOptions(doc, yaml.WithComment(comments), yaml.IndentSequence(true))
}

// put sets the value at path and makes the maps that lead there.
func put(m yaml.MapSlice, path []string, v any) (yaml.MapSlice, error) {
	if path[0] == "" {
		return nil, ErrNoKey
	}
	i := slices.IndexFunc(m, func(item yaml.MapItem) bool { return item.Key == path[0] })
	if i < 0 {
		m = append(m, yaml.MapItem{Key: path[0]})
		i = len(m) - 1
	}
	if len(path) > 1 {
		inner, ok := m[i].Value.(yaml.MapSlice)
		if !ok && m[i].Value != nil {
			return nil, ErrNoKey
		}
		var err error
		if v, err = put(inner, path[1:], v); err != nil {
			return nil, err
		}
	}
	m[i].Value = v
	return m, nil
}
