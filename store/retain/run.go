package retain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"takd/store/history"
)

// Run is what one run has removed, or would.
type Run struct {
	Began   time.Time         `json:"began"`
	By      string            `json:"by"` // schedule, disk, or who asked for it
	DryRun  bool              `json:"dry_run"`
	Dropped []history.Dropped `json:"dropped"` // oldest first
	Files   int               `json:"files"`
	Rows    uint64            `json:"rows"`
	Bytes   uint64            `json:"bytes"` // of partitions and files
	TookMS  float64           `json:"took_ms"`
	Skipped map[Class]string  `json:"skipped,omitempty"` // set, but not to be had: why
	Error   string            `json:"error,omitempty"`
}

// Run removes what is too old now. What was removed comes back with an error too.
func (s *Service) Run(ctx context.Context, by string, dryRun bool) (Run, error) {
	if !s.run.TryLock() {
		return Run{}, ErrBusy
	}
	defer s.run.Unlock()
	s.mu.Lock()
	conf := s.conf.clone()
	s.mu.Unlock()
	r := Run{Began: time.Now(), By: by, DryRun: dryRun, Dropped: []history.Dropped{}, Skipped: map[Class]string{}}
	var errs []error
	for _, class := range Classes {
		if ttl := conf.TTL[class]; ttl > 0 && ctx.Err() == nil {
			if err := s.remove(ctx, &r, class, ttl, conf.Exempt); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", class, err))
			}
		}
	}
	return r, s.finish(ctx, &r, errors.Join(append(errs, ctx.Err())...))
}

func (s *Service) remove(ctx context.Context, r *Run, class Class, ttl time.Duration, exempt []string) error {
	table, inHistory := tables[class]
	switch {
	case Unavailable[class] != "":
		r.Skipped[class] = Unavailable[class]
	case inHistory && s.opts.History == nil:
		r.Skipped[class] = "history is off"
	case inHistory:
		dropped, err := s.opts.History.Drop(ctx, table, ttl, r.DryRun)
		r.add(dropped...)
		return err
	case s.opts.Files == nil:
		r.Skipped[class] = "there are no files"
	default:
		n, bytes, err := s.opts.Files.Retain(ctx, r.Began.Add(-ttl), exempt, r.DryRun)
		r.Files += n
		r.Bytes += uint64(bytes)
		return err
	}
	return nil
}

func (r *Run) add(dropped ...history.Dropped) {
	for _, d := range dropped {
		r.Dropped = append(r.Dropped, d)
		r.Rows += d.Rows
		r.Bytes += d.Bytes
	}
}

// finish notes the run, for Show, the audit and the log.
func (s *Service) finish(ctx context.Context, r *Run, err error) error {
	r.TookMS = float64(time.Since(r.Began).Microseconds()) / 1000
	if err != nil {
		r.Error = err.Error()
	}
	s.mu.Lock()
	s.runs = append([]Run{*r}, s.runs...)
	s.runs = s.runs[:min(len(s.runs), keepRuns)]
	s.mu.Unlock()
	if r.DryRun {
		return err
	}
	done := fmt.Sprintf("partitions=%d rows=%d files=%d bytes=%d", len(r.Dropped), r.Rows, r.Files, r.Bytes)
	s.opts.Log.Info("retention has run", "by", r.By, "partitions", len(r.Dropped), "rows", r.Rows, "files", r.Files, "bytes", r.Bytes, "took_ms", r.TookMS)
	if s.opts.Audit != nil {
		s.opts.Audit(context.WithoutCancel(ctx), r.By, done, err)
	}
	return err
}

// relievable are the tables that give way when the disk is full: chat and
// missions do not.
var relievable = []string{history.Cot, history.Endpoints}

// relieve drops the oldest partitions while the disk has less left than is to
// stay free. What was written last, today's, stays.
func (s *Service) relieve(ctx context.Context) {
	s.mu.Lock()
	keep := s.conf.KeepFree
	s.mu.Unlock()
	if keep == 0 || s.opts.Free == nil || s.opts.History == nil || !s.run.TryLock() {
		return
	}
	defer s.run.Unlock()
	r := Run{Began: time.Now(), By: "disk", Dropped: []history.Dropped{}}
	var err error
	for ctx.Err() == nil {
		free, failed := s.opts.Free()
		if err = failed; err != nil || free >= uint64(keep) {
			break
		}
		var d history.Dropped
		if d, err = s.opts.History.DropOldest(ctx, relievable); err != nil || d.Table == "" {
			break // nothing is left to drop
		}
		r.add(d)
	}
	if len(r.Dropped) > 0 {
		_ = s.finish(ctx, &r, err)
	}
}
