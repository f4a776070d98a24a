// Command hub is the yardstick of the benchmarks: the simplest server that
// makes everybody see everybody, as fast as such a server can be. It has a
// goroutine for reading and one for writing per connection, TLS 1.3 with client
// certificates from crypto/tls, and it parses nothing: it cuts its input after
// end tags, so that the streams of several senders do not mix, and passes every
// event to all other connections.
//
// It is no TAK server: no groups, no direct messages, no protobuf, no answer to
// pings, nothing for those who come late, and one client that does not read
// stops all the others.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// root is the command line.
type root struct {
	Listen string `help:"Address to listen on." default:"127.0.0.1:0"`
	Cert   string `help:"Certificate of the server, PEM." required:"" type:"path" placeholder:"FILE"`
	Key    string `help:"Its key, PEM." required:"" type:"path" placeholder:"FILE"`
	Files  string `help:"Serve one file over HTTPS from this folder, instead of CoT." type:"path" placeholder:"DIR"`
	CA     string `name:"ca" help:"Certificates of the CA of the clients, PEM." required:"" type:"path" placeholder:"FILE"`
}

func main() {
	var cmd root
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed := kong.Parse(&cmd, kong.Name("hub"), kong.Description("The simplest hub for CoT over TLS: what takd is measured against."),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	parsed.FatalIfErrorf(parsed.Run())
}

// Run is called by kong. It returns when ctx ends.
func (r *root) Run(ctx context.Context, out io.Writer) error {
	config, err := r.config()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", r.Listen)
	if err != nil {
		return err
	}
	if r.Files != "" {
		_, _ = fmt.Fprintf(out, "listening on %s\n", listener.Addr())
		return serveFiles(ctx, listener, config, r.Files)
	}
	h := newHub(config, backlog)
	defer h.close()
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	_, _ = fmt.Fprintf(out, "listening on %s\n", listener.Addr())
	if err := h.serve(listener); ctx.Err() == nil {
		return err
	}
	return nil
}

func (r *root) config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(r.Cert, r.Key)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	ca, err := os.ReadFile(r.CA)
	if err != nil {
		return nil, fmt.Errorf("client CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("client CA: no certificate in %s", r.CA)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		DynamicRecordSizingDisabled: true, // full records from the start
		SessionTicketsDisabled:      true,
	}, nil
}

// Bounds of one connection.
const (
	backlog   = 4 << 20  // bytes that a receiver may be behind: then senders wait
	firstRead = 4 << 10  // a buffer that a read fills grows, up to bigRead
	bigRead   = 32 << 10 // a full record and the rest of an event before it
	maxEvent  = 16 << 20
	handshake = 30 * time.Second
)

var errEndless = errors.New("no end of an event")

// hub accepts connections and owns their goroutines.
type hub struct {
	feed   *feed
	config *tls.Config
	wait   sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

func newHub(config *tls.Config, limit int64) *hub {
	return &hub{feed: newFeed(limit), config: config, conns: make(map[net.Conn]bool)}
}

// serve returns when the listener is closed.
func (h *hub) serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		h.mu.Lock()
		if h.closed {
			_ = conn.Close()
		} else {
			h.conns[conn] = true
			h.wait.Go(func() { h.session(conn) })
		}
		h.mu.Unlock()
	}
}

// close closes all connections and waits for their goroutines.
func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	for conn := range h.conns {
		_ = conn.Close()
	}
	h.mu.Unlock()
	h.wait.Wait()
}

// session serves one connection until it ends.
func (h *hub) session(raw net.Conn) {
	defer func() {
		_ = raw.Close()
		h.mu.Lock()
		delete(h.conns, raw)
		h.mu.Unlock()
	}()
	conn := tls.Server(raw, h.config)
	ctx, cancel := context.WithTimeout(context.Background(), handshake)
	err := conn.HandshakeContext(ctx)
	cancel()
	if err != nil {
		return
	}
	p := h.feed.join()
	h.wait.Go(func() {
		for {
			batch, ok := h.feed.next(p)
			if !ok {
				return
			}
			if _, err := conn.Write(batch); err != nil {
				_ = raw.Close() // the reader ends as well,
				h.feed.leave(p) // even if it waits for this writer
				return
			}
		}
	})
	_ = h.read(conn, p)
	_ = raw.Close() // a writer that waits for its peer ends
	h.feed.leave(p)
}

// read passes everything on up to the last end of an event, again and again.
func (h *hub) read(conn io.Reader, p *peer) error {
	buf, used := make([]byte, firstRead), 0
	for {
		n, err := conn.Read(buf[used:])
		used += n
		done := lastEnd(buf[:used], used-n)
		h.feed.add(p, buf[:done])
		full := used == len(buf)
		used = copy(buf, buf[done:used])
		switch {
		case err != nil:
			return err
		case used >= maxEvent:
			return errEndless
		case full && (len(buf) < bigRead || used == len(buf)):
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}
