package blob

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"
)

// Viewer is who asks. A file is visible to who receives from one of its groups,
// to who uploaded it, and to administrators.
type Viewer struct {
	User   string
	Admin  bool
	Groups []string // that it receives from
}

// own is the condition that a file is the viewer's. The name of a removed user
// may be given to somebody else: what was uploaded before that is not his.
const own = "(file.submitter = ? AND file.submitted_at >= COALESCE((SELECT u.created_at FROM users AS u WHERE u.name = ?), 0))"

// Query says which files are wanted. Zero fields do not narrow it.
type Query struct {
	IDs        []int64
	Hash       string
	UID        string
	HashOrUID  string   // either is it
	Name       string   // a part of it, in any case
	Keywords   []string // one of them
	Tool       string
	MIME       string
	CreatorUID string
	Submitter  string
	Since      time.Time
	Until      time.Time
	Box        *Box
	MinAlt     *float64
	MaxAlt     *float64

	Own         bool // only what the viewer may change and delete
	OldestFirst bool
	Limit       int // 0: all
	Offset      int

	rare bool // the index of names is to be used
}

// Box is an area, in degrees.
type Box struct{ South, West, North, East float64 }

// Find returns what v may see, the newest first.
func (s *Store) Find(ctx context.Context, v Viewer, q Query) ([]File, error) {
	files := []File{}
	if err := s.look(ctx, &q); err != nil {
		return nil, fmt.Errorf("find files: %w", err)
	}
	sel := s.where(s.db.NewSelect().Model(&files), v, q)
	if q.OldestFirst {
		sel = sel.Order("file.submitted_at", "file.id")
	} else {
		sel = sel.Order("file.submitted_at DESC", "file.id DESC")
	}
	if q.Limit > 0 {
		sel = sel.Limit(int64(q.Limit))
	}
	if q.Offset > 0 {
		if q.Limit <= 0 {
			sel = sel.Limit(1 << 30)
		}
		sel = sel.Offset(int64(q.Offset))
	}
	if err := sel.Scan(ctx); err != nil {
		return nil, fmt.Errorf("find files: %w", err)
	}
	return files, nil
}

// First returns the newest file that v may see, or ErrNotFound.
func (s *Store) First(ctx context.Context, v Viewer, q Query) (File, error) {
	q.Limit = 1
	files, err := s.Find(ctx, v, q)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("file: %w", ErrNotFound)
	}
	if err != nil {
		return File{}, err
	}
	return files[0], nil
}

// Count is how many Find would return.
func (s *Store) Count(ctx context.Context, v Viewer, q Query) (int, error) {
	if err := s.look(ctx, &q); err != nil {
		return 0, fmt.Errorf("count files: %w", err)
	}
	n, err := s.where(s.db.NewSelect().Model((*File)(nil)), v, q).Count(ctx)
	if err != nil {
		return 0, fmt.Errorf("count files: %w", err)
	}
	return int(n), nil
}

func (s *Store) where(sel *bun.SelectQuery, v Viewer, q Query) *bun.SelectQuery {
	sel = sel.Where("(file.expires = -1 OR file.expires > ?)", time.Now().Unix())
	for _, f := range []struct{ column, text string }{
		{"hash", q.Hash}, {"uid", q.UID}, {"tool", q.Tool}, {"mime", q.MIME}, {"creator_uid", q.CreatorUID}, {"submitter", q.Submitter},
	} {
		if f.text != "" {
			sel = sel.Where("file.? = ?", bun.Ident(f.column), f.text)
		}
	}
	if q.HashOrUID != "" {
		sel = sel.Where("(file.hash = ? OR file.uid = ?)", strings.ToLower(q.HashOrUID), q.HashOrUID)
	}
	if len(q.IDs) > 0 {
		sel = sel.Where("file.id IN (?)", bun.List(q.IDs))
	}
	switch {
	case q.Name == "":
	case strings.ContainsRune(q.Name, 0): // as no name does
		sel = sel.Where("1 = 0")
	case q.rare:
		sel = sel.Where("file.id IN (SELECT rowid FROM file_names WHERE file_names MATCH ?)", phrase(q.Name))
	default:
		sel = sel.Where(`LOWER(file.name) LIKE ? ESCAPE '\'`, "%"+likely.Replace(strings.Map(lower, q.Name))+"%")
	}
	if !q.Since.IsZero() {
		sel = sel.Where("file.submitted_at >= ?", q.Since.UnixMilli())
	}
	if !q.Until.IsZero() {
		sel = sel.Where("file.submitted_at <= ?", q.Until.UnixMilli())
	}
	if b := q.Box; b != nil {
		sel = sel.Where("file.lat BETWEEN ? AND ?", b.South, b.North)
		if b.West <= b.East {
			sel = sel.Where("file.lon BETWEEN ? AND ?", b.West, b.East)
		} else { // over the date line
			sel = sel.Where("(file.lon >= ? OR file.lon <= ?)", b.West, b.East)
		}
	}
	if q.MinAlt != nil {
		sel = sel.Where("file.alt >= ?", *q.MinAlt)
	}
	if q.MaxAlt != nil {
		sel = sel.Where("file.alt <= ?", *q.MaxAlt)
	}
	// What costs a look elsewhere comes last: most rows are out by then.
	if len(q.Keywords) > 0 && (q.Limit > 0 || q.Name != "") { // few are looked at
		sel = sel.Where("EXISTS (SELECT 1 FROM file_keywords AS k WHERE k.file_id = file.id AND k.keyword IN (?))", bun.List(q.Keywords))
	} else if len(q.Keywords) > 0 {
		sel = sel.Where("file.id IN (SELECT k.file_id FROM file_keywords AS k WHERE k.keyword IN (?))", bun.List(q.Keywords))
	}
	switch {
	case v.Admin:
	case len(v.Groups) == 0 || q.Own:
		sel = sel.Where(own, v.User, v.User)
	default:
		sel = sel.Where("("+own+" OR EXISTS (SELECT 1 FROM file_groups AS g WHERE g.file_id = file.id AND g.group_name IN (?)))", v.User, v.User, bun.List(v.Groups))
	}
	return sel
}

