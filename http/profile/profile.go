// Package profile serves what an operator lays down for devices: a folder of
// preferences, maps, packages and plugins, as the data package that ATAK imports.
//
// DATA/profiles/enrollment is for devices that have just enrolled, connection
// for those that connect, tool/NAME for a tool that asks. In the first two a
// file is for everybody, and a folder is for the group of its name; what is in
// folders of folders belongs to that group, too. Nothing is cached: what is
// changed there, by hand or by the API, holds from the next call on.
package profile

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"takd/http/httpd"
)

// maxProfile bounds the files of one profile together.
const maxProfile = 1 << 30

// The kinds of profile.
const (
	Enrollment = "enrollment"
	Connection = "connection"
)

// Deps is what the API needs.
type Deps struct {
	Dir   string // DATA/profiles; need not exist
	Audit func(ctx context.Context, actor, action, detail string) error
	Log   *slog.Logger
}

type api struct{ Deps }

// Routes is the table of what there is to call.
func Routes(d Deps) []httpd.Route {
	a := &api{d}
	return slices.Concat(a.devices(), a.admin())
}

// Package is what one device gets.
type Package struct {
	root  *os.Root // nil where there are no files in a folder
	name  string   // Connection
	id    string   // of the manifest; "" is made of the files
	files []file
}

type file struct {
	path string // in root
	name string // in the package
	data []byte // instead of path
	info fs.FileInfo
}

// Open finds the files of a kind for who in dir, unless all of them are older
// than since: then there are none. A device that missed one of them gets all.
// Reply, Close or Empty ends the package.
func Open(dir, kind string, who httpd.Principal, since time.Time) (*Package, error) {
	return open(filepath.Join(dir, kind), kind, since, func(group string) bool {
		return slices.Contains(who.Out, group) || slices.Contains(who.In, group)
	})
}

func open(dir, kind string, since time.Time, member func(group string) bool) (*Package, error) {
	p := &Package{name: kind}
	if kind == Enrollment || kind == Connection {
		p.name = strings.ToUpper(kind[:1]) + kind[1:]
	}
	root, err := os.OpenRoot(dir) // links that lead out of it are not followed
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	p.root = root
	fresh, total, mute := since.IsZero(), int64(0), inactive(root, ".")
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case strings.HasPrefix(d.Name(), "."): // editors leave such things
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			if !strings.Contains(name, "/") && (!member(name) || inactive(root, name)) {
				return fs.SkipDir // of a group that he is not in
			}
			return nil
		case mute && !strings.Contains(name, "/"):
			return nil
		}
		info, err := root.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // a link to nowhere, or gone a moment ago
		}
		if total += info.Size(); total > maxProfile {
			return fmt.Errorf("profiles/%s: more than %d bytes for one device", kind, maxProfile)
		}
		fresh = fresh || info.ModTime().After(since)
		p.files = append(p.files, file{path: name, name: fmt.Sprintf("file%d/%s", len(p.files), path.Base(name)), info: info})
		return nil
	})
	if err != nil || !fresh || len(p.files) == 0 {
		p.files = nil
		return p, errors.Join(err, p.Close())
	}
	return p, nil
}

// inactiveMark is a file in the folder of a profile that is kept and given to nobody.
const inactiveMark = ".inactive"

func inactive(root *os.Root, dir string) bool {
	_, err := root.Lstat(path.Join(dir, inactiveMark))
	return err == nil
}

// Add puts a file into the package that is in no folder.
func (p *Package) Add(name string, data []byte) {
	if len(p.files) == 0 {
		p.id = "takd-" + strings.ToLower(p.name)
	}
	p.files = append(p.files, file{name: fmt.Sprintf("file%d/%s", len(p.files), name), data: data})
}

// Close ends a package that is not replied with.
func (p *Package) Close() error {
	if p.root == nil {
		return nil
	}
	err := p.root.Close()
	p.root = nil
	return err
}

// Reply answers with the package, or 204 where there is nothing in it.
func (p *Package) Reply(r *httpd.Request) error {
	if len(p.files) == 0 {
		return errors.Join(none(r), p.Close())
	}
	r.Response.Header.Set("Content-Disposition", "attachment; filename=profile.zip")
	r.SetContentType("application/zip")
	if r.IsHead() {
		return p.Close()
	}
	from, to := io.Pipe()
	go func() { // ends when everything is written, or the answer is given up and from is closed
		to.CloseWithError(p.write(to))
	}()
	r.Response.SetBodyStream(from, -1)
	return nil
}

// write packs the files, in the form that ATAK imports and then deletes.
func (p *Package) write(to io.Writer) (err error) {
	defer func() { err = errors.Join(err, p.Close()) }()
	z := zip.NewWriter(to)
	m, err := z.Create("MANIFEST/manifest.xml")
	if err == nil {
		_, err = m.Write(p.manifest())
	}
	for i := range p.files {
		if err == nil {
			err = p.add(z, &p.files[i])
		}
	}
	return errors.Join(err, z.Close())
}

func (p *Package) add(z *zip.Writer, f *file) error {
	if f.info == nil {
		out, err := z.Create(f.name)
		if err == nil {
			_, err = out.Write(f.data)
		}
		return err
	}
	in, err := p.root.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: f.info.ModTime()})
	if err == nil {
		_, err = io.Copy(out, in)
	}
	return err
}

// manifest has the same uid as long as the files are the same.
func (p *Package) manifest() []byte {
	id := sha256.New()
	var contents strings.Builder
	for i := range p.files {
		f := &p.files[i]
		if f.info != nil {
			_, _ = fmt.Fprintf(id, "%s %d %d\n", f.path, f.info.Size(), f.info.ModTime().UnixNano())
		}
		contents.WriteString(`<Content ignore="false" zipEntry="`)
		_ = xml.EscapeText(&contents, []byte(f.name)) // a Builder does not fail
		contents.WriteString(`"/>`)
	}
	uid := p.id
	if uid == "" {
		uid = "takd-" + hex.EncodeToString(id.Sum(nil)[:8])
	}
	return fmt.Appendf(nil, `<MissionPackageManifest version="2"><Configuration><Parameter name="uid" value="%s"/><Parameter name="name" value="%s"/>`+
		`<Parameter name="onReceiveImport" value="true"/><Parameter name="onReceiveDelete" value="true"/></Configuration><Contents>%s</Contents></MissionPackageManifest>`,
		uid, escaped(p.name), contents.String())
}

func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}
