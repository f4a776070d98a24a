package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"takd/cmd/takd/internal/config"
)

// The port of enrollment and login may show another certificate than the rest,
// one that phones and browsers know: from files, or by ACME. Streams and the
// API keep the server's own, which connection packages trust.

// lookEvery is how often the files of a certificate are looked at, while clients come.
const lookEvery = 10 * time.Second

// fileCert is a certificate in files that somebody else renews.
type fileCert struct {
	cert, key string
	log       *slog.Logger

	now    atomic.Pointer[tls.Certificate]
	mu     sync.Mutex
	looked time.Time
	state  [2]fileState
}

type fileState struct {
	size int64
	mod  time.Time
}

func openFileCert(cert, key string, log *slog.Logger) (*fileCert, error) {
	f := &fileCert{cert: cert, key: key, log: log}
	return f, f.reload()
}

// reload reads both files. On an error what was read before stays in use.
func (f *fileCert) reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.read()
}

func (f *fileCert) read() error {
	f.looked, f.state = time.Now(), f.stat()
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("api.certificate: %w", err)
	}
	if left := time.Until(c.Leaf.NotAfter); left < 0 {
		f.log.Warn("the certificate of enrollment is expired", "file", f.cert, "until", c.Leaf.NotAfter)
	}
	f.now.Store(&c)
	return nil
}

func (f *fileCert) stat() (s [2]fileState) {
	for i, name := range []string{f.cert, f.key} {
		if info, err := os.Stat(name); err == nil {
			s[i] = fileState{info.Size(), info.ModTime()}
		}
	}
	return s
}

// get returns the certificate, and reads it again where it has changed. While
// only one of the files is new they do not fit: then it looks again next time.
func (f *fileCert) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if f.mu.TryLock() {
		if time.Since(f.looked) >= lookEvery && f.stat() != f.state {
			if err := f.read(); err != nil {
				f.state = [2]fileState{}
				f.log.Error("certificate of enrollment not reloaded", "error", err)
			} else {
				f.log.Info("certificate of enrollment reloaded", "file", f.cert, "until", f.now.Load().Leaf.NotAfter)
			}
		}
		f.mu.Unlock()
	}
	return f.now.Load(), nil
}

// acmeCert gets certificates for one name from a public authority. Who asks for
// another name, or while there is none yet, gets the server's own.
type acmeCert struct {
	manager *autocert.Manager
	host    string
	own     func() *tls.Certificate
	log     *slog.Logger
	http    *http.Server // answers challenges; nil where another port does
	done    chan error
	silent  atomic.Int64 // until when no failure is logged, Unix seconds
}

func openACME(c config.ACME, dir string, own func() *tls.Certificate, log *slog.Logger) (*acmeCert, error) {
	a := &acmeCert{host: c.Host, own: own, log: log, manager: &autocert.Manager{
		Prompt: autocert.AcceptTOS, HostPolicy: autocert.HostWhitelist(c.Host), Email: c.Email, Cache: autocert.DirCache(filepath.Join(dir, "acme")),
		Client: &acme.Client{DirectoryURL: c.Directory, UserAgent: "takd"},
	}}
	if c.HTTP == config.Off {
		return a, nil
	}
	ln, err := net.Listen("tcp", c.HTTP)
	if err != nil {
		return nil, fmt.Errorf("api.acme.http: %w", err)
	}
	nothing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not here", http.StatusNotFound) })
	a.http, a.done = &http.Server{
		Handler: a.manager.HTTPHandler(nothing), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}, make(chan error, 1)
	go func() { a.done <- a.http.Serve(ln) }()
	return a, nil
}

func (a *acmeCert) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if !strings.EqualFold(strings.TrimSuffix(hello.ServerName, "."), a.host) {
		return a.own(), nil
	}
	c, err := a.manager.GetCertificate(hello)
	if err == nil {
		return c, nil
	}
	if now, until := time.Now().Unix(), a.silent.Load(); now >= until && a.silent.CompareAndSwap(until, now+60) {
		a.log.Error("no certificate by ACME", "host", a.host, "error", err)
	}
	return a.own(), nil
}

func (a *acmeCert) stop(ctx context.Context) error {
	if a.http == nil {
		return nil
	}
	err := a.http.Shutdown(ctx)
	if served := <-a.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// public is what the port of enrollment shows: nil for the server's own
// certificate. stop ends what it takes to get it.
func (s *Server) public(c config.API) (config func() *tls.Config, stop func(context.Context) error, err error) {
	own := s.faceTLS(tls.NoClientCert)
	switch {
	case c.Certificate.Cert != "":
		if s.file, err = openFileCert(c.Certificate.Cert, c.Certificate.Key, s.log); err != nil {
			return nil, nil, err
		}
		shown := own().Clone()
		shown.GetCertificate = s.file.get
		return func() *tls.Config { return shown }, func(context.Context) error { return nil }, nil
	case c.ACME.Host != "":
		a, err := openACME(c.ACME, filepath.Join(s.opts.Data, "pki"), s.store.PKI.ServerCertificate, s.log)
		if err != nil {
			return nil, nil, err
		}
		shown := own().Clone()
		shown.GetCertificate = a.get
		shown.NextProtos = append(shown.NextProtos, acme.ALPNProto)
		return func() *tls.Config { return shown }, a.stop, nil
	}
	return own, func(context.Context) error { return nil }, nil
}
