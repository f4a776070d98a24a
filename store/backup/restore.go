package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

const (
	ageMagic  = "age-encryption.org/"
	maxWindow = 32 << 20 // of zstd: memory that reading takes
)

// Verify reads a whole backup and checks each member against the manifest.
// It writes nothing.
func Verify(ctx context.Context, r io.Reader, keys ...age.Identity) (*Manifest, error) {
	return read(ctx, r, keys, nil, func(_ *File, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
}

// Restore writes the members of a backup below dir, which exists and is empty,
// and checks each of them. Nothing is written anywhere else, whatever the names
// in the backup say. What a failed call leaves in dir is not for use.
func Restore(ctx context.Context, r io.Reader, dir string, keys ...age.Identity) (m *Manifest, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	room := func(m *Manifest) error {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return fmt.Errorf("free space of %s: %w", dir, err)
		}
		if free := int64(st.Bavail) * st.Bsize; m.Size() > free {
			return fmt.Errorf("restore: the backup needs %d bytes, %s has %d", m.Size(), dir, free)
		}
		return nil
	}
	return read(ctx, r, keys, room, func(f *File, r io.Reader) error { return extract(root, f, r) })
}

func extract(root *os.Root, f *File, r io.Reader) error {
	if dir := path.Dir(f.Name); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	out, err := root.OpenFile(f.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	// What others may read, they may read again; nobody else may write.
	err = errors.Join(err, out.Chmod(os.FileMode(f.Mode)&0o644|0o600), out.Sync(), out.Close())
	if err != nil {
		return err
	}
	return root.Chtimes(f.Name, time.Time{}, f.Time)
}

// read reads a backup and hands each member to take, in order.
func read(ctx context.Context, r io.Reader, keys []age.Identity, accept func(*Manifest) error, take func(*File, io.Reader) error) (*Manifest, error) {
	plain, err := open(ctxReader{ctx, r}, keys)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(2*maxWindow))
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	defer z.Close()
	t := tar.NewReader(z)
	h, err := next(t, manifestName)
	if err != nil {
		return nil, err
	}
	if h.Size > maxManifest {
		return nil, fmt.Errorf("%w: backup: the manifest has %d bytes, want at most %d", ErrInvalid, h.Size, maxManifest)
	}
	m, err := decode(t)
	if err == nil && accept != nil {
		err = accept(m)
	}
	if err != nil {
		return nil, err
	}
	for i := range m.Files {
		if err := one(t, &m.Files[i], take); err != nil {
			return nil, err
		}
	}
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: backup: more in it than the manifest says", ErrInvalid)
	}
	// To the very end: zstd and age check what they have at their ends.
	if n, err := io.Copy(io.Discard, io.LimitReader(z, 1<<20)); err != nil || n == 1<<20 {
		return nil, fmt.Errorf("%w: backup: damaged at its end", ErrInvalid)
	}
	return m, nil
}

// one checks a member against the manifest while take takes it.
func one(t *tar.Reader, f *File, take func(*File, io.Reader) error) error {
	h, err := next(t, f.Name)
	if err != nil {
		return err
	}
	if h.Size != f.Size {
		return fmt.Errorf("%w: backup: %.100q has %d bytes, the manifest says %d", ErrInvalid, f.Name, h.Size, f.Size)
	}
	sum := sha256.New()
	in := &failing{r: io.TeeReader(t, sum)}
	if err := take(f, in); in.err != nil {
		return damaged(in.err)
	} else if err != nil {
		return fmt.Errorf("restore %.100q: %w", f.Name, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
		return fmt.Errorf("%w: backup: %.100q is damaged: its SHA-256 is another", ErrInvalid, f.Name)
	}
	return nil
}

// failing remembers that it was the backup that could not be read.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// next is the next member, which has to be a plain file of that name.
func next(t *tar.Reader, name string) (*tar.Header, error) {
	h, err := t.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: backup: it ends before %.100q", ErrInvalid, name)
	case err != nil:
		return nil, damaged(err)
	case h.Typeflag != tar.TypeReg:
		return nil, fmt.Errorf("%w: backup: %.100q is not a plain file", ErrInvalid, h.Name)
	case h.Name != name:
		return nil, fmt.Errorf("%w: backup: %.100q where %.100q has to be", ErrInvalid, h.Name, name)
	}
	return h, nil
}

func damaged(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: backup: it cannot be read on, it is damaged or cut off: %w", ErrInvalid, err)
}

// open takes the encryption off, where there is one.
func open(r io.Reader, keys []age.Identity) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, _ := b.Peek(len(ageMagic)) // what is too short, the next reader tells
	if !bytes.Equal(head, []byte(ageMagic)) {
		return b, nil
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: the backup is encrypted: give the passphrase or the identity", ErrKey)
	}
	plain, err := age.Decrypt(b, keys...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return plain, nil
}
