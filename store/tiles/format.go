package tiles

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// HeaderLen is the length of a PMTiles header.
const HeaderLen = 127

// Bounds on what a file can make us read.
const (
	maxRoot    = 16384    // header and root directory, by the format
	maxLeaf    = 4 << 20  // of a directory in the file
	maxPlain   = 32 << 20 // of a directory unpacked
	maxEntries = 1 << 20  // of one directory
	maxMeta    = 16 << 20 // of the metadata
	maxTile    = 16 << 20 // of a tile
	maxZoom    = 24       //
	maxSize    = 1 << 60  // of offsets and lengths: sums of two stay in 63 bits
	leafLen    = 4096     // entries of a leaf that we write
	compNone   = byte(1)  //
	compGzip   = byte(2)  //
	e7         = 1e7      // of a degree
	edge       = 1_800_000_000
)

// Kinds of tiles, by their number in the header.
var kinds = []string{"", "mvt", "png", "jpg", "webp", "avif"}

// section is a part of a file.
type section struct{ off, len uint64 }

// header is the first part of a file.
type header struct {
	root, meta, leaves, data     section
	addressed, entries, contents uint64
	clustered                    bool
	internal, compression, kind  byte
	minZoom, maxZoom, zoom       byte
	w, s, e, n, lon, lat         int32 // 1e-7 degrees
}

// parseHeader reads a header and looks at each of its fields. size is that of the
// file, or -1.
func parseHeader(b []byte, size int64) (h header, err error) {
	bad := func(format string, args ...any) (header, error) {
		return header{}, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
	if len(b) < HeaderLen || string(b[:7]) != "PMTiles" {
		return bad("want a PMTiles file")
	}
	if b[7] != 3 {
		return bad("version %d: want PMTiles of version 3", b[7])
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	i32 := func(at int) int32 { return int32(binary.LittleEndian.Uint32(b[at:])) }
	h = header{
		root: section{u64(8), u64(16)}, meta: section{u64(24), u64(32)}, leaves: section{u64(40), u64(48)}, data: section{u64(56), u64(64)},
		addressed: u64(72), entries: u64(80), contents: u64(88), clustered: b[96] == 1, internal: b[97], compression: b[98], kind: b[99],
		minZoom: b[100], maxZoom: b[101], w: i32(102), s: i32(106), e: i32(110), n: i32(114), zoom: b[118], lon: i32(119), lat: i32(123),
	}
	for _, part := range []struct {
		name string
		section
		most uint64
	}{{"root directory", h.root, maxRoot}, {"metadata", h.meta, maxMeta}, {"leaf directories", h.leaves, maxSize}, {"tile data", h.data, maxSize}} {
		if part.off > maxSize || part.len > part.most {
			return bad("%s: %d bytes at %d; want at most %d", part.name, part.len, part.off, part.most)
		}
		if size >= 0 && part.off+part.len > uint64(size) {
			return bad("%s: it ends at %d, and the file at %d: it is cut off", part.name, part.off+part.len, size)
		}
	}
	switch {
	case h.root.off+h.root.len > maxRoot || h.root.len == 0:
		return bad("root directory: want it in the first %d bytes", maxRoot)
	case h.internal != compNone && h.internal != compGzip:
		return bad("internal compression %d: want none or gzip", h.internal)
	case h.kind == 0 || int(h.kind) >= len(kinds):
		return bad("tile type %d: want vector (MVT), PNG, JPEG, WebP or AVIF", h.kind)
	case h.kind == 1 && h.compression != compNone && h.compression != compGzip:
		return bad("tile compression %d: want none or gzip", h.compression)
	case h.minZoom > h.maxZoom || h.maxZoom > maxZoom:
		return bad("zoom %d to %d: want 0 to %d, the least first", h.minZoom, h.maxZoom, maxZoom)
	case h.w < -edge || h.e > edge || h.s < -edge/2 || h.n > edge/2 || h.w > h.e || h.s > h.n:
		return bad("bounds: want west, south, east and north in degrees")
	}
	return h, nil
}

func (h *header) append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, "PMTiles\x03"...)
	for _, v := range []uint64{h.root.off, h.root.len, h.meta.off, h.meta.len, h.leaves.off, h.leaves.len, h.data.off, h.data.len, h.addressed, h.entries, h.contents} {
		b = le.AppendUint64(b, v)
	}
	clustered := byte(0)
	if h.clustered {
		clustered = 1
	}
	b = append(b, clustered, h.internal, h.compression, h.kind, h.minZoom, h.maxZoom)
	for _, v := range []int32{h.w, h.s, h.e, h.n} {
		b = le.AppendUint32(b, uint32(v))
	}
	return le.AppendUint32(le.AppendUint32(append(b, h.zoom), uint32(h.lon)), uint32(h.lat))
}

