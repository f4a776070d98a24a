package profile_test

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"takd/http/httpd/httpdtest"
	"takd/http/profile"
)

type site struct {
	*httpdtest.Site

	dir   string
	audit []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir()}
	s.Site = httpdtest.New(t, profile.Routes(profile.Deps{
		Dir: filepath.Join(s.dir, "profiles"),
		Audit: func(_ context.Context, actor, action, detail string) {
			s.audit = append(s.audit, actor+" "+action+" "+detail)
		},
	}))
	return s
}

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
	s.Want(204, "ann", "GET", path+"0", "")
	s.file("connection/all.pref", "a", time.Hour)
	s.file("connection/Blue/maps/blue & white.xml", "b", 48*time.Hour)
	s.file("connection/Red/red.pref", "secret of red", time.Minute)
	s.file("connection/.hidden", "h", 0)
	s.file("enrollment/e.pref", "e", 0)
	if err := os.Symlink("/etc/passwd", filepath.Join(s.dir, "profiles/connection/passwd")); err != nil {
		t.Fatal(err)
	}
	got := s.Want(200, "ann", "GET", path+"7200", "")
	names, manifest := s.names(got.Body)
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
	if d, k := got.Header.Get("Content-Disposition"), got.Header.Get("Content-Type"); d != "attachment; filename=profile.zip" || k != "application/zip" {
		t.Errorf("headers: %s, %s", d, k)
	}
	s.Want(204, "ann", "GET", path+"60", "") // nothing is that new
	s.Want(200, "ann", "GET", path+"-1", "")
	s.Want(200, "red", "GET", path+"600", "")
	s.Want(400, "ann", "GET", path+"soon", "")
	if names, _ := s.names(s.Want(200, "boss", "GET", "/Marti/api/device/profile/connection", "").Body); strings.Join(names, " ") != "all.pref=a" {
		t.Errorf("boss gets %v", names)
	}
	s.Want(204, "ann", "GET", "/Marti/api/device/profile/tool/x?syncSecago=1", "")
}

func TestToolFiles(t *testing.T) {
	s := newSite(t)
	const path = "/Marti/api/device/profile/tool/x"
	s.Want(404, "ann", "GET", path+"/file?relativePath=/a.txt", "")
	s.file("tool/x/a.txt", "a", time.Hour)
	s.file("tool/x/sub/b.txt", "b", 2*time.Hour)
	s.file("tool/x/.hidden", "h", 0)
	s.file("connection/all.pref", "c", 0)
	one := s.Want(200, "ann", "GET", path+"/file?relativePath=/a.txt&clientUid=U", "")
	if one.Body != "a" || one.Header.Get("Last-Modified") == "" {
		t.Errorf("one file: %q, %v", one.Body, one.Header)
	}
	s.Want(304, "ann", "GET", path+"/file?relativePath=a.txt", "", "If-Modified-Since: "+one.Header.Get("Last-Modified"))
	s.Want(200, "ann", "GET", "/Marti/api/tls/profile/tool/x/file?relativePath=sub/b.txt", "")
	names, _ := s.names(s.Want(200, "ann", "GET", path+"/file?relativePath=/a.txt&relativePath=/sub/b.txt", "").Body)
	if got := strings.Join(names, " "); got != "=a b.txt=b" { // a.txt and sub/b.txt, without their first part
		t.Errorf("two files: %s", got)
	}
	names, _ = s.names(s.Want(200, "ann", "GET", path+"?syncSecago=-1", "").Body)
	if got := strings.Join(names, " "); got != "a.txt=a b.txt=b" {
		t.Errorf("profile: %s", got)
	}
	for _, bad := range []string{"../../connection/all.pref", "/../x", "%2e%2e/x", ".hidden", "sub", "", "a.txt%00", "sub/../a.txt", "//a.txt"} {
		s.Want(404, "ann", "GET", path+"/file?relativePath="+bad, "")
	}
	s.Want(400, "ann", "GET", path+"/file", "")
	s.Want(204, "ann", "GET", "/Marti/api/device/profile/tool/none", "")
}

