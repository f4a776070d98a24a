package files_test

import (
	"archive/zip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func (s *site) file(name, text string, age time.Duration) {
	s.Helper()
	path := filepath.Join(s.dir, "profiles", name)
	then := time.Now().Add(-age)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	if err := os.Chtimes(path, then, then); err != nil {
		s.Fatal(err)
	}
}

// names are the files of a package, without their numbers.
func (s *site) names(text string) (names []string, manifest string) {
	s.Helper()
	z, err := zip.NewReader(strings.NewReader(text), int64(len(text)))
	if err != nil {
		s.Fatal(err)
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			s.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			s.Fatal(err)
		}
		if f.Name == "MANIFEST/manifest.xml" {
			manifest = string(b)
			continue
		}
		_, name, _ := strings.Cut(f.Name, "/")
		names = append(names, name+"="+string(b))
	}
	slices.Sort(names)
	return names, manifest
}

func TestConnectionProfile(t *testing.T) {
	s := newSite(t)
	const path = "/Marti/api/device/profile/connection?clientUid=U&syncSecago="
	s.want(204, "", "ann", "GET", path+"0", "")
	s.file("connection/all.pref", "a", time.Hour)
	s.file("connection/Blue/maps/blue & white.xml", "b", 48*time.Hour)
	s.file("connection/Red/red.pref", "secret of red", time.Minute)
	s.file("connection/.hidden", "h", 0)
	s.file("enrollment/e.pref", "e", 0)
	if err := os.Symlink("/etc/passwd", filepath.Join(s.dir, "profiles/connection/passwd")); err != nil {
		t.Fatal(err)
	}
	got := s.want(200, "", "ann", "GET", path+"7200", "")
	names, manifest := s.names(got.body)
	if strings.Join(names, " ") != "all.pref=a blue & white.xml=b" {
		t.Errorf("ann gets %v", names)
	}
	for _, want := range []string{
		`<Parameter name="name" value="Connection"/>`, `<Parameter name="onReceiveImport" value="true"/>`, `<Parameter name="onReceiveDelete" value="true"/>`,
		`<Parameter name="uid" value="takd-`, `zipEntry="file0/blue &amp; white.xml"`, `zipEntry="file1/all.pref"`,
	} {
		if !strings.Contains(manifest, want) {
			t.Errorf("manifest lacks %s: %s", want, manifest)
		}
	}
	if d, k := got.header.Get("Content-Disposition"), got.header.Get("Content-Type"); d != "attachment; filename=profile.zip" || k != "application/zip" {
		t.Errorf("headers: %s, %s", d, k)
	}
	s.want(204, "", "ann", "GET", path+"60", "") // nothing is that new
	s.want(200, "", "ann", "GET", path+"-1", "")
	s.want(200, "", "red", "GET", path+"600", "")
	s.want(400, "syncSecago", "ann", "GET", path+"soon", "")
	if names, _ := s.names(s.want(200, "", "boss", "GET", "/Marti/api/device/profile/connection", "").body); strings.Join(names, " ") != "all.pref=a" {
		t.Errorf("boss gets %v", names)
	}
	s.want(204, "", "ann", "GET", "/Marti/api/device/profile/tool/x?syncSecago=1", "")
}
