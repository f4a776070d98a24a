package httpd_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"takd/http/httpd"
)

func hostileSite(t *testing.T) *site {
	t.Helper()
	return newSite(t, httpd.Options{
		Limits: httpd.Limits{Request: 300 * time.Millisecond, Handshake: 300 * time.Millisecond, Idle: 400 * time.Millisecond},
		Routes: []httpd.Route{
			{Method: "GET", Path: "/Marti/api/version", Faces: httpd.Enroll, Role: httpd.Public, Handler: ok},
			{Method: "POST", Path: "/Marti/api/version", Faces: httpd.Enroll, Role: httpd.Public, Handler: ok},
			{Method: "GET", Path: "/Marti/{name}", Faces: httpd.Enroll, Role: httpd.Public, Handler: ok},
			{Method: "GET", Path: "/secret", Faces: httpd.Enroll, Role: httpd.Admin, Handler: ok},
		},
	})
}

// What two programs could read in two ways is refused, and the connection ends:
// what follows must not become a request.
func TestFraming(t *testing.T) {
	s := hostileSite(t)
	const second = "GET /secret HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, head := range map[string]string{
		"two lengths":          "Content-Length: 5\r\nContent-Length: 6\r\n",
		"two equal lengths":    "Content-Length: 5\r\nContent-Length: 5\r\n",
		"list of lengths":      "Content-Length: 5, 6\r\n",
		"length and coding":    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
		"coding and length":    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
		"two codings":          "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
		"unknown coding":       "Transfer-Encoding: xchunked\r\n",
		"space before colon":   "Content-Length : 5\r\nContent-Length: 0\r\n",
		"tab in coding":        "Transfer-Encoding:\tchunked, identity\r\n",
		"negative":             "Content-Length: -5\r\n",
		"plus":                 "Content-Length: +5\r\n",
		"huge":                 "Content-Length: 99999999999999999999\r\n",
		"hexadecimal":          "Content-Length: 0x5\r\n",
		"folded":               "Content-Length: 5\r\n X: y\r\nTransfer-Encoding: chunked\r\n",
		"two hosts":            "Host: y\r\n",
		"no colon":             "Nonsense\r\n",
		"NUL in name":          "X\x00Y: z\r\n",
		"bare LF in a smuggle": "X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			status, all, closed := s.raw(httpd.Enroll, "POST /Marti/api/version HTTP/1.1\r\nHost: x\r\n"+head+"\r\n0\r\n\r\n"+second)
			if status/100 != 4 || !closed || strings.Count(all, "HTTP/1.1 ") != 1 {
				t.Errorf("status %d, closed %v; want one 4xx and the end:\n%s", status, closed, all)
			}
		})
	}
	if status, _, closed := s.raw(httpd.Enroll, "GET /Marti/api/version HTTP/1.1\r\n\r\n"); status != 400 || !closed {
		t.Errorf("without Host: %d, closed %v", status, closed)
	}
}

func TestGiantHeaders(t *testing.T) {
	s := hostileSite(t)
	for name, tc := range map[string]struct {
		head string
		want int
	}{
		"one of 64 KiB": {"X: " + strings.Repeat("y", 64<<10) + "\r\n", 431},
		"long path":     {"", 431},
		"101 fields":    {strings.Repeat("X: y\r\n", 100), 431},
		"99 fields":     {strings.Repeat("X: y\r\n", 98) + "Connection: close\r\n", 200},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/Marti/api/version"
			if name == "long path" {
				path = "/" + strings.Repeat("a", 64<<10)
			}
			if status, all, closed := s.raw(httpd.Enroll, "GET "+path+" HTTP/1.1\r\nHost: x\r\n"+tc.head+"\r\n"); status != tc.want || !closed {
				t.Errorf("status %d, closed %v, want %d: %.300s", status, closed, tc.want, all)
			}
		})
	}
}

// A path is one thing for everybody: what decoding would make another is refused.
func TestHostilePaths(t *testing.T) {
	s := hostileSite(t)
	for path, want := range map[string]int{
		"/Marti/api/version":              200,
		"/Marti/api/version?x=/../secret": 200,
		"/Marti/a%20b":                    200,
		"/Marti/..a":                      200,
		"/Marti/api/../..":                400,
		"/Marti/../secret":                400,
		"/Marti/%2e%2e/secret":            400,
		"/Marti/%2E./secret":              400,
		"/Marti/./version":                400,
		"/Marti/..%2fsecret":              400,
		"/Marti/%2Fsecret":                400,
		"/Marti/..%5csecret":              400,
		"/Marti/..\\secret":               400,
		"/Marti/a%00b":                    400,
		"/Marti/a\x00b":                   400,
		"//secret":                        404,
		"/Marti//version":                 404,
		"//":                              404,
		"/":                               404,
		"/secret/":                        401,
		"/SECRET":                         404,
		"/secret%20":                      404,
		"/secret;x":                       404,
		"https://other/secret":            401,
	} {
		t.Run(path, func(t *testing.T) {
			status, all, _ := s.raw(httpd.Enroll, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if status != want {
				t.Errorf("status %d, want %d: %.300s", status, want, all)
			}
		})
	}
}

// Who is slow is given up, at whatever point.
func TestSlowClients(t *testing.T) {
	s := hostileSite(t)
	for name, text := range map[string]string{
		"nothing":     "",
		"half a line": "GET /Mar",
		"headers":     "GET /Marti/api/version HTTP/1.1\r\nHost: x\r\nX",
		"body":        "POST /Marti/api/version HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
		"idle":        "GET /Marti/api/version HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := s.dial(httpd.Enroll)
			defer c.Close()
			_, _ = io.WriteString(c, text)
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.ReadAll(c); err != nil {
				t.Errorf("not closed: %v", err)
			}
		})
	}
	t.Run("handshake", func(t *testing.T) {
		t.Parallel()
		var d net.Dialer
		c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.urls[httpd.Enroll], "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("not closed: %v", err)
		}
	})
	t.Run("drip", func(t *testing.T) {
		t.Parallel()
		c := s.dial(httpd.Enroll)
		defer c.Close()
		for i := range 200 { // each byte in time, the whole not
			if _, err := fmt.Fprintf(c, "X%d: y\r\n", i); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Error("a request may take for ever, a byte at a time")
	})
}

// One address cannot take all connections.
func TestConnectionsByAddress(t *testing.T) {
	s := newSite(t, httpd.Options{Limits: httpd.Limits{Conns: 16, ConnsPerIP: 3}})
	for range 3 {
		defer s.dial(httpd.Enroll).Close()
	}
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.urls[httpd.Enroll], "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a fourth connection: %d, %v; want it closed", n, err)
	}
}
