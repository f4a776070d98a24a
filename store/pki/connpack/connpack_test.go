package connpack_test

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/xml"
	"errors"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"software.sslmate.com/src/go-pkcs12"

	"takd/store/meta"
	"takd/store/pki/connpack"
)

const password = "atakatak"

// stores makes the .p12 files of a user and of an authority.
func stores(t *testing.T) (user, trust []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "takd Root CA"},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if user, err = pkcs12.LegacyDES.Encode(key, c, nil, password); err != nil {
		t.Fatal(err)
	}
	if trust, err = pkcs12.LegacyDES.EncodeTrustStore([]*x509.Certificate{c}, password); err != nil {
		t.Fatal(err)
	}
	return user, trust
}

// unpack reads a package; names are in the order of the zip.
func unpack(t *testing.T, p connpack.Package) (names []string, files map[string]string) {
	t.Helper()
	var b bytes.Buffer
	if err := connpack.Write(&b, p); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		names, files[f.Name] = append(names, f.Name), string(data)
	}
	return names, files
}

type manifest struct {
	XMLName    xml.Name `xml:"MissionPackageManifest"`
	Version    string   `xml:"version,attr"`
	Parameters []struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	} `xml:"Configuration>Parameter"`
	Contents []struct {
		Ignore   string `xml:"ignore,attr"`
		ZipEntry string `xml:"zipEntry,attr"`
	} `xml:"Contents>Content"`
}

type prefs struct {
	XMLName xml.Name `xml:"preferences"`
	Groups  []struct {
		Name    string `xml:"name,attr"`
		Version string `xml:"version,attr"`
		Entries []struct {
			Key   string `xml:"key,attr"`
			Class string `xml:"class,attr"`
			Text  string `xml:",chardata"`
		} `xml:"entry"`
	} `xml:"preference"`
}

// readPref returns the entries of each group as "class text" by key.
func readPref(t *testing.T, text string) map[string]map[string]string {
	t.Helper()
	// ATAK knows a pref file by these texts in its first 8 KiB.
	if head := text[:min(len(text), 8192)]; !strings.Contains(head, "<preferences") || !strings.Contains(head, "<entry key") {
		t.Errorf("not a pref to ATAK: %s", head)
	}
	var p prefs
	if err := xml.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string]string{}
	for _, g := range p.Groups {
		got[g.Name] = map[string]string{}
		for _, e := range g.Entries {
			got[g.Name][e.Key] = strings.TrimPrefix(e.Class, "class java.lang.") + " " + e.Text
		}
	}
	return got
}

func TestATAK(t *testing.T) {
	user, trust := stores(t)
	for _, client := range []string{"", "atak", "wintak"} {
		t.Run("for "+client, func(t *testing.T) {
			names, files := unpack(t, connpack.Package{
				Name: "alice", Host: "tak.example.com", Description: `Exercise "A" & <B>`, UserP12: user, TruststoreP12: trust, For: client,
			})
			var m manifest
			if err := xml.Unmarshal([]byte(files["MANIFEST/manifest.xml"]), &m); err != nil {
				t.Fatal(err)
			}
			var listed []string
			for _, c := range m.Contents {
				if listed = append(listed, c.ZipEntry); c.Ignore != "false" {
					t.Errorf("%s: ignore = %q", c.ZipEntry, c.Ignore)
				}
			}
			// Only what the manifest lists is taken out of the zip.
			if diff := cmp.Diff(names, append([]string{"MANIFEST/manifest.xml"}, listed...)); diff != "" || m.Version != "2" || len(listed) != 3 {
				t.Errorf("version %q, manifest: %s", m.Version, diff)
			}
			keys := map[string]string{}
			for _, p := range m.Parameters {
				keys[p.Name] = p.Value
			}
			if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(keys["uid"]) ||
				keys["name"] != "alice.zip" || keys["onReceiveDelete"] != "true" {
				t.Errorf("configuration = %v", keys)
			}
			trustName, userName := strings.TrimPrefix(listed[0], "certs/"), strings.TrimPrefix(listed[1], "certs/")
			if files[listed[0]] != string(trust) || files[listed[1]] != string(user) || listed[2] != "certs/server.pref" {
				t.Errorf("contents = %q", listed)
			}
			want := map[string]map[string]string{
				"cot_streams": {
					"count": "Integer 1", "description0": `String Exercise "A" & <B>`, "enabled0": "Boolean true",
					"connectString0": "String tak.example.com:8089:ssl",
					"caLocation0":    "String cert/" + trustName, "caPassword0": "String atakatak",
					"certificateLocation0": "String cert/" + userName, "clientPassword0": "String atakatak",
				},
				"com.atakmap.app_preferences": {"deviceProfileEnableOnConnect": "Boolean true"},
			}
			if diff := cmp.Diff(want, readPref(t, files["certs/server.pref"])); diff != "" {
				t.Errorf("pref: %s", diff)
			}
		})
	}
}

