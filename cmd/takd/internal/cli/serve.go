package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/control"
	"takd/cmd/takd/internal/server"
	"takd/store/pki"
)

// initFlags say what a new data directory holds.
type initFlags struct {
	Host              []string `help:"Names and IP addresses that clients connect to; those of this machine when left out." placeholder:"NAME"`
	Org               string   `help:"Organisation in the certificates." default:"takd"`
	Admin             string   `help:"Name of the administrator." default:"admin"`
	AdminPasswordFile string   `help:"File with the administrator's password, - for standard input; without it one is generated and printed once." placeholder:"F"`
	CACert            string   `name:"ca-cert" help:"PEM file with an authority instead of a new one: a root, or an issuing one and its root." placeholder:"FILE"`
	CAKey             string   `name:"ca-key" help:"PEM file with its key, not encrypted; - for standard input. That of a root does not stay on the server." placeholder:"FILE"`
}

// addressFlags are where the server listens.
type addressFlags struct {
	CotAddr        string `help:"Address of the TLS stream; with run, instead of the configured one." placeholder:"A"`
	HTTPSAddr      string `name:"https-addr" help:"The same of the API; off for none." placeholder:"A"`
	FederationAddr string `help:"The same of file exchange with other servers; off for none." placeholder:"A"`
	EnrollAddr     string `help:"The same of enrollment and login; off for none." placeholder:"A"`
	OpsAddr        string `help:"The same of metrics and health; off for none." placeholder:"A"`
}

func (c *addressFlags) check() error {
	for _, addr := range []string{c.CotAddr, c.HTTPSAddr, c.FederationAddr, c.EnrollAddr, c.OpsAddr} {
		if _, _, err := net.SplitHostPort(addr); addr != "" && addr != config.Off && err != nil {
			return usage("address %q: want host:port or :port", addr)
		}
	}
	return nil
}

func (c *addressFlags) addresses() config.Addresses {
	return config.Addresses{Cot: c.CotAddr, HTTPS: c.HTTPSAddr, Enroll: c.EnrollAddr, Federation: c.FederationAddr, Ops: c.OpsAddr}
}

type initCmd struct {
	initFlags
	addressFlags
}

// Run makes the data directory.
func (c *initCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	made, err := c.make(a, server.InitOptions{Addresses: c.addresses()})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(made)
	}
	a.welcome(made)
	_, _ = fmt.Fprintf(a.Out, "\nNext: takd run --data %s\n", a.data)
	return nil
}

// make makes the data directory; o has what the flags do not say.
func (c *initFlags) make(a *app, o server.InitOptions) (*server.Made, error) {
	o.Data, o.Hosts, o.Org, o.Admin = a.data, c.Host, c.Org, c.Admin
	if c.AdminPasswordFile != "" {
		var err error
		if o.Password, err = a.secret(c.AdminPasswordFile); err != nil {
			return nil, err
		}
	}
	if (c.CACert == "") != (c.CAKey == "") {
		return nil, usage("--ca-cert, --ca-key: want both or none")
	}
	for _, f := range []struct {
		from string
		into *[]byte
	}{{c.CACert, &o.CACert}, {c.CAKey, &o.CAKey}} {
		if f.from == "" {
			continue
		}
		if f.from == "-" && c.AdminPasswordFile == "-" {
			return nil, usage("--ca-key, --admin-password-file: only one of them can be standard input")
		}
		var err error
		if *f.into, err = a.text(f.from); err != nil {
			return nil, err
		}
	}
	return server.Init(a.ctx, o)
}

// text reads a file of at most one authority's size, or standard input.
func (a *app) text(name string) ([]byte, error) {
	in := a.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, control.Errorf(control.ErrNotFound, "%v", err)
		}
		defer f.Close() //nolint:errcheck // it was only read
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, pki.MaxOwn+1))
	if err == nil && len(text) == 0 {
		err = usage("%s: it is empty", name)
	}
	return text, err
}

// welcome tells what was made.
func (a *app) welcome(m *server.Made) {
	_, _ = fmt.Fprintf(a.Out, "Made %s for %s\n", a.data, strings.Join(m.Hosts, ", "))
	_, _ = fmt.Fprintf(a.Out, "  administrator       %s\n", m.Admin)
	if m.Password != "" {
		_, _ = fmt.Fprintf(a.Out, "  password            %s (shown only now)\n", m.Password)
	}
	a.files(m.Admin)
}

// files tells where the files of the administrator lie.
func (a *app) files(admin string) {
	dir := filepath.Join(a.data, "admin")
	_, _ = fmt.Fprintf(a.Out, "  admin certificate   %s (password %s)\n", filepath.Join(dir, admin+".p12"), defaultP12)
	_, _ = fmt.Fprintf(a.Out, "  connection package  %s (import it on a phone)\n", filepath.Join(dir, admin+".zip"))
}

type runCmd struct {
	InitFirst bool `name:"init" help:"Where there is no data directory make it without asking anything, and print where to go from here."`
	initFlags
	addressFlags
	Without []string `help:"Services to leave out." placeholder:"SERVICE"`
	History string   `help:"Where events are recorded, instead of the configured place: off, embedded or a DSN." env:"TAKD_HISTORY" placeholder:"H"`
	Hello   bool     `help:"Print where to go from here."`
}

