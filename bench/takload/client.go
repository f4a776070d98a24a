package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"takd/cot"
)

// errProtocol is a server that breaks a rule on which ATAK relies.
var errProtocol = errors.New("protocol violation")

const (
	quiet     = 15 * time.Second // ATAK pings after this long without a byte
	firstRead = 4 << 10          // a buffer that a read fills grows
	bigRead   = 32 << 10
	maxRead   = 16 << 20 // an event longer than this is a broken stream
)

// identities reads all NAME.pem with NAME.key, and ca.pem, in the folder of t.
// Without TLS there is one, nil.
func identities(t *target) ([]*tls.Config, error) {
	if t.Plain {
		return []*tls.Config{nil}, nil
	}
	dir := t.Certs
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("certificates: no certificate in %s", filepath.Join(dir, "ca.pem"))
	}
	keys, err := filepath.Glob(filepath.Join(dir, "*.key"))
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	var all []*tls.Config
	for _, key := range keys {
		pair, err := tls.LoadX509KeyPair(strings.TrimSuffix(key, ".key")+".pem", key)
		if err != nil {
			return nil, fmt.Errorf("certificates: %s: %w", key, err)
		}
		pair.Certificate = pair.Certificate[:1] // ATAK sends its own only
		id := &tls.Config{
			MinVersion:         tls.VersionTLS12,
			Certificates:       []tls.Certificate{pair},
			InsecureSkipVerify: true, // ATAK checks the chain but not the name; verify does the same
			VerifyConnection:   verify(pool),
		}
		switch t.TLS {
		case "1.2":
			id.MaxVersion = tls.VersionTLS12
		case "1.3":
			id.MinVersion = tls.VersionTLS13
		}
		all = append(all, id)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("certificates: no *.key in %s", dir)
	}
	return all, nil
}

// verify checks the server's certificate against what ca.pem holds. Like ATAK
// it ignores intermediates that come with the handshake.
func verify(pool *x509.CertPool) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err
	}
}

// client is one simulated client. Its fields after conn belong to the goroutine
// that reads, except where something else is said.
type client struct {
	person
	index  int
	proto  bool // wants protobuf
	silent bool // sends no position when it has connected
	bare   bool // the server only passes events on: no offer, no pings
	size   int  // of its positions
	pause  *pause
	conn   net.Conn
	ready  chan struct{} // closed when the encoding is settled: from then on anybody may send
	got    func(event []byte)

	speaks  bool // protobuf is settled; constant once ready is closed
	asked   bool
	last    int          // length of the last XML event
	usual   int          // of the last two, 0 where they differ
	heard   atomic.Int64 // Unix nanoseconds of the last bytes in
	bytesIn atomic.Int64
	closed  atomic.Bool

	mu      sync.Mutex // guards everything below: publisher and pinger both send
	scratch cot.Event
	wire    []byte
}

// connect dials and shakes hands, without TLS if id is nil. Then serve must be called.
func connect(ctx context.Context, addr string, id *tls.Config, c *client) error {
	var dialer net.Dialer
	if c.pause != nil {
		dialer.Control = smallWindow
	}
	dial := (&tls.Dialer{NetDialer: &dialer, Config: id}).DialContext
	if id == nil {
		dial = dialer.DialContext
	}
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("client %d: %w", c.index, err)
	}
	c.conn, c.ready = conn, make(chan struct{})
	c.heard.Store(time.Now().UnixNano())
	if !c.proto {
		close(c.ready)
	}
	return nil
}

// settle waits until the encoding is settled and sends the first position.
func (c *client) settle(ctx context.Context, gone <-chan error) error {
	select {
	case <-c.ready:
	case err := <-gone:
		return fmt.Errorf("client %d: closed before the encoding was settled: %w", c.index, err)
	case <-ctx.Done():
		return fmt.Errorf("client %d: no offer or no answer for protobuf: %w", c.index, ctx.Err())
	}
	if c.silent {
		return nil
	}
	if err := c.send(c.appendSA(nil, time.Now(), c.size, nil)); err != nil {
		_ = c.conn.Close()
		return errors.Join(err, <-gone) // the reader knows why
	}
	return nil
}

