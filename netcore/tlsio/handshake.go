package tlsio

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// Errors of Pool.Handshake that are not the client's fault.
var (
	ErrBusy    = errors.New("too many handshakes under way")
	ErrAddress = errors.New("too many handshakes from this address")
)

// Limits bounds what clients that are not yet clients can cost.
type Limits struct {
	Deadline   time.Duration // of one handshake, from accept to finish
	Total      int           // handshakes under way, waiting clients included
	PerAddress int           // of them from one IP address: a NAT may hide many clients
	Crypto     int           // handshakes that compute at one time; 0: half the cores
}

// Pool runs handshakes off the event loops. A client that waits, or stalls,
// holds a goroutine until the deadline but never one of the Crypto places, so
// silent clients cannot keep others out.
type Pool struct {
	lim  Limits
	cpu  chan struct{}
	mu   sync.Mutex
	addr map[netip.Addr]int
	n    int
}

// NewPool returns a pool with these limits.
func NewPool(lim Limits) *Pool {
	if lim.Crypto <= 0 {
		lim.Crypto = max(1, runtime.NumCPU()/2)
	}
	return &Pool{lim: lim, cpu: make(chan struct{}, lim.Crypto), addr: make(map[netip.Addr]int)}
}

// Enter takes a place for one connection from ip; Leave gives it back.
func (p *Pool) Enter(ip netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.n >= p.lim.Total:
		return fmt.Errorf("%w: limit %d", ErrBusy, p.lim.Total)
	case p.addr[ip] >= p.lim.PerAddress:
		return fmt.Errorf("%w: limit %d", ErrAddress, p.lim.PerAddress)
	}
	p.n++
	p.addr[ip]++
	return nil
}

// Leave ends what Enter began.
func (p *Pool) Leave(ip netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n--
	if p.addr[ip]--; p.addr[ip] <= 0 {
		delete(p.addr, ip)
	}
}

// Waiting is the number of places taken.
func (p *Pool) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// Handshake makes conn a TLS connection and returns its record layer, which
// may already hold plaintext. The caller keeps conn and closes it.
func (p *Pool) Handshake(ctx context.Context, conn net.Conn, cfg *tls.Config) (*Std, tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, p.lim.Deadline)
	defer cancel()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	s := &socket{Conn: conn, cpu: p.cpu}
	pp := &pipe{sock: s, remote: conn.RemoteAddr()}
	tc := tls.Server(pp, cfg)
	s.acquire()
	err := tc.HandshakeContext(ctx)
	s.release()
	if err != nil {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			err = fmt.Errorf("handshake not finished after %s", p.lim.Deadline)
		}
		return nil, tls.ConnectionState{}, err
	}
	_ = conn.SetDeadline(time.Time{})
	pp.sock = nil
	state := tc.ConnectionState()
	trim(tc)
	return &Std{conn: tc, pipe: pp, reader: readerOf(tc)}, state, nil
}

// socket holds a place for computing except while it waits for the client.
type socket struct {
	net.Conn
	cpu chan struct{}
}

func (s *socket) acquire() { s.cpu <- struct{}{} }
func (s *socket) release() { <-s.cpu }

func (s *socket) Read(b []byte) (int, error) {
	s.release()
	defer s.acquire()
	return s.Conn.Read(b)
}

func (s *socket) Write(b []byte) (int, error) {
	s.release()
	defer s.acquire()
	return s.Conn.Write(b)
}
