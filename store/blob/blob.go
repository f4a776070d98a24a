// Package blob keeps the files that clients upload: the bytes in a directory, by
// their SHA-256, and what is known of them in the metadata database.
//
// A row of the table files is one upload: who sent it, under which name, for
// which groups. Rows with the same bytes share one file, which goes with the
// last of them. A file is complete and on disk before its row is written, and
// its row is gone before the file is: what a crash leaves is a file that nobody
// names, and Open removes it. Nothing here starts goroutines.
package blob

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"takd/store/meta"
)

// Errors of this package. A LimitError says which limit was met.
var (
	ErrOptions  = errors.New("files")
	ErrNotFound = meta.ErrNotFound
	ErrInvalid  = meta.ErrInvalid
	ErrLimit    = errors.New("too large")
	ErrFull     = errors.New("no space") // the disk, not a quota
)

// Options bounds what is kept. The zero value of a field means its default.
type Options struct {
	MaxUpload  Size `yaml:"max_upload"  help:"Largest file." default:"400MiB"`
	QuotaUser  Size `yaml:"quota_user"  help:"Files of one user together." default:"10GiB"`
	QuotaTotal Size `yaml:"quota_total" help:"Files of all users together, equal ones counted once." default:"100GiB"`
	MinFree    Size `yaml:"min_free"    help:"Space that uploads leave free on the disk." default:"1GiB"`
}

// WithDefaults returns o with every zero field set to its default.
func (o Options) WithDefaults() Options {
	def := func(v *Size, d Size) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.MaxUpload, 400*MiB)
	def(&o.QuotaUser, 10*GiB)
	def(&o.QuotaTotal, 100*GiB)
	def(&o.MinFree, GiB)
	return o
}

// Validate reports every bad field at once.
func (o Options) Validate() error {
	o = o.WithDefaults()
	var errs []error
	for _, f := range []struct {
		name string
		v    Size
	}{{"max_upload", o.MaxUpload}, {"quota_user", o.QuotaUser}, {"quota_total", o.QuotaTotal}, {"min_free", o.MinFree}} {
		if f.v < 1 || f.v > 1024*TiB {
			errs = append(errs, fmt.Errorf("%w: %s %v: want 1 to 1024TiB", ErrOptions, f.name, f.v))
		}
	}
	return errors.Join(errs...)
}

// LimitError says what an upload would have exceeded. It wraps ErrLimit, or
// ErrFull where the disk has no room.
type LimitError struct {
	Field string // files.max_upload and so on
	Limit Size
	why   error
}

func (e *LimitError) Error() string { return fmt.Sprintf("%v: %s is %v", e.why, e.Field, e.Limit) }

// Unwrap implements the interface of errors.Is.
func (e *LimitError) Unwrap() error { return e.why }

// sum is a SHA-256.
type sum [32]byte

func (h sum) String() string { return hex.EncodeToString(h[:]) }

// ValidHash reports whether h is a SHA-256 in lower-case hex. Nothing else
// becomes part of a path.
func ValidHash(h string) bool {
	_, ok := parseSum(h)
	return ok
}

func parseSum(h string) (s sum, ok bool) {
	if len(h) != 2*len(s) {
		return s, false
	}
	for i := range len(h) {
		if c := h[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return s, false
		}
	}
	n, err := hex.Decode(s[:], []byte(h))
	return s, err == nil && n == len(s)
}

// stripes bounds how many hashes are locked one by one.
const stripes = 64

// Store holds the files of a server. It is safe for concurrent use by one process.
type Store struct {
	db      *meta.DB
	dir     string
	options func() Options
	log     *slog.Logger
	free    func() (Size, error) // space on the disk that we may use

	locks [stripes]sync.Mutex // by hash: a file and its rows change together

	mu     sync.Mutex
	known  map[sum]*content
	users  map[string]Size // rows of each user together
	total  Size            // files together
	coming Size            // announced by uploads under way, or written by them
	byUser map[string]Size // of that, by user

	queue   sync.Mutex
	waiting []*insertion
	writing sync.Mutex
}

// content is one file.
type content struct {
	size Size
	rows int
}

// Open opens the files in dir, whose rows are in db, and removes what a crash
// left there. options is asked at each upload, so that limits can change. log may be nil.
func Open(ctx context.Context, db *meta.DB, dir string, options func() Options, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		db: db, dir: dir, log: log, options: func() Options { return options().WithDefaults() },
		known: map[sum]*content{}, users: map[string]Size{}, byUser: map[string]Size{},
	}
	s.free = func() (Size, error) { return freeSpace(dir) }
	if err := os.MkdirAll(s.tmp(), 0o700); err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	for i := range 256 {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("files: %w", err)
		}
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	if err := s.sweep(ctx); err != nil {
		return nil, fmt.Errorf("files in %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) tmp() string { return filepath.Join(s.dir, "tmp") }

func (s *Store) path(h sum) string {
	name := h.String()
	return filepath.Join(s.dir, name[:2], name)
}

func (s *Store) lock(h sum) (unlock func()) {
	m := &s.locks[h[0]%stripes]
	m.Lock()
	return m.Unlock
}

// Limits are the ones that hold now.
func (s *Store) Limits() Options { return s.options() }

// Usage is how many bytes there are: of one user, and of all together.
func (s *Store) Usage(user string) (own, total Size) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users[user], s.total
}

// WriteMetrics writes how much there is, in the Prometheus text format.
func (s *Store) WriteMetrics(w io.Writer) {
	s.mu.Lock()
	files, total, coming := len(s.known), s.total, s.coming
	s.mu.Unlock()
	_, _ = fmt.Fprintf(w, "takd_files %d\ntakd_files_bytes %d\ntakd_files_bytes_reserved %d\n", files, int64(total), int64(coming))
	if free, err := s.free(); err == nil {
		_, _ = fmt.Fprintf(w, "takd_files_disk_free_bytes %d\n", int64(free))
	}
}

// Open opens the bytes of a file. Whoever deletes it meanwhile does not disturb the reader.
func (s *Store) Open(hash string) (*os.File, error) {
	h, ok := parseSum(hash)
	if !ok {
		return nil, fmt.Errorf("file %.80q: %w", hash, ErrNotFound)
	}
	f, err := os.Open(s.path(h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("file %s: %w", hash, ErrNotFound)
	}
	return f, err
}

func freeSpace(dir string) (Size, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return Size(st.Bavail) * Size(st.Bsize), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	err = errors.Join(d.Sync(), d.Close())
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
