package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"takd/cmd/takd/internal/control"
	"takd/store/history"
	"takd/store/retain"
)

// retentionDir is where the files of retention lie.
func retentionDir(data string) string { return filepath.Join(data, "conf", "retention") }

// startRetention starts what removes old data.
func (s *Server) startRetention(ctx context.Context) (stop func(context.Context) error, err error) {
	o := retain.Options{
		Dir: retentionDir(s.opts.Data), Data: s.opts.Data, DB: s.store.Meta, Blobs: s.blobs, Contacts: s.contact,
		Held: func(ctx context.Context) (map[string]bool, error) {
			return held(ctx, filepath.Join(s.opts.Data, "profiles"))
		},
		Audit: s.store.Audit, Log: s.log,
	}
	if s.archive != nil {
		o.History = s.archive.store
	}
	r, err := retain.Open(o)
	if err != nil {
		return nil, err
	}
	r.Start(ctx)
	s.retain.Store(r)
	return r.Stop, nil
}

// held returns the hashes of all files under a folder.
func held(ctx context.Context, dir string) (map[string]bool, error) {
	out := map[string]bool{}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	} else if err != nil {
		return nil, fmt.Errorf("files of profiles: %w", err)
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := root.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		out[hex.EncodeToString(h.Sum(nil))] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("files of profiles: %w", err)
	}
	return out, nil
}

func (l *local) handleRetention(m control.Mux) {
	control.Handle(m, control.RetentionShow, l.retentionShow)
	control.Handle(m, control.RetentionSet, l.retentionSet)
	control.Handle(m, control.RetentionRun, l.retentionRun)
}

// retention is the running service; where no server runs, one that only reads and
// writes the settings.
func (l *local) retention() (*retain.Service, error) {
	if l.engine == nil {
		return retain.Open(retain.Options{Offline: true, Dir: retentionDir(l.data), DB: l.store.Meta, Log: l.log})
	}
	if l.retain == nil {
		return nil, errNoRetention
	}
	if r := l.retain(); r != nil {
		return r, nil
	}
	return nil, errNoRetention
}

var errNoRetention = control.Errorf(control.ErrNoServer, "the server runs without its retention service (takd run --without retention)")

func (l *local) retentionShow(ctx context.Context, _ control.None) (retain.Overview, error) {
	r, err := l.retention()
	if err != nil {
		return retain.Overview{}, err
	}
	return r.Show(ctx)
}

func (l *local) retentionSet(ctx context.Context, q control.RetentionChange) (retain.Overview, error) {
	r, err := l.retention()
	if err != nil {
		return retain.Overview{}, err
	}
	detail := ""
	if q.Class != "" {
		err = r.Set(q.Class, q.TTL)
		detail = q.Class + " for ever"
		if q.TTL != nil {
			detail = fmt.Sprintf("%s for %d s", q.Class, *q.TTL)
		}
	}
	if err == nil && q.Schedule != nil {
		err = r.SetSchedule(*q.Schedule)
		detail += " schedule " + *q.Schedule
	}
	if err == nil && q.KeepFree != nil {
		err = r.SetKeepFree(*q.KeepFree)
		detail += " keep free " + q.KeepFree.String()
	}
	if err != nil {
		return retain.Overview{}, kinded(err)
	}
	l.audit(ctx, "retention set", detail)
	return r.Show(ctx)
}

func (l *local) retentionRun(ctx context.Context, q control.RetentionRunNow) (retain.Report, error) {
	if l.engine == nil {
		return retain.Report{}, errNoEngine
	}
	r, err := l.retention()
	if err != nil {
		return retain.Report{}, err
	}
	report, err := r.Run(ctx, "cli", q.DryRun)
	if errors.Is(err, history.ErrUnavailable) || report.Error == "" {
		return report, kinded(err)
	}
	return report, nil // what was removed, with what was not
}
