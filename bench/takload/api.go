package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
)

// apiCmd calls one route of the HTTP API as fast as it answers, from a number of
// connections, each with one request under way.
type apiCmd struct {
	Kind      string        `arg:"" help:"contacts (kept connections), fresh (a connection for each), enroll, package (small uploads), upload or download (one large file), search." enum:"contacts,fresh,enroll,package,upload,download,search"`
	Addr      string        `help:"Address of the face: 8443, or 8446 for enroll." default:"127.0.0.1:8443"`
	Certs     string        `help:"As for run." required:"" placeholder:"DIR"`
	Conns     int           `help:"Connections." default:"16"`
	Duration  time.Duration `help:"How long, for what is not one file." default:"10s"`
	Count     int64         `help:"End after so many requests, if not before." default:"0"`
	Size      int64         `help:"Bytes of a file." default:"1024"`
	Path      string        `help:"Another path than the kind's." placeholder:"PATH"`
	User      string        `help:"Who enrolls." default:"admin"`
	Password  string        `help:"His password." env:"TAKLOAD_PASSWORD"`
	ServerPID int           `help:"Process to measure." placeholder:"PID"`
	Out       string        `help:"File for the report as JSON." placeholder:"FILE"`
}

// apiReport is what came of it. Times are milliseconds.
type apiReport struct {
	Kind      string  `json:"kind"`
	Conns     int     `json:"connections"`
	Requests  int64   `json:"requests"`
	Failed    int64   `json:"failed"`
	First     string  `json:"first_failure,omitempty"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"requests_per_second"`
	Bytes     int64   `json:"body_bytes"` // of the bodies, both ways, as they were on the wire
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
	CPU       float64 `json:"server_cpu_us_per_request,omitempty"`
	Grew      int64   `json:"server_rss_growth_bytes,omitempty"` // at its peak, over the beginning
	RSS       int64   `json:"server_rss_bytes,omitempty"`        // at the beginning
}

// Validate is called by kong.
func (c *apiCmd) Validate() error {
	switch {
	case c.Conns < 1 || c.Conns > 10_000:
		return fmt.Errorf("--conns %d: want 1 to 10000", c.Conns)
	case c.Size < 1:
		return fmt.Errorf("--size %d: want 1 or more", c.Size)
	}
	return nil
}

// caller makes the requests of one connection.
type caller struct {
	*apiCmd

	index  int
	id     *tls.Config
	client *fasthttp.HostClient
	csr    string
	buf    bytes.Buffer
}

// Run is called by kong.
func (c *apiCmd) Run(ctx context.Context, out io.Writer) error {
	ids, err := identities(&target{Certs: c.Certs, TLS: "1.3"})
	if err != nil {
		return err
	}
	if c.Kind == "upload" || c.Kind == "download" {
		c.Conns, c.Count = 1, 1
	}
	callers := make([]*caller, c.Conns)
	for i := range callers {
		callers[i] = &caller{apiCmd: c, index: i, id: ids[i%len(ids)].Clone()}
		if c.Kind == "enroll" {
			callers[i].id.Certificates = nil
			if callers[i].csr, err = request(c.User); err != nil {
				return err
			}
		}
		callers[i].client = callers[i].newClient()
	}
	r, err := c.measure(ctx, callers)
	if err != nil {
		return err
	}
	r.print(out)
	if c.Out != "" {
		b, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.Out, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if r.Failed > 0 {
		return fmt.Errorf("%w: %d of %d requests failed, first: %s", errLimit, r.Failed, r.Requests+r.Failed, r.First)
	}
	return nil
}

// measure runs all callers until time or count are over.
func (c *apiCmd) measure(ctx context.Context, callers []*caller) (*apiReport, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.Count == 0 || c.Conns > 1 {
		ctx, cancel = context.WithTimeout(ctx, c.Duration)
		defer cancel()
	}
	var left, failed, size atomic.Int64
	left.Store(c.Count)
	var first atomic.Pointer[string]
	var mu sync.Mutex
	times := hdrhistogram.New(1, int64(time.Hour/time.Microsecond), digits)
	w := watch(c.ServerPID)
	before := int64(0)
	if c.ServerPID != 0 {
		// From here on its peak counts anew; a kernel that does not do that gives one that is too high.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", c.ServerPID), []byte("5"), 0)
		before, _, _ = memory(c.ServerPID)
	}
	w.start()
	began := time.Now()
	var group sync.WaitGroup
	for _, one := range callers {
		group.Go(func() {
			for ctx.Err() == nil && (c.Count == 0 || left.Add(-1) >= 0) {
				start := time.Now()
				n, err := one.call()
				took := time.Since(start)
				size.Add(n)
				mu.Lock()
				if err == nil {
					_ = times.RecordValue(max(1, took.Microseconds())) // within the range
				}
				mu.Unlock()
				if err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, new(err.Error()))
					time.Sleep(10 * time.Millisecond)
				}
			}
			one.client.CloseIdleConnections()
		})
	}
	group.Wait()
	took := time.Since(began).Seconds()
	seen, err := w.stop()
	if err != nil {
		return nil, err
	}
	r := &apiReport{
		Kind: c.Kind, Conns: c.Conns, Requests: times.TotalCount(), Failed: failed.Load(), Seconds: took, Bytes: size.Load(),
		P50: float64(times.ValueAtQuantile(50)) / 1000, P99: float64(times.ValueAtQuantile(99)) / 1000, Max: float64(times.Max()) / 1000,
	}
	r.PerSecond = float64(r.Requests) / took
	if p := first.Load(); p != nil {
		r.First = *p
	}
	if c.ServerPID != 0 {
		r.RSS, r.Grew = before, max(0, seen.PeakRSS-before)
		r.CPU = seen.CPU.Seconds() * 1e6 / float64(max(1, r.Requests))
	}
	return r, nil
}

