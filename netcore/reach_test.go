package netcore_test

import (
	"crypto/tls"
	"strings"
	"testing"
)

// An operator is told whether somebody sees somebody, and why not.
func TestReach(t *testing.T) {
	s := start(t, map[string]string{"ann": "red", "bob": "red", "cy": "blue", "dan": "in:red", "eve": "red"})
	for _, name := range []string{"ann", "bob", "cy", "dan"} {
		s.bound(t, name)
	}
	hidden := s.bound(t, "eve")
	hidden.send(event("x", "t-x-c-i-e", ""))
	hidden.ping()
	s.people.ban("mallory")
	if conn, err := tls.Dial("tcp", s.addr, clientTLS("mallory", tls.VersionTLS13)); err == nil {
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	tests := map[string]struct {
		a, b string
		want bool
		why  string
	}{
		"shared group":    {"ann", "bob", true, "sends into red"},
		"by uid":          {"uid-ann", "uid-bob", true, "sends into red"},
		"no shared group": {"ann", "cy", false, "share none"},
		"one direction":   {"ann", "dan", false, "receives from no group"},
		"the other one":   {"dan", "ann", true, "sends into red"},
		"not there":       {"ann", "nobody", false, "nobody is not connected"},
		"refused":         {"mallory", "ann", false, "revoked"},
		"incognito":       {"eve", "ann", false, "incognito"},
		"itself":          {"ann", "ann", false, "same connection"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, reasons := s.Reach(tc.a, tc.b)
			if why := strings.Join(reasons, "\n"); got != tc.want || !strings.Contains(why, tc.why) {
				t.Errorf("Reach(%s, %s) = %v, %s; want %v, %s", tc.a, tc.b, got, why, tc.want, tc.why)
			}
		})
	}
}