// serve reads until the connection ends and hands each event to got.
func (c *client) serve() error {
	buf, used := make([]byte, firstRead), 0
	for {
		if used == len(buf) {
			if used >= maxRead {
				return fmt.Errorf("%w: %d bytes and no end of an event", errProtocol, used)
			}
			buf = append(buf, make([]byte, len(buf))...)
		}
		c.pause.wait()
		n, err := c.conn.Read(buf[used:])
		used += n
		c.bytesIn.Add(int64(n))
		c.heard.Store(time.Now().UnixNano())
		full := used == len(buf) && used < bigRead
		done, cutErr := c.cut(buf[:used])
		used = copy(buf, buf[done:used])
		if full {
			buf = append(buf, make([]byte, len(buf))...)
		}
		if err = errors.Join(cutErr, err); err != nil {
			return err
		}
	}
}

// cut hands over the whole events in buf and returns how many bytes they took.
func (c *client) cut(buf []byte) (done int, err error) {
	for {
		event, n, err := c.next(buf[done:])
		if n == 0 || err != nil {
			return done, err
		}
		done += n
		if err := c.take(event); err != nil {
			return done, err
		}
	}
}

// nextXML finds one event: it ends at the eight bytes of its end tag, as in ATAK.
// Where the last two were equally long, it looks there first, which costs less than
// half as much. Two that are together as long would be taken for one, and the first
// be counted as missing.
func (c *client) nextXML(buf []byte) (event []byte, n int) {
	const end = "</event>"
	if n = c.usual; n > 0 && n <= len(buf) && string(buf[n-len(end):n]) == end {
		return buf[:n], n
	}
	at := bytes.Index(buf, []byte(end))
	if at < 0 {
		return nil, 0
	}
	n = at + len(end)
	c.usual = 0
	if n == c.last {
		c.usual = n
	}
	c.last = n
	return buf[:n], n
}

// next finds one event.
func (c *client) next(buf []byte) (event []byte, n int, err error) {
	if !c.speaks {
		event, n = c.nextXML(buf)
		return event, n, nil
	}
	if len(buf) == 0 {
		return nil, 0, nil
	}
	if buf[0] != 0xBF {
		return nil, 0, fmt.Errorf("%w: byte %#x where a protobuf frame begins", errProtocol, buf[0])
	}
	size, k := binary.Uvarint(buf[1:])
	switch {
	case k == 0:
		return nil, 0, nil
	case k < 0 || size > maxRead:
		return nil, 0, fmt.Errorf("%w: length of a protobuf frame", errProtocol)
	}
	end := 1 + k + int(size)
	if len(buf) < end {
		return nil, 0, nil
	}
	return buf[1+k : end], end, nil
}

// take handles the negotiation and passes everything else on.
func (c *client) take(event []byte) error {
	select {
	case <-c.ready:
		c.got(event)
		return nil
	default:
	}
	var ev cot.Event
	at := bytes.Index(event, []byte("<event"))
	if at < 0 {
		return fmt.Errorf("%w: no event before %q", errProtocol, "</event>")
	}
	if _, err := cot.Scan(event[at:], &ev); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	switch string(ev.Type) {
	case "t-x-takp-v":
		if c.asked {
			return fmt.Errorf("%w: a second offer", errProtocol)
		}
		c.asked = true
		_, err := c.conn.Write(appendRequest(nil, string(ev.UID), time.Now()))
		return err
	case "t-x-takp-r":
		if !c.asked || !bytes.Contains(event, []byte(`status="true"`)) {
			return fmt.Errorf("%w: protobuf refused", errProtocol)
		}
		c.speaks = true
		close(c.ready)
		return nil
	}
	c.got(event)
	return nil
}

// send writes XML documents, which end at ends, in the client's encoding and at
// once; without ends it is one. Wait for ready first.
func (c *client) send(xml []byte, ends ...int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(ends) == 0 {
		ends = []int{len(xml)}
	}
	c.wire = c.wire[:0]
	from := 0
	for _, end := range ends {
		var err error
		if c.wire, err = toWire(c.wire, xml[from:end], c.speaks, &c.scratch); err != nil {
			return fmt.Errorf("client %d: %w", c.index, err)
		}
		from = end
	}
	if _, err := c.conn.Write(c.wire); err != nil {
		return fmt.Errorf("client %d: %w", c.index, err)
	}
	return nil
}

// ping does as ATAK does: it pings after 15 quiet seconds, and again.
func (c *client) ping(now time.Time) {
	if c.bare || c.closed.Load() || now.UnixNano()-c.heard.Load() < int64(quiet) {
		return
	}
	select {
	case <-c.ready:
		_ = c.send(appendPing(nil, c.uid, now)) // a broken connection shows where it is read
	default:
	}
}
