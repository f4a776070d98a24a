package marti

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/fasthttp/websocket"

	"takd/http/httpd"
)

// Streams is the messaging engine, for clients that come over a WebSocket.
type Streams interface {
	// Attach has who live as a client of the stream over conn, in framed TAK
	// protobuf, and returns when it is gone: nil where the peer ended it. conn is
	// not used after that.
	Attach(ctx context.Context, who httpd.Principal, remote netip.AddrPort, conn io.ReadWriteCloser) error
}

const (
	// maxMessage bounds one message of a client; it may hold several events, each
	// with the limit of the stream.
	maxMessage = 4 << 20
	// A peer that is silent is asked, and given up when it does not answer.
	pingEvery = 30 * time.Second
	askEvery  = 5 * time.Second // whether its token is still good
	silence   = 75 * time.Second
	lastWords = time.Second // for a close message
	magic     = 0xBF
)

func (a *api) streamRoutes() []httpd.Route {
	return on("Stream", httpd.Route{
		Method: "GET", Path: "/takproto/1", Handler: a.takproto,
		Summary: "WebSocket: the stream as framed TAK protobuf in binary messages, for browsers.",
	})
}

func (a *api) takproto(r *httpd.Request) error {
	who, remote := r.Who, netip.AddrPort{}
	if tcp, ok := r.RemoteAddr().(*net.TCPAddr); ok {
		remote = tcp.AddrPort()
	}
	still := r.Recheck()
	log := a.Log.With("id", r.ID, "user", who.User, "peer", remote)
	return r.Upgrade(maxMessage, func(c *websocket.Conn) {
		s := &socket{c: c}
		s.heard()
		c.SetPongHandler(func(string) error {
			s.heard()
			return nil
		})
		done := make(chan struct{})
		var pinging sync.WaitGroup
		pinging.Go(func() { s.keep(still, done) })
		err := a.Streams.Attach(context.Background(), who, remote, s)
		close(done)
		pinging.Wait()
		_ = s.Close()
		log.Debug("websocket closed", "reason", err)
	})
}

// socket is a WebSocket as a stream of frames.
type socket struct {
	c    *websocket.Conn
	rest io.Reader // of the message that is being read

	mu     sync.Mutex
	closed bool
}

// errText is why a client that sends text is closed.
var errText = errors.New("a text message: want binary")

// heard gives the peer its time anew.
func (s *socket) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		_ = s.c.SetReadDeadline(time.Now().Add(silence))
	}
}

// keep asks the peer for a sign of life, and whether it may still be here, until
// done is closed.
func (s *socket) keep(still func(context.Context) error, done <-chan struct{}) {
	ping, ask := time.NewTicker(pingEvery), time.NewTicker(askEvery)
	defer ping.Stop()
	defer ask.Stop()
	for {
		select {
		case <-ping.C:
			_ = s.c.WriteControl(websocket.PingMessage, nil, time.Now().Add(pingEvery/2)) // who cannot be written to falls silent
		case <-ask.C:
			if refused(still) {
				_ = s.Close()
				return
			}
		case <-done:
			return
		}
	}
}

// refused tells whether the caller would not be let in any more. A failure of the
// server is no reason.
func refused(still func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(context.Background(), askEvery)
	defer cancel()
	err := still(ctx)
	return errors.Is(err, httpd.ErrUnknown) || errors.Is(err, httpd.ErrRefused)
}

// Read implements io.Reader. Where a message ends has no meaning: an event may
// go on in the next one.
func (s *socket) Read(b []byte) (int, error) {
	for {
		if s.rest == nil {
			kind, r, err := s.c.NextReader()
			switch {
			case websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived):
				return 0, io.EOF
			case err != nil:
				return 0, err
			case kind != websocket.BinaryMessage:
				s.bye(websocket.CloseUnsupportedData, errText.Error())
				return 0, errText
			}
			s.heard()
			s.rest = r
		}
		n, err := s.rest.Read(b)
		if errors.Is(err, io.EOF) {
			s.rest, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Write sends each frame as a message of its own, as the official server does.
func (s *socket) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); {
		n, err := frameLen(b[sent:])
		if err != nil {
			return sent, err
		}
		if err := s.c.WriteMessage(websocket.BinaryMessage, b[sent:sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(b), nil
}

// frameLen is the length of the frame that b begins with.
func frameLen(b []byte) (int, error) {
	if b[0] != magic {
		return 0, fmt.Errorf("frame begins with %#x", b[0])
	}
	size, n := binary.Uvarint(b[1:])
	if n <= 0 || size > uint64(len(b)-1-n) {
		return 0, errors.New("frame is not whole")
	}
	return 1 + n + int(size), nil
}

func (s *socket) bye(code int, why string) {
	_ = s.c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, why), time.Now().Add(lastWords))
}

// Close says goodbye and ends what reads or writes. The connection itself is
// closed by who accepted it.
func (s *socket) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.bye(websocket.CloseGoingAway, "")
	return s.c.NetConn().SetDeadline(time.Now())
}
