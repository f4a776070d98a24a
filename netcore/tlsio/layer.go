// Package tlsio runs TLS on an event loop: the handshake in a bounded pool of
// goroutines, then a record layer that never blocks and needs none.
//
// Records are crypto/tls's own work. Two facts of that package carry this one,
// and tests pin them: a read error whose Temporary method says true leaves a
// tls.Conn usable, and a write error never does.
package tlsio

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// ErrDry means that a Layer has no plaintext until it is fed again.
var ErrDry = errors.New("tlsio: no whole record")

// Layer turns the bytes of one connection into plaintext and back. It is owned
// by one event loop and takes no lock.
type Layer interface {
	// Feed hands over what came from the socket. in must stay untouched until
	// Read has returned ErrDry.
	Feed(in []byte)
	// Read decrypts into p. ErrDry: feed more. io.EOF: the peer closed in
	// order. Any other error is fatal.
	Read(p []byte) (int, error)
	// Seal appends what is pending, and plain as one or more records, to dst.
	// Once sealed, a record must be written or the connection closed.
	Seal(dst, plain []byte) ([]byte, error)
	// Pending appends what reading produced (alerts, key updates) to dst.
	Pending(dst []byte) []byte
	// CloseNotify appends what is pending, and the closing alert, to dst.
	CloseNotify(dst []byte) []byte
}

// Plain is the Layer of a connection without TLS.
type Plain struct{ in []byte }

// Feed implements Layer.
func (p *Plain) Feed(in []byte) { p.in = in }

// Read implements Layer.
func (p *Plain) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		p.in = nil
		return 0, ErrDry
	}
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}

// Seal implements Layer.
func (p *Plain) Seal(dst, plain []byte) ([]byte, error) { return append(dst, plain...), nil }

// Pending implements Layer.
func (p *Plain) Pending(dst []byte) []byte { return dst }

// CloseNotify implements Layer.
func (p *Plain) CloseNotify(dst []byte) []byte { return dst }

// Std is a Layer over a crypto/tls connection whose handshake is done.
type Std struct {
	conn *tls.Conn
	pipe *pipe
	reader
}

// Feed implements Layer.
func (s *Std) Feed(in []byte) {
	if !s.feed(in) {
		s.pipe.in = in
	}
}

// Read implements Layer.
func (s *Std) Read(p []byte) (int, error) {
	if s.dry() {
		return 0, ErrDry
	}
	n, err := s.conn.Read(p)
	switch {
	case n > 0: // an error comes again with the next call
		return n, nil
	case err == nil:
		return 0, ErrDry
	case errors.Is(err, errDry):
		s.pipe.in = nil
		return 0, ErrDry
	case errors.Is(err, io.EOF):
		return 0, io.EOF
	}
	return 0, err
}

// Seal implements Layer.
func (s *Std) Seal(dst, plain []byte) ([]byte, error) {
	s.pipe.out = s.Pending(dst) // an answer to a key update goes before what is sealed with the new key
	_, err := s.conn.Write(plain)
	dst, s.pipe.out = s.pipe.out, nil
	return dst, err
}

// Pending implements Layer.
func (s *Std) Pending(dst []byte) []byte {
	dst = append(dst, s.pipe.out...)
	s.pipe.out = nil
	return dst
}

// CloseNotify implements Layer.
func (s *Std) CloseNotify(dst []byte) []byte {
	s.pipe.out = s.Pending(dst)
	_ = s.conn.CloseWrite() // fails only where the peer is gone
	dst, s.pipe.out = s.pipe.out, nil
	return dst
}

// pipe is the net.Conn under a tls.Conn: the real socket while the handshake
// runs, memory afterwards.
type pipe struct {
	sock   *socket // nil after the handshake
	in     []byte
	out    []byte
	remote net.Addr
}

func (p *pipe) Read(b []byte) (int, error) {
	if p.sock != nil {
		return p.sock.Read(b)
	}
	if len(p.in) == 0 {
		return 0, errDry
	}
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.sock != nil {
		return p.sock.Write(b)
	}
	p.out = append(p.out, b...)
	return len(b), nil
}

func (p *pipe) Close() error                     { return nil }
func (p *pipe) LocalAddr() net.Addr              { return p.remote }
func (p *pipe) RemoteAddr() net.Addr             { return p.remote }
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// errDry is temporary: crypto/tls forgets it and reads on when asked again.
var errDry net.Error = dryError{}

type dryError struct{}

func (dryError) Error() string   { return "no data yet" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }
