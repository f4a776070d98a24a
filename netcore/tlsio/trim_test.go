package tlsio

import (
	"reflect"
	"testing"
)

// A Go that renames a field of tls.Conn makes each client cost kilobytes more.
func TestTrimFindsItsFields(t *testing.T) {
	v := reflect.ValueOf(fields)
	for i := range v.NumField() {
		if v.Field(i).Uint() == 0 {
			t.Errorf("tls.Conn has no %s any more, or of another type: look at trim.go", v.Type().Field(i).Name)
		}
	}
}