// What the API changes, devices get, and it lies where operators look.
func TestAdmin(t *testing.T) {
	s := newSite(t)
	const path = "/Marti/api/device/profile"
	for _, user := range []string{"ann", "view"} {
		s.Want(403, user, "GET", path, "")
		s.Want(403, user, "PUT", path+"/connection/file?filename=x", "x")
	}
	if got := s.Want(200, "boss", "GET", path, "").Body; !strings.Contains(got, `"data":[]`) {
		t.Errorf("list: %s", got)
	}
	s.Want(200, "boss", "POST", path+"/connection?group=Blue", "")
	s.Want(200, "boss", "PUT", path+"/connection:Blue/file?filename=maps.xml", "<map/>")
	s.Want(200, "boss", "PUT", path+"/enrollment/file?filename=e.pref", "e")
	if text, err := os.ReadFile(filepath.Join(s.dir, "profiles/connection/Blue/maps.xml")); err != nil || string(text) != "<map/>" {
		t.Errorf("file: %q, %v", text, err)
	}
	names, _ := s.names(s.Want(200, "ann", "GET", path+"/connection", "").Body)
	if strings.Join(names, " ") != "maps.xml=<map/>" {
		t.Errorf("ann gets %v", names)
	}
	s.Want(204, "red", "GET", path+"/connection", "")
	var files struct {
		Data []profile.File
	}
	if err := json.Unmarshal([]byte(s.Want(200, "boss", "GET", path+"/connection:Blue/files", "").Body), &files); err != nil || len(files.Data) != 1 {
		t.Fatalf("files: %+v, %v", files, err)
	}
	file := fmt.Sprintf("%s/connection:Blue/file/%d", path, files.Data[0].ID)
	if got := s.Want(200, "boss", "GET", file, "").Body; got != "<map/>" {
		t.Errorf("download: %q", got)
	}
	s.Want(200, "boss", "GET", path+"/connection:Blue/missionpackage", "")
	s.Want(200, "boss", "DELETE", file, "")
	s.Want(404, "boss", "GET", file, "")
	s.Want(200, "boss", "DELETE", path+"/connection:Blue", "")
	s.Want(404, "boss", "GET", path+"/connection:Blue", "")
	s.Want(200, "boss", "GET", path+"/enrollment", "")
	for _, name := range []string{"other", "connection:..", "connection:a%2fb", "tool", "connection:"} {
		if a := s.Do("boss", "POST", path+"/"+name, ""); a.Status != 404 && a.Status != 400 {
			t.Errorf("profile %s: %d", name, a.Status)
		}
	}
	for _, name := range []string{"", "..", "a/b", ".x", "a%00b", strings.Repeat("x", 300)} {
		s.Want(400, "boss", "PUT", path+"/connection/file?filename="+name, "x")
	}
	// What is a folder is no file, and the other way round.
	s.Want(200, "boss", "PUT", path+"/connection/file?filename=README", "x")
	s.Want(409, "boss", "POST", path+"/connection:README", "")
	s.Want(409, "boss", "PUT", path+"/connection:README/file?filename=x", "x")
	s.Want(404, "boss", "GET", path+"/connection:README/files", "")
	s.Want(204, "boss", "GET", path+"/connection:README/missionpackage", "")
	s.Want(200, "boss", "POST", path+"/connection:Green", "")
	s.Want(409, "boss", "PUT", path+"/connection/file?filename=Green", "x")
	long := url.PathEscape(strings.Repeat("\U0001f600", 64))
	s.Want(400, "boss", "PUT", path+"/connection/file?filename="+long, "x")
	s.Want(404, "boss", "POST", path+"/connection:"+long, "")
	s.Want(204, "ann", "GET", path+"/tool/"+long, "")
	s.file("tool/README", "x", 0)
	s.Want(204, "ann", "GET", path+"/tool/README", "")
	s.Want(404, "ann", "GET", path+"/tool/README/file?relativePath=x", "")
	if len(s.audit) != 7 {
		t.Errorf("audit: %q", s.audit)
	}
}

// A profile that is switched off is kept and given to nobody; those of groups have a
// switch of their own.
func TestInactiveProfile(t *testing.T) {
	s := newSite(t)
	const path = "/Marti/api/device/profile"
	s.file("connection/all.pref", "a", 0)
	s.file("connection/Blue/blue.pref", "b", 0)
	gets := func(want string) {
		t.Helper()
		got := ""
		if a := s.Do("ann", "GET", path+"/connection", ""); a.Status != 204 {
			names, _ := s.names(a.Body)
			got = strings.Join(names, " ")
		}
		if got != want {
			t.Errorf("ann gets %q, want %q", got, want)
		}
	}
	gets("all.pref=a blue.pref=b")
	if got := s.Want(200, "boss", "PUT", path+"/connection", `{"active":false}`).Body; !strings.Contains(got, `"active":false`) {
		t.Errorf("answer: %s", got)
	}
	gets("blue.pref=b")
	s.Want(200, "boss", "PUT", path+"/connection:Blue", `{"name":"connection:Blue","active":false,"applyOnConnect":true,"groups":["Blue"]}`)
	gets("")
	s.Want(200, "boss", "PUT", path+"/connection", `{"active":true}`)
	s.Want(200, "boss", "PUT", path+"/connection", `{"active":true}`)
	gets("all.pref=a")
	s.Want(403, "ann", "PUT", path+"/connection", `{"active":false}`)
	s.Want(404, "boss", "PUT", path+"/enrollment", `{"active":false}`)
	for _, body := range []string{"", "[]", `{"active":"no"}`, `{"name":"enrollment"}`, `{"applyOnEnrollment":true}`, `{"groups":["Red"]}`} {
		s.Want(400, "boss", "PUT", path+"/connection", body)
	}
	if got := strings.Join(s.audit, ", "); got != "boss profile off connection, boss profile off connection:Blue, boss profile on connection" {
		t.Errorf("audit: %s", got)
	}
}

