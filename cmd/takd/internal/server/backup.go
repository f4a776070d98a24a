package server

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"

	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/control"
	"takd/store"
	"takd/store/backup"
)

// newKeeper makes the backups of a data directory. Each is in the log and in
// the audit log.
func newKeeper(data, version string, st *store.Store, cfg func() *config.Config, log *slog.Logger) *backup.Keeper {
	options := func() backup.Options {
		if c := cfg(); c != nil {
			return c.Backup
		}
		return backup.Options{}
	}
	return backup.NewKeeper(backup.Source{Data: data, DB: st.Meta, ServerID: st.ServerID(), Version: version, Log: log}, options,
		func(actor, detail string, err error) {
			if err != nil {
				log.Error("backup failed", "by", actor, "backup", detail, "error", err)
				detail += " failed: " + err.Error()
			} else {
				log.Info("backup made", "by", actor, "backup", detail)
			}
			if err := st.Audit(context.Background(), actor, "backup", detail); err != nil {
				log.Error("not in the audit log", "action", "backup", "detail", detail, "error", err)
			}
		})
}

// backup writes a backup where the operator wants it.
func (l *local) backup(ctx context.Context, q control.Backup) (control.BackedUp, error) {
	if !filepath.IsAbs(q.File) {
		return control.BackedUp{}, control.Errorf(control.ErrBad, "file %q: want an absolute path", q.File)
	}
	to, err := backup.Recipients(q.Recipients)
	if err == nil && q.Passphrase != "" {
		if len(to) > 0 {
			return control.BackedUp{}, control.Errorf(control.ErrBad, "want a recipient or a passphrase, not both")
		}
		var r age.Recipient
		r, _, err = backup.Passphrase(q.Passphrase)
		to = append(to, r)
	}
	if err != nil {
		return control.BackedUp{}, kinded(err)
	}
	m, size, err := l.keeper.To(ctx, "cli", q.File, to...)
	if errors.Is(err, backup.ErrRunning) {
		return control.BackedUp{}, control.As(control.ErrExists, err)
	} else if err != nil {
		return control.BackedUp{}, kinded(err)
	}
	return backedUp(q.File, size, m), nil
}

func backedUp(file string, size int64, m *backup.Manifest) control.BackedUp {
	return control.BackedUp{
		File: file, Bytes: size, Files: len(m.Files), FilesBytes: m.Size(), Created: m.Created, Version: m.Version, ServerID: m.ServerID,
		Missing: append([]string{}, m.Missing...), NotIncluded: m.NotIncluded,
	}
}

// Keys open an encrypted backup.
type Keys struct {
	Passphrase string // "" for none
	Identity   string // file of age-keygen; "" for none
}

func (k Keys) read() ([]age.Identity, error) {
	var ids []age.Identity
	if k.Passphrase != "" {
		_, id, err := backup.Passphrase(k.Passphrase)
		if err != nil {
			return nil, kinded(err)
		}
		ids = append(ids, id)
	}
	if k.Identity != "" {
		text, err := os.ReadFile(k.Identity)
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		more, err := age.ParseIdentities(strings.NewReader(string(text)))
		if err != nil {
			return nil, control.Errorf(control.ErrBad, "identity %s: %v", k.Identity, err)
		}
		ids = append(ids, more...)
	}
	return ids, nil
}

// VerifyBackup reads a whole backup and checks it.
func VerifyBackup(ctx context.Context, file string, keys Keys) (control.BackedUp, error) {
	return withBackup(file, keys, func(in *bufio.Reader, ids []age.Identity) (*backup.Manifest, error) {
		return backup.Verify(ctx, in, ids...)
	})
}

func withBackup(file string, keys Keys, f func(*bufio.Reader, []age.Identity) (*backup.Manifest, error)) (made control.BackedUp, err error) {
	ids, err := keys.read()
	if err != nil {
		return made, err
	}
	in, err := os.Open(file)
	if err != nil {
		return made, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return made, fmt.Errorf("backup: %w", err)
	}
	m, err := f(bufio.NewReaderSize(in, 1<<20), ids)
	if err != nil {
		return made, kinded(err)
	}
	return backedUp(file, info.Size(), m), nil
}

// RestoreBackup makes a data directory of a backup. The directory is empty or
// absent; it stays so unless the backup is whole and its data can be used.
func RestoreBackup(ctx context.Context, file, data string, keys Keys, log *slog.Logger) (made control.BackedUp, err error) {
	if err := empty(data); err != nil {
		return made, err
	}
	lock, err := control.Acquire(ctx, data)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := empty(data); err != nil {
		return made, err
	}
	stage, err := os.MkdirTemp(data, ".restore-*")
	if err != nil {
		return made, fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	made, err = withBackup(file, keys, func(in *bufio.Reader, ids []age.Identity) (*backup.Manifest, error) {
		return backup.Restore(ctx, in, stage, ids...)
	})
	if err != nil {
		return made, err
	}
	// Opening it tells whether it can be used: database, authority, server certificate.
	st, err := store.Open(ctx, store.Options{Dir: stage, Log: log})
	if err != nil {
		return made, fmt.Errorf("restore: the data cannot be used: %w", err)
	}
	err = st.Audit(ctx, "cli", "restore", fmt.Sprintf("%s created=%s files=%d", filepath.Base(file), made.Created.Format("2006-01-02T15:04:05Z"), made.Files))
	if err := errors.Join(err, st.Close()); err != nil {
		return made, err
	}
	if _, err := config.Open(stage); err != nil {
		return made, fmt.Errorf("restore: the configuration cannot be used: %w", err)
	}
	return made, moveIn(stage, data)
}

// empty is the error for a directory with something in it. A lock is nothing.
func empty(data string) error {
	entries, err := os.ReadDir(data)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("restore: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "run" {
			return control.Errorf(control.ErrExists, "%s is not empty (%s): restore to an empty or absent --data, then stop the old server and start the new one", data, e.Name())
		}
	}
	return nil
}

// moveIn moves what was restored to its place. The configuration comes last:
// where it stands, everything else does.
func moveIn(stage, data string) error {
	entries, err := os.ReadDir(stage)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int {
		return cmp.Compare(rank(a.Name()), rank(b.Name()))
	})
	for _, e := range entries {
		if err := os.Rename(filepath.Join(stage, e.Name()), filepath.Join(data, e.Name())); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return nil
}

func rank(name string) int {
	return slices.Index([]string{"meta.db", "conf"}, name)
}
