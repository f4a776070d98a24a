package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"takd/http/httpd"
)

// Directory is a folder that several profiles share: DATA/profiles/directories/PATH.
// An operator fills it; a profile that names it gives its files out with its own.
type Directory struct {
	ID   int32  `json:"id"`
	Path string `json:"path"`
}

const (
	// sharedDir holds the folders that profiles may name.
	sharedDir = "directories"
	// sharedMark is a file in the folder of a profile: the folders that it names, one a line.
	sharedMark = ".directories"
	// maxShared bounds the folders of one profile.
	maxShared = 100
)

func (a *api) directoryRoutes() []httpd.Route {
	return []httpd.Route{
		{Method: "GET", Path: at + "/directories", Summary: "Folders in profiles/directories, which profiles may name.", Handler: a.allDirectories},
		{Method: "GET", Path: at + "/{name}/directories", Summary: "Folders that a profile names.", Handler: a.directories},
		{
			Method: "PUT", Path: at + "/{name}/directories/{directories}", Handler: a.setDirectories,
			Summary: "Set the folders that a profile names, with commas: their files go out with its own.",
		},
		{Method: "DELETE", Path: at + "/{name}/directories", Summary: "Have a profile name no folder.", Handler: a.clearDirectories},
	}
}

// shared are the folders that the profile in a folder of root names.
func shared(root *os.Root, folder string) []string {
	text, err := root.ReadFile(path.Join(folder, sharedMark))
	if err != nil {
		return nil
	}
	names := slices.DeleteFunc(strings.Split(string(text), "\n"), func(name string) bool { return validName("directory", name) != nil })
	return names[:min(len(names), maxShared)]
}

func (a *api) allDirectories(r *httpd.Request) error {
	entries, err := os.ReadDir(filepath.Join(a.Dir, sharedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("profiles: %w", err)
	}
	names := []string{}
	for _, e := range entries {
		if e.IsDir() && validName("directory", e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return r.Envelope("java.lang.String", names)
}

// existing is the folder of the profile that the path names, which must be there.
func (a *api) existing(r *httpd.Request) (name, dir string, err error) {
	if name, dir, err = a.dir(r); err == nil {
		_, err = a.describe(name)
	}
	return name, dir, err
}

func (a *api) directories(r *httpd.Request) error {
	_, dir, err := a.existing(r)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	list := []Directory{}
	for _, name := range shared(root, ".") {
		list = append(list, Directory{ID: number(name), Path: name})
	}
	if err := root.Close(); err != nil {
		return err
	}
	return r.Envelope("ProfileDirectory", list)
}

// setDirectories replaces what a profile names. A folder that is not there is
// refused: it would be a mistake that nobody sees.
func (a *api) setDirectories(r *httpd.Request) error {
	name, dir, err := a.existing(r)
	if err != nil {
		return err
	}
	names := strings.Split(r.Param("directories"), ",")
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > maxShared {
		return httpd.Bad("directories: %d; want at most %d", len(names), maxShared)
	}
	for _, n := range names {
		if err := validName("directories", n); err != nil {
			return httpd.Bad("%v", err)
		}
		if info, err := os.Lstat(filepath.Join(a.Dir, sharedDir, n)); err != nil || !info.IsDir() {
			return httpd.Bad("directories: there is no folder %q in profiles/%s", n, sharedDir)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, sharedMark), []byte(strings.Join(names, "\n")), 0o600); err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	a.Audit.By(r, "profile directories", name+" "+strings.Join(names, ","))
	r.SetStatusCode(http.StatusOK)
	return nil
}

func (a *api) clearDirectories(r *httpd.Request) error {
	name, dir, err := a.existing(r)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, sharedMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("profiles: %w", err)
	}
	a.Audit.By(r, "profile directories", name)
	r.SetStatusCode(http.StatusOK)
	return nil
}
