package retain

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/uptrace/bun"
)

// keepRuns is how many runs are remembered.
const keepRuns = 100

type runRow struct {
	bun.BaseModel `bun:"table:retention_runs"`

	ID     string `bun:",pk"`
	At     int64
	Actor  string
	Report string
}

// finish remembers a run. A dry run changes nothing, and is not remembered.
func (s *Service) finish(ctx context.Context, r *Report, err error) (Report, error) {
	r.TookMS = time.Since(r.At).Milliseconds()
	if err != nil {
		r.Error = err.Error()
	}
	if r.DryRun {
		return *r, err
	}
	s.mu.Lock()
	s.failed = err
	s.totals.runs++
	s.totals.rows += r.Rows
	s.totals.bytes += r.Bytes
	s.totals.files += uint64(r.Files)
	s.totals.last = r.At
	s.mu.Unlock()
	detail := fmt.Sprintf("%d partitions, %d rows, %d files, %d bytes in %d ms", len(r.Dropped), r.Rows, r.Files, r.Bytes, r.TookMS)
	if err != nil {
		s.opts.Log.Error("retention failed", "by", r.By, "removed", detail, "error", err)
		detail += ": " + r.Error
	} else {
		s.opts.Log.Info("retention", "by", r.By, "removed", detail)
	}
	ctx = context.WithoutCancel(ctx) // what was removed is told even while takd stops
	if s.opts.Audit != nil {
		if e := s.opts.Audit(ctx, r.By, "retention run", detail); e != nil {
			s.opts.Log.Error("not in the audit log", "action", "retention run", "error", e)
		}
	}
	if e := s.remember(ctx, r); e != nil {
		s.opts.Log.Error("retention run not remembered", "error", e)
	}
	return *r, err
}

func (s *Service) remember(ctx context.Context, r *Report) error {
	if s.opts.DB == nil {
		return nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.opts.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		row := runRow{ID: rand.Text(), At: r.At.UnixMilli(), Actor: r.By, Report: string(text)}
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewDelete().Model((*runRow)(nil)).
			Where("id NOT IN (SELECT id FROM retention_runs ORDER BY at DESC LIMIT ?)", keepRuns).Exec(ctx)
		return err
	})
}

// Last returns the last runs, the newest first.
func (s *Service) Last(ctx context.Context, limit int) ([]Report, error) {
	list := []Report{}
	if s.opts.DB == nil {
		return list, nil
	}
	var rows []runRow
	if err := s.opts.DB.NewSelect().Model(&rows).Order("at DESC", "id").Limit(int64(limit)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("retention runs: %w", err)
	}
	for _, row := range rows {
		var r Report
		if err := json.Unmarshal([]byte(row.Report), &r); err != nil {
			return nil, fmt.Errorf("retention run %s: %w", row.ID, err)
		}
		list = append(list, r)
	}
	return list, nil
}

// Policy is how long a class is kept.
type Policy struct {
	TTL         *int64 `json:"ttl_seconds"` // null: for ever
	Unavailable string `json:"unavailable,omitempty"`
}

// Overview is how retention is.
type Overview struct {
	Enabled  bool              `json:"enabled"` // something is removed by the schedule
	Schedule string            `json:"schedule"`
	NextRun  *time.Time        `json:"next_run"`
	KeepFree int64             `json:"keep_free"` // bytes; 0: no watermark
	Exempt   []string          `json:"exempt_keywords"`
	Policies map[string]Policy `json:"policies"`
	LastRuns []Report          `json:"last_runs"`
	Error    string            `json:"error,omitempty"` // why nothing is removed
}

// Show returns the overview.
func (s *Service) Show(ctx context.Context) (Overview, error) {
	settings, wrong := s.Settings()
	o := Overview{
		Schedule: settings.Schedule, KeepFree: int64(settings.KeepFree), Exempt: append([]string{}, settings.Exempt...), Policies: map[string]Policy{},
	}
	if wrong != nil {
		o.Error = wrong.Error()
	}
	for _, class := range Classes {
		p := Policy{Unavailable: s.unavailable(class)}
		if ttl, ok := settings.TTL[class]; ok {
			seconds := int64(ttl / time.Second)
			p.TTL = &seconds
			o.Enabled = o.Enabled || p.Unavailable == "" && settings.due != nil && wrong == nil
		}
		o.Policies[class] = p
	}
	s.mu.Lock()
	if !s.next.IsZero() {
		next := s.next.UTC()
		o.NextRun = &next
	}
	s.mu.Unlock()
	var err error
	o.LastRuns, err = s.Last(ctx, 10)
	return o, err
}

// WriteMetrics writes what was removed, in the Prometheus text format.
func (s *Service) WriteMetrics(w io.Writer) {
	s.mu.Lock()
	t, next, failed, settings := s.totals, s.next, s.failed != nil || s.wrong != nil, s.settings
	s.mu.Unlock()
	bad := 0
	if failed {
		bad = 1
	}
	unix := func(t time.Time) int64 { return max(t.Unix(), 0) }
	_, _ = fmt.Fprintf(w, "takd_retention_runs_total %d\ntakd_retention_rows_total %d\ntakd_retention_bytes_total %d\ntakd_retention_files_total %d\n", t.runs, t.rows, t.bytes, t.files)
	_, _ = fmt.Fprintf(w, "takd_retention_failed %d\ntakd_retention_last_run_seconds %d\ntakd_retention_next_run_seconds %d\n", bad, unix(t.last), unix(next))
	for _, class := range slices.Sorted(slices.Values(Classes)) {
		if ttl, ok := settings.TTL[class]; ok {
			_, _ = fmt.Fprintf(w, "takd_retention_ttl_seconds{class=%q} %d\n", class, int64(ttl/time.Second))
		}
	}
}
