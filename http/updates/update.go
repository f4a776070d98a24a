// Package updates is the update server of ATAK: from a folder of .apk files it
// makes the list from which ATAK offers plugins and new versions of itself.
//
// DATA/packages holds NAME.apk and, for its icon, NAME.png; a folder in it, such
// as 5.4.0, is a list of its own. Where an operator lays down a product.inf of
// his own, that is the list. What is in the manifests of the files is kept in
// memory until a file changes.
package updates

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"takd/http/httpd"
)

// Bounds of one folder.
const (
	maxApps = 1000
	maxIcon = 1 << 20
	maxList = 4 << 20 // a product.inf of the operator's
)

const (
	listName = "product.inf"
	zipName  = "product.infz"
)

// Deps is what the update server needs.
type Deps struct {
	Dir string // DATA/packages; need not exist
	Log *slog.Logger
}

type api struct {
	Deps

	mu    sync.Mutex
	known map[string]entry // by path in Dir
}

// entry is what is known of a file as long as it does not change.
type entry struct {
	size int64
	time time.Time
	line string // of the list; "" for none
	icon string // path in Dir; "" for none
}

// Routes is the table of what there is to call.
func Routes(d Deps) []httpd.Route {
	a := &api{Deps: d, known: map[string]entry{}}
	return []httpd.Route{{
		Method: "GET", Path: "/api/packages/{path:*}", Faces: httpd.Everyday, Role: httpd.User, Tag: "Updates",
		Summary: "The update server of ATAK: product.inf, product.infz with the icons, .apk and .png files; a folder such as 5.4.0 has its own.", Handler: a.get,
	}}
}

var missing = httpd.NotFound("Not Found: there is no such package")

func (a *api) get(r *httpd.Request) error {
	name := r.Param("path")
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
		return missing
	}
	root, err := os.OpenRoot(a.Dir) // links that lead out of it are not followed
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	} else if err != nil {
		return fmt.Errorf("packages: %w", err)
	}
	defer func() { _ = root.Close() }()
	dir, base := path.Split(name)
	dir = path.Clean("./" + dir)
	switch {
	case base == listName || base == zipName:
		return a.list(r, root, dir, base)
	case path.Ext(base) == ".apk":
		return serve(r, root, name, "application/vnd.android.package-archive")
	case path.Ext(base) == ".png":
		return serve(r, root, name, "image/png")
	case path.Ext(base) == ".inf":
		return serve(r, root, name, "text/plain")
	}
	return missing
}

// serve answers with a file.
func serve(r *httpd.Request, root *os.Root, name, kind string) error {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return missing
	}
	f, err := root.Open(name)
	if err != nil {
		return missing
	}
	r.SetContentType(kind)
	h := &r.Response.Header
	h.Set("Content-Disposition", "attachment")
	h.Set("Last-Modified", info.ModTime().UTC().Format(http.TimeFormat))
	if r.IsHead() {
		r.Response.SkipBody = true
		h.SetContentLength(int(info.Size()))
		return f.Close()
	}
	r.Response.SetBodyStream(f, int(info.Size())) // which closes it
	return nil
}

// list answers with the list of a folder, plain or with the icons in a zip.
func (a *api) list(r *httpd.Request, root *os.Root, dir, base string) error {
	lines, icons, err := a.read(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	} else if err != nil {
		return fmt.Errorf("packages: %w", err)
	}
	if base == listName {
		r.Reply(http.StatusOK, "text/plain", []byte(lines))
		return nil
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(listName)
	if err == nil {
		_, err = io.WriteString(w, lines)
	}
	for _, icon := range icons {
		if err == nil {
			err = addIcon(z, root, icon)
		}
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("packages: %w", err)
	}
	r.Reply(http.StatusOK, "application/zip", b.Bytes())
	r.Response.Header.Set("Content-Disposition", "attachment; filename="+zipName)
	return nil
}

func addIcon(z *zip.Writer, root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return nil //nolint:nilerr // gone a moment ago: the list goes without
	}
	defer func() { _ = f.Close() }()
	w, err := z.CreateHeader(&zip.FileHeader{Name: path.Base(name), Method: zip.Store})
	if err == nil {
		_, err = io.Copy(w, io.LimitReader(f, maxIcon))
	}
	return err
}

// read makes the list of a folder: the operator's own, or one of its .apk files.
func (a *api) read(root *os.Root, dir string) (lines string, icons []string, err error) {
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return "", nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	own, apps := false, 0
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."), e.IsDir():
		case e.Name() == listName:
			own = true
		case path.Ext(e.Name()) == ".png":
			if info, err := root.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() <= maxIcon && len(icons) < maxApps {
				icons = append(icons, name)
			}
		case path.Ext(e.Name()) == ".apk":
			if apps++; apps > maxApps {
				return "", nil, fmt.Errorf("%s: more than %d .apk files", dir, maxApps)
			}
			b.WriteString(a.line(root, name))
		}
	}
	a.forget(root)
	if !own {
		return head + b.String(), icons, nil
	}
	f, err := root.Open(path.Join(dir, listName))
	if err != nil {
		return "", nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxList))
	return string(text), icons, errors.Join(err, f.Close())
}

// forget drops what is known of files that are gone.
func (a *api) forget(root *os.Root) {
	for name := range a.known {
		if _, err := root.Stat(name); err != nil {
			delete(a.known, name)
		}
	}
}

// head is the first line: a comment that names the columns.
const head = "#platform,type,package,name,version,revision,apk,icon,description,sha256,os_requirement,tak_prereq,size\n"

// line is the line of one .apk, "" where it cannot be read.
func (a *api) line(root *os.Root, name string) string {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	e, icon := a.known[name], strings.TrimSuffix(name, ".apk")+".png"
	if _, err := root.Stat(icon); err != nil {
		icon = ""
	}
	if e.size == info.Size() && e.time.Equal(info.ModTime()) && e.icon == icon {
		return e.line
	}
	e = entry{size: info.Size(), time: info.ModTime(), icon: icon}
	if e.line, err = describe(root, name, icon); err != nil {
		a.Log.Warn("a package is not offered", "file", filepath.Join(a.Dir, name), "error", err)
	}
	a.known[name] = e
	return e.line
}

func describe(root *os.Root, name, icon string) (line string, err error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return "", err
	}
	app, err := readAPK(f, size)
	if err != nil {
		return "", err
	}
	kind := "app"
	if app.needs != "" || strings.HasSuffix(app.id, ".plugin") {
		kind = "plugin"
	}
	base := path.Base(name)
	if icon != "" {
		icon = path.Base(icon)
	}
	fields := []string{
		"Android", kind, app.id, cmp.Or(app.label, strings.TrimSuffix(base, ".apk")), app.version, cmp.Or(app.revision, "0"), base, icon, app.about,
		hex.EncodeToString(sum.Sum(nil)), cmp.Or(app.minSDK, "1"), app.needs, strconv.FormatInt(size, 10),
	}
	for i, field := range fields {
		fields[i] = plain(field)
	}
	return strings.Join(fields, ",") + "\n", nil
}

// plain takes out what separates fields and lines: ATAK splits at every comma.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		if c == ',' || c < ' ' {
			return ' '
		}
		return c
	}, text)
}
