package updates_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"takd/http/httpd/httpdtest"
	"takd/http/updates"
)

// manifest makes Android's binary XML: elements with attributes, whose values
// are strings or numbers.
type manifest struct {
	words []string
	body  []byte
}

func (m *manifest) word(text string) uint32 {
	if i := slices.Index(m.words, text); i >= 0 {
		return uint32(i)
	}
	m.words = append(m.words, text)
	return uint32(len(m.words) - 1)
}

func le16(b []byte, v ...uint16) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return b
}

func le32(b []byte, v ...uint32) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func (m *manifest) element(name string, attrs ...any) {
	n := len(attrs) / 2
	b := le32(le16(nil, 0x0102, 16), uint32(36+20*n), 1, 0xFFFFFFFF)
	b = le16(le32(b, 0xFFFFFFFF, m.word(name)), 20, 20, uint16(n), 0, 0, 0)
	for i := range n {
		b = le32(b, 0xFFFFFFFF, m.word(attrs[2*i].(string)))
		switch v := attrs[2*i+1].(type) {
		case string:
			b = le32(le16(le32(b, m.word(v)), 8, 0x0300), m.word(v))
		case int:
			b = le32(le16(le32(b, 0xFFFFFFFF), 8, 0x1000), uint32(v))
		}
	}
	m.body = append(m.body, b...)
}

func (m *manifest) bytes() []byte {
	var data, offsets []byte
	for _, w := range m.words {
		offsets = le32(offsets, uint32(len(data)))
		units := utf16.Encode([]rune(w))
		data = le16(le16(le16(data, uint16(len(units))), units...), 0)
	}
	pool := le32(le16(nil, 1, 28), uint32(28+len(offsets)+len(data)), uint32(len(m.words)), 0, 0, uint32(28+len(offsets)), 0)
	pool = append(append(pool, offsets...), data...)
	all := append(le32(le16(nil, 3, 8), uint32(8+len(pool)+len(m.body))), pool...)
	return append(all, m.body...)
}

func apk(t testing.TB, manifest []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("AndroidManifest.xml")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(manifest)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func plugin() []byte {
	var m manifest
	m.element("manifest", "versionCode", 1700000001, "versionName", "1.2, beta", "package", "com.example.foo.plugin")
	m.element("uses-sdk", "minSdkVersion", 21)
	m.element("application", "label", "Größe Ü")
	m.element("meta-data", "name", "plugin-api", "value", "com.atakmap.app@5.4.0.CIV")
	m.element("meta-data", "name", "app_desc", "value", "Shows things")
	return m.bytes()
}

func TestUpdates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "packages")
	s := httpdtest.New(t, updates.Routes(updates.Deps{Dir: dir, Log: slog.New(slog.DiscardHandler)}))
	s.Want(404, "ann", "GET", "/api/packages/product.infz", "")
	s.Want(401, "", "GET", "/api/packages/product.infz", "")
	put := func(name string, data []byte) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := apk(t, plugin())
	put("foo.apk", file)
	put("foo.png", []byte("icon"))
	put("broken.apk", []byte("no zip"))
	put(".hidden.apk", file)
	put("note.txt", []byte("secret"))
	put("../outside.apk", file)
	if err := os.Symlink("../../outside.apk", filepath.Join(dir, "link.apk")); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(file)
	row := fmt.Sprintf("Android,plugin,com.example.foo.plugin,Größe Ü,1.2  beta,1700000001,foo.apk,foo.png,Shows things,%s,21,com.atakmap.app@5.4.0.CIV,%d\n", hex.EncodeToString(sum[:]), len(file))
	for range 2 { // the second time from memory
		list := s.Want(200, "view", "GET", "/api/packages/product.inf", "").Body
		first, rest, _ := strings.Cut(list, "\n")
		if rest != row || !strings.HasPrefix(first, "#") || strings.Count(first, ",") != 12 {
			t.Errorf("product.inf:\n%swant\n%s", list, row)
		}
	}
	s.Want(200, "ann", "HEAD", "/api/packages/product.infz", "")
	text := s.Want(200, "ann", "GET", "/api/packages/product.infz", "").Body
	z, err := zip.NewReader(strings.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name] = string(b)
	}
	if len(got) != 2 || !strings.HasSuffix(got["product.inf"], row) || got["foo.png"] != "icon" {
		t.Errorf("product.infz: %q", got)
	}
	if a := s.Want(200, "ann", "GET", "/api/packages/foo.apk", ""); a.Body != string(file) || a.Header.Get("Content-Type") != "application/vnd.android.package-archive" {
		t.Errorf("foo.apk: %d bytes, %v", len(a.Body), a.Header)
	}
	if a := s.Want(200, "ann", "HEAD", "/api/packages/foo.apk", ""); a.Header.Get("Content-Length") != fmt.Sprint(len(file)) {
		t.Errorf("HEAD: %v", a.Header)
	}
	put("5.4.0/product.inf", []byte("my own\n"))
	if got := s.Want(200, "ann", "GET", "/api/packages/5.4.0/product.inf", "").Body; got != "my own\n" {
		t.Errorf("the operator's own: %q", got)
	}
	if err := os.Remove(filepath.Join(dir, "foo.apk")); err != nil {
		t.Fatal(err)
	}
	if got := s.Want(200, "ann", "GET", "/api/packages/product.inf", "").Body; strings.Contains(got, "foo") {
		t.Errorf("after it was removed: %s", got)
	}
	for _, bad := range []string{"note.txt", ".hidden.apk", "link.apk", "..%2foutside.apk", "%2e%2e/outside.apk", "x/../../outside.apk", "none.apk", "5.5/product.inf", "a%00.apk", "5.4.0", ""} {
		if a := s.Do("ann", "GET", "/api/packages/"+bad, ""); a.Status != 404 && a.Status != 400 {
			t.Errorf("%q: %d %.100s", bad, a.Status, a.Body)
		}
	}
}

// Whatever a manifest says, reading it ends.
func FuzzManifest(f *testing.F) {
	f.Add(plugin())
	f.Fuzz(func(t *testing.T, text []byte) {
		if id, err := updates.ReadManifest(text); (err == nil) != (id != "") {
			t.Fatalf("%q, %v", id, err)
		}
	})
}