// entry is one of a directory: run tiles from id on that are the same, or, where
// run is 0, the directory of the tiles from id on.
type entry struct {
	id, off  uint64
	len, run uint32
}

// parseDir reads a directory as it stands in a file.
func parseDir(b []byte, compression byte) ([]entry, error) {
	b, err := unpack(b, compression, maxPlain)
	if err != nil {
		return nil, fmt.Errorf("%w: directory: %w", ErrInvalid, err)
	}
	failed := false
	next := func(most uint64) uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > most {
			failed = true
			return 0
		}
		b = b[n:]
		return v
	}
	n := next(maxEntries)
	if failed || n > uint64(len(b)) {
		return nil, fmt.Errorf("%w: directory: want at most %d entries, and all of them", ErrInvalid, maxEntries)
	}
	list := make([]entry, n)
	last := uint64(0)
	for i := range list {
		last += next(maxSize)
		list[i].id = last
		failed = failed || last > maxSize
	}
	for i := range list {
		list[i].run = uint32(next(math.MaxUint32))
	}
	for i := range list {
		list[i].len = uint32(next(math.MaxUint32))
	}
	for i := range list {
		switch v := next(maxSize); {
		case v > 0:
			list[i].off = v - 1
		case i > 0:
			list[i].off = list[i-1].off + uint64(list[i-1].len)
		}
		if e := &list[i]; e.len == 0 || e.off > maxSize || i > 0 && e.id <= list[i-1].id {
			failed = true
		}
	}
	if failed {
		return nil, fmt.Errorf("%w: directory: it makes no sense", ErrInvalid)
	}
	return list, nil
}

// appendDir is a directory, as it stands in a file that we write.
func appendDir(list []entry) ([]byte, error) {
	b := binary.AppendUvarint(nil, uint64(len(list)))
	last := uint64(0)
	for i := range list {
		b = binary.AppendUvarint(b, list[i].id-last)
		last = list[i].id
	}
	for i := range list {
		b = binary.AppendUvarint(b, uint64(list[i].run))
	}
	for i := range list {
		b = binary.AppendUvarint(b, uint64(list[i].len))
	}
	for i := range list {
		if i > 0 && list[i].off == list[i-1].off+uint64(list[i-1].len) {
			b = append(b, 0)
		} else {
			b = binary.AppendUvarint(b, list[i].off+1)
		}
	}
	return pack(b)
}

func pack(b []byte) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	err := z.Close()
	return out.Bytes(), err
}

// unpack unpacks to at most so many bytes.
func unpack(b []byte, compression byte, most int64) ([]byte, error) {
	if compression == compNone {
		return b, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, most+1))
	if err == nil && int64(len(out)) > most {
		err = fmt.Errorf("want at most %d bytes", most)
	}
	return out, err
}

// tileID is the number of a tile: those of lower zooms come first, and those of one
// zoom lie on a Hilbert curve.
func tileID(z byte, x, y uint32) uint64 {
	id := (uint64(1)<<(2*z) - 1) / 3
	for s := uint32(1) << z >> 1; s > 0; s >>= 1 {
		rx, ry := uint32(0), uint32(0)
		if x&s != 0 {
			rx = 1
		}
		if y&s != 0 {
			ry = 1
		}
		id += uint64(s) * uint64(s) * uint64((3*rx)^ry)
		x, y = x&(s-1), y&(s-1)
		if ry == 0 {
			if rx == 1 {
				x, y = s-1-x, s-1-y
			}
			x, y = y, x
		}
	}
	return id
}
