// Package icon keeps icon sets: zip files as ATAK makes and imports them, with an
// iconset.xml and images in folders. A marker names one of them by its iconset
// path, UID/FOLDER/NAME.
//
// A set is one file, DATA/icons/UID.zip, which is replaced as a whole. Its table
// of contents is kept in memory, and an image is unpacked when somebody asks.
package icon

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// What a set may be. ATAK's own largest has 1,500 icons in 4 MB.
const (
	MaxSet  = 32 << 20 // bytes of the zip
	maxSets = 1000
	maxIcon = 1 << 20 // bytes of an image, unpacked
	maxAll  = 5000    // images of a set
	maxXML  = 4 << 20
)

var (
	// ErrInvalid is what is no icon set.
	ErrInvalid = errors.New("icon set")
	// ErrNotFound is what is not here.
	ErrNotFound = errors.New("no such icon")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

var validUID = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$`)

// Set is what is in one file.
type Set struct {
	UID   string
	Name  string    // for people
	Icons []string  // FOLDER/NAME, sorted
	Time  time.Time // when it came
}

// Store is a folder of sets. Its methods may be called from any goroutine.
type Store struct {
	dir  string
	mu   sync.RWMutex
	sets map[string]Set
}

// Open reads what is in dir, which need not exist. A file that is no set is named
// in the error and left where it is; the store is good without it.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, sets: map[string]Set{}}
	entries, all := os.ReadDir(dir)
	if errors.Is(all, fs.ErrNotExist) {
		all = nil
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if filepath.Ext(name) != ".zip" {
			continue
		}
		set, err := read(name)
		if err == nil && set.UID+".zip" != filepath.Base(name) {
			err = invalid("its uid is %s", set.UID)
		}
		if err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", name, err))
			continue
		}
		s.sets[set.UID] = set
	}
	return s, all
}

func read(name string) (Set, error) {
	f, err := os.Open(name)
	if err != nil {
		return Set{}, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return Set{}, err
	}
	set, err := parse(f, info.Size())
	set.Time = info.ModTime()
	return set, err
}

// parse reads the zip's directory and its iconset.xml.
func parse(in io.ReaderAt, size int64) (Set, error) {
	if size > MaxSet {
		return Set{}, invalid("%d bytes; want at most %d", size, MaxSet)
	}
	z, err := zip.NewReader(in, size)
	if err != nil {
		return Set{}, invalid("%w", err)
	}
	var set Set
	for _, f := range z.File {
		name := f.Name
		switch {
		case strings.HasSuffix(name, "/"):
		case !fs.ValidPath(name) || strings.Contains(name, "\\"):
			return set, invalid("%.64q: a name that leads elsewhere", name)
		case path.Base(name) == "iconset.xml":
			if set.UID != "" {
				return set, invalid("two iconset.xml")
			}
			if err := describe(f, &set); err != nil {
				return set, err
			}
		case kind(name) == "":
		case f.UncompressedSize64 > maxIcon:
			return set, invalid("%.64q: %d bytes; want at most %d", name, f.UncompressedSize64, maxIcon)
		case len(set.Icons) >= maxAll:
			return set, invalid("more than %d icons", maxAll)
		default:
			set.Icons = append(set.Icons, name)
		}
	}
	if set.UID == "" {
		return set, invalid("there is no iconset.xml")
	}
	slices.Sort(set.Icons)
	return set, nil
}

// describe reads uid and name of the iconset element.
func describe(f *zip.File, set *Set) error {
	if f.UncompressedSize64 > maxXML {
		return invalid("iconset.xml: %d bytes; want at most %d", f.UncompressedSize64, maxXML)
	}
	body, err := unpack(f, maxXML)
	if err != nil {
		return invalid("iconset.xml: %w", err)
	}
	var head struct {
		XMLName xml.Name `xml:"iconset"`
		UID     string   `xml:"uid,attr"`
		Name    string   `xml:"name,attr"`
	}
	if err := xml.Unmarshal(body, &head); err != nil {
		return invalid("iconset.xml: %w", err)
	}
	if !validUID.MatchString(head.UID) {
		return invalid("uid: want at most 128 letters, digits, dots, hyphens and underscores")
	}
	if len(head.Name) > 255 {
		return invalid("name: %d bytes; want at most 255", len(head.Name))
	}
	set.UID, set.Name = head.UID, head.Name
	return nil
}

func unpack(f *zip.File, limit int64) ([]byte, error) {
	in, err := f.Open()
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return body, errors.Join(err, in.Close())
}

// kind is the MIME type of an image by its name, or "". SVG can carry scripts and
// is none.
func kind(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".gif":
		return "image/gif"
	case ".webp":
		return "image/webp"
	}
	return ""
}

// Add keeps a set, in the place of an older one with its uid.
func (s *Store) Add(body []byte) (Set, error) {
	set, err := parse(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return set, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, old := s.sets[set.UID]; !old && len(s.sets) >= maxSets {
		return set, invalid("there are %d already; want at most that", maxSets)
	}
	if err := s.write(set.UID, body); err != nil {
		return set, fmt.Errorf("icon set: %w", err)
	}
	set.Time = time.Now()
	s.sets[set.UID] = set
	return set, nil
}

func (s *Store) write(uid string, body []byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	out, err := os.CreateTemp(s.dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = out.Write(body)
	if err = errors.Join(err, out.Sync(), out.Close()); err == nil {
		err = os.Rename(out.Name(), s.file(uid))
	}
	if err != nil {
		_ = os.Remove(out.Name())
	}
	return err
}

func (s *Store) file(uid string) string { return filepath.Join(s.dir, uid+".zip") }

// Delete removes a set.
func (s *Store) Delete(uid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.sets[uid]; !ok {
		return ErrNotFound
	}
	if err := os.Remove(s.file(uid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("icon set: %w", err)
	}
	delete(s.sets, uid)
	return nil
}

// Sets are all sets, by uid.
func (s *Store) Sets() []Set {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]Set, 0, len(s.sets))
	for _, set := range s.sets {
		all = append(all, set)
	}
	slices.SortFunc(all, func(a, b Set) int { return strings.Compare(a.UID, b.UID) })
	return all
}

// Set is one of them, or ErrNotFound.
func (s *Store) Set(uid string) (Set, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	set, ok := s.sets[uid]
	if !ok {
		return set, ErrNotFound
	}
	return set, nil
}

// Has tells whether there is an image at an iconset path, UID/FOLDER/NAME.
func (s *Store) Has(iconsetPath string) bool {
	uid, name, _ := strings.Cut(iconsetPath, "/")
	set, err := s.Set(uid)
	_, ok := slices.BinarySearch(set.Icons, name)
	return err == nil && ok
}

// Icon is the image at an iconset path, UID/FOLDER/NAME, and its MIME type.
func (s *Store) Icon(iconsetPath string) (image []byte, mime string, err error) {
	if !s.Has(iconsetPath) {
		return nil, "", ErrNotFound
	}
	uid, name, _ := strings.Cut(iconsetPath, "/")
	z, err := zip.OpenReader(s.file(uid))
	if err != nil {
		return nil, "", fmt.Errorf("icon set: %w", err)
	}
	for _, f := range z.File {
		if f.Name == name {
			image, err = unpack(f, maxIcon)
			return image, kind(name), errors.Join(err, z.Close())
		}
	}
	return nil, "", errors.Join(ErrNotFound, z.Close())
}
