// Package tilestest makes small PMTiles files for tests, by itself: it shares no
// code with what it tests.
package tilestest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
	"slices"
)

// File is what a made file is like.
type File struct {
	MaxZoom int    // the world down to it; at most 5
	Type    byte   // 0 is PNG
	Leaves  bool   // the tiles are in leaf directories
	Version byte   // 0 is 3
	Tail    []byte // after the end

	Tile func(z, x, y int) []byte // nil: a picture whose colour tells the tile
}

// Colour is that of a tile.
func Colour(z, x, y int) color.NRGBA {
	return color.NRGBA{uint8(40 + 40*z), uint8(20 + 30*x), uint8(20 + 30*y), 255}
}

// Picture is a tile as PNG.
func Picture(z, x, y int) []byte {
	p := image.NewPaletted(image.Rect(0, 0, 256, 256), color.Palette{Colour(z, x, y)})
	var b bytes.Buffer
	_ = png.Encode(&b, p) // into memory
	return b.Bytes()
}

type tile struct {
	id   uint64
	data []byte
}

// ID is the number of a tile: it follows the Hilbert curve quarter by quarter.
func ID(z, x, y int) uint64 {
	id := uint64(0)
	for i := range z {
		id += 1 << (2 * i)
	}
	return id + curve(z, x, y)
}

func curve(z, x, y int) uint64 {
	if z == 0 {
		return 0
	}
	h := 1 << (z - 1)
	quarter := uint64(1) << (2 * (z - 1))
	switch {
	case x < h && y < h:
		return curve(z-1, y, x)
	case x < h:
		return quarter + curve(z-1, x, y-h)
	case y >= h:
		return 2*quarter + curve(z-1, x-h, y-h)
	}
	return 3*quarter + curve(z-1, h-1-y, 2*h-1-x)
}

// Make makes a file of the world.
func Make(f File) []byte {
	if f.Tile == nil {
		f.Tile = Picture
	}
	var all []tile
	for z := 0; z <= f.MaxZoom; z++ {
		for x := range 1 << z {
			for y := range 1 << z {
				all = append(all, tile{ID(z, x, y), f.Tile(z, x, y)})
			}
		}
	}
	slices.SortFunc(all, func(a, b tile) int { return int(a.id) - int(b.id) })
	var data, leaves []byte
	offs := make([]int, len(all))
	for i, t := range all {
		offs[i] = len(data)
		data = append(data, t.data...)
	}
	root := dir(all, offs, 1)
	if f.Leaves {
		var top []tile
		var at []int
		for i := 0; i < len(all); i += 8 {
			j := min(i+8, len(all))
			leaf := dir(all[i:j], offs[i:j], 1)
			top, at = append(top, tile{all[i].id, leaf}), append(at, len(leaves))
			leaves = append(leaves, leaf...)
		}
		root = dir(top, at, 0)
	}
	meta := pack([]byte(`{"name":"test","vector_layers":[{"id":"water","fields":{}},{"id":"roads","fields":{}}]}`))
	b := append([]byte("PMTiles"), max(f.Version, 3))
	if f.Version != 0 {
		b[7] = f.Version
	}
	off := uint64(127)
	for _, n := range []int{len(root), len(meta), len(leaves), len(data)} {
		b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, off), uint64(n))
		off += uint64(n)
	}
	for range 3 {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(all)))
	}
	kind := f.Type
	if kind == 0 {
		kind = 2
	}
	b = append(b, 1, 2, 1, kind, 0, byte(f.MaxZoom))
	for _, v := range []int32{-1_800_000_000, -850_000_000, 1_800_000_000, 850_000_000} {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return slices.Concat(b, root, meta, leaves, data, f.Tail)
}

func dir(list []tile, offs []int, run uint64) []byte {
	b := binary.AppendUvarint(nil, uint64(len(list)))
	last := uint64(0)
	for _, t := range list {
		b = binary.AppendUvarint(b, t.id-last)
		last = t.id
	}
	for range list {
		b = binary.AppendUvarint(b, run)
	}
	for _, t := range list {
		b = binary.AppendUvarint(b, uint64(len(t.data)))
	}
	for _, off := range offs {
		b = binary.AppendUvarint(b, uint64(off)+1)
	}
	return pack(b)
}

func pack(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b) // into memory
	_ = z.Close()
	return out.Bytes()
}
