package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"takd/store/meta"
)

// keepInMemory is the largest file that is read once only. Keys and
// configuration are such files: what was hashed is what is written.
const keepInMemory = 256 << 10

// tries is how often a backup begins anew because a large file was written to.
const tries = 3

// Create writes a backup to file, for recipients alone where there are any. The
// file is written beside, synced and renamed: it is whole, or not there. Nobody
// but its owner may read it. A file that is there gives ErrExists.
//
// The server may run: the database is copied as it is at one moment, and the
// files that it names are kept until they are copied.
func Create(ctx context.Context, src Source, file string, recipients ...age.Recipient) (m *Manifest, size int64, err error) {
	if _, err := os.Lstat(file); err == nil {
		return nil, 0, fmt.Errorf("backup: %s %w", file, ErrExists)
	}
	for range tries {
		m, size, err = create(ctx, src, file, recipients)
		if !errors.Is(err, ErrBusy) {
			break
		}
	}
	return m, size, err
}

func create(ctx context.Context, src Source, file string, recipients []age.Recipient) (m *Manifest, size int64, err error) {
	// In blob/tmp, because links reach no other disk; what a crash leaves there goes at the next start.
	tmp := filepath.Join(src.Data, "blob", "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, 0, fmt.Errorf("backup: %w", err)
	}
	c := &copier{src: src, held: map[string][]byte{}, at: map[string]string{}}
	if c.stage, err = os.MkdirTemp(tmp, "backup-*"); err != nil {
		return nil, 0, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.stage)) }()
	if err := c.collect(ctx); err != nil {
		return nil, 0, fmt.Errorf("backup: %w", err)
	}
	out, err := os.CreateTemp(filepath.Dir(file), ".backup-*") // made 0600
	if err != nil {
		return nil, 0, fmt.Errorf("backup: %w", err)
	}
	err = c.write(ctx, out, recipients)
	if err == nil {
		size, err = out.Seek(0, io.SeekCurrent)
	}
	err = errors.Join(err, out.Sync(), out.Close())
	if err == nil {
		err = os.Rename(out.Name(), file)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("backup: %w", err), os.Remove(out.Name()))
	}
	return &c.Manifest, size, syncDir(filepath.Dir(file))
}

// copier makes one backup.
type copier struct {
	Manifest

	src   Source
	stage string            // folder for the copy of the database, and links to files
	held  map[string][]byte // small files, by name
	at    map[string]string // where the others are, by name
}

// collect finds out what will be in the backup.
func (c *copier) collect(ctx context.Context) error {
	c.Manifest = Manifest{
		Format: Format, Version: c.src.Version, ServerID: c.src.ServerID, Created: time.Now().UTC().Truncate(time.Second), NotIncluded: NotIncluded,
	}
	copied := filepath.Join(c.stage, metaName)
	if err := c.src.DB.CopyTo(ctx, copied); err != nil {
		return err
	}
	blobs, err := c.links(ctx, copied)
	if err != nil {
		return err
	}
	if err := c.add(metaName, copied); err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := c.walk(ctx, dir); err != nil {
			return err
		}
	}
	c.Files = append(c.Files, blobs...)
	return nil
}

