package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/control"
	"takd/cmd/takd/internal/server"
)

// initFlags say what a new data directory holds.
type initFlags struct {
	Host              []string `help:"Names and IP addresses that clients connect to; those of this machine when left out." placeholder:"NAME"`
	Org               string   `help:"Organisation in the certificates." default:"takd"`
	Admin             string   `help:"Name of the administrator." default:"admin"`
	AdminPasswordFile string   `help:"File with the administrator's password, - for standard input; without it one is generated and printed once." placeholder:"F"`
}

type initCmd struct{ initFlags }

// Run makes the data directory.
func (c *initCmd) Run(a *app) error {
	made, err := c.make(a, "")
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

// make makes the data directory of a server that clients reach at the port of
// addr, or at the default port.
func (c *initFlags) make(a *app, addr string) (*server.Made, error) {
	o := server.InitOptions{Data: a.data, Hosts: c.Host, Org: c.Org, Admin: c.Admin}
	if _, port, err := net.SplitHostPort(addr); err == nil {
		o.Port, _ = strconv.Atoi(port) // a name of a port is the operator's to know
	}
	if c.AdminPasswordFile != "" {
		var err error
		if o.Password, err = a.secret(c.AdminPasswordFile); err != nil {
			return nil, err
		}
	}
	return server.Init(a.ctx, o)
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
	InitFirst bool `name:"init" help:"Make the data directory first when there is none, and print where to go from here."`
	initFlags
	Without        []string `help:"Services to leave out." placeholder:"SERVICE"`
	CotAddr        string   `help:"Address of the TLS stream, instead of the configured one." placeholder:"A"`
	HTTPSAddr      string   `name:"https-addr" help:"Address of the API, instead of the configured one; off for none." placeholder:"A"`
	FederationAddr string   `help:"Address of file exchange with other servers, instead of the configured one; off for none." placeholder:"A"`
	EnrollAddr     string   `help:"Address of enrollment and login, instead of the configured one; off for none." placeholder:"A"`
	OpsAddr        string   `help:"Address of metrics and health, instead of the configured one; off for none." placeholder:"A"`
	History        string   `help:"Where events are recorded, instead of the configured place: off, embedded or a DSN." env:"TAKD_HISTORY" placeholder:"H"`
}

func (c *runCmd) Run(a *app) error {
	for _, addr := range []string{c.CotAddr, c.HTTPSAddr, c.FederationAddr, c.EnrollAddr, c.OpsAddr} {
		if _, _, err := net.SplitHostPort(addr); addr != "" && addr != config.Off && err != nil {
			return usage("address %q: want host:port or :port", addr)
		}
	}
	for _, name := range c.Without {
		if !slices.Contains(server.Optional, name) {
			return usage("--without %q: want %s", name, strings.Join(server.Optional, ", "))
		}
	}
	var made *server.Made
	if _, err := os.Stat(filepath.Join(a.data, "conf", "takd.yaml")); errors.Is(err, os.ErrNotExist) {
		if !c.InitFirst {
			return control.Errorf(control.ErrNotFound, "no takd data in %s; make it with: takd init --data %s --host NAME, or use takd run --init", a.data, a.data)
		}
		if made, err = c.make(a, c.CotAddr); err != nil {
			return err
		}
	}
	o := server.Options{
		Data: a.data, Version: a.Version, Stderr: a.Err, Without: c.Without, CotAddr: c.CotAddr, OpsAddr: c.OpsAddr,
		HTTPSAddr: c.HTTPSAddr, EnrollAddr: c.EnrollAddr, FederationAddr: c.FederationAddr, History: c.History,
	}
	if c.InitFirst {
		o.Ready = func(s control.Status) { c.hello(a, made, s) }
	}
	return server.Run(context.WithoutCancel(a.ctx), a.ctx.Done(), o)
}

// hello is the first screen of somebody new.
func (c *runCmd) hello(a *app, made *server.Made, s control.Status) {
	_, _ = fmt.Fprintln(a.Out)
	if made != nil {
		a.welcome(made)
	} else {
		a.files(c.Admin)
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
