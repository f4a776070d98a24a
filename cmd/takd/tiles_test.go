package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"takd/store/tiles"
	"takd/store/tiles/tilestest"
)

// Base maps: an administrator uploads and deletes them, everybody reads parts of them.
func TestBaseMaps(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.takd("user", "add", "ann", "--role", "readonly")
	root, ann := w.root(), w.browser(w.certificate("ann"))
	file := string(tilestest.Make(tilestest.File{MaxZoom: 3}))
	const path = "/api/v1/tiles/world.pmtiles"
	if got := ann.want(200, "GET", "https", "/api/v1/tiles", "", ""); got != "[]" {
		t.Errorf("none: %s", got)
	}
	ann.want(403, "PUT", "https", path, "", file)
	ann.want(403, "DELETE", "https", path, "", "")
	w.browser().want(401, "GET", "enroll", path, "", "")
	root.want(201, "PUT", "https", path, "", file)
	root.want(409, "PUT", "https", path, "", file)
	for name, body := range map[string]string{"x.pmtiles": "no map", "..%2Fx.pmtiles": file, "x.png": file, ".x.pmtiles": file, "%2e%2e%2f%2e%2e%2fpki%2fx.pmtiles": file, "cut.pmtiles": file[:len(file)-9]} {
		if status, text := root.call("PUT", "https", "/api/v1/tiles/"+name, "", body); status != 400 && status != 404 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	for _, name := range []string{"nothing.pmtiles", "..%2Fmeta.db", "%2e%2e%2fpki%2fca.pem", "..%2f..%2fetc%2fpasswd"} {
		if status, text := ann.call("GET", "https", "/api/v1/tiles/"+name, "", ""); status != 404 && status != 400 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	var list []tiles.Info
	if err := json.Unmarshal([]byte(ann.want(200, "GET", "https", "/api/v1/tiles", "", "")), &list); err != nil || len(list) != 1 || list[0].Name != "world.pmtiles" || list[0].Type != "png" {
		t.Errorf("%+v, %v", list, err)
	}
	if got := ann.want(200, "GET", "https", path, "", ""); got != file {
		t.Errorf("%d bytes", len(got))
	}
	for ask, want := range map[string]struct {
		status int
		part   string
	}{
		"bytes=0-126": {206, "bytes 0-126/"}, "bytes=7-": {206, "bytes 7-"}, "bytes=-5": {206, "bytes "}, "bytes=0-99999999": {206, "bytes 0-"},
		"bytes=99999999-": {416, "bytes */"}, "bytes=5-2": {200, ""}, "bytes=0-1,4-5": {200, ""}, "lines=1-2": {200, ""}, "bytes=-99999999": {206, "bytes 0-"},
	} {
		got := ann.fetch("https", path, map[string]string{"Range": ask})
		if got.status != want.status || !strings.HasPrefix(got.header.Get("Content-Range"), want.part) || want.status != 416 && got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", ask, got.status, got.header)
		}
	}
	root.want(204, "DELETE", "https", path, "", "")
	root.want(404, "DELETE", "https", path, "", "")
	if got := w.takd("audit"); !strings.Contains(got, "base map add") || !strings.Contains(got, "base map remove") {
		t.Errorf("audit: %s", got)
	}
	w.takd("config", "set", "tiles.max_file=1KiB")
	if got := root.want(413, "PUT", "https", path, "", file); !strings.Contains(got, "tiles.max_file is 1KiB") {
		t.Errorf("limit: %s", got)
	}
}

// The command line keeps base maps and cuts regions out of larger files.
func TestTilesCommand(t *testing.T) {
	t.Parallel()
	w := start(t)
	dir := t.TempDir()
	world := filepath.Join(dir, "world.pmtiles")
	if err := os.WriteFile(world, tilestest.Make(tilestest.File{MaxZoom: 5, Leaves: true}), 0o600); err != nil {
		t.Fatal(err)
	}
	w.takd("tiles", "add", world)
	out := filepath.Join(dir, "region.pmtiles")
	w.takd("tiles", "extract", world, "--bbox", "10,45,20,55", "--maxzoom", "4", "--out", out)
	got, err := os.ReadFile(out)
	if err != nil || !bytes.Contains(got, tilestest.Picture(4, 8, 5)) || bytes.Contains(got, tilestest.Picture(4, 0, 0)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	w.takd("tiles", "extract", world, "--bbox=-10,45,20,55", "--add", "europe")
	var list []tiles.Info
	if err := json.Unmarshal([]byte(w.takd("tiles", "list", "--json")), &list); err != nil || len(list) != 2 || list[0].Name != "europe.pmtiles" || list[0].Bounds != [4]float64{-10, 45, 20, 55} {
		t.Errorf("%+v, %v", list, err)
	}
	w.takd("tiles", "remove", "europe.pmtiles")
	if got := w.takd("tiles", "list"); strings.Contains(got, "europe") || !strings.Contains(got, "world.pmtiles") {
		t.Errorf("list: %s", got)
	}
}
