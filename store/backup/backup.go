// Package backup copies the data of a server into one file, and makes a data
// directory of such a file again.
//
// The file is a tar stream, compressed with zstd and, where that is wanted,
// encrypted with age. Its first member is the manifest: name, size, mode, time
// and SHA-256 of every other one, in their order. So who reads it knows what
// has to come before it comes, and takes nothing else.
//
// What is in it: the metadata database as it was at one moment, the files that
// it names, pki, conf, admin, and what the operator laid down for clients. What
// is not: the history of events with its spool, logs, and other backups.
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"takd/store/meta"
)

// Errors of this package.
var (
	ErrInvalid = meta.ErrInvalid              // no backup, or not a whole one
	ErrExists  = meta.ErrExists               // the file, or data in the directory
	ErrKey     = errors.New("cannot open")    // encrypted, for somebody else
	ErrBusy    = errors.New("keeps changing") // a file that was written to all the while
)

// Format is the version of the form of the file.
const Format = 1

// NotIncluded says what a backup does not hold.
const NotIncluded = "the history of events and its spool, logs, base maps, other backups"

const (
	manifestName = "manifest.json"
	metaName     = "meta.db"
	// maxManifest bounds the manifest, and so the number of files: some two million.
	maxManifest = 256 << 20
)

// dirs are the folders of the data directory that are copied, beside the database and blob.
var dirs = []string{"pki", "conf", "admin", "profiles", "packages", "icons"}

// Manifest says what is in a backup.
type Manifest struct {
	Format      int       `json:"format"`
	Version     string    `json:"version"` // of the takd that made it
	ServerID    string    `json:"server_id"`
	Created     time.Time `json:"created"`
	NotIncluded string    `json:"not_included"`
	Missing     []string  `json:"missing,omitempty"` // what was not there, or no file: it is not in the backup either
	Files       []File    `json:"files"`
}

// File is one member.
type File struct {
	Name   string    `json:"name"` // from the data directory, with slashes
	Size   int64     `json:"size"` // bytes
	Mode   uint32    `json:"mode"` // permissions
	Time   time.Time `json:"time"`
	SHA256 string    `json:"sha256"`
}

// Size is how many bytes all members have together.
func (m *Manifest) Size() (n int64) {
	for i := range m.Files {
		n += m.Files[i].Size
	}
	return n
}

// Source is what a backup is made of.
type Source struct {
	Data     string // the data directory
	DB       *meta.DB
	ServerID string
	Version  string
	Log      *slog.Logger // may be nil
}

// check reports what a manifest must not say. Names are those that Create
// writes: nothing of them leads out of the directory.
func (m *Manifest) check() error {
	if m.Format != Format {
		return fmt.Errorf("%w: backup: format %d, this takd knows %d", ErrInvalid, m.Format, Format)
	}
	seen := make(map[string]bool, len(m.Files))
	var total int64
	for i := range m.Files {
		f := &m.Files[i]
		switch {
		case !validName(f.Name):
			return fmt.Errorf("%w: backup: name %.100q: want the path of a file in a data directory", ErrInvalid, f.Name)
		case seen[f.Name]:
			return fmt.Errorf("%w: backup: %.100q is there twice", ErrInvalid, f.Name)
		case f.Size < 0 || f.Size > 1<<50 || total+f.Size > 1<<50:
			return fmt.Errorf("%w: backup: size of %.100q: want at most a pebibyte in all", ErrInvalid, f.Name)
		case len(f.SHA256) != 64:
			return fmt.Errorf("%w: backup: sha256 of %.100q: want 64 hex digits", ErrInvalid, f.Name)
		}
		total += f.Size
		seen[f.Name] = true
	}
	if !seen[metaName] {
		return fmt.Errorf("%w: backup: %s is not in it", ErrInvalid, metaName)
	}
	return nil
}

func validName(name string) bool {
	if name == metaName {
		return true
	}
	top, _, found := strings.Cut(name, "/")
	return found && fs.ValidPath(name) && path.Clean(name) == name && !strings.ContainsAny(name, "\\\x00") && len(name) < 1024 &&
		(top == "blob" || slices.Contains(dirs, top))
}

// decode reads a manifest.
func decode(r io.Reader) (*Manifest, error) {
	m := &Manifest{}
	if err := json.NewDecoder(io.LimitReader(r, maxManifest)).Decode(m); err != nil {
		return nil, fmt.Errorf("%w: backup: manifest: %w", ErrInvalid, err)
	}
	return m, m.check()
}

// Passphrase is the key that a passphrase makes, to read and to write with.
func Passphrase(text string) (age.Recipient, age.Identity, error) {
	to, err := age.NewScryptRecipient(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: passphrase: %w", ErrInvalid, err)
	}
	from, err := age.NewScryptIdentity(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: passphrase: %w", ErrInvalid, err)
	}
	return to, from, nil
}

// Recipients reads public keys as age-keygen writes them: age1...
func Recipients(keys []string) ([]age.Recipient, error) {
	all := make([]age.Recipient, 0, len(keys))
	for _, key := range keys {
		r, err := age.ParseRecipients(strings.NewReader(key))
		if err != nil {
			return nil, fmt.Errorf("%w: recipient %.100q: %w", ErrInvalid, key, err)
		}
		all = append(all, r...)
	}
	return all, nil
}

// ctxReader ends a long copy when ctx does.
type ctxReader struct {
	ctx context.Context //nolint:containedctx // of one copy
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
