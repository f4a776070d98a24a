package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"takd/cmd/takd/internal/control"
	"takd/http/admin"
	"takd/store/blob"
	"takd/store/retain"
)

// startRetention starts the service that removes what is too old.
func (s *Server) startRetention(context.Context) (stop func(context.Context) error, err error) {
	o := retain.Options{
		Dir: filepath.Join(s.opts.Data, "conf", "retention"), Files: s.blobs, Log: s.log, Free: func() (uint64, error) { return freeBytes(s.opts.Data) },
		Audit: func(ctx context.Context, by, done string, failed error) {
			if failed != nil {
				done += " error=" + failed.Error()
			}
			if err := s.store.Audit(ctx, by, "retention run", done); err != nil {
				s.log.Error("not in the audit log", "action", "retention run", "detail", done, "error", err)
			}
		},
	}
	if s.archive != nil {
		o.History = s.archive.store
	}
	if s.retain, err = retain.New(o); err != nil {
		return nil, err
	}
	s.retain.Start()
	return s.retain.Stop, nil
}

// freeBytes is what the disk of dir has left for us.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// retentionAPI is nil, not a nil service, where the service does not run.
func (s *Server) retentionAPI() admin.Retention {
	if s.retain == nil {
		return nil
	}
	return s.retain
}

// expireFiles lets all files of a name expire at a time, in Unix seconds.
func (s *Server) expireFiles(ctx context.Context, name string, at int64) (int, error) {
	found, err := s.blobs.Find(ctx, blob.Viewer{Admin: true}, blob.Query{Name: name})
	if err != nil {
		return 0, err
	}
	var ids []int64
	for _, f := range found {
		if f.Name == name {
			ids = append(ids, f.ID)
		}
	}
	return len(ids), s.blobs.Update(ctx, ids, blob.Change{Expires: &at})
}

func (l *local) retentionShow(context.Context, control.None) (retain.View, error) {
	if l.retain == nil {
		return retain.View{}, errNoRetention
	}
	return l.retain.Show(), nil
}

var errNoRetention = control.Errorf(control.ErrNoServer, "the retention service does not run; start it with: takd run")

func (l *local) retentionSet(ctx context.Context, q retain.Change) (retain.View, error) {
	if l.retain == nil {
		return retain.View{}, errNoRetention
	}
	what, err := l.retain.Apply(q)
	if errors.Is(err, retain.ErrInvalid) {
		return retain.View{}, control.As(control.ErrBad, err)
	} else if err != nil {
		return retain.View{}, err
	}
	l.audit(ctx, "retention set", what)
	return l.retain.Show(), nil
}

func (l *local) retentionRun(ctx context.Context, q control.RetentionRun) (retain.Run, error) {
	if l.retain == nil {
		return retain.Run{}, errNoRetention
	}
	return l.retain.Run(ctx, "cli", q.DryRun)
}
