package server

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/control"
	"takd/netcore"
	"takd/store/pki"
	"takd/store/pki/connpack"
)

// conf is the Config service, or why there is none.
func (l *local) conf() (*config.Service, error) {
	if l.cfg != nil {
		return l.cfg, nil
	}
	cfg, err := config.Open(l.data)
	return cfg, kinded(err)
}

func (l *local) configGet(_ context.Context, q control.Key) (control.Text, error) {
	cfg, err := l.conf()
	if err != nil {
		return control.Text{}, err
	}
	text, err := cfg.Current().Get(q.Key)
	return control.Text{Text: string(text)}, kinded(err)
}

// changed completes a change of the configuration.
func (l *local) changed(ctx context.Context, detail string, change func(*config.Service) ([]string, error)) (control.Changed, error) {
	cfg := l.cfg
	if cfg == nil { // the file cannot be used: this change may mend it
		cfg = config.Broken(l.data)
	}
	restart, err := change(cfg)
	if err == nil {
		l.audit(ctx, "config", detail)
	}
	return control.Changed{RestartNeeded: append([]string{}, restart...)}, kinded(err)
}

func (l *local) configSet(ctx context.Context, q map[string]string) (control.Changed, error) {
	words := make([]string, 0, len(q))
	for _, key := range slices.Sorted(maps.Keys(q)) {
		words = append(words, key+"="+q[key])
	}
	return l.changed(ctx, "set "+strings.Join(words, " "), func(c *config.Service) ([]string, error) { return c.Set(q) })
}

func (l *local) configHistory(context.Context, control.None) ([]config.Version, error) {
	versions, err := config.Broken(l.data).History()
	return append([]config.Version{}, versions...), kinded(err)
}

func (l *local) configRollback(ctx context.Context, q control.Number) (control.Changed, error) {
	return l.changed(ctx, fmt.Sprintf("rollback %d", q.N), func(c *config.Service) ([]string, error) { return c.Rollback(q.N) })
}

func (l *local) configReload(ctx context.Context, _ control.None) (control.Changed, error) {
	if l.engine == nil {
		return control.Changed{}, errNoEngine
	}
	return l.changed(ctx, "reload", (*config.Service).Reload)
}

// streamPort is the port of the TLS input with certificates: as bound, where a
// server runs, else as configured.
func (l *local) streamPort(c *config.Config) (int, error) {
	o := c.Messaging.WithDefaults()
	i := slices.IndexFunc(o.Inputs, func(in netcore.Input) bool { return in.Protocol == netcore.TLS && in.Auth == netcore.AuthCert })
	if i < 0 {
		return 0, control.Errorf(control.ErrBad, "messaging.inputs has no tls input with certificates to connect to")
	}
	addr := o.Inputs[i].Address
	if l.engine != nil {
		if bound := l.engine.Listeners()[o.Inputs[i].Name]; bound != nil {
			addr = bound.String()
		}
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, control.As(control.ErrBad, err)
	}
	return strconv.Atoi(port)
}

// connectionPackage issues a certificate and packs it with all that a client
// needs to connect.
func (l *local) connectionPackage(ctx context.Context, q control.Package) (control.File, error) {
	cfg, err := l.conf()
	if err != nil {
		return control.File{}, err
	}
	host := cmp.Or(q.Host, cfg.Current().Server.Host)
	if host == "" {
		return control.File{}, control.Errorf(control.ErrBad, "which host do clients connect to? give --host, or: takd config set server.host=NAME")
	}
	port, err := l.streamPort(cfg.Current())
	if err != nil {
		return control.File{}, err
	}
	made, err := l.store.PKI.IssueClient(ctx, q.Name, pki.IssueOptions{})
	if err != nil {
		return control.File{}, kinded(err)
	}
	data, err := l.pack(made, connpack.Package{Name: q.Name, Host: host, Port: port, For: q.For})
	if err != nil {
		return control.File{}, kinded(err)
	}
	l.audit(ctx, "package", q.Name+" serial="+made.Serial)
	return control.File{Name: q.Name + ".zip", Data: data}, nil
}

func (l *local) pack(made *pki.Issued, p connpack.Package) ([]byte, error) {
	p.Password = pki.DefaultPassword
	var err error
	if p.UserP12, err = made.P12(p.Password); err != nil {
		return nil, err
	}
	if p.TruststoreP12, err = l.store.PKI.TruststoreP12(p.Password); err != nil {
		return nil, err
	}
	var zip bytes.Buffer
	if err := connpack.Write(&zip, p); err != nil {
		return nil, err
	}
	return zip.Bytes(), nil
}
