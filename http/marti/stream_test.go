package marti_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"takd/http/httpd"
)

// echo is an engine that sends back what it gets, until it is told to stop.
type echo struct {
	who   chan string
	ended chan error
	conn  chan io.ReadWriteCloser
}

func newEcho() *echo {
	return &echo{make(chan string, 8), make(chan error, 8), make(chan io.ReadWriteCloser, 8)}
}

// Attach implements marti.Streams.
func (e *echo) Attach(_ context.Context, who httpd.Principal, remote netip.AddrPort, conn io.ReadWriteCloser) error {
	e.who <- who.User + " " + remote.Addr().String()
	e.conn <- conn
	_, err := io.Copy(struct{ io.Writer }{conn}, conn)
	e.ended <- err
	return err
}

// socket opens the stream; header holds names and values in turn.
func (s *site) socket(user string, header ...string) (c *websocket.Conn, status int, err error) {
	s.Helper()
	h := http.Header{}
	if user != "" {
		h.Set("Authorization", "Bearer "+user)
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	d := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, HandshakeTimeout: 20 * time.Second}
	c, resp, err := d.DialContext(s.Context(), "wss"+strings.TrimPrefix(s.URL, "https")+"/takproto/1", h)
	if err == nil {
		s.Cleanup(func() { _ = c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	}
	if resp != nil {
		_ = resp.Body.Close()
		status = resp.StatusCode
	}
	return c, status, err
}

func TestStreamOpens(t *testing.T) {
	s := newSite(t)
	host := s.URL
	for name, tc := range map[string]struct {
		user   string
		header []string
		want   int
	}{
		"app":             {"ann", nil, 101},
		"own page":        {"ann", []string{"Origin", host}, 101},
		"session":         {"", []string{"Cookie", "access_token=ann", "Origin", host}, 101},
		"nobody":          {"", nil, 401},
		"other page":      {"", []string{"Cookie", "access_token=ann", "Origin", "https://evil.example"}, 403},
		"other port":      {"", []string{"Cookie", "access_token=ann", "Origin", "https://127.0.0.1:1"}, 403},
		"clear-text page": {"", []string{"Cookie", "access_token=ann", "Origin", "http" + strings.TrimPrefix(host, "https")}, 403},
		"no page":         {"", []string{"Cookie", "access_token=ann", "Origin", "null"}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			_, got, err := s.socket(tc.user, tc.header...)
			if got != tc.want {
				t.Errorf("status %d, %v; want %d", got, err, tc.want)
			}
		})
	}
	if got := s.Do("ann", "GET", "/takproto/1", ""); got.Status != 400 {
		t.Errorf("without an upgrade: %d", got.Status)
	}
}

// Frames come out as they went in, one a message, however they were cut.
func TestStreamFrames(t *testing.T) {
	s := newSite(t)
	c, _, err := s.socket("ann")
	if err != nil {
		t.Fatal(err)
	}
	if who := <-s.echo.who; who != "ann 127.0.0.1" {
		t.Errorf("attached as %q", who)
	}
	for _, m := range []string{"\xbf\x03abc\xbf\x00", "\xbf\x01x"} {
		if err := c.WriteMessage(websocket.BinaryMessage, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"\xbf\x03abc", "\xbf\x00", "\xbf\x01x"} {
		kind, got, err := c.ReadMessage()
		if err != nil || kind != websocket.BinaryMessage || string(got) != want {
			t.Errorf("read %d %q, %v; want %q", kind, got, err, want)
		}
	}
	pong := make(chan string, 1)
	c.SetPongHandler(func(text string) error {
		pong <- text
		return errors.New("enough")
	})
	if err := c.WriteControl(websocket.PingMessage, []byte("hello"), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _, _ = c.ReadMessage()
	if got := <-pong; got != "hello" {
		t.Errorf("pong %q", got)
	}
	_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	if err := <-s.echo.ended; err != nil {
		t.Errorf("the peer said goodbye: %v", err)
	}
}

// What a client may not do ends its connection, and nothing else.
func TestStreamHostile(t *testing.T) {
	s := newSite(t)
	for name, tc := range map[string]struct {
		do   func(*websocket.Conn, net.Conn)
		want int // close code; 0: any end
	}{
		"text": {func(c *websocket.Conn, _ net.Conn) {
			_ = c.WriteMessage(websocket.TextMessage, []byte("<event/>"))
		}, websocket.CloseUnsupportedData},
		"too much": {func(c *websocket.Conn, _ net.Conn) {
			_ = c.WriteMessage(websocket.BinaryMessage, make([]byte, 5<<20))
		}, 0},
		"claims too much": {func(_ *websocket.Conn, raw net.Conn) {
			_, _ = raw.Write([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4})
		}, websocket.CloseMessageTooBig},
		"not masked":    {func(_ *websocket.Conn, raw net.Conn) { _, _ = raw.Write([]byte{0x82, 1, 'x'}) }, websocket.CloseProtocolError},
		"reserved bits": {func(_ *websocket.Conn, raw net.Conn) { _, _ = raw.Write([]byte{0xf2, 0x81, 1, 2, 3, 4, 5}) }, websocket.CloseProtocolError},
		"gone":          {func(_ *websocket.Conn, raw net.Conn) { _ = raw.Close() }, 0},
		"half a frame": {func(_ *websocket.Conn, raw net.Conn) {
			_, _ = raw.Write([]byte{0x82, 0x85, 1, 2})
			_ = raw.Close()
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, err := s.socket("ann")
			if err != nil {
				t.Fatal(err)
			}
			go tc.do(c, c.NetConn())
			var end error
			for end == nil {
				_, _, end = c.ReadMessage()
			}
			if tc.want != 0 && !websocket.IsCloseError(end, tc.want) {
				t.Errorf("ended with %v, want %d", end, tc.want)
			}
			select {
			case err := <-s.echo.ended:
				t.Log("ended:", err)
			case <-time.After(20 * time.Second):
				t.Fatal("still attached")
			}
			<-s.echo.conn
		})
	}
}

// Whoever closes from within ends the peer, also one that reads nothing.
func TestStreamCloses(t *testing.T) {
	s := newSite(t)
	c, _, err := s.socket("ann")
	if err != nil {
		t.Fatal(err)
	}
	conn := <-s.echo.conn
	go func() {
		for { // the peer does not read: in the end this blocks
			if _, err := conn.Write(append([]byte{0xbf, 0xff, 0xff, 0x3}, make([]byte, 65535)...)); err != nil {
				return
			}
		}
	}()
	time.Sleep(200 * time.Millisecond)
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-s.echo.ended:
		t.Log("ended:", err)
	case <-time.After(10 * time.Second):
		t.Error("still attached after Close")
	}
	_ = c.Close()
}