func (c *runCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	for _, name := range c.Without {
		if !slices.Contains(server.Optional, name) {
			return usage("--without %q: want %s", name, strings.Join(server.Optional, ", "))
		}
	}
	made, goes, err := c.prepare(a)
	if err != nil || !goes {
		return err
	}
	o := server.Options{
		Data: a.data, Version: a.Version, Stderr: a.Err, Without: c.Without, CotAddr: c.CotAddr, OpsAddr: c.OpsAddr,
		HTTPSAddr: c.HTTPSAddr, EnrollAddr: c.EnrollAddr, FederationAddr: c.FederationAddr, History: c.History,
	}
	if c.InitFirst || c.Hello || made != nil {
		o.Ready = func(s control.Status) { c.hello(a, made, s) }
	}
	return server.Run(context.WithoutCancel(a.ctx), a.ctx.Done(), o)
}

// prepare makes the data directory where there is none: without asking, or with
// the page of the first start. goes is false where nobody finished that.
func (c *runCmd) prepare(a *app) (made *server.Made, goes bool, err error) {
	if _, err := os.Stat(filepath.Join(a.data, "conf", "takd.yaml")); !errors.Is(err, os.ErrNotExist) {
		return nil, true, nil
	}
	if c.InitFirst {
		o := server.InitOptions{}
		if _, port, err := net.SplitHostPort(c.CotAddr); err == nil {
			o.Port, _ = strconv.Atoi(port) // a name of a port is the operator's to know
		}
		made, err := c.make(a, o)
		return made, err == nil, err
	}
	if _, err := server.Blank(a.data); err != nil {
		return nil, false, err
	}
	if c.EnrollAddr == config.Off || slices.Contains(c.Without, "api") {
		return nil, false, control.Errorf(control.ErrNotFound, "no takd data in %s; make it with: takd init --data %s --host NAME, or use takd run --init", a.data, a.data)
	}
	settled, err := server.Setup(context.WithoutCancel(a.ctx), a.ctx.Done(), server.SetupOptions{
		Init:  server.InitOptions{Data: a.data, Hosts: c.Host, Org: c.Org, Admin: c.Admin},
		Given: c.addresses(), Stderr: a.Err,
		Ready: func(l server.SetupLink) { a.invite(l) },
		Ended: func() {
			_, _ = fmt.Fprintln(a.Out, "The link has expired. For a new one stop takd (Ctrl-C) and start it again.")
		},
	})
	if err != nil || settled == nil {
		return nil, false, err
	}
	if c.EnrollAddr != "" {
		c.EnrollAddr = settled.Enroll // the page stays where it is
	}
	return settled.Made, true, nil
}

// invite tells how to open the page of the first start, and opens it on a desktop.
func (a *app) invite(l server.SetupLink) {
	_, _ = fmt.Fprintf(a.Out, "There is no server in %s yet. Set it up in a browser, until %s:\n\n", a.data, l.Until.Local().Format("15:04"))
	for i, u := range l.URLs {
		where := ""
		if len(l.URLs) > 1 {
			where = "   " + []string{"on this machine", "from elsewhere"}[min(i, 1)]
		}
		_, _ = fmt.Fprintf(a.Out, "  %s%s\n", u, where)
	}
	_, _ = fmt.Fprintf(a.Out, "\nThe browser does not know the page's certificate, which is made for it alone. Its SHA-256 fingerprint:\n  %s\n", l.Fingerprint)
	_, _ = fmt.Fprintf(a.Out, "\nWithout a browser: takd init --data %s --host NAME, then takd run; or takd run --init, which asks nothing.\n", a.data)
	openBrowser(a.ctx, l.URLs[0])
}

// openBrowser opens a page where there is a desktop. Whether it does shows there.
func openBrowser(ctx context.Context, link string) {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return
	}
	program, err := exec.LookPath("xdg-open")
	if err != nil {
		return
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, link) //nolint:gosec // the desktop's own program, with a link of ours
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }() // it may be the browser itself
	}
}

// hello is the first screen of somebody new.
func (c *runCmd) hello(a *app, made *server.Made, s control.Status) {
	_, _ = fmt.Fprintln(a.Out)
	if made != nil {
		a.welcome(made)
	} else if packs, _ := filepath.Glob(filepath.Join(a.data, "admin", "*.zip")); len(packs) > 0 { // the pattern is well formed
		a.files(strings.TrimSuffix(filepath.Base(packs[0]), ".zip"))
	}
	rows := make([][]string, 0, len(s.Listeners))
	for name, addr := range s.Listeners {
		rows = append(rows, []string{"  " + name, addr})
	}
	slices.SortFunc(rows, slices.Compare)
	_ = writeTable(a.Out, "\nListening:", rows)
	if _, port, err := net.SplitHostPort(s.Listeners["enroll"]); err == nil {
		_, _ = fmt.Fprintf(a.Out, "\nThe map and the pages of administrators: https://localhost:%s/\n", port)
	}
	_ = writeTable(a.Out, "\nNext, in another terminal:", [][]string{
		{"  make demo", "a small simulated exercise"},
		{"  " + os.Args[0] + " --data " + a.data + " package NAME", "a connection package for one more phone"},
		{"  " + os.Args[0] + " --data " + a.data + " clients --watch", "who is here"},
	})
	_, _ = fmt.Fprintln(a.Out)
}
