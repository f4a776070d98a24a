package server

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/control"
	"takd/http/httpd"
	"takd/http/setup"
	"takd/http/ui"
	"takd/store/auth"
	"takd/store/pki"
)

// setupTries is how many wrong tokens one address may show in a minute.
const setupTries = 10

// setupStop bounds how long the page's last answer may take.
const setupStop = 20 * time.Second

// SetupOptions says how a first start in a browser goes.
type SetupOptions struct {
	Init   InitOptions      // what the page begins with; Hosts may be empty
	Given  config.Addresses // those of the command line, which hold for this run
	Stderr io.Writer        // of warnings; nil for none
	Now    func() time.Time // nil is time.Now
	Ready  func(SetupLink)  // called once the page is there
	Ended  func()           // called when the link has expired
}

// SetupLink is how the page is opened. Its certificate is made for it alone.
type SetupLink struct {
	URLs        []string // the first is for this machine
	Until       time.Time
	Fingerprint string // SHA-256 of the certificate
}

// Settled is what a first start has made.
type Settled struct {
	*Made

	Enroll string // where the page was, for the server to take over
}

// Blank reports whether data is absent or empty. A directory with something in it
// that is no server's is an error: nothing is set up over it.
func Blank(data string) (bool, error) {
	if _, err := os.Stat(filepath.Join(data, "conf", "takd.yaml")); err == nil {
		return false, nil
	}
	entries, err := os.ReadDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	} else if err != nil {
		return false, fmt.Errorf("data directory: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); name != "lost+found" && name != "run" { // of the file system, and of a command that found nothing
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return false, control.Errorf(control.ErrNotFound, "%s has something in it (%s) but no conf/takd.yaml: give an empty or a new directory, or, where this is a server's data without its configuration, complete it with: takd init --data %s",
			data, strings.Join(names[:min(len(names), 4)], ", "), data)
	}
	return true, nil
}

// firstStart is one under way.
type firstStart struct {
	SetupOptions

	own     string // address of the page, as bound
	settled chan *Settled
}

// Setup serves the page of the first start, and nothing else, until somebody has
// finished it, done is closed, or ctx ends. It returns nil where nobody did.
func Setup(ctx context.Context, done <-chan struct{}, o SetupOptions) (*Settled, error) {
	if _, err := control.SocketPath(o.Init.Data); err != nil {
		return nil, err // now, rather than when everything has been entered
	}
	if len(o.Init.Hosts) == 0 {
		o.Init.Hosts = machineHosts()
	}
	cert, err := passingCertificate(o.Init.Hosts)
	if err != nil {
		return nil, err
	}
	gate, token := setup.NewGate(o.Now)
	f := &firstStart{SetupOptions: o, settled: make(chan *Settled, 1)}
	log := slog.New(slog.DiscardHandler)
	if o.Stderr != nil {
		log = slog.New(slog.NewTextHandler(o.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	server, err := httpd.New(httpd.Options{
		NodeID: "setup", Bare: true, Auth: gate, Limits: httpd.Limits{Logins: setupTries, Conns: 256, ConnsPerIP: 64}, Log: log,
		Routes: append(setup.Routes(setup.Deps{Gate: gate, Start: f.start(gate.Until()), Check: f.check, Finish: f.finish}), ui.Setup()...),
	})
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{cert}}
	addr, err := server.Listen(httpd.Enroll, cmp.Or(o.Given.Enroll, setupAddr), func() *tls.Config { return config })
	if err != nil {
		return nil, fmt.Errorf("page of the first start: %w; with another port: takd run --enroll-addr :PORT", err)
	}
	f.own = addr.String()
	if o.Ready != nil {
		o.Ready(f.link(cert, gate.Until(), token))
	}
	expired := time.AfterFunc(time.Until(gate.Until()), func() {
		if o.Ended != nil {
			o.Ended()
		}
	})
	defer expired.Stop()
	var made *Settled
	select {
	case made = <-f.settled:
	case <-done:
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), setupStop)
	defer cancel()
	err = server.Shutdown(stop) // the answer that is under way goes out first
	if made == nil {
		select {
		case made = <-f.settled: // it was made while everything was told to end
		default:
		}
	}
	return made, err
}

// setupAddr is where the page is: the port of enrollment and login.
var setupAddr = config.Addresses{}.WithDefaults().Enroll

func (f *firstStart) start(until time.Time) setup.Start {
	given := f.Given
	a := config.Addresses{
		Cot: given.Cot, HTTPS: given.HTTPS, Enroll: given.Enroll, Federation: given.Federation, Ops: given.Ops,
	}.WithDefaults()
	s := setup.Start{
		Draft: setup.Draft{Hosts: f.Init.Hosts, Org: f.Init.Org, Admin: f.Init.Admin, Addresses: setup.Addresses(a)},
		Data:  f.Init.Data, Given: []string{}, MinPassword: auth.MinPassword, Expires: until,
	}
	for _, one := range fields(&given) {
		if *one.value != "" {
			s.Given = append(s.Given, one.name)
		}
	}
	return s
}

type addressField struct {
	name  string
	value *string
}

func fields(a *config.Addresses) []addressField {
	return []addressField{{"cot", &a.Cot}, {"https", &a.HTTPS}, {"enroll", &a.Enroll}, {"federation", &a.Federation}, {"ops", &a.Ops}}
}

// check says what is wrong with d, by field.
func (f *firstStart) check(d setup.Draft) map[string]string {
	wrong := map[string]string{}
	note := func(field string, err error) {
		if err != nil {
			wrong[field] = plainText(err)
		}
	}
	if len(d.Hosts) == 0 {
		note("hosts", errors.New("want a name or an address that clients connect to"))
	} else {
		note("hosts", pki.ValidHosts(d.Hosts))
	}
	note("org", pki.ValidOrg(d.Org))
	var own *pki.OwnError
	if _, err := (&InitOptions{CACert: []byte(d.CACert), CAKey: []byte(d.CAKey)}).ownCA(); errors.As(err, &own) {
		note(own.Field, errors.New(own.Text))
	} else {
		note("ca_cert", err)
	}
	note("admin", auth.NewUser{Name: d.Admin, Role: auth.RoleAdmin}.Validate())
	switch d.Password {
	case "":
		note("password", fmt.Errorf("want at least %d characters", auth.MinPassword))
	default:
		note("password", auth.NewUser{Name: "admin", Password: d.Password}.Validate())
	}
	f.checkAddresses(d, note)
	return wrong
}

// checkAddresses tries each address, unless the command line gives it.
func (f *firstStart) checkAddresses(d setup.Draft, note func(string, error)) {
	wanted, given := config.Addresses(d.Addresses), f.Given
	holds := fields(&given)
	seen := map[int]string{}
	for i, one := range fields(&wanted) {
		if *holds[i].value != "" {
			continue
		}
		addr := spelled(*one.value)
		if addr == config.Off {
			if one.name == "cot" {
				note("addresses.cot", errors.New("want a port: without the stream there is no server"))
			}
			continue
		}
		port := portOf(addr)
		switch other, twice := seen[port]; {
		case port < 1 || port > 65535:
			note("addresses."+one.name, fmt.Errorf("%q: want a port from 1 to 65535, host:port or off", *one.value))
		case twice:
			note("addresses."+one.name, fmt.Errorf("port %d: %s has it", port, other))
		case port != portOf(f.own):
			note("addresses."+one.name, free(addr))
		}
		seen[port] = one.name
	}
}

// spelled is an address as the configuration has it: 8089 is :8089.
func spelled(addr string) string {
	addr = strings.TrimSpace(addr)
	if _, err := strconv.ParseUint(addr, 10, 16); err == nil {
		return ":" + addr
	}
	return addr
}

// free reports why nothing can listen at addr.
func free(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return fmt.Errorf("%s: %w", addr, op.Err)
		}
		return err
	}
	return ln.Close()
}

