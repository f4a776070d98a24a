package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// step is how much an upload of unknown length reserves at a time, and how
// often the space on the disk is looked at.
const step = 4 * MiB

// ahead is how much an upload writes before the disk is told to begin with it. So
// the sync at its end waits for the last of it only.
const ahead = 8 * MiB

// Upload is a file under way. It is written, then kept with Keep; Close drops
// what was not kept. It belongs to one goroutine.
type Upload struct {
	s        *Store
	user     string
	f        *os.File
	hash     hash.Hash
	size     Size
	reserved Size // of the quotas
	looked   Size // size when the disk was looked at
	begun    Size // of the file, that the disk was told to write
	limits   Options
}

// Begin starts an upload of user. announced is its size, or -1 where nobody
// knows: what is certainly too large is refused before its first byte.
func (s *Store) Begin(user string, announced int64) (*Upload, error) {
	u := &Upload{s: s, user: user, hash: sha256.New(), limits: s.options()}
	if err := u.fits(max(Size(announced), 0)); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.tmp(), "upload-*")
	if err != nil {
		u.release()
		return nil, fmt.Errorf("begin upload: %w", err)
	}
	u.f = f
	return u, nil
}

// fits reserves room for want bytes in all.
func (u *Upload) fits(want Size) error {
	s, l := u.s, &u.limits
	if want > l.MaxUpload {
		return &LimitError{"files.max_upload", l.MaxUpload, ErrLimit}
	}
	free, err := s.free()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	more := max(want-u.reserved, 0)
	switch {
	case s.users[u.user]+s.byUser[u.user]+more > l.QuotaUser:
		return &LimitError{"files.quota_user", l.QuotaUser, ErrLimit}
	case s.total+s.coming+more > l.QuotaTotal:
		return &LimitError{"files.quota_total", l.QuotaTotal, ErrLimit}
	case free-max(want-u.size, 0) < l.MinFree:
		return &LimitError{"files.min_free", l.MinFree, ErrFull}
	}
	u.reserved += more
	u.looked = u.size
	s.coming += more
	s.byUser[u.user] += more
	return nil
}

// release gives back what was reserved.
func (u *Upload) release() {
	s := u.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming -= u.reserved
	if s.byUser[u.user] -= u.reserved; s.byUser[u.user] <= 0 {
		delete(s.byUser, u.user)
	}
	u.reserved = 0
}

// Write implements io.Writer.
func (u *Upload) Write(b []byte) (int, error) {
	size := u.size + Size(len(b))
	if size > u.reserved || size-u.looked > step {
		want := max(size, u.reserved)
		if size > u.reserved {
			want = max(size, min(size+step, u.limits.MaxUpload))
		}
		if err := u.fits(want); err != nil && want > size { // the last bytes may still have room
			err = u.fits(size)
			if err != nil {
				return 0, err
			}
		} else if err != nil {
			return 0, err
		}
	}
	n, err := u.f.Write(b)
	u.size += Size(n)
	_, _ = u.hash.Write(b[:n]) // never fails
	if err != nil {
		return n, fmt.Errorf("write upload: %w", err)
	}
	if u.size-u.begun >= ahead {
		// It is advice: what could not be begun now, Sync does.
		_ = unix.SyncFileRange(int(u.f.Fd()), int64(u.begun), int64(u.size-u.begun), unix.SYNC_FILE_RANGE_WRITE)
		u.begun = u.size
	}
	return n, nil
}

// Size is how many bytes were written.
func (u *Upload) Size() int64 { return int64(u.size) }

// ReadAt reads what was written: for who looks at a file before it is kept.
func (u *Upload) ReadAt(b []byte, off int64) (int, error) { return u.f.ReadAt(b, off) }

// Hash is the SHA-256 of what was written so far, in hex.
func (u *Upload) Hash() string {
	var h sum
	u.hash.Sum(h[:0])
	return h.String()
}

// Close drops the upload, unless it was kept.
func (u *Upload) Close() error {
	if u.f == nil {
		return nil
	}
	err := errors.Join(u.f.Close(), os.Remove(u.f.Name()))
	u.f = nil
	u.release()
	return err
}

// Keep puts the file into its place and writes f as its row, with hash, size and
// id filled in. When it returns nil, both are on disk. The same file by the same
// user under the same name replaces the older row.
func (u *Upload) Keep(ctx context.Context, f File) (File, error) {
	defer func() { _ = u.Close() }()
	var h sum
	u.hash.Sum(h[:0])
	f.Hash, f.Size, f.Submitter = h.String(), int64(u.size), u.user
	if err := f.check(); err != nil {
		return File{}, err
	}
	if err := u.f.Sync(); err != nil {
		return File{}, fmt.Errorf("keep upload: %w", err)
	}
	s := u.s
	defer s.lock(h)()
	s.mu.Lock()
	fresh := s.known[h] == nil
	s.mu.Unlock()
	if !fresh { // it is there already, unless somebody removed it behind our back
		_, err := os.Lstat(s.path(h))
		fresh = err != nil
	}
	if fresh {
		if err := os.Rename(u.f.Name(), s.path(h)); err != nil {
			return File{}, fmt.Errorf("keep upload: %w", err)
		}
		_ = u.f.Close() // synced above
		u.f = nil
		defer u.release()
		if err := syncDir(filepath.Dir(s.path(h))); err != nil {
			return File{}, errors.Join(err, os.Remove(s.path(h)))
		}
	}
	replaced, err := s.insert(ctx, &f)
	if err != nil {
		err = fmt.Errorf("keep upload: %w", err)
		if fresh {
			err = errors.Join(err, os.Remove(s.path(h)))
		}
		return File{}, err
	}
	if !replaced {
		s.count(h, f.Submitter, Size(f.Size), 1)
	}
	return f, nil
}

// count adds a row, or takes one away; it reports whether the file has rows left.
func (s *Store) count(h sum, user string, size Size, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.known[h]
	if c == nil {
		c = &content{size: size}
		s.known[h] = c
		s.total += size
	}
	c.rows += n
	if s.users[user] += size * Size(n); s.users[user] <= 0 {
		delete(s.users, user)
	}
	if c.rows > 0 {
		return true
	}
	s.total -= c.size
	delete(s.known, h)
	return false
}