// links links the files that the copied database names, so that whoever deletes
// one meanwhile does not take it away. What went before that is taken out of the
// copy, too: it then is as the server was a moment later.
func (c *copier) links(ctx context.Context, copied string) (all []File, err error) {
	db, err := meta.Open(ctx, copied, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var rows []struct {
		Hash string
		Size int64
	}
	if err := db.NewRaw("SELECT DISTINCT hash, size FROM files ORDER BY hash").Scan(ctx, &rows); err != nil {
		return nil, err
	}
	for _, row := range rows {
		name := "blob/" + row.Hash[:min(2, len(row.Hash))] + "/" + row.Hash
		if !validName(name) {
			return nil, fmt.Errorf("%w: files: hash %.100q", ErrInvalid, row.Hash)
		}
		from, to := filepath.Join(c.src.Data, filepath.FromSlash(name)), filepath.Join(c.stage, row.Hash)
		if os.Link(from, to) != nil {
			to = from // a file system without links: its files may go while they are copied
		}
		info, err := os.Stat(to)
		if err != nil || info.Size() != row.Size {
			c.Missing = append(c.Missing, name)
			if _, err := db.NewRaw("DELETE FROM files WHERE hash = ?", row.Hash).Exec(ctx); err != nil {
				return nil, err
			}
			continue
		}
		c.at[name] = to
		all = append(all, File{Name: name, Size: row.Size, Mode: 0o600, Time: info.ModTime().UTC(), SHA256: row.Hash})
	}
	if len(all) == 0 && len(rows) > 0 {
		return nil, fmt.Errorf("none of the %d files of the table is in %s", len(rows), filepath.Join(c.src.Data, "blob"))
	}
	return all, nil
}

// marks are hidden files that say something of a device profile: that it is switched
// off, and which folders it names. Without the first, a restore would switch it on.
var marks = []string{".inactive", ".directories"}

// walk takes a folder of the data directory. Other names that begin with a dot are of
// files that are being written.
func (c *copier) walk(ctx context.Context, dir string) error {
	top := filepath.Join(c.src.Data, dir)
	return filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case strings.HasPrefix(d.Name(), ".") && d.IsDir():
			return fs.SkipDir
		case strings.HasPrefix(d.Name(), ".") && !slices.Contains(marks, d.Name()), d.IsDir():
			return nil
		}
		rel, err := filepath.Rel(c.src.Data, file)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if !d.Type().IsRegular() || !validName(name) { // links may lead anywhere
			c.Missing = append(c.Missing, name)
			return nil
		}
		if err := c.add(name, file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// add takes one file.
func (c *copier) add(name, file string) (err error) {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	sum := sha256.New()
	f := File{Name: name, Mode: uint32(info.Mode().Perm()), Time: info.ModTime().UTC()}
	if info.Size() <= keepInMemory {
		data, err := io.ReadAll(io.LimitReader(in, 2*keepInMemory))
		if err != nil {
			return err
		}
		sum.Write(data)
		c.held[name], f.Size = data, int64(len(data))
	} else if f.Size, err = io.Copy(sum, in); err != nil {
		return err
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	c.at[name] = file
	c.Files = append(c.Files, f)
	return nil
}

func (c *copier) write(ctx context.Context, out io.Writer, recipients []age.Recipient) error {
	closers := []io.Closer{}
	if len(recipients) > 0 {
		sealed, err := age.Encrypt(out, recipients...)
		if err != nil {
			return fmt.Errorf("encrypt: %w", err)
		}
		closers, out = append(closers, sealed), sealed
	}
	z, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	t := tar.NewWriter(z)
	closers = append(closers, z, t)
	err = c.members(ctx, t)
	for _, each := range slices.Backward(closers) {
		err = errors.Join(err, each.Close())
	}
	return err
}

func (c *copier) members(ctx context.Context, t *tar.Writer) error {
	text, err := json.Marshal(&c.Manifest)
	if err != nil {
		return err
	}
	if len(text) >= maxManifest {
		return fmt.Errorf("%d files: the manifest has %d bytes, want less than %d", len(c.Files), len(text), maxManifest)
	}
	if err := t.WriteHeader(&tar.Header{Name: manifestName, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o600, ModTime: c.Created}); err != nil {
		return err
	}
	if _, err := t.Write(text); err != nil {
		return err
	}
	for i := range c.Files {
		if err := c.member(ctx, t, &c.Files[i]); err != nil {
			return fmt.Errorf("%s: %w", c.Files[i].Name, err)
		}
	}
	return nil
}

func (c *copier) member(ctx context.Context, t *tar.Writer, f *File) (err error) {
	err = t.WriteHeader(&tar.Header{Name: f.Name, Typeflag: tar.TypeReg, Size: f.Size, Mode: int64(f.Mode), ModTime: f.Time})
	if err != nil {
		return err
	}
	var in io.Reader = bytes.NewReader(c.held[f.Name])
	if _, held := c.held[f.Name]; !held {
		file, err := os.Open(c.at[f.Name])
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(t, sum), io.LimitReader(ctxReader{ctx, in}, f.Size))
	switch {
	case err != nil:
		return err
	case n == f.Size && hex.EncodeToString(sum.Sum(nil)) == f.SHA256:
		return nil
	case strings.HasPrefix(f.Name, "blob/"):
		return fmt.Errorf("%w: the file on disk is not what was uploaded: delete it", ErrInvalid)
	}
	return ErrBusy
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
