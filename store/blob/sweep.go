package blob

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/uptrace/bun"
)

// sweep counts what is there and removes what a crash left: uploads that were
// not kept, files without a row, and rows whose file is not whole.
func (s *Store) sweep(ctx context.Context) error {
	left, err := os.ReadDir(s.tmp())
	if err != nil {
		return err
	}
	for _, f := range left {
		if err := os.RemoveAll(filepath.Join(s.tmp(), f.Name())); err != nil {
			return err
		}
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	whole, orphans, err := s.walk()
	if err != nil {
		return err
	}
	if len(left)+orphans > 0 {
		s.log.Info("files of interrupted uploads removed", "uploads", len(left), "files", orphans)
	}
	if len(whole) == len(s.known) {
		return nil
	}
	if len(whole) == 0 {
		// Every single one: rather a disk that is not mounted than a crash.
		s.log.Error("no file of the table is in the directory; nothing is changed", "directory", s.dir, "files", len(s.known))
		return nil
	}
	return s.forget(ctx, whole)
}

// load counts the rows.
func (s *Store) load(ctx context.Context) error {
	rows, err := s.db.QueryContext(ctx, "SELECT hash, size, submitter FROM files")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var hash, user string
		var size int64
		if err := rows.Scan(&hash, &size, &user); err != nil {
			return err
		}
		if h, ok := parseSum(hash); ok {
			s.count(h, user, Size(size), 1)
		}
	}
	return rows.Err()
}

// walk returns the files that are whole, after removing those without a row.
func (s *Store) walk() (whole map[sum]bool, orphans int, err error) {
	whole = make(map[sum]bool, len(s.known))
	dirs, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, 0, err
	}
	for _, d := range dirs {
		if !d.IsDir() || len(d.Name()) != 2 {
			continue
		}
		files, err := os.ReadDir(filepath.Join(s.dir, d.Name()))
		if err != nil {
			return nil, 0, err
		}
		for _, f := range files {
			h, ok := parseSum(f.Name())
			if !ok {
				continue // not ours
			}
			info, err := f.Info()
			if err != nil {
				return nil, 0, err
			}
			c := s.known[h]
			if c != nil && Size(info.Size()) == c.size {
				whole[h] = true
				continue
			}
			if err := os.Remove(s.path(h)); err != nil {
				return nil, 0, err
			}
			orphans++
		}
	}
	return whole, orphans, nil
}

// forget removes the rows whose file is not whole.
func (s *Store) forget(ctx context.Context, whole map[sum]bool) error {
	var errs []error
	for h := range s.known {
		if whole[h] {
			continue
		}
		s.log.Warn("a file is not there: it is forgotten", "hash", h)
		var rows []File
		if err := s.db.NewSelect().Model(&rows).Where("hash = ?", h.String()).Scan(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewDelete().Model((*File)(nil)).Where("hash = ?", h.String()).Exec(ctx)
			return err
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for i := range rows {
			s.count(h, rows[i].Submitter, Size(rows[i].Size), -1)
		}
	}
	return errors.Join(errs...)
}
