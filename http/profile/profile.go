// Package profile serves what an operator lays down for devices: a folder of
// preferences, maps, packages and plugins, as the data package that ATAK imports.
//
// DATA/profiles/enrollment is for devices that have just enrolled, connection
// for those that connect, tool/NAME for a tool that asks. In the first two a
// file is for everybody, and a folder is for the group of its name; what is in
// folders of folders belongs to that group, too. directories/NAME is for the profiles
// that name it. Nothing is cached: what is
// changed there, by hand or by the API, holds from the next call on.
package profile

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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
	Dir     string        // DATA/profiles; need not exist
	Site    func() string // https://host:port of the API, as phones reach it
	Publish httpd.Publish
	Audit   httpd.Audit
}

type api struct{ Deps }

// Routes is the table of what there is to call.
func Routes(d Deps) []httpd.Route {
	a := &api{d}
	return slices.Concat(a.devices(), a.admin(a.directoryRoutes()))
}

// Package is what one device gets.
type Package struct {
	roots []*os.Root // folders of the files
	name  string     // Connection
	id    string     // of the manifest; "" is made of the files
	files []file
}

type file struct {
	root *os.Root
	path string // in root
	name string // in the package
	data []byte // instead of path
	info fs.FileInfo
}

// Open finds the files of a kind for who in dir, unless all of them are older
// than since: then there are none. A device that missed one of them gets all.
// Reply, Close or Empty ends the package.
func Open(dir, kind string, who httpd.Principal, since time.Time) (*Package, error) {
	return open(dir, kind, kind, since, func(group string) bool {
		return slices.Contains(who.Out, group) || slices.Contains(who.In, group)
	})
}

func open(base, sub, kind string, since time.Time, member func(group string) bool) (*Package, error) {
	p := &Package{name: kind}
	if kind == Enrollment || kind == Connection {
		p.name = strings.ToUpper(kind[:1]) + kind[1:]
	}
	root, err := p.open(filepath.Join(base, sub))
	if err != nil || root == nil {
		return p, err
	}
	f := &finder{Package: p, since: since, fresh: since.IsZero()}
	mute := inactive(root, ".")
	if !mute {
		f.name(root, ".")
	}
	err = f.walk(root, func(name string, d fs.DirEntry) error {
		switch {
		case d.IsDir() && !strings.Contains(name, "/") && (!member(name) || inactive(root, name)):
			return fs.SkipDir // of a group that he is not in
		case d.IsDir() && !strings.Contains(name, "/"):
			f.name(root, name)
		case mute && !strings.Contains(name, "/"):
			return errSkip
		}
		return nil
	})
	if err == nil && len(f.shared) > 0 {
		err = f.walkShared(filepath.Join(base, sharedDir))
	}
	if err != nil || !f.fresh || len(p.files) == 0 {
		p.files = nil
		return p, errors.Join(err, p.Close())
	}
	return p, nil
}

// open opens a folder that the package takes files from; nil where it is not there.
func (p *Package) open(dir string) (*os.Root, error) {
	root, err := folder(dir)
	if root != nil {
		p.roots = append(p.roots, root)
	}
	return root, err
}

// folder opens a folder, whose links that lead out of it are not followed; nil where
// there is none.
func folder(dir string) (*os.Root, error) {
	info, err := os.Stat(dir)
	if absent(err) || err == nil && !info.IsDir() {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	return root, nil
}

// absent says that there is no such folder: nothing, a file, or a name that no
// file system takes.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}

// finder looks for what is in a package.
type finder struct {
	*Package

	since  time.Time
	fresh  bool // something is newer than since
	total  int64
	shared []string // folders that its profiles name
}

// name takes up the folders that the profile in a folder of root names. That it
// names others since counts like a new file.
func (f *finder) name(root *os.Root, folder string) {
	for _, name := range shared(root, folder) {
		if !slices.Contains(f.shared, name) {
			f.shared = append(f.shared, name)
		}
	}
	if info, err := root.Lstat(path.Join(folder, sharedMark)); err == nil {
		f.fresh = f.fresh || info.ModTime().After(f.since)
	}
}

// walkShared takes the files of the folders that profiles name.
func (f *finder) walkShared(dir string) error {
	all, err := f.open(dir)
	if err != nil || all == nil {
		return err
	}
	for _, name := range f.shared {
		in, err := all.OpenRoot(name)
		if err != nil {
			continue // it was taken away, or is a link that leads out
		}
		f.roots = append(f.roots, in)
		if err := f.walk(in, func(string, fs.DirEntry) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// errSkip leaves one file out.
var errSkip = errors.New("skip")

// walk takes the files below root that are not hidden and that want does not refuse.
func (f *finder) walk(root *os.Root, want func(name string, d fs.DirEntry) error) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case strings.HasPrefix(d.Name(), "."): // editors leave such things
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if err := want(name, d); errors.Is(err, errSkip) {
			return nil
		} else if err != nil || d.IsDir() {
			return err
		}
		info, err := root.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // a link to nowhere, or gone a moment ago
		}
		if f.total += info.Size(); f.total > maxProfile {
			return fmt.Errorf("profiles: %s: more than %d bytes for one device", f.Package.name, maxProfile)
		}
		f.fresh = f.fresh || info.ModTime().After(f.since)
		f.files = append(f.files, file{root: root, path: name, name: fmt.Sprintf("file%d/%s", len(f.files), path.Base(name)), info: info})
		return nil
	})
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
	var err error
	for _, root := range p.roots {
		err = errors.Join(err, root.Close())
	}
	p.roots = nil
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
	in, err := f.root.Open(f.path)
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
		contents.WriteString(`<Content ignore="false" zipEntry="` + httpd.EscapeXML(f.name) + `"/>`)
	}
	uid := p.id
	if uid == "" {
		uid = "takd-" + hex.EncodeToString(id.Sum(nil)[:8])
	}
	return fmt.Appendf(nil, `<MissionPackageManifest version="2"><Configuration><Parameter name="uid" value="%s"/><Parameter name="name" value="%s"/>`+
		`<Parameter name="onReceiveImport" value="true"/><Parameter name="onReceiveDelete" value="true"/></Configuration><Contents>%s</Contents></MissionPackageManifest>`,
		uid, httpd.EscapeXML(p.name), contents.String())
}