func (r *apiReport) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%s: %d requests in %.2f s over %d connections, %.0f/s, %.1f MB/s; p50 %.2f  p99 %.2f  max %.2f ms; %d failed\n",
		r.Kind, r.Requests, r.Seconds, r.Conns, r.PerSecond, float64(r.Bytes)/1e6/r.Seconds, r.P50, r.P99, r.Max, r.Failed)
	if r.First != "" {
		_, _ = fmt.Fprintf(w, "first failure: %s\n", r.First)
	}
	if r.RSS != 0 {
		_, _ = fmt.Fprintf(w, "server: %.0f µs CPU a request; %d MB resident before, %d MB more at most\n", r.CPU, r.RSS>>20, r.Grew>>20)
	}
}

func (c *caller) newClient() *fasthttp.HostClient {
	return &fasthttp.HostClient{
		Addr: c.Addr, IsTLS: true, TLSConfig: c.id, MaxConns: 1, ReadBufferSize: 16 << 10, MaxIdemponentCallAttempts: 1,
		DialTimeout: func(addr string, timeout time.Duration) (net.Conn, error) {
			return fasthttp.DialTimeout(addr, max(timeout, 10*time.Second))
		},
		StreamResponseBody: c.Kind == "download",
	}
}

// call makes one request, and returns the bytes of its bodies.
func (c *caller) call() (int64, error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	path, sent, err := c.prepare(req)
	if err != nil {
		return 0, err
	}
	if c.Path != "" {
		path = c.Path
	}
	req.SetRequestURI("https://" + c.Addr + path)
	if c.Kind == "fresh" {
		req.SetConnectionClose()
	}
	if err := c.client.Do(req, resp); err != nil {
		return 0, err
	}
	if resp.StatusCode() != fasthttp.StatusOK {
		return 0, fmt.Errorf("%s %s: %d: %.200s", req.Header.Method(), path, resp.StatusCode(), resp.Body())
	}
	if body := resp.BodyStream(); body != nil {
		n, err := io.Copy(io.Discard, body)
		return sent + n, errors.Join(err, resp.CloseBodyStream())
	}
	return sent + int64(len(resp.Body())), nil
}

// prepare fills in a request, and returns its path and the size of its body.
func (c *caller) prepare(req *fasthttp.Request) (path string, sent int64, err error) {
	switch c.Kind {
	case "contacts", "fresh":
		req.Header.Set("Accept-Encoding", "gzip")
		return "/Marti/api/contacts/all", 0, nil
	case "search":
		return "/Marti/sync/search?keywords=missionpackage&name=load-77a", 0, nil
	case "enroll":
		req.Header.SetMethod("POST")
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.User+":"+c.Password)))
		req.SetBodyString(c.csr)
		return fmt.Sprintf("/Marti/api/tls/signClient/v2?clientUid=load-%d&version=5.6", c.index), int64(len(c.csr)), nil
	case "upload":
		req.Header.SetMethod("POST")
		req.Header.SetContentType("application/octet-stream")
		req.SetBodyStream(&noise{left: c.Size}, int(c.Size))
		return "/Marti/sync/upload?name=large.bin&keywords=load", c.Size, nil
	case "package":
		req.Header.SetMethod("POST")
		name := "load-" + strings.ToLower(rand.Text())
		if err := c.form(name); err != nil {
			return "", 0, err
		}
		req.Header.SetContentType("multipart/form-data; boundary=" + boundary)
		req.SetBodyRaw(c.buf.Bytes())
		return "/Marti/sync/missionupload?filename=" + name + "&creatorUid=load", int64(c.buf.Len()), nil
	}
	return "", 0, nil // download, whose path is given
}

const boundary = "takload-part"

// form puts a small file that nobody has sent before into buf.
func (c *caller) form(name string) error {
	c.buf.Reset()
	w := multipart.NewWriter(&c.buf)
	if err := w.SetBoundary(boundary); err != nil {
		return err
	}
	part, err := w.CreateFormFile("assetfile", name)
	if err != nil {
		return err
	}
	body := make([]byte, c.Size)
	_, _ = rand.Read(body[:min(32, len(body))]) // does not fail
	if _, err := part.Write(body); err != nil {
		return err
	}
	return w.Close()
}

// noise is a body that does not compress and costs little.
type noise struct {
	left  int64
	state uint64
}

// Read implements io.Reader.
func (n *noise) Read(b []byte) (int, error) {
	if n.left == 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), n.left)]
	n.left -= int64(len(b))
	read := len(b)
	for len(b) >= 8 {
		n.state = n.state*6364136223846793005 + 1442695040888963407
		binary.LittleEndian.PutUint64(b, n.state)
		b = b[8:]
	}
	return read, nil
}

// request is a certificate request as phones send it: base64 without its lines.
func request(user string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: user, Organization: []string{"TAK"}}}, key)
	return base64.StdEncoding.EncodeToString(der), err
}
