// Package tiles keeps base maps: PMTiles files in one folder, which the web page
// reads in parts. It knows their format as far as it is needed to look at what is
// uploaded and to cut a region out of a larger file.
package tiles

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"takd/store/blob"
	"takd/store/meta"
)

// Errors of this package.
var (
	ErrOptions  = errors.New("tiles")
	ErrInvalid  = meta.ErrInvalid
	ErrExists   = meta.ErrExists
	ErrNotFound = meta.ErrNotFound
	ErrLimit    = blob.ErrLimit
	ErrFull     = blob.ErrFull
)

// Extension ends the name of each file.
const Extension = ".pmtiles"

const (
	maxFiles = 64       // that are kept
	step     = 16 << 20 // bytes between two looks at the space on the disk
	tmpStart = ".upload-"
)

// Options bounds what is kept. The zero value of a field means its default.
type Options struct {
	MaxFile  blob.Size `yaml:"max_file"  help:"Largest base map." default:"20GiB"`
	MaxTotal blob.Size `yaml:"max_total" help:"All base maps together." default:"100GiB"`
}

// WithDefaults returns o with every zero field set to its default.
func (o Options) WithDefaults() Options {
	o.MaxFile, o.MaxTotal = cmp.Or(o.MaxFile, 20*blob.GiB), cmp.Or(o.MaxTotal, 100*blob.GiB)
	return o
}

// Validate reports every bad field at once.
func (o Options) Validate() error {
	o = o.WithDefaults()
	var errs []error
	for name, v := range map[string]blob.Size{"max_file": o.MaxFile, "max_total": o.MaxTotal} {
		if v < 1 || v > 1024*blob.TiB {
			errs = append(errs, fmt.Errorf("%w: %s %v: want 1 to 1024TiB", ErrOptions, name, v))
		}
	}
	return errors.Join(errs...)
}

// Limits are the options, and what has to stay free on the disk.
type Limits struct {
	Options

	MinFree blob.Size
}

// Info is one base map.
type Info struct {
	Name    string     `json:"name"` // of the file
	Size    int64      `json:"size"`
	Time    time.Time  `json:"time"`
	Type    string     `json:"type"` // mvt (vector), png, jpg, webp or avif
	MinZoom int        `json:"minzoom"`
	MaxZoom int        `json:"maxzoom"`
	Bounds  [4]float64 `json:"bounds"` // west, south, east, north
	Tag     string     `json:"tag"`    // another one for another file of the same name
}

// Library is the folder. It is safe for concurrent use by one process.
type Library struct {
	dir    string
	limits func() Limits

	mu     sync.Mutex
	coming int64 // bytes of uploads under way
}

// Open opens a folder, which need not be there yet, and removes what uploads that
// never ended have left.
func Open(dir string, limits func() Limits) (*Library, error) {
	left, err := filepath.Glob(filepath.Join(dir, tmpStart+"*"))
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	return &Library{dir: dir, limits: limits}, err
}