// iTAK finds its files only at the top of the zip, without a manifest.
func TestITAK(t *testing.T) {
	user, trust := stores(t)
	names, files := unpack(t, connpack.Package{Name: "alice", Host: "192.0.2.7", Port: 18089, UserP12: user, TruststoreP12: trust, For: "itak"})
	for _, n := range names {
		if strings.Contains(n, "/") {
			t.Errorf("%s is not at the top", n)
		}
	}
	pref := readPref(t, files["config.pref"])["cot_streams"]
	if len(names) != 3 || pref["connectString0"] != "String 192.0.2.7:18089:ssl" || pref["description0"] != "String 192.0.2.7" {
		t.Errorf("files %q, pref %v", names, pref)
	}
	for _, key := range []string{"caLocation0", "certificateLocation0"} {
		if name := strings.TrimPrefix(pref[key], "String cert/"); files[name] == "" {
			t.Errorf("%s = %q, which is not in the package", key, pref[key])
		}
	}
}

// A package without a certificate makes the client ask for user and password.
func TestEnrolment(t *testing.T) {
	_, trust := stores(t)
	names, files := unpack(t, connpack.Package{Name: "alice", Host: "2001:db8::1", TruststoreP12: trust})
	pref := readPref(t, files["certs/server.pref"])["cot_streams"]
	if len(names) != 3 || pref["enrollForCertificateWithTrust0"] != "Boolean true" || pref["clientPassword0"] != "" {
		t.Errorf("files %q, pref %v", names, pref)
	}
	if pref["connectString0"] != "String [2001:db8::1]:8089:ssl" {
		t.Errorf("connectString0 = %q", pref["connectString0"])
	}
}

// All servers of a client share one folder for certificates.
func TestTwoServersDoNotCollide(t *testing.T) {
	all := map[string]bool{}
	for range 2 { // two authorities
		user, trust := stores(t)
		for _, host := range []string{"a.example.com", "b.example.com"} {
			names, _ := unpack(t, connpack.Package{Name: "alice", Host: host, UserP12: user, TruststoreP12: trust})
			for _, n := range names[1:3] {
				if all[strings.ToLower(n)] {
					t.Errorf("%s is in two packages", n)
				}
				all[strings.ToLower(n)] = true
			}
		}
	}
	user, trust := stores(t)
	names, _ := unpack(t, connpack.Package{Name: "TrustStore", Host: "a", UserP12: user, TruststoreP12: trust})
	if strings.EqualFold(names[1], names[2]) {
		t.Errorf("names = %q: the user's file replaces the truststore", names)
	}
}

func TestFileNamesAreTame(t *testing.T) {
	user, trust := stores(t)
	plain := regexp.MustCompile(`^(MANIFEST/manifest\.xml|certs/[A-Za-z0-9._-]+)$`)
	for _, name := range []string{"Jürgen 漢字", `x'; DROP TABLE users; --`, `<script>alert(1)</script>`[:8], "a:b|c?d*e\"f", "%2e%2e"} {
		names, _ := unpack(t, connpack.Package{Name: name, Host: "h", UserP12: user, TruststoreP12: trust})
		if slices.ContainsFunc(names, func(n string) bool { return !plain.MatchString(n) }) {
			t.Errorf("files for %q: %q", name, names)
		}
	}
}

func TestBadPackages(t *testing.T) {
	user, trust := stores(t)
	tests := map[string]func(*connpack.Package){
		"no name":              func(p *connpack.Package) { p.Name = "" },
		"path as name":         func(p *connpack.Package) { p.Name = "../../x" },
		"no host":              func(p *connpack.Package) { p.Host = "" },
		"host with port":       func(p *connpack.Package) { p.Host = "tak.example.com:8089" },
		"markup in host":       func(p *connpack.Package) { p.Host = `h"/><x` },
		"path in host":         func(p *connpack.Package) { p.Host = "../h" },
		"port":                 func(p *connpack.Package) { p.Port = 65536 },
		"negative port":        func(p *connpack.Package) { p.Port = -1 },
		"unknown client":       func(p *connpack.Package) { p.For = "webtak" },
		"no truststore":        func(p *connpack.Package) { p.TruststoreP12 = nil },
		"stores swapped":       func(p *connpack.Package) { p.TruststoreP12, p.UserP12 = p.UserP12, p.TruststoreP12 },
		"another password":     func(p *connpack.Package) { p.Password = "other" },
		"garbage for the user": func(p *connpack.Package) { p.UserP12 = []byte("x") },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			p := connpack.Package{Name: "alice", Host: "tak.example.com", UserP12: user, TruststoreP12: trust}
			spoil(&p)
			var b bytes.Buffer
			if err := connpack.Write(&b, p); !errors.Is(err, meta.ErrInvalid) || b.Len() != 0 {
				t.Errorf("Write = %v and %d bytes, want ErrInvalid and none", err, b.Len())
			}
		})
	}
}
