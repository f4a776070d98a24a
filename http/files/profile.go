package files

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"takd/http/httpd"
)

// Device profiles lie in a folder of the operator's: DATA/profiles/connection and
// DATA/profiles/enrollment. A file there is for everybody; a folder in it is for
// the group of its name. What is in folders of folders belongs to that group, too.

// maxProfile bounds the files of one profile together.
const maxProfile = 1 << 30

func (a *api) profiles() []httpd.Route {
	return on(httpd.User,
		httpd.Route{
			Method: "GET", Path: "/Marti/api/device/profile/connection", Summary: "What a device gets when it connects: a data package, or 204 where nothing is new.",
			Query: []string{"syncSecago", "clientUid"}, Handler: a.connectionProfile,
		},
		// ATAK asks for profiles of its tools; a 404 would be noise in its log.
		httpd.Route{
			Method: "GET", Path: "/Marti/api/device/profile/tool/{tool}", Summary: "Profile of a tool: none.",
			Query: []string{"syncSecago", "clientUid"}, Handler: noProfile,
		},
	)
}

func noProfile(r *httpd.Request) error {
	r.SetStatusCode(http.StatusNoContent)
	return nil
}

// connectionProfile packs what changed within syncSecago seconds; everything
// where that is not said, or negative.
func (a *api) connectionProfile(r *httpd.Request) error {
	var since time.Time
	if text := query(r).get("syncsecago"); text != "" && !strings.HasPrefix(text, "-") {
		seconds, err := query(r).integer("syncsecago", 0)
		if err != nil || seconds > 1<<31 {
			return httpd.Bad("syncSecago: want seconds")
		}
		since = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	p, err := a.profile("connection", r.Who, since)
	if err != nil {
		return err
	}
	if len(p.files) == 0 {
		return noProfile(r)
	}
	h := &r.Response.Header
	h.Set("Content-Disposition", "attachment; filename=profile.zip")
	r.SetContentType("application/zip")
	if r.IsHead() {
		return p.root.Close()
	}
	from, to := io.Pipe()
	go func() { // ends when everything is written, or the answer is given up and from is closed
		to.CloseWithError(p.write(to))
	}()
	r.Response.SetBodyStream(from, -1)
	return nil
}

// profile is the files of one device.
type profile struct {
	root  *os.Root
	name  string // Connection
	files []profileFile
}

type profileFile struct {
	path string // in root
	name string // in the package
	info fs.FileInfo
}

// profile finds the files for who, unless all of them are older than since: then
// there are none. A device that missed one of them gets all.
func (a *api) profile(kind string, who httpd.Principal, since time.Time) (*profile, error) {
	p := &profile{name: strings.ToUpper(kind[:1]) + kind[1:]}
	root, err := os.OpenRoot(path.Join(a.Profiles, kind)) // links that lead out of it are not followed
	if errors.Is(err, fs.ErrNotExist) || a.Profiles == "" {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	p.root = root
	fresh, total := since.IsZero(), int64(0)
	err = fs.WalkDir(root.FS(), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || file == ".":
			return err
		case strings.HasPrefix(d.Name(), "."): // editors leave such things
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			if !strings.Contains(file, "/") && !slices.Contains(who.Out, file) && !slices.Contains(who.In, file) {
				return fs.SkipDir // of a group that he is not in
			}
			return nil
		}
		info, err := root.Stat(file)
		if err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // a link to nowhere, or gone a moment ago
		}
		if total += info.Size(); total > maxProfile {
			return fmt.Errorf("profiles/%s: more than %d bytes for one device", kind, maxProfile)
		}
		fresh = fresh || info.ModTime().After(since)
		p.files = append(p.files, profileFile{path: file, name: fmt.Sprintf("file%d/%s", len(p.files), path.Base(file)), info: info})
		return nil
	})
	if err == nil && fresh && len(p.files) > 0 {
		return p, nil
	}
	p.files = nil
	return p, errors.Join(err, root.Close())
}

// write packs the files, in the form that ATAK imports and then deletes.
func (p *profile) write(to io.Writer) (err error) {
	defer func() { err = errors.Join(err, p.root.Close()) }()
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

func (p *profile) add(z *zip.Writer, f *profileFile) error {
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
func (p *profile) manifest() []byte {
	id := sha256.New()
	var contents strings.Builder
	for i := range p.files {
		f := &p.files[i]
		_, _ = fmt.Fprintf(id, "%s %d %d\n", f.path, f.info.Size(), f.info.ModTime().UnixNano())
		contents.WriteString(`<Content ignore="false" zipEntry="`)
		_ = xml.EscapeText(&contents, []byte(f.name)) // a Builder does not fail
		contents.WriteString(`"/>`)
	}
	return fmt.Appendf(nil, `<MissionPackageManifest version="2"><Configuration><Parameter name="uid" value="takd-%s"/><Parameter name="name" value="%s"/>`+
		`<Parameter name="onReceiveImport" value="true"/><Parameter name="onReceiveDelete" value="true"/></Configuration><Contents>%s</Contents></MissionPackageManifest>`,
		hex.EncodeToString(id.Sum(nil)[:8]), p.name, contents.String())
}
