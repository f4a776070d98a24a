package main

import (
	"archive/zip"
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"strings"
	"testing"
	"time"
)

// iconSet is a set of three images: one that is good and magenta, one that says that it
// is huge, and one that is no image.
func iconSet(t *testing.T) string {
	t.Helper()
	var good, set bytes.Buffer
	img := image.NewRGBA(image.Rect(0, 0, 48, 48))
	draw.Draw(img, img.Bounds(), image.NewUniform(color.RGBA{255, 0, 255, 255}), image.Point{}, draw.Src)
	if err := png.Encode(&good, img); err != nil {
		t.Fatal(err)
	}
	huge := bytes.Clone(good.Bytes())
	copy(huge[16:], []byte{0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30}) // 30,000 by 30,000
	z := zip.NewWriter(&set)
	for name, body := range map[string]string{
		"iconset.xml": `<iconset uid="takd-test" name="Test"/>`, "Shapes/magenta 1.png": good.String(), "Shapes/huge.png": string(huge), "Shapes/text.png": strings.Repeat("no image ", 10),
	} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return set.String()
}

// marker is a point that somebody has placed at 48.7 degrees north, with an icon.
func marker(uid, callsign, icon string, life time.Duration) string {
	return strings.NewReplacer(`lat="48.3"`, `lat="48.7"`).Replace(drawing(uid, "b-m-p-s-m", callsign, `<usericon iconsetpath="`+icon+`"/>`, life))
}

// The map is told of an icon where this server has it: since it came, until it goes.
func TestIconsOnTheMap(t *testing.T) {
	t.Parallel()
	w := start(t)
	root := w.root()
	w.takd("user", "add", "alice")
	alice, ann := w.connect("alice", w.certificate("alice")), w.watch(w.certificate("root"))
	send := func(text string) {
		if _, err := io.WriteString(alice.conn, text); err != nil {
			t.Fatal(err)
		}
	}
	const path = "takd-test/Shapes/magenta 1.png"
	send(marker("M-1", "early", path, time.Hour))
	ann.shows(w, `"callsign":"early"`)
	root.want(200, "POST", "https", "/Marti/api/iconset", "", iconSet(t))
	for name, icon := range map[string]string{"none": "takd-test/Shapes/none.png", "up": "takd-test/../../conf/takd.yaml", "built in": "COT_MAPPING_SPOTMAP/b-m-p-s-m/-1", "long": "takd-test/" + strings.Repeat("x", 5000), "markup": "&lt;img src=x&gt;"} {
		send(marker("M-"+name, name, icon, time.Hour))
		ann.shows(w, `"callsign":"`+name+`"`)
	}
	if got := ann.text.String(); strings.Contains(got, `"icon"`) {
		t.Errorf("icons that are not here: %s", got)
	}
	send(marker("M-1", "late", path, time.Hour))
	ann.shows(w, `"icon":"takd-test/Shapes/magenta 1.png"`)
	root.want(200, "DELETE", "https", "/Marti/api/iconset/takd-test", "", "")
	before := len(ann.text.String())
	send(marker("M-1", "after", path, time.Hour))
	ann.shows(w, `"callsign":"after"`)
	if got := ann.text.String()[before:]; strings.Contains(got, `"icon"`) {
		t.Errorf("an icon that is deleted: %s", got)
	}
}
