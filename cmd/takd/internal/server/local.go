package server

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/control"
	"takd/netcore"
	"takd/store"
	"takd/store/backup"
	"takd/store/blob"
	"takd/store/history"
	"takd/store/meta"
	"takd/store/pki"
	"takd/store/retain"
	"takd/store/tiles"
)

// local carries out the operations on the spot.
type local struct {
	data   string
	cfg    *config.Service
	store  *store.Store
	keeper *backup.Keeper
	tiles  *tiles.Library
	blobs  *blob.Store           // nil where no server runs
	engine *netcore.Engine       // nil where no server runs
	status func() control.Status // nil where no server runs
	log    *slog.Logger

	archive *archive               // nil where no server runs, or without history
	retain  func() *retain.Service // nil where no server runs

	refusals *refusals // nil where no server runs
}

// Local is a data directory that was opened because no server runs on it.
type Local struct {
	control.Mux

	store *store.Store
	lock  *control.Lock
}

// OpenLocal opens a data directory that no server runs on. patience bounds the
// wait for another command that works on it.
func OpenLocal(ctx context.Context, patience time.Duration, data string, log *slog.Logger) (*Local, error) {
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lock, err := control.Acquire(wait, data)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Open(data)
	if err != nil { // a broken file must not keep operators from their users
		log.Warn("the configuration cannot be used", "error", err)
	}
	st, err := store.Open(ctx, store.Options{Dir: data, Log: log})
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	l := &local{data: data, cfg: cfg, store: st, log: log}
	l.tiles = openTiles(data, l.current, log)
	l.keeper = newKeeper(data, Version(""), st, func() *config.Config { return nil }, log)
	return &Local{Mux: l.mux(), store: st, lock: lock}, nil
}

// Close closes the store and gives the data directory free.
func (l *Local) Close() error { return errors.Join(l.store.Close(), l.lock.Release()) }

// Do implements control.Doer.
func (l *Local) Do(ctx context.Context, op string, request []byte) ([]byte, error) {
	return l.Mux.Do(ctx, op, request)
}

func (l *local) mux() control.Mux {
	m := control.Mux{}
	control.Handle(m, control.StatusOp, l.getStatus)
	control.Handle(m, control.ClientsOp, l.clients)
	control.Handle(m, control.KickOp, l.kick)
	control.Handle(m, control.UserList, l.userList)
	control.Handle(m, control.UserAdd, l.userAdd)
	control.Handle(m, control.UserSet, l.userSet)
	control.Handle(m, control.UserPasswd, l.userPasswd)
	control.Handle(m, control.UserDisable, l.userDisable)
	control.Handle(m, control.UserRemove, l.userRemove)
	control.Handle(m, control.UserImport, l.userImport)
	control.Handle(m, control.GroupList, l.groupList)
	control.Handle(m, control.GroupAdd, l.groupAdd)
	control.Handle(m, control.GroupRemove, l.groupRemove)
	control.Handle(m, control.CertIssue, l.certIssue)
	control.Handle(m, control.CertList, l.certList)
	control.Handle(m, control.CertRevoke, l.certRevoke)
	control.Handle(m, control.CertRenew, l.certRenew)
	control.Handle(m, control.CertImport, l.certImport)
	control.Handle(m, control.CertCheck, l.certCheck)
	control.Handle(m, control.PackageOp, l.connectionPackage)
	l.handleInvites(m)
	control.Handle(m, control.BackupOp, l.backup)
	control.Handle(m, control.MoveOp, l.move)
	l.handleTiles(m)
	control.Handle(m, control.ConfigGet, l.configGet)
	control.Handle(m, control.ConfigSet, l.configSet)
	control.Handle(m, control.ConfigHistory, l.configHistory)
	control.Handle(m, control.ConfigRollback, l.configRollback)
	control.Handle(m, control.ConfigReload, l.configReload)
	control.Handle(m, control.EmergencyList, l.emergencyList)
	control.Handle(m, control.EmergencyCancelOp, l.emergencyCancel)
	control.Handle(m, control.ReachOp, l.reach)
	control.Handle(m, control.RefusedOp, l.refused)
	l.handleHistory(m)
	l.handleRetention(m)
	return m
}

// kinded gives errors of the store the kind that decides the answer.
func kinded(err error) error {
	for from, to := range map[error]error{
		meta.ErrNotFound: control.ErrNotFound, meta.ErrExists: control.ErrExists, meta.ErrInvalid: control.ErrBad,
		config.ErrInvalid: control.ErrBad, config.ErrNoKey: control.ErrBad, config.ErrVersion: control.ErrNotFound,
		netcore.ErrOptions: control.ErrBad, history.ErrInvalid: control.ErrBad,
		retain.ErrInvalid: control.ErrBad, retain.ErrUnavailable: control.ErrBad,
	} {
		if errors.Is(err, from) {
			return control.As(to, err)
		}
	}
	return err
}

// audit records what the operator did. That it was done stands either way.
func (l *local) audit(ctx context.Context, action, detail string) {
	if err := l.store.Audit(ctx, "cli", action, detail); err != nil {
		l.log.Error("not in the audit log", "action", action, "detail", detail, "error", err)
	}
}

