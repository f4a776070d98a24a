package icon_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"takd/store/icon"
)

const head = `<iconset name="Fire" uid="fire-1" version="1"><icon name="truck.png" type2525b="a-u-G"/></iconset>`

// pack makes a zip of pairs of name and content.
func pack(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		w, err := z.Create(pairs[i])
		if err == nil {
			_, err = w.Write([]byte(pairs[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t testing.TB, dir string) *icon.Store {
	t.Helper()
	s, err := icon.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What was put there is found again after a restart, replaced as a whole, and deleted.
func TestSetsAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "icons")
	s := open(t, dir)
	if _, err := s.Add(pack(t, "iconset.xml", head, "Trucks/truck.png", "old")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(pack(t, "iconset.xml", head, "Trucks/truck.png", "new", "Trucks/read me.txt", "x", "a/b.svg", "<svg/>")); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if all := s.Sets(); len(all) != 1 || all[0].Name != "Fire" || strings.Join(all[0].Icons, " ") != "Trucks/truck.png" {
		t.Errorf("sets: %+v", all)
	}
	image, mime, err := s.Icon("fire-1/Trucks/truck.png")
	if err != nil || string(image) != "new" || mime != "image/png" {
		t.Errorf("icon: %q %s %v", image, mime, err)
	}
	for _, path := range []string{"", "fire-1", "fire-1/iconset.xml", "fire-1/a/b.svg", "fire-1/../fire-1.zip", "../icons/fire-1.zip", "other/Trucks/truck.png"} {
		if _, _, err := s.Icon(path); !errors.Is(err, icon.ErrNotFound) {
			t.Errorf("icon %q: %v", path, err)
		}
	}
	if err := errors.Join(s.Delete("fire-1")); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("fire-1"); !errors.Is(err, icon.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if all := open(t, dir).Sets(); len(all) != 0 {
		t.Errorf("still there: %+v", all)
	}
}

func TestHostileSets(t *testing.T) {
	s := open(t, t.TempDir())
	many := []string{"iconset.xml", head}
	for i := range 5001 {
		many = append(many, fmt.Sprintf("a/%d.png", i), "")
	}
	for name, body := range map[string][]byte{
		"empty":        nil,
		"no zip":       []byte("PK\x03\x04 and no more"),
		"no table":     pack(t, "a/b.png", "x"),
		"two tables":   pack(t, "iconset.xml", head, "a/iconset.xml", head),
		"leads out":    pack(t, "iconset.xml", head, "../b.png", "x"),
		"absolute":     pack(t, "iconset.xml", head, "/etc/b.png", "x"),
		"backslash":    pack(t, "iconset.xml", head, `..\b.png`, "x"),
		"no uid":       pack(t, "iconset.xml", `<iconset name="x"/>`),
		"uid leads":    pack(t, "iconset.xml", `<iconset uid="../x"/>`),
		"uid hidden":   pack(t, "iconset.xml", `<iconset uid=".x"/>`),
		"uid long":     pack(t, "iconset.xml", `<iconset uid="`+strings.Repeat("x", 129)+`"/>`),
		"other root":   pack(t, "iconset.xml", `<icons uid="x"/>`),
		"no XML":       pack(t, "iconset.xml", `<iconset uid="x"`),
		"long name":    pack(t, "iconset.xml", `<iconset uid="x" name="`+strings.Repeat("x", 256)+`"/>`),
		"large icon":   pack(t, "iconset.xml", head, "a/b.png", strings.Repeat("x", 1<<20+1)),
		"large table":  pack(t, "iconset.xml", head+strings.Repeat(" ", 4<<20)),
		"many icons":   pack(t, many...),
		"large set":    make([]byte, icon.MaxSet+1),
		"entity bombs": pack(t, "iconset.xml", `<!DOCTYPE x [<!ENTITY a "aaaa">]><iconset uid="&a;"/>`),
	} {
		if _, err := s.Add(body); !errors.Is(err, icon.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all := s.Sets(); len(all) != 0 {
		t.Errorf("kept: %+v", all)
	}
}

// A file that is no set does not keep the others away.
func TestBrokenFile(t *testing.T) {
	dir := t.TempDir()
	for name, body := range map[string][]byte{"fire-1.zip": pack(t, "iconset.xml", head, "a/b.png", "x"), "broken.zip": []byte("x"), "other.zip": pack(t, "iconset.xml", head)} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := icon.Open(dir)
	if err == nil || !strings.Contains(err.Error(), "broken.zip") || !strings.Contains(err.Error(), "other.zip") {
		t.Errorf("error: %v", err)
	}
	if all := s.Sets(); len(all) != 1 || all[0].UID != "fire-1" {
		t.Errorf("sets: %+v", all)
	}
}

func FuzzAdd(f *testing.F) {
	f.Add(pack(f, "iconset.xml", head, "a/b.png", "x"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := open(t, t.TempDir())
		set, err := s.Add(body)
		if err != nil {
			return
		}
		for _, name := range set.Icons {
			if _, _, err := s.Icon(set.UID + "/" + name); errors.Is(err, icon.ErrNotFound) {
				t.Errorf("%q is listed and not there", name)
			}
		}
	})
}
