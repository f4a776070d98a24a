package tiles_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"takd/store/blob"
	"takd/store/tiles"
	"takd/store/tiles/tilestest"
)

func open(t *testing.T, limits tiles.Limits) (*tiles.Library, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tiles")
	limits.MinFree = max(limits.MinFree, 1)
	limits.Options = limits.WithDefaults()
	l, err := tiles.Open(dir, func() tiles.Limits { return limits })
	if err != nil {
		t.Fatal(err)
	}
	return l, dir
}

func add(l *tiles.Library, name string, b []byte) (tiles.Info, error) {
	return l.Add(name, bytes.NewReader(b), int64(len(b)))
}

func TestKeep(t *testing.T) {
	t.Parallel()
	l, dir := open(t, tiles.Limits{})
	if all, err := l.List(); len(all) > 0 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	b := tilestest.Make(tilestest.File{MaxZoom: 2})
	info, err := add(l, "World-1.pmtiles", b)
	if err != nil || info.Type != "png" || info.MaxZoom != 2 || info.Bounds != [4]float64{-180, -85, 180, 85} || info.Size != int64(len(b)) {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := add(l, "World-1.pmtiles", b); !errors.Is(err, tiles.ErrExists) {
		t.Errorf("over another: %v", err)
	}
	if _, err := l.Add("unknown.pmtiles", io.MultiReader(bytes.NewReader(b)), -1); err != nil {
		t.Errorf("of unknown size: %v", err)
	}
	all, err := l.List()
	if err != nil || len(all) != 2 || all[0] != info {
		t.Errorf("%+v, %v", all, err)
	}
	f, _, err := l.Open("World-1.pmtiles")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close(), l.Remove("World-1.pmtiles")); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := l.Remove("World-1.pmtiles"); !errors.Is(err, tiles.ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// What is no base map is not kept, and leaves nothing behind.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	l, dir := open(t, tiles.Limits{})
	good := tilestest.Make(tilestest.File{MaxZoom: 2})
	with := func(at int, v ...byte) []byte {
		b := slices.Clone(good)
		copy(b[at:], v)
		return b
	}
	huge := binary.LittleEndian.AppendUint64(nil, 1<<62)
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"nothing":         {nil, "PMTiles"},
		"another file":    {bytes.Repeat([]byte("PK\x03\x04"), 100), "want a PMTiles file"},
		"version 2":       {tilestest.Make(tilestest.File{Version: 2}), "version 2"},
		"header cut off":  {good[:100], "PMTiles"},
		"cut off":         {good[:len(good)-1], "cut off"},
		"tile type":       {with(99, 77), "tile type"},
		"compression":     {with(97, 3), "internal compression"},
		"zooms":           {with(100, 9), "zoom"},
		"bounds":          {with(102, 255, 255, 255, 127), "bounds"},
		"root too large":  {with(16, 0, 0, 1), "root directory"},
		"root past it":    {with(8, huge...), "root directory"},
		"leaves past it":  {with(48, huge...), "leaf directories"},
		"root is no dir":  {with(127, 0, 0, 0, 0), "directory"},
		"directory bombs": {bomb(good), "directory"},
		"tiles past it":   {with(64, 1, 0, 0, 0, 0, 0, 0, 0), "not in the file"},
	} {
		if _, err := add(l, "x.pmtiles", c.b); !errors.Is(err, tiles.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", ".pmtiles", "x", "x.png", "../x.pmtiles", "a/b.pmtiles", `a\b.pmtiles`, ".upload-1.pmtiles", "x.pmtiles\x00", "x\n.pmtiles", strings.Repeat("x", 65) + ".pmtiles"} {
		if _, err := add(l, name, good); !errors.Is(err, tiles.ErrInvalid) {
			t.Errorf("name %q: %v", name, err)
		}
		if _, _, err := l.Open(name); !errors.Is(err, tiles.ErrNotFound) {
			t.Errorf("open %q: %v", name, err)
		}
		if err := l.Remove(name); !errors.Is(err, tiles.ErrNotFound) {
			t.Errorf("remove %q: %v", name, err)
		}
	}
	if _, err := l.Add("x.pmtiles", bytes.NewReader(good), int64(len(good))+1); err == nil || !strings.Contains(err.Error(), "it ended after") {
		t.Errorf("shorter than announced: %v", err)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.pmtiles")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Open("link.pmtiles"); err == nil {
		t.Error("a link that leads out is followed")
	}
}

// bomb has a root directory that says it has a million entries.
func bomb(good []byte) []byte {
	b := slices.Clone(good[:127])
	b[97] = 1 // not compressed
	dir := binary.AppendUvarint(nil, 1<<20+1)
	binary.LittleEndian.PutUint64(b[16:], uint64(len(dir)+8))
	for _, at := range []int{24, 40, 56} {
		binary.LittleEndian.PutUint64(b[at:], 127)
		binary.LittleEndian.PutUint64(b[at+8:], 0)
	}
	return append(append(b, dir...), make([]byte, 8)...)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	b := tilestest.Make(tilestest.File{MaxZoom: 1})
	n := blob.Size(len(b))
	for name, c := range map[string]struct {
		limits tiles.Limits
		why    error
	}{
		"tiles.max_file":  {tiles.Limits{Options: tiles.Options{MaxFile: n - 1}}, tiles.ErrLimit},
		"tiles.max_total": {tiles.Limits{Options: tiles.Options{MaxTotal: n - 1}}, tiles.ErrLimit},
		"files.min_free":  {tiles.Limits{MinFree: 1000 * blob.TiB}, tiles.ErrFull},
	} {
		l, _ := open(t, c.limits)
		for _, announced := range []int64{int64(n), -1} {
			if _, err := l.Add("x.pmtiles", bytes.NewReader(b), announced); !errors.Is(err, c.why) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	l, _ := open(t, tiles.Limits{Options: tiles.Options{MaxFile: n}})
	for i, announced := range []int64{int64(n), -1} {
		if _, err := l.Add(string(rune('a'+i))+".pmtiles", bytes.NewReader(b), announced); err != nil {
			t.Errorf("just fits, announced %d: %v", announced, err)
		}
	}
}

// A region has the tiles of its box, as they were, and no others.
func TestExtract(t *testing.T) {
	t.Parallel()
	file := tilestest.Make(tilestest.File{MaxZoom: 5, Leaves: true})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
	}))
	defer server.Close()
	for name, src := range map[string]tiles.Source{"a file": tiles.File{ReaderAt: bytes.NewReader(file)}, "an address": &tiles.Remote{URL: server.URL}} {
		var out bytes.Buffer
		got, err := tiles.Extract(t.Context(), src, tiles.Region{Box: [4]float64{10, 45, 20, 55}, MaxZoom: 4}, &out)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := tiles.Check(bytes.NewReader(out.Bytes()), int64(out.Len())); err != nil || got.Bytes != int64(out.Len()) || got.MaxZoom != 4 || got.Tiles != 5 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		// The world at 0, and then what the box touches.
		for _, c := range [][3]int{{0, 0, 0}, {1, 1, 0}, {2, 2, 1}, {3, 4, 2}, {4, 8, 5}} {
			if !bytes.Contains(out.Bytes(), tilestest.Picture(c[0], c[1], c[2])) {
				t.Errorf("%s: without %v", name, c)
			}
		}
		for _, c := range [][3]int{{1, 0, 0}, {4, 0, 0}, {4, 9, 5}, {5, 17, 10}} {
			if bytes.Contains(out.Bytes(), tilestest.Picture(c[0], c[1], c[2])) {
				t.Errorf("%s: with %v", name, c)
			}
		}
	}
}