// Folders that several profiles share go out with those that name them, and no name
// leads out of profiles/directories.
func TestDirectories(t *testing.T) {
	s := newSite(t)
	const path = "/Marti/api/device/profile"
	data := func(path, want string) {
		t.Helper()
		if got := s.Want(200, "boss", "GET", path, "").Body; !strings.Contains(got, `"data":`+want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	gets := func(user, query, want string) {
		t.Helper()
		got := ""
		if a := s.Do(user, "GET", path+"/connection"+query, ""); a.Status != 204 {
			names, _ := s.names(a.Body)
			got = strings.Join(names, " ")
		}
		if got != want {
			t.Errorf("%s gets %q, want %q", user, got, want)
		}
	}
	data(path+"/directories", "[]")
	s.file("directories/maps/deep/topo.xml", "m", 48*time.Hour)
	s.file("directories/prefs/a.pref", "p", 48*time.Hour)
	s.file("directories/other/secret", "x", 0)
	s.file("connection/all.pref", "a", 48*time.Hour)
	s.file("connection/Blue/blue.pref", "b", 48*time.Hour)
	s.file("secret/s", "x", 0)
	if err := os.Symlink(filepath.Join(s.dir, "profiles/secret"), filepath.Join(s.dir, "profiles/directories/link")); err != nil {
		t.Fatal(err)
	}
	data(path+"/directories", `["maps","other","prefs"]`)
	data(path+"/connection/directories", "[]")
	gets("ann", "", "all.pref=a blue.pref=b")
	s.Want(200, "boss", "PUT", path+"/connection:Blue/directories/prefs,maps,maps", "")
	s.Want(200, "boss", "PUT", path+"/connection/directories/prefs", "")
	if got := s.Want(200, "boss", "GET", path+"/connection:Blue/directories", "").Body; !strings.Contains(got, `"type":"ProfileDirectory"`) || !strings.Contains(got, `"path":"maps"`) {
		t.Errorf("directories: %s", got)
	}
	gets("ann", "?syncSecago=600", "a.pref=p all.pref=a blue.pref=b topo.xml=m") // once, although two name it; that they do is new
	gets("red", "", "a.pref=p all.pref=a")
	names, _ := s.names(s.Want(200, "ann", "GET", path+"/connection:Blue/missionpackage", "").Body)
	if got := strings.Join(names, " "); got != "a.pref=p blue.pref=b topo.xml=m" {
		t.Errorf("package: %s", got)
	}
	s.Want(200, "boss", "PUT", path+"/connection:Blue", `{"active":false}`)
	gets("ann", "", "a.pref=p all.pref=a")
	s.Want(200, "boss", "PUT", path+"/connection:Blue", `{"active":true}`)

	for _, bad := range []string{"none", "maps,", ".hidden", "%20maps", "link", "secret", "maps%0Aother", strings.Repeat("x", 300), strings.Repeat("maps,", 50) + "none"} {
		s.Want(400, "boss", "PUT", path+"/connection/directories/"+bad, "")
	}
	for _, bad := range []string{"..", "%2e%2e", "..%2fsecret", "maps%00", "maps%5c.."} {
		s.Want(400, "boss", "PUT", path+"/connection/directories/"+bad, "")
	}
	s.Want(404, "boss", "PUT", path+"/enrollment/directories/maps", "")
	s.Want(404, "boss", "GET", path+"/other/directories", "")
	for _, call := range []string{"GET /directories", "GET /connection/directories", "PUT /connection/directories/other", "DELETE /connection/directories"} {
		verb, tail, _ := strings.Cut(call, " ")
		s.Want(403, "ann", verb, path+tail, "")
		s.Want(401, "", verb, path+tail, "")
	}
	// What an operator wrote there by hand leads out as little.
	s.file("connection/.directories", "../secret\n..\n/etc\nlink\nprefs\n", time.Hour)
	gets("red", "", "a.pref=p all.pref=a")
	s.Want(200, "boss", "DELETE", path+"/connection:Blue/directories", "")
	s.Want(200, "boss", "DELETE", path+"/connection", "")
	gets("ann", "", "blue.pref=b")
	s.Want(200, "boss", "POST", path+"/connection", "")
	data(path+"/connection/directories", "[]")
	if got := strings.Join(s.audit[:2], ", "); got != "boss profile directories connection:Blue maps,prefs, boss profile directories connection prefs" {
		t.Errorf("audit: %s", got)
	}
}