const (
	trigram = 3   // letters that the index of names needs
	rare    = 500 // names with a part that is looked up there
)

// look finds out whether few files have the name's part: then the index finds them,
// and else the newest of many are soon found without it.
func (s *Store) look(ctx context.Context, q *Query) error {
	if utf8.RuneCountInString(q.Name) < trigram || strings.ContainsRune(q.Name, 0) {
		return nil
	}
	var n int
	err := s.db.NewRaw("SELECT COUNT(*) FROM (SELECT rowid FROM file_names WHERE file_names MATCH ? LIMIT ?)", phrase(q.Name), rare+1).Scan(ctx, &n)
	q.rare = n <= rare
	return err
}

// phrase is a part of a name as the index wants it.
func phrase(part string) string { return `"` + strings.ReplaceAll(part, `"`, `""`) + `"` }

// lower is what LOWER of SQLite does to a letter.
func lower(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}

// likely makes a text a literal part of a LIKE pattern.
var likely = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

// Change is what of a file's row is replaced. nil fields stay.
type Change struct {
	Tool     *string
	MIME     *string
	Keywords *[]string
	Expires  *int64
}

// Update changes rows. Ids that are not there are no error.
func (s *Store) Update(ctx context.Context, ids []int64, c Change) error {
	if len(ids) == 0 {
		return nil
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var files []File
		if err := tx.NewSelect().Model(&files).Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
			return err
		}
		for i := range files {
			if err := c.write(ctx, tx, &files[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("change file: %w", err)
	}
	return nil
}

func (c *Change) write(ctx context.Context, tx bun.Tx, f *File) error {
	if c.Tool != nil {
		f.Tool = *c.Tool
	}
	if c.MIME != nil {
		f.MIME = *c.MIME
	}
	if c.Expires != nil {
		f.Expires = *c.Expires
	}
	if c.Keywords != nil {
		f.Keywords = *c.Keywords
	}
	if err := f.check(); err != nil {
		return err
	}
	if _, err := tx.NewUpdate().Model(f).WherePK().Exec(ctx); err != nil {
		return err
	}
	for _, row := range []any{(*groupRow)(nil), (*keywordRow)(nil)} {
		if _, err := tx.NewDelete().Model(row).Where("file_id = ?", f.ID).Exec(ctx); err != nil {
			return err
		}
	}
	return writeSets(ctx, tx, f)
}

// Delete removes rows, and the files that no row is left for. Ids that are not
// there are no error.
func (s *Store) Delete(ctx context.Context, ids ...int64) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, id := range ids {
		if err := s.delete(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("delete file %d: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) delete(ctx context.Context, id int64) error {
	var rows []File
	if err := s.db.NewSelect().Model(&rows).Where("id = ?", id).Scan(ctx); err != nil || len(rows) == 0 {
		return err
	}
	f := &rows[0]
	h, ok := parseSum(f.Hash)
	if !ok {
		return fmt.Errorf("%w: hash %q", ErrInvalid, f.Hash)
	}
	defer s.lock(h)()
	gone, err := s.db.NewDelete().Model(f).WherePK().Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := gone.RowsAffected(); err != nil || n == 0 {
		return err // somebody else was faster
	}
	if s.count(h, f.Submitter, Size(f.Size), -1) {
		return nil
	}
	return os.Remove(s.path(h))
}

// Expire deletes what has passed its time, and returns how many rows that were.
func (s *Store) Expire(ctx context.Context, now time.Time) (int, error) {
	var ids []int64
	err := s.db.NewSelect().Model((*File)(nil)).Column("id").Where("expires <> -1 AND expires <= ?", now.Unix()).Limit(10_000).Scan(ctx, &ids)
	if err != nil {
		return 0, fmt.Errorf("expired files: %w", err)
	}
	return len(ids), s.Delete(ctx, ids...)
}
