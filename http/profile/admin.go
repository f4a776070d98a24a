package profile

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/meta"
)

// Profile is a folder, as administrators see it: for everybody, or for a group.
// Its name is connection or enrollment, or that with :GROUP.
type Profile struct {
	ID                int32    `json:"id"`
	Name              string   `json:"name"`
	Active            bool     `json:"active"`
	ApplyOnEnrollment bool     `json:"applyOnEnrollment"`
	ApplyOnConnect    bool     `json:"applyOnConnect"`
	Type              *string  `json:"type"`
	Updated           string   `json:"updated"`
	Tool              *string  `json:"tool"`
	Groups            []string `json:"groups"`
}

// File is a file in a Profile.
type File struct {
	ID   int32  `json:"id"`
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// maxFile bounds one upload.
const maxFile = 400 << 20

const at = "/Marti/api/device/profile"

func (a *api) admin(more []httpd.Route) []httpd.Route {
	routes := append([]httpd.Route{
		{Method: "GET", Path: at, Summary: "Profiles: enrollment and connection, for everybody or (NAME:GROUP) for a group.", Handler: a.list},
		{Method: "GET", Path: at + "/{name}", Summary: "A profile.", Handler: a.get},
		{Method: "POST", Path: at + "/{name}", Summary: "Make a profile; name is enrollment or connection.", Query: []string{"group"}, Handler: a.create},
		{Method: "PUT", Path: at + "/{name}", Summary: "Change active of a profile: the body is the profile. What else it says follows from its name.", MaxBody: 64 << 10, Handler: a.change},
		{Method: "DELETE", Path: at + "/{name}", Summary: "Delete a profile and its files, by its id or name.", Handler: a.remove},
		{Method: "GET", Path: at + "/{name}/files", Summary: "Files of a profile.", Handler: a.files},
		{
			Method: "PUT", Path: at + "/{name}/file", Summary: "Put a file into a profile: the body.", Query: []string{"filename"},
			MaxBody: maxFile, Stream: true, Timeout: 2 * time.Hour, Handler: a.put,
		},
		{Method: "GET", Path: at + "/{name}/file/{id}", Summary: "Download a file of a profile.", Handler: a.download},
		{Method: "DELETE", Path: at + "/{name}/file/{id}", Summary: "Delete a file of a profile.", Handler: a.removeFile},
		{Method: "POST", Path: at + "/{name}/send", Summary: "Offer a profile to devices: the body is a JSON list of their uids.", MaxBody: 512 << 10, Handler: a.send},
		{Method: "GET", Path: at + "/{name}/missionpackage", Role: httpd.User, Summary: "A profile as a data package, or 204; that of a group for its members and administrators.", Handler: a.pack},
	}, more...)
	for i := range routes {
		routes[i].Tag, routes[i].Faces = "Profiles", httpd.Everyday
		if routes[i].Role == 0 {
			routes[i].Role = httpd.Admin
		}
	}
	return routes
}

// number is an id that stays with a name.
func number(name string) int32 {
	h := fnv.New32a()
	_, _ = io.WriteString(h, name)
	return int32(h.Sum32() &^ (1 << 31))
}

// validName is meta.ValidName for what becomes the name of a file.
func validName(field, name string) error {
	const most = 200 // bytes: file systems take 255
	if len(name) > most {
		return httpd.Bad("%s: %d bytes; want at most %d", field, len(name), most)
	}
	return meta.ValidName(field, name)
}

// parse takes the name of a profile apart; group is "" for everybody.
func parse(name string) (kind, group string, err error) {
	kind, group, found := strings.Cut(name, ":")
	if kind != Enrollment && kind != Connection || found && validName("group name", group) != nil {
		return "", "", httpd.NotFound("Not Found: there is no such profile: want enrollment or connection, or that with :GROUP")
	}
	return kind, group, nil
}

// dir is the folder of the profile that the path names. It need not exist.
func (a *api) dir(r *httpd.Request) (name, dir string, err error) {
	name = r.Param("name")
	kind, group, err := parse(name)
	return name, filepath.Join(a.Dir, kind, group), err
}

func (a *api) describe(name string) (Profile, error) {
	kind, group, err := parse(name)
	if err != nil {
		return Profile{}, err
	}
	info, err := os.Stat(filepath.Join(a.Dir, kind, group))
	if err != nil || !info.IsDir() {
		return Profile{}, httpd.NotFound("Not Found: there is no such profile")
	}
	p := Profile{ID: number(name), Name: name, Active: true, ApplyOnEnrollment: kind == Enrollment, ApplyOnConnect: kind == Connection, Groups: []string{}}
	if group != "" {
		p.Groups = append(p.Groups, group)
	}
	if _, err := os.Lstat(filepath.Join(a.Dir, kind, group, inactiveMark)); err == nil {
		p.Active = false
	}
	p.Updated = info.ModTime().UTC().Format("2006-01-02T15:04:05.000Z")
	return p, nil
}

func (a *api) all() []Profile {
	all := []Profile{}
	for _, kind := range []string{Connection, Enrollment} {
		names := []string{kind}
		entries, err := os.ReadDir(filepath.Join(a.Dir, kind))
		for _, e := range entries {
			if err == nil && e.IsDir() {
				names = append(names, kind+":"+e.Name())
			}
		}
		for _, name := range names {
			if p, err := a.describe(name); err == nil {
				all = append(all, p)
			}
		}
	}
	return all
}

func (a *api) list(r *httpd.Request) error { return r.Envelope("Profile", a.all()) }

func (a *api) get(r *httpd.Request) error {
	p, err := a.describe(r.Param("name"))
	if err != nil {
		return err
	}
	return r.Envelope("Profile", p)
}

func (a *api) create(r *httpd.Request) error {
	name := r.Param("name")
	if group := string(r.QueryArgs().Peek("group")); group != "" && !strings.Contains(name, ":") {
		name += ":" + group
	}
	kind, group, err := parse(name)
	if err != nil {
		return err
	}
	if err := mkdir(filepath.Join(a.Dir, kind, group)); err != nil {
		return err
	}
	a.Audit.By(r, "profile make", name)
	p, err := a.describe(name)
	if err != nil {
		return err
	}
	return r.Envelope("Profile", p)
}

// mkdir makes the folder of a profile.
func mkdir(dir string) error {
	switch err := os.MkdirAll(dir, 0o700); {
	case err == nil:
		return nil
	case absent(err):
		return httpd.Conflict("group: there is a file %.80q in the profile", filepath.Base(dir))
	default:
		return fmt.Errorf("profiles: %w", err)
	}
}

// change switches a profile on or off. To whom and when it is given is its name's to
// say: a body that wants that otherwise is refused rather than half done.
func (a *api) change(r *httpd.Request) error {
	name := r.Param("name")
	p, err := a.describe(name)
	if err != nil {
		return err
	}
	want := p
	if err := r.ReadJSON(&want); err != nil {
		return err
	}
	switch {
	case want.Name != p.Name:
		return httpd.Bad("name: want %q; a profile is not renamed", p.Name)
	case want.ApplyOnConnect != p.ApplyOnConnect || want.ApplyOnEnrollment != p.ApplyOnEnrollment:
		return httpd.Bad("applyOnConnect, applyOnEnrollment: want those of the name; make a profile connection or enrollment")
	case !slices.Equal(want.Groups, p.Groups):
		return httpd.Bad("groups: want %v; make a profile NAME:GROUP for each group", p.Groups)
	}
	kind, group, _ := strings.Cut(name, ":")
	mark := filepath.Join(a.Dir, kind, group, inactiveMark)
	if want.Active {
		err = os.Remove(mark)
	} else {
		err = os.WriteFile(mark, nil, 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("profiles: %w", err)
	}
	if want.Active != p.Active {
		a.Audit.By(r, "profile "+map[bool]string{true: "on", false: "off"}[want.Active], name)
	}
	if p, err = a.describe(name); err != nil {
		return err
	}
	return r.Envelope("Profile", p)
}

func (a *api) remove(r *httpd.Request) error {
	name := r.Param("name")
	for _, p := range a.all() {
		if strconv.Itoa(int(p.ID)) == name {
			name = p.Name
		}
	}
	if _, err := a.describe(name); err != nil {
		return err
	}
	kind, group, _ := strings.Cut(name, ":")
	dir := filepath.Join(a.Dir, kind, group)
	if group == "" { // those of groups stay
		files, err := inside(dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := os.Remove(filepath.Join(dir, f.Name)); err != nil {
				return fmt.Errorf("profiles: %w", err)
			}
		}
		for _, mark := range []string{inactiveMark, sharedMark} { // one that is made again begins anew
			if err := os.Remove(filepath.Join(dir, mark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("profiles: %w", err)
			}
		}
	} else if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	a.Audit.By(r, "profile delete", name)
	r.SetStatusCode(http.StatusOK)
	return nil
}

// inside are the files right in a folder.
func inside(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if absent(err) {
		return nil, httpd.NotFound("Not Found: there is no such profile")
	} else if err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	all := []File{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		all = append(all, File{ID: number(e.Name()), Name: e.Name(), Size: info.Size()})
	}
	return all, nil
}

func (a *api) files(r *httpd.Request) error {
	_, dir, err := a.dir(r)
	if err != nil {
		return err
	}
	all, err := inside(dir)
	if err != nil {
		return err
	}
	return r.Envelope("ProfileFile", all)
}

// put writes a file beside and renames it: no device gets half of it.
func (a *api) put(r *httpd.Request) (err error) {
	name, dir, err := a.dir(r)
	if err != nil {
		return err
	}
	filename := string(r.QueryArgs().Peek("filename"))
	if err := validName("filename", filename); err != nil {
		return httpd.Bad("%v", err)
	}
	if err := mkdir(dir); err != nil {
		return err
	}
	if info, err := os.Lstat(filepath.Join(dir, filename)); err == nil && info.IsDir() {
		return httpd.Conflict("filename: there is a folder %.80q in the profile", filename)
	}
	out, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	n, err := io.Copy(out, r.Body())
	err = errors.Join(err, out.Sync(), out.Close())
	if want := r.Request.Header.ContentLength(); err == nil && want >= 0 && n != int64(want) {
		err = httpd.Bad("body: %d bytes of %d", n, want)
	}
	if err == nil {
		err = os.Rename(out.Name(), filepath.Join(dir, filename))
	}
	if err != nil {
		_ = os.Remove(out.Name())
		return err
	}
	a.Audit.By(r, "profile file", name+" "+filename)
	return r.Envelope("ProfileFile", File{ID: number(filename), Name: filename, Size: n})
}

// one is the file that the path names by its id.
func (a *api) one(r *httpd.Request) (name, dir string, f File, err error) {
	if name, dir, err = a.dir(r); err != nil {
		return name, dir, f, err
	}
	all, err := inside(dir)
	if err != nil {
		return name, dir, f, err
	}
	for _, f := range all {
		if strconv.Itoa(int(f.ID)) == r.Param("id") {
			return name, dir, f, nil
		}
	}
	return name, dir, f, httpd.NotFound("Not Found: there is no such file")
}

func (a *api) download(r *httpd.Request) error {
	_, dir, f, err := a.one(r)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	p := &Package{roots: []*os.Root{root}}
	found, err := find(root, f.Name)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	p.files = []file{found}
	return p.single(r)
}

func (a *api) removeFile(r *httpd.Request) error {
	name, dir, f, err := a.one(r)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, f.Name)); err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	a.Audit.By(r, "profile file delete", name+" "+f.Name)
	r.SetStatusCode(http.StatusOK)
	return nil
}

// pack is a profile as a device would get it.
func (a *api) pack(r *httpd.Request) error {
	name, _, err := a.dir(r)
	if err != nil {
		return err
	}
	_, group, _ := strings.Cut(name, ":")
	if group != "" && r.Who.Role != httpd.Admin && !slices.Contains(r.Who.Out, group) && !slices.Contains(r.Who.In, group) {
		return httpd.NotFound("Not Found: there is no such profile")
	}
	p, err := a.whole(name)
	if err != nil {
		return err
	}
	return p.Reply(r)
}

// whole are all files of a profile, without those of its groups.
func (a *api) whole(name string) (*Package, error) {
	kind, group, _ := strings.Cut(name, ":")
	return open(a.Dir, filepath.Join(kind, group), name, time.Time{}, func(string) bool { return group != "" })
}

func attachment(name string) string {
	if text := mime.FormatMediaType("attachment", map[string]string{"filename": name}); text != "" {
		return text
	}
	return "attachment"
}
