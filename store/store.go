// Package store keeps takd's state in one data directory: the metadata
// database, the certificate authority, users with their groups, and letters.
//
// Init makes the directory once, Open opens it. The store knows nothing of
// sockets: whoever holds connections registers with Auth.OnChange,
// PKI.OnRevoke and PKI.OnCAChange.
package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"takd/store/auth"
	"takd/store/letter"
	"takd/store/meta"
	"takd/store/pki"
)

// Errors of this package and those below it.
var (
	ErrNotFound = meta.ErrNotFound
	ErrExists   = meta.ErrExists
	ErrInvalid  = meta.ErrInvalid
	// ErrNoData means that the data directory was never initialised.
	ErrNoData = errors.New("no takd data")
)

const (
	metaFile   = "meta.db"
	pkiDir     = "pki"
	settingsID = "server_id"
)

// InitOptions says what Init makes.
type InitOptions struct {
	Hosts []string // names and addresses under which clients reach the server
	Org   string   // organisation in the certificates; "takd" if empty
	CA    *pki.Own // nil: a new one
}

// Init makes the data of a new server in dir: database, authority and server
// certificate. dir may exist, but not hold data of a server already: that gives
// ErrExists. A failed Init leaves nothing behind that stands in its own way.
func Init(ctx context.Context, dir string, o InitOptions) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for _, name := range []string{metaFile, pkiDir} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("data directory %s: %s %w", dir, name, ErrExists)
		}
	}
	tmp, err := os.MkdirTemp(dir, ".init-*")
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := build(ctx, tmp, o); err != nil {
		return err
	}
	// The database comes last: where it stands, everything else does.
	for _, name := range []string{pkiDir, metaFile} {
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	return nil
}

func build(ctx context.Context, dir string, o InitOptions) (err error) {
	db, err := meta.Open(ctx, filepath.Join(dir, metaFile), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("make server id: %w", err)
	}
	if err := db.SetSetting(ctx, settingsID, hex.EncodeToString(id[:])); err != nil {
		return err
	}
	return pki.Init(ctx, filepath.Join(dir, pkiDir), db, o.Org, o.Hosts, o.CA)
}

// Options configures Open.
type Options struct {
	Dir string       // the data directory
	Log *slog.Logger // nil: no log
}

// Store is an open data directory. It is safe for concurrent use.
type Store struct {
	Meta    *meta.DB
	PKI     *pki.Authority
	Auth    *auth.Service
	Letters *letter.Box

	id  string
	log *slog.Logger
}

// Open opens the data that Init made in o.Dir, after upgrading its database if
// that is older than this program. ErrNoData means that there is none.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	path := filepath.Join(o.Dir, metaFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s: run `takd init --data %s --host NAME` first", ErrNoData, o.Dir, o.Dir)
	} else if err != nil {
		return nil, fmt.Errorf("open data: %w", err)
	}
	db, err := meta.Open(ctx, path, o.Log)
	if err != nil {
		return nil, err
	}
	s := &Store{Meta: db, log: o.Log}
	if err := s.load(ctx, o); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func (s *Store) load(ctx context.Context, o Options) (err error) {
	if s.id, err = s.Meta.Setting(ctx, settingsID); err != nil {
		return err
	}
	if s.PKI, err = pki.Open(ctx, filepath.Join(o.Dir, pkiDir), s.Meta, o.Log); err != nil {
		return err
	}
	s.Auth = auth.New(s.Meta, s.PKI, o.Log)
	s.Letters = letter.Open(s.Meta, o.Log)
	return nil
}

// Close closes the database, after everything that uses the store has stopped.
func (s *Store) Close() error {
	if err := s.Meta.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// ServerID is the server's own identity: 32 hex digits, made by Init.
func (s *Store) ServerID() string { return s.id }

// Audit records who did what, for good.
func (s *Store) Audit(ctx context.Context, actor, action, detail string) error {
	return s.Meta.Audit(ctx, actor, action, detail)
}

// RemoveUser removes a user and revokes every client certificate of that name.
func (s *Store) RemoveUser(ctx context.Context, name string) error {
	if err := s.Auth.RemoveUser(ctx, name); err != nil {
		return err
	}
	if _, err := s.PKI.RevokeName(ctx, name); err != nil && !errors.Is(err, pki.ErrNotFound) {
		return err
	}
	return nil
}