// Of all, what comes out is what was there, in directories that have to be split.
func TestExtractEverything(t *testing.T) {
	t.Parallel()
	file := tilestest.Make(tilestest.File{MaxZoom: 3})
	var once, twice bytes.Buffer
	all := tiles.Region{Box: [4]float64{-180, -90, 180, 90}, MaxZoom: 30}
	if _, err := tiles.Extract(t.Context(), tiles.File{ReaderAt: bytes.NewReader(file)}, all, &once); err != nil {
		t.Fatal(err)
	}
	got, err := tiles.Extract(t.Context(), tiles.File{ReaderAt: bytes.NewReader(once.Bytes())}, all, &twice)
	if err != nil || got.Tiles != 1+4+16+64 || !bytes.Equal(once.Bytes(), twice.Bytes()) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	file := tilestest.Make(tilestest.File{MaxZoom: 3, Leaves: true})
	box := [4]float64{10, 45, 20, 55}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(file) }))
	defer plain.Close()
	leaf := slices.Clone(file)
	at := binary.LittleEndian.Uint64(leaf[40:])
	for i := range 64 {
		leaf[at+uint64(i)] = 0xff
	}
	of := func(b []byte) tiles.Source { return tiles.File{ReaderAt: bytes.NewReader(b)} }
	for name, c := range map[string]struct {
		src  tiles.Source
		reg  tiles.Region
		want string
	}{
		"no PMTiles":      {of([]byte("<html>")), tiles.Region{Box: box}, "PMTiles"},
		"cut off":         {of(file[:len(file)/2]), tiles.Region{Box: box, MaxZoom: 3}, "read at"},
		"box":             {of(file), tiles.Region{Box: [4]float64{20, 45, 10, 55}}, "bbox"},
		"no box":          {of(file), tiles.Region{}, "bbox"},
		"zoom":            {of(file), tiles.Region{Box: box, MaxZoom: -1}, "maxzoom"},
		"broken leaf":     {of(leaf), tiles.Region{Box: box, MaxZoom: 3}, "directory"},
		"no Range":        {&tiles.Remote{URL: plain.URL}, tiles.Region{Box: box}, "206"},
		"no address":      {&tiles.Remote{URL: "http://127.0.0.1:1/"}, tiles.Region{Box: box}, "127.0.0.1:1"},
		"bytes that lead": {of(file[:127]), tiles.Region{Box: box}, "read at"},
	} {
		if _, err := tiles.Extract(t.Context(), c.src, c.reg, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(tilestest.Make(tilestest.File{MaxZoom: 1}))
	f.Add(tilestest.Make(tilestest.File{MaxZoom: 2, Leaves: true})[:400])
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = tiles.Check(bytes.NewReader(b), int64(len(b)))
		_, _ = tiles.Extract(t.Context(), tiles.File{ReaderAt: bytes.NewReader(b)}, tiles.Region{Box: [4]float64{10, 45, 20, 55}, MaxZoom: 6}, io.Discard)
	})
}