// plainText is an error without the words that are for programs.
func plainText(err error) string {
	text := strings.ReplaceAll(err.Error(), auth.ErrInvalid.Error()+": ", "")
	return strings.ReplaceAll(text, "\n", "; ")
}

// finish does what takd init does.
func (f *firstStart) finish(ctx context.Context, d setup.Draft) (*setup.Made, error) {
	o := f.Init
	o.Hosts, o.Org, o.Admin, o.Password = d.Hosts, d.Org, d.Admin, d.Password
	o.CACert, o.CAKey = []byte(d.CACert), []byte(d.CAKey)
	o.Port = portOf(f.Given.Cot)
	o.Addresses = config.Addresses(d.Addresses)
	runs := o.Addresses // as this run will have them
	given, defaults := f.Given, config.Addresses{}.WithDefaults()
	written, now, holds, usual := fields(&o.Addresses), fields(&runs), fields(&given), fields(&defaults)
	for i := range written {
		*written[i].value, *now[i].value = spelled(*written[i].value), spelled(*now[i].value)
		if *holds[i].value != "" {
			*written[i].value, *now[i].value = "", *holds[i].value
		} else if *written[i].value == *usual[i].value {
			*written[i].value = ""
		}
	}
	if f.Given.Enroll != "" && f.Given.Enroll != config.Off {
		runs.Enroll = f.own // where port 0 was given
	}
	made, err := Init(ctx, o)
	if err != nil {
		return nil, httpd.Conflict("%s", plainText(err))
	}
	m := &setup.Made{
		Host: made.Hosts[0], Admin: made.Admin, Files: made.Files, P12Password: pki.DefaultPassword,
		APIPort: portOf(runs.HTTPS), EnrollPort: portOf(runs.Enroll),
	}
	for _, one := range []struct {
		into *[]byte
		name string
	}{{&m.P12, made.Admin + ".p12"}, {&m.CA, "ca.pem"}, {&m.Package, made.Admin + ".zip"}} {
		if *one.into, err = os.ReadFile(filepath.Join(made.Files, one.name)); err != nil {
			return nil, err
		}
	}
	f.settled <- &Settled{Made: made, Enroll: runs.Enroll}
	return m, nil
}

// link is how the page is reached: by the names of this machine, or by the one
// address that was asked for.
func (f *firstStart) link(cert tls.Certificate, until time.Time, token string) SetupLink {
	host, port, _ := net.SplitHostPort(f.own) // a listener has one
	hosts := []string{host}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		hosts = []string{"127.0.0.1"} // and not localhost: a browser that trusted a server there before takes no other certificate for the name
		if i := slices.IndexFunc(f.Init.Hosts, func(h string) bool { return h != "localhost" }); i >= 0 {
			hosts = append(hosts, f.Init.Hosts[i])
		}
	}
	l := SetupLink{Until: until}
	for _, h := range hosts {
		u := url.URL{Scheme: "https", Host: net.JoinHostPort(h, port), Path: "/setup", Fragment: "token=" + token}
		l.URLs = append(l.URLs, u.String())
	}
	l.Fingerprint = strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(cert.Certificate[0])), " ", ":")
	return l
}

// passingCertificate is for the page of the first start, which comes before there is an authority.
func passingCertificate(hosts []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make serial number: %w", err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "takd first start"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range append(slices.Clone(hosts), "localhost", "127.0.0.1", "::1") {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
