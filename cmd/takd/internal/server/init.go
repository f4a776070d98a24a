package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/control"
	"takd/store"
	"takd/store/auth"
	"takd/store/pki"
	"takd/store/pki/connpack"
)

// InitOptions says what a new data directory holds.
type InitOptions struct {
	Data     string
	Hosts    []string // what clients connect to; none: the names and addresses of this machine
	Org      string
	Port     int // of the stream, for the connection package; 0 is that of Addresses
	Admin    string
	Password string // of the administrator; "" generates one
	CACert   []byte // PEM of an authority, instead of a new one; nil for none
	CAKey    []byte // PEM of its key

	Addresses config.Addresses // for the configuration
}

// Made is what Init made.
type Made struct {
	Data     string   `json:"data"`
	Hosts    []string `json:"hosts"`
	Admin    string   `json:"admin"`
	Password string   `json:"password,omitempty"` // only when it was generated
	Files    string   `json:"files"`              // folder with the administrator's certificate and package
}

// Init makes a data directory: database, CA, server certificate, configuration,
// and an administrator with a certificate and a connection package.
func Init(ctx context.Context, o InitOptions) (made *Made, err error) {
	if _, err := control.SocketPath(o.Data); err != nil {
		return nil, err // now, rather than when the server first starts
	}
	if err := already(o.Data); err != nil {
		return nil, err // at once, whoever works on it
	}
	// Now, before there is half a server that a second try would find.
	if err := (auth.NewUser{Name: o.Admin, Role: auth.RoleAdmin, Password: o.Password}).Validate(); err != nil {
		return nil, kinded(err)
	}
	own, err := o.ownCA()
	if err != nil {
		return nil, kinded(err)
	}
	lock, err := control.Acquire(ctx, o.Data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := already(o.Data); err != nil {
		return nil, err
	}
	m := &Made{Data: o.Data, Hosts: o.Hosts, Admin: o.Admin, Files: filepath.Join(o.Data, "admin")}
	if len(m.Hosts) == 0 {
		m.Hosts = machineHosts()
	}
	word := o.Password
	if word == "" {
		word = rand.Text()
		m.Password = word
	}
	err = store.Init(ctx, o.Data, store.InitOptions{Hosts: m.Hosts, Org: o.Org, CA: own})
	if errors.Is(err, store.ErrExists) { // an earlier try ended before the configuration was written
		err = nil
	}
	if err != nil {
		return nil, kinded(err)
	}
	st, err := store.Open(ctx, store.Options{Dir: o.Data})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if own != nil && !slices.ContainsFunc(st.PKI.CAs(), own.Holds) {
		return nil, control.Errorf(control.ErrExists, "%s has another authority, of a try that did not end: remove the directory, or leave out the authority", o.Data)
	}
	port := o.Port
	if port == 0 {
		port = portOf(o.Addresses.Cot)
	}
	if err := makeAdmin(ctx, st, m, word, port); err != nil {
		return nil, kinded(err)
	}
	// The configuration comes last: where it stands, everything else does.
	return m, config.Create(o.Data, m.Hosts[0], o.Addresses)
}

// ownCA is the authority that takes the place of a new one, or nil.
func (o *InitOptions) ownCA() (*pki.Own, error) {
	if len(o.CACert) == 0 && len(o.CAKey) == 0 {
		return nil, nil
	}
	return pki.ParseOwn(o.CACert, o.CAKey, time.Now())
}

// already is the error for a data directory that was made before.
func already(data string) error {
	if _, err := os.Stat(filepath.Join(data, "conf", "takd.yaml")); err != nil {
		return nil
	}
	if pid := control.Holder(data); pid != "" {
		return control.Errorf(control.ErrExists, "%s holds the data of a server already, and takd (pid %s) works on it", data, pid)
	}
	return control.Errorf(control.ErrExists, "%s holds the data of a server already; run it: takd run --data %s", data, data)
}

func makeAdmin(ctx context.Context, st *store.Store, m *Made, word string, port int) error {
	err := st.Auth.AddUser(ctx, auth.NewUser{Name: m.Admin, Role: auth.RoleAdmin, Password: word})
	if errors.Is(err, auth.ErrExists) {
		err = st.Auth.SetPassword(ctx, m.Admin, word)
	}
	if err != nil {
		return err
	}
	issued, err := st.PKI.IssueClient(ctx, m.Admin, pki.IssueOptions{})
	if err != nil {
		return err
	}
	if err := issued.WriteFiles(m.Files, ""); err != nil {
		return err
	}
	l := &local{store: st}
	zip, err := l.pack(issued, connpack.Package{Name: m.Admin, Host: m.Hosts[0], Port: port})
	if err != nil {
		return err
	}
	if err := pki.WriteFile(filepath.Join(m.Files, m.Admin+".zip"), zip, 0o600); err != nil {
		return err
	}
	return st.Audit(ctx, "cli", "init", "admin="+m.Admin+" hosts="+strings.Join(m.Hosts, ","))
}

// machineHosts are the addresses and the name of this machine. An address comes
// first: a phone on the same network seldom knows the name.
func machineHosts() []string {
	var hosts []string
	addrs, _ := net.InterfaceAddrs() // none, on an error: localhost is left
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok || !ip.IP.IsGlobalUnicast() {
			continue
		}
		if ip.IP.To4() != nil {
			hosts = append(hosts, ip.IP.String())
		}
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, strings.ToLower(name))
	}
	hosts = append(hosts, "localhost")
	return slices.Compact(hosts)
}