var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.pmtiles$`)

func validName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%w: name %.80q: want 1 to 64 letters, digits, dots, dashes and underscores, and %s", ErrInvalid, name, Extension)
	}
	return nil
}

// List are the base maps by name; what is no base map is left out.
func (l *Library) List() ([]Info, error) {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	all := make([]Info, 0, len(entries))
	for _, e := range entries {
		if validName(e.Name()) != nil {
			continue
		}
		f, info, err := l.Open(e.Name())
		if err != nil {
			continue
		}
		_ = f.Close() // of reading
		all = append(all, info)
	}
	return all, err
}

// Open opens a base map; the caller closes it.
func (l *Library) Open(name string) (*os.File, Info, error) {
	if validName(name) != nil {
		return nil, Info{}, fmt.Errorf("%w: base map %.80q", ErrNotFound, name)
	}
	root, err := os.OpenRoot(l.dir) // links that lead out of it are not followed
	if err == nil {
		defer func() { _ = root.Close() }()
		var f *os.File
		if f, err = root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
			info, err := about(f, name)
			if err == nil {
				return f, info, nil
			}
			return nil, Info{}, errors.Join(err, f.Close())
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: base map %q", ErrNotFound, name)
	}
	return nil, Info{}, err
}

// about reads the header of a file.
func about(f *os.File, name string) (Info, error) {
	st, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	if !st.Mode().IsRegular() {
		return Info{}, fmt.Errorf("%w: base map %q", ErrNotFound, name)
	}
	b := make([]byte, HeaderLen)
	if _, err := f.ReadAt(b, 0); err != nil {
		return Info{}, fmt.Errorf("%w: want a PMTiles file", ErrInvalid)
	}
	h, err := parseHeader(b, st.Size())
	if err != nil {
		return Info{}, err
	}
	deg := func(v int32) float64 { return float64(v) / e7 }
	return Info{
		Name: name, Size: st.Size(), Time: st.ModTime().UTC(), Type: kinds[h.kind], MinZoom: int(h.minZoom), MaxZoom: int(h.maxZoom),
		Bounds: [4]float64{deg(h.w), deg(h.s), deg(h.e), deg(h.n)}, Tag: fmt.Sprintf("%x-%x", st.Size(), st.ModTime().UnixNano()),
	}, nil
}

// Check looks at a whole file: its header, and that its root directory can be read
// and leads into the file.
func Check(r io.ReaderAt, size int64) error {
	b := make([]byte, min(size, maxRoot))
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	h, err := parseHeader(b, size)
	if err != nil {
		return err
	}
	list, err := parseDir(b[h.root.off:h.root.off+h.root.len], h.internal)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("%w: it has no tiles", ErrInvalid)
	}
	for _, e := range list {
		in := h.data
		if e.run == 0 {
			in = h.leaves
		}
		if e.off+uint64(e.len) > in.len {
			return fmt.Errorf("%w: directory: tile %d is not in the file", ErrInvalid, e.id)
		}
	}
	return nil
}

// Add keeps what from gives under a name that is not taken. announced is its size,
// or -1. When it returns nil, the file is on the disk.
func (l *Library) Add(name string, from io.Reader, announced int64) (Info, error) {
	if err := validName(name); err != nil {
		return Info{}, err
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return Info{}, fmt.Errorf("keep base map: %w", err)
	}
	if err := l.taken(name); err != nil {
		return Info{}, err
	}
	f, err := os.CreateTemp(l.dir, tmpStart+"*")
	if err != nil {
		return Info{}, fmt.Errorf("keep base map: %w", err)
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name()) // it is gone where it was kept
	}()
	size, err := l.pour(f, from, announced)
	if err == nil && announced >= 0 && size != announced {
		err = fmt.Errorf("%w: it ended after %d of %d bytes", ErrInvalid, size, announced)
	}
	if err == nil {
		err = Check(f, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return Info{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.taken(name); err != nil {
		return Info{}, err
	}
	if err := os.Rename(f.Name(), filepath.Join(l.dir, name)); err != nil {
		return Info{}, fmt.Errorf("keep base map: %w", err)
	}
	if err := l.sync(); err != nil {
		return Info{}, err
	}
	return about(f, name)
}

// taken is an error where there is no place for another file of that name.
func (l *Library) taken(name string) error {
	if _, err := os.Lstat(filepath.Join(l.dir, name)); err == nil {
		return fmt.Errorf("%w: base map %q: remove it first", ErrExists, name)
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("keep base map: %w", err)
	}
	if len(entries) >= 2*maxFiles || len(slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") })) >= maxFiles {
		return fmt.Errorf("%w: want at most %d base maps", ErrLimit, maxFiles)
	}
	return nil
}

// pour copies, and looks at the limits as it goes.
func (l *Library) pour(f *os.File, from io.Reader, announced int64) (size int64, err error) {
	reserved := int64(0)
	defer func() {
		l.mu.Lock()
		l.coming -= reserved
		l.mu.Unlock()
	}()
	for more := max(announced, step); size != announced; more = step {
		most := int64(l.limits().MaxFile)
		if max(size, announced) > most {
			return size, fmt.Errorf("%w: tiles.max_file is %v", ErrLimit, blob.Size(most))
		}
		more = min(more, most-size+1)
		if err := l.fits(more, size); err != nil {
			return size, err
		}
		reserved += more
		n, err := io.CopyN(f, from, reserved-size)
		size += n
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return size, err
		}
	}
	return size, nil
}

// fits reserves more bytes for an upload that has written size.
func (l *Library) fits(more, size int64) error {
	limit := l.limits()
	var st unix.Statfs_t
	if err := unix.Statfs(l.dir, &st); err != nil {
		return fmt.Errorf("space on the disk: %w", err)
	}
	kept, err := l.kept()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case kept+l.coming+more > int64(limit.MaxTotal):
		return fmt.Errorf("%w: tiles.max_total is %v", ErrLimit, limit.MaxTotal)
	case int64(st.Bavail)*st.Bsize-max(l.coming-size, 0)-more < int64(limit.MinFree):
		return fmt.Errorf("%w: files.min_free is %v", ErrFull, limit.MinFree)
	}
	l.coming += more
	return nil
}

// kept is the size of all base maps.
func (l *Library) kept() (total int64, err error) {
	entries, err := os.ReadDir(l.dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !strings.HasPrefix(e.Name(), tmpStart) {
			total += info.Size()
		}
	}
	return total, err
}

// Remove deletes a base map. Who reads it still reads it.
func (l *Library) Remove(name string) error {
	if validName(name) != nil {
		return fmt.Errorf("%w: base map %.80q", ErrNotFound, name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := os.Remove(filepath.Join(l.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: base map %q", ErrNotFound, name)
	} else if err != nil {
		return err
	}
	return l.sync()
}

// sync has the folder's names on the disk.
func (l *Library) sync() error {
	d, err := os.Open(l.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
