package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"takd/store/tiles/tilestest"
)

// A browser shows base maps and what is chosen of the tracks.
func TestLayersInChromium(t *testing.T) {
	t.Parallel()
	builtPage(t)
	w := start(t)
	secret := w.secretFile("a good password")
	w.takd("user", "add", "root", "--role", "admin", "--group", "Blue", "--password-file", secret)
	w.takd("user", "add", "ann", "--group", "Blue", "--password-file", secret)
	w.takd("user", "add", "alice", "--group", "Blue")
	alice := w.connect("alice", w.certificate("alice"))
	w.every(func() {
		alice.position()
		_, _ = io.WriteString(alice.conn, strings.NewReplacer("UID-mallory", "UID-hostile", "&lt;img src=x onerror=alert(1)&gt;", "HOSTILE").Replace(hostileEvents()))
	})
	for _, text := range []string{
		drawing("AREA", "u-d-r", "Zone", square, time.Hour), drawing("RING", "u-d-c-c", "Ring", `<shape><ellipse major="9000" minor="4000" angle="30"/></shape><strokeColor value="-16711936"/>`, time.Hour),
		drawing("ROUTE", "b-m-r", "MSR", `<link callsign="SP" point="48.1,11.5,0"/><link point="48.5,11.9,0"/><link_attr color="-1"/>`, time.Hour),
	} {
		if _, err := io.WriteString(alice.conn, text); err != nil {
			t.Fatal(err)
		}
	}
	w.browser(w.certificate("root")).want(200, "POST", "https", "/Marti/api/iconset", "", iconSet(t))
	for _, name := range []string{"magenta 1", "huge", "text"} {
		if _, err := io.WriteString(alice.conn, marker("ICON-"+name, "Icon "+name, "takd-test/Shapes/"+name+".png", time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	site := map[string]string{"enroll": w.site("enroll"), "password": "a good password", "tiles": filepath.Join(dir, "world-test.pmtiles"), "vector": filepath.Join(dir, "vector-test.pmtiles")}
	for name, f := range map[string]tilestest.File{"tiles": {MaxZoom: 3}, "vector": {MaxZoom: 1, Type: 1, Tile: func(int, int, int) []byte { return vectorTile }}} {
		if err := os.WriteFile(site[name], tilestest.Make(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	chromium(t, "layers.mjs", site)
}

// vectorTile has a square in the layer water: name, feature (polygon) and version 2.
var vectorTile = []byte("\x1a\x22\x0a\x05\x77\x61\x74\x65\x72\x12\x14\x18\x03\x22\x10\x09\x80\x10\x80\x10\x1a\x80\x20\x00\x00\x80\x20\xff\x1f\x00\x0f\x28\x80\x20\x78\x02")

// every does f twice a second until the test ends.
func (w *world) every(f func()) {
	ctx, end := context.WithCancel(w.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			f()
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	w.Cleanup(func() {
		end()
		<-done
	})
}
