package retain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"takd/store/blob"
	"takd/store/history"
)

// Report is what a run removed, or would remove.
type Report struct {
	At          time.Time         `json:"at"`
	By          string            `json:"by"` // a user, cli, schedule or disk
	DryRun      bool              `json:"dry_run"`
	Dropped     []history.Dropped `json:"dropped"` // partitions, the oldest of each table first
	Files       int               `json:"files"`
	Endpoints   int               `json:"endpoints"` // clients that were remembered
	Rows        uint64            `json:"rows"`
	Bytes       uint64            `json:"bytes"` // of partitions and files
	TookMS      int64             `json:"took_ms"`
	Unavailable map[string]string `json:"unavailable,omitempty"` // policies without effect, and why
	Error       string            `json:"error,omitempty"`       // what went wrong; the rest was done
}

// Run removes what is too old; with dryRun it only tells what that is. What was
// removed is told with an error, too.
func (s *Service) Run(ctx context.Context, by string, dryRun bool) (Report, error) {
	s.running.Lock()
	defer s.running.Unlock()
	settings, err := s.Settings()
	if err != nil {
		return Report{}, err
	}
	r := &Report{At: time.Now().UTC(), By: by, DryRun: dryRun, Dropped: []history.Dropped{}}
	var errs []error
	for _, class := range Classes {
		ttl, ok := settings.TTL[class]
		if !ok {
			continue
		}
		if why := s.unavailable(class); why != "" {
			if r.Unavailable == nil {
				r.Unavailable = map[string]string{}
			}
			r.Unavailable[class] = why
			continue
		}
		if err := s.remove(ctx, r, class, ttl, settings); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", class, err))
		}
	}
	return s.finish(ctx, r, errors.Join(errs...))
}

func (s *Service) remove(ctx context.Context, r *Report, class string, ttl time.Duration, settings Settings) error {
	switch class {
	case Cot:
		return s.drop(ctx, r, history.Cot, ttl)
	case Chat:
		return s.drop(ctx, r, history.Chat, ttl)
	case Files:
		return s.files(ctx, r, r.At.Add(-ttl), settings.Exempt)
	case Endpoint:
		var err error
		if s.opts.Contacts != nil {
			r.Endpoints, err = s.opts.Contacts.Forget(ctx, r.At.Add(-ttl), r.DryRun)
		}
		if s.opts.History == nil {
			return err
		}
		return errors.Join(err, s.drop(ctx, r, history.Endpoints, ttl))
	}
	return nil
}

func (s *Service) drop(ctx context.Context, r *Report, table string, ttl time.Duration) error {
	gone, err := s.opts.History.Drop(ctx, table, ttl, r.DryRun)
	r.add(gone)
	return err
}

func (r *Report) add(gone []history.Dropped) {
	r.Dropped = append(r.Dropped, gone...)
	for _, d := range gone {
		r.Rows += d.Rows
		r.Bytes += d.Bytes
	}
}

// filesAtOnce is how many files one look takes.
const filesAtOnce = 500

// files deletes what was uploaded before a time, but for exempt keywords and what a
// profile holds.
func (s *Service) files(ctx context.Context, r *Report, before time.Time, exempt []string) error {
	held := map[string]bool{}
	if s.opts.Held != nil {
		var err error
		if held, err = s.opts.Held(ctx); err != nil {
			return err // rather too many files than one too few
		}
	}
	for kept := 0; ctx.Err() == nil; {
		some, err := s.opts.Blobs.Find(ctx, blob.Viewer{Admin: true}, blob.Query{Until: before, OldestFirst: true, Limit: filesAtOnce, Offset: kept})
		if err != nil {
			return err
		}
		var ids []int64
		for i := range some {
			f := &some[i]
			if held[f.Hash] || exempted(f.Keywords, exempt) {
				continue
			}
			ids = append(ids, f.ID)
			r.Files++
			r.Bytes += uint64(f.Size)
		}
		kept += len(some)
		if !r.DryRun {
			if err := s.opts.Blobs.Delete(ctx, ids...); err != nil {
				return err
			}
			kept -= len(ids)
		}
		if len(some) < filesAtOnce {
			return nil
		}
	}
	return ctx.Err()
}

func exempted(keywords, exempt []string) bool {
	return slices.ContainsFunc(keywords, func(k string) bool {
		return slices.ContainsFunc(exempt, func(e string) bool { return strings.EqualFold(k, e) })
	})
}

// Watermark drops the oldest partitions while less of the disk is free than is to
// be kept. The newest of each table stays, and so do missions and files.
func (s *Service) Watermark(ctx context.Context) {
	settings, err := s.Settings()
	if err != nil || settings.KeepFree == 0 || s.opts.History == nil {
		return
	}
	if free, err := s.opts.Free(); err == nil && free >= int64(settings.KeepFree) {
		return
	}
	s.running.Lock()
	defer s.running.Unlock()
	r := &Report{At: time.Now().UTC(), By: "disk", Dropped: []history.Dropped{}}
	for range maxDrops {
		free, e := s.opts.Free()
		if err = e; err != nil || free >= int64(settings.KeepFree) {
			break
		}
		gone, e := s.opts.History.DropOldest(ctx, []string{history.Cot, history.Chat, history.Endpoints})
		r.add(gone)
		if err = e; err != nil || len(gone) == 0 {
			break
		}
	}
	if len(r.Dropped) == 0 && err == nil {
		return // nothing left to drop: not a run each time
	}
	_, _ = s.finish(ctx, r, err) // it is in the log and in State
}

// maxDrops bounds what a full disk costs at once: ClickHouse gives space free a
// while after a drop.
const maxDrops = 4

func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space: %w", err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
