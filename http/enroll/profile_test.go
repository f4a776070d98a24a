package enroll_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"takd/store/auth"
)

// What ATAK sets after it has enrolled.
func TestProfile(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "ann", Password: "ann's password"})
	a := s.do(call{path: "/Marti/api/tls/profile/enrollment?clientUid=x", user: "ann", password: "ann's password", wantKind: "application/zip"})
	z, err := zip.NewReader(bytes.NewReader(a.body), int64(len(a.body)))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"MANIFEST/manifest.xml": `<MissionPackageManifest version="2"><Configuration><Parameter name="uid" value="takd-enrollment"/>` +
			`<Parameter name="name" value="Enrollment"/><Parameter name="onReceiveImport" value="true"/><Parameter name="onReceiveDelete" value="true"/></Configuration>` +
			`<Contents><Content ignore="false" zipEntry="file0/takd.pref"/></Contents></MissionPackageManifest>`,
		"file0/takd.pref": "<?xml version='1.0' standalone='yes'?>\n<preferences>\n<preference version=\"1\" name=\"com.atakmap.app.civ_preferences\">\n" +
			"<entry key=\"prefs_enable_channels\" class=\"class java.lang.String\">true</entry>\n" +
			"<entry key=\"prefs_enable_channels_host-tak.example.com\" class=\"class java.lang.String\">true</entry>\n" +
			"<entry key=\"apiSecureServerPort\" class=\"class java.lang.String\">9443</entry>\n</preference>\n</preferences>\n",
	}
	if len(z.File) != len(want) {
		t.Errorf("%d files, want %d", len(z.File), len(want))
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); string(b) != want[f.Name] || err != nil {
			t.Errorf("%s = %s, %v; want %s", f.Name, b, err, want[f.Name])
		}
	}
	s.do(call{path: "/Marti/api/tls/profile/enrollment", status: 401})
}

// What the operator laid down for new devices comes with it, by group.
func TestEnrollmentFiles(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "ann", Password: "ann's password", In: []string{"Blue"}, Out: []string{"Blue"}})
	for _, name := range []string{"all.pref", "Blue/blue.xml", "Red/red.xml"} {
		name = filepath.Join(s.data, "profiles", "enrollment", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := s.do(call{path: "/Marti/api/tls/profile/enrollment?clientUid=x", user: "ann", password: "ann's password", wantKind: "application/zip"})
	z, err := zip.NewReader(bytes.NewReader(a.body), int64(len(a.body)))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	if want := []string{"MANIFEST/manifest.xml", "file0/blue.xml", "file1/all.pref", "file2/takd.pref"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}