func (l *local) getStatus(context.Context, control.None) (control.Status, error) {
	if l.status == nil {
		return control.Status{}, errNoEngine
	}
	return l.status(), nil
}

var errNoEngine = control.Errorf(control.ErrNoServer, "no server is running; start one with: takd run")

func (l *local) clients(context.Context, control.None) ([]netcore.ClientInfo, error) {
	if l.engine == nil {
		return nil, errNoEngine
	}
	return append([]netcore.ClientInfo{}, l.engine.Clients()...), nil
}

func (l *local) kick(ctx context.Context, q control.Kick) (control.Closed, error) {
	if l.engine == nil {
		return control.Closed{}, errNoEngine
	}
	if q.Who == "" {
		return control.Closed{}, control.Errorf(control.ErrBad, "whom? give a uid, callsign or user")
	}
	n := l.engine.Kick(netcore.Who{UID: q.Who, Callsign: q.Who, User: q.Who, Serial: q.Who}, q.Reason)
	if n == 0 {
		return control.Closed{}, control.Errorf(control.ErrNotFound, "nobody with uid, callsign or user %q is connected; see: takd clients", q.Who)
	}
	l.audit(ctx, "kick", q.Who+": "+q.Reason)
	return control.Closed{Closed: n}, nil
}

// issue makes the certificates of q, as files.
func (l *local) certIssue(ctx context.Context, q control.Issue) ([]control.Issued, error) {
	trust, err := l.store.PKI.TruststoreP12(q.Password)
	if err != nil {
		return nil, err
	}
	var all []control.Issued
	for _, name := range q.Names {
		var made *pki.Issued
		if q.Server {
			hosts := q.Hosts
			if len(hosts) == 0 {
				hosts = []string{name}
			}
			made, err = l.store.PKI.IssueServer(ctx, name, hosts)
		} else {
			made, err = l.store.PKI.IssueClient(ctx, name, pki.IssueOptions{ECDSA: q.ECDSA, Validity: q.Validity})
		}
		if err != nil {
			return nil, kinded(err)
		}
		key, err1 := made.KeyPEM()
		p12, err2 := made.P12(q.Password)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		all = append(all, control.Issued{
			Name: name, Serial: made.Serial, NotAfter: made.NotAfter,
			Files: map[string][]byte{
				name + ".pem": made.CertPEM(), name + ".key": key, name + ".p12": p12,
				"ca.pem": l.store.PKI.CAPEM(), "truststore.p12": trust,
			},
		})
	}
	if len(q.Names) > 0 {
		l.audit(ctx, "cert issue", q.Names[0]+more(len(q.Names)-1))
	}
	return all, nil
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

func (l *local) certList(ctx context.Context, _ control.None) ([]control.Certificate, error) {
	certs, err := l.store.PKI.List(ctx)
	all := make([]control.Certificate, 0, len(certs))
	for _, c := range certs {
		one := control.Certificate{Serial: c.Serial, Name: c.Name, Kind: c.Kind, NotAfter: c.NotAfter}
		if !c.Revoked.IsZero() {
			one.Revoked = &c.Revoked
		}
		all = append(all, one)
	}
	return all, kinded(err)
}

func (l *local) certRevoke(ctx context.Context, q control.Revoke) (control.Revoked, error) {
	certs, err := l.store.PKI.Revoke(ctx, q.Who)
	if errors.Is(err, meta.ErrNotFound) {
		err = control.Errorf(control.ErrNotFound, "no certificate with serial or name %q; see: takd cert list", q.Who)
	}
	if err != nil {
		return control.Revoked{}, kinded(err)
	}
	r := control.Revoked{Serials: []string{}}
	for _, c := range certs {
		r.Serials = append(r.Serials, c.Serial)
	}
	l.audit(ctx, "cert revoke", q.Who+": "+q.Reason)
	return r, nil
}

func (l *local) certRenew(ctx context.Context, q control.Renew) (control.Certificate, error) {
	if err := l.store.PKI.RenewServer(ctx, q.Hosts); err != nil {
		return control.Certificate{}, kinded(err)
	}
	l.audit(ctx, "cert renew", strings.Join(q.Hosts, ","))
	leaf := l.store.PKI.ServerCertificate().Leaf
	return control.Certificate{Serial: pki.Serial(leaf), Name: leaf.Subject.CommonName, Kind: "server", NotAfter: leaf.NotAfter}, nil
}

func (l *local) certImport(ctx context.Context, q control.PEM) (control.Certificate, error) {
	if err := l.store.PKI.ImportCA(ctx, q.PEM); err != nil {
		return control.Certificate{}, kinded(err)
	}
	cert, err := firstCert(q.PEM)
	if err != nil {
		return control.Certificate{}, err
	}
	l.audit(ctx, "cert import-ca", cert.Subject.String())
	return control.Certificate{Serial: pki.Serial(cert), Name: cert.Subject.CommonName, Kind: "ca", NotAfter: cert.NotAfter}, nil
}

func firstCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, control.Errorf(control.ErrBad, "no PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, control.As(control.ErrBad, err)
	}
	return cert, nil
}
