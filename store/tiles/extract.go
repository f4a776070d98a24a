package tiles

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// Bounds on one extract.
const (
	maxTiles  = 8 << 20  // of the region
	batchGap  = 64 << 10 // bytes that are rather read than left out
	batchSize = 16 << 20 // of one read
)

// Source is where a region is cut out of. Reads end with its context.
type Source interface {
	ReadAt(ctx context.Context, b []byte, off int64) error
}

// File is a local Source.
type File struct{ io.ReaderAt }

// ReadAt implements Source.
func (f File) ReadAt(_ context.Context, b []byte, off int64) error {
	if n, err := f.ReaderAt.ReadAt(b, off); n < len(b) {
		return fmt.Errorf("read at %d: %w", off, err)
	}
	return nil
}

// Region is what is cut out: west, south, east and north in degrees, and zooms up
// to MaxZoom, where it is less than what there is.
type Region struct {
	Box     [4]float64
	MaxZoom int
}

// Extracted says what was cut out.
type Extracted struct {
	Tiles   uint64 `json:"tiles"` // with each of a run
	Bytes   int64  `json:"bytes"` // of the new file
	MinZoom int    `json:"minzoom"`
	MaxZoom int    `json:"maxzoom"`
	Type    string `json:"type"`
}

// span is tiles from a number up to before another.
type span struct{ from, to uint64 }

// Extract writes a file of the tiles of a region.
func Extract(ctx context.Context, src Source, reg Region, out io.Writer) (Extracted, error) {
	h, err := open(ctx, src)
	if err != nil {
		return Extracted{}, err
	}
	b := reg.Box
	if !(b[0] >= -180 && b[0] < b[2] && b[2] <= 180 && b[1] >= -90 && b[1] < b[3] && b[3] <= 90) {
		return Extracted{}, fmt.Errorf("%w: bbox %v: want west, south, east and north in degrees, west of east and south of north", ErrInvalid, b)
	}
	if reg.MaxZoom < 0 || reg.MaxZoom < int(h.minZoom) {
		return Extracted{}, fmt.Errorf("%w: maxzoom %d: the file begins with zoom %d", ErrInvalid, reg.MaxZoom, h.minZoom)
	}
	h.maxZoom = byte(min(int(h.maxZoom), reg.MaxZoom))
	want, err := spans(b, h.minZoom, h.maxZoom)
	if err != nil {
		return Extracted{}, err
	}
	x := &extraction{src: src, h: h, want: want}
	root, err := x.dir(ctx, h.root.off, h.root.len, maxRoot)
	if err == nil {
		err = x.walk(ctx, root, math.MaxUint64, 0)
	}
	if err != nil {
		return Extracted{}, err
	}
	if len(x.found) == 0 {
		return Extracted{}, fmt.Errorf("%w: bbox %v: the file has no tiles there", ErrInvalid, b)
	}
	return x.write(ctx, b, out)
}

func open(ctx context.Context, src Source) (header, error) {
	b := make([]byte, HeaderLen)
	if err := src.ReadAt(ctx, b, 0); errors.Is(err, io.EOF) {
		return header{}, fmt.Errorf("%w: want a PMTiles file", ErrInvalid)
	} else if err != nil {
		return header{}, err
	}
	return parseHeader(b, -1)
}

// spans are the tiles of a box, in order.
func spans(b [4]float64, minZ, maxZ byte) ([]span, error) {
	var all []span
	count := uint64(0)
	for z := minZ; z <= maxZ; z++ {
		x0, y0 := tileAt(b[0], b[3], z)
		x1, y1 := tileAt(b[2], b[1], z)
		if count += uint64(x1-x0+1) * uint64(y1-y0+1); count > maxTiles {
			return nil, fmt.Errorf("%w: bbox and maxzoom: want at most %d tiles; the box has more at zoom %d", ErrInvalid, maxTiles, z)
		}
		ids := make([]uint64, 0, uint64(x1-x0+1)*uint64(y1-y0+1))
		for x := x0; x <= x1; x++ {
			for y := y0; y <= y1; y++ {
				ids = append(ids, tileID(z, x, y))
			}
		}
		slices.Sort(ids)
		for _, id := range ids {
			if n := len(all); n > 0 && all[n-1].to == id {
				all[n-1].to++
			} else {
				all = append(all, span{id, id + 1})
			}
		}
	}
	return all, nil
}

// tileAt is the tile in which a place is, in Web Mercator.
func tileAt(lon, lat float64, z byte) (x, y uint32) {
	n := math.Exp2(float64(z))
	r := min(max(lat, -85.0511), 85.0511) * math.Pi / 180
	clip := func(v float64) uint32 { return uint32(min(max(v, 0), n-1)) }
	return clip((lon + 180) / 360 * n), clip((1 - math.Asinh(math.Tan(r))/math.Pi) / 2 * n)
}

type extraction struct {
	src   Source
	h     header
	want  []span
	found []entry
}

func (x *extraction) dir(ctx context.Context, off, n, most uint64) ([]entry, error) {
	if n > most {
		return nil, fmt.Errorf("%w: directory: %d bytes; want at most %d", ErrInvalid, n, most)
	}
	b := make([]byte, n)
	if err := x.src.ReadAt(ctx, b, int64(off)); err != nil {
		return nil, err
	}
	return parseDir(b, x.h.internal)
}

// walk gathers the wanted tiles of a directory whose tiles end before end.
func (x *extraction) walk(ctx context.Context, list []entry, end uint64, depth int) error {
	if depth > 3 {
		return fmt.Errorf("%w: directories in directories; want at most 3", ErrInvalid)
	}
	for i, e := range list {
		to := end
		switch {
		case e.run > 0:
			to = e.id + uint64(e.run)
		case i+1 < len(list):
			to = list[i+1].id
		}
		at, _ := slices.BinarySearchFunc(x.want, e.id, func(s span, id uint64) int { // the first that ends behind id
			if s.to <= id {
				return -1
			}
			return 1
		})
		if at == len(x.want) || x.want[at].from >= to {
			continue
		}
		if e.run == 0 {
			leaf, err := x.dir(ctx, x.h.leaves.off+e.off, uint64(e.len), maxLeaf)
			if err == nil {
				err = x.walk(ctx, leaf, to, depth+1)
			}
			if err != nil {
				return err
			}
			continue
		}
		if e.len > maxTile || e.off+uint64(e.len) > x.h.data.len {
			return fmt.Errorf("%w: tile %d: %d bytes at %d; want at most %d, in the file", ErrInvalid, e.id, e.len, e.off, maxTile)
		}
		for ; at < len(x.want) && x.want[at].from < to; at++ {
			from := max(e.id, x.want[at].from)
			if len(x.found) >= maxTiles || len(x.found) > 0 && from <= x.found[len(x.found)-1].id {
				return fmt.Errorf("%w: directory: it names a tile twice", ErrInvalid)
			}
			x.found = append(x.found, entry{id: from, off: e.off, len: e.len, run: uint32(min(to, x.want[at].to) - from)})
		}
	}
	return nil
}

// write writes the new file: each content once, in the order of the source.
func (x *extraction) write(ctx context.Context, box [4]float64, out io.Writer) (Extracted, error) {
	parts := make([]section, 0, len(x.found))
	addressed := uint64(0)
	for _, e := range x.found {
		parts = append(parts, section{e.off, uint64(e.len)})
		addressed += uint64(e.run)
	}
	slices.SortFunc(parts, func(a, b section) int { return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.len, b.len)) })
	parts = slices.Compact(parts)
	at := make(map[section]uint64, len(parts))
	size := uint64(0)
	for _, p := range parts {
		at[p] = size
		size += p.len
	}
	for i := range x.found {
		e := &x.found[i]
		e.off = at[section{e.off, uint64(e.len)}]
	}
	root, leaves, err := directories(x.found)
	if err != nil {
		return Extracted{}, err
	}
	meta, err := x.metadata(ctx)
	if err != nil {
		return Extracted{}, err
	}
	h := x.h
	h.internal, h.addressed, h.entries, h.contents = compGzip, addressed, uint64(len(x.found)), uint64(len(parts))
	h.root = section{HeaderLen, uint64(len(root))}
	h.meta = section{h.root.off + h.root.len, uint64(len(meta))}
	h.leaves = section{h.meta.off + h.meta.len, uint64(len(leaves))}
	h.data = section{h.leaves.off + h.leaves.len, size}
	h.w, h.s = max(h.w, int32(box[0]*e7)), max(h.s, int32(box[1]*e7))
	h.e, h.n = min(h.e, int32(box[2]*e7)), min(h.n, int32(box[3]*e7))
	h.lon, h.lat, h.zoom = h.w+(h.e-h.w)/2, h.s+(h.n-h.s)/2, h.maxZoom
	if _, err := out.Write(bytes.Join([][]byte{h.append(nil), root, meta, leaves}, nil)); err != nil {
		return Extracted{}, err
	}
	err = x.copy(ctx, parts, out)
	return Extracted{addressed, int64(h.data.off + size), int(h.minZoom), int(h.maxZoom), kinds[h.kind]}, err
}

// metadata is that of the source, packed.
func (x *extraction) metadata(ctx context.Context) ([]byte, error) {
	b := make([]byte, x.h.meta.len)
	if len(b) == 0 {
		return pack([]byte("{}"))
	}
	if err := x.src.ReadAt(ctx, b, int64(x.h.meta.off)); err != nil {
		return nil, err
	}
	if x.h.internal == compGzip {
		return b, nil
	}
	return pack(b)
}

// directories are a root directory that fits, and leaves where it needs some.
func directories(list []entry) (root, leaves []byte, err error) {
	if root, err = appendDir(list); err != nil || len(root) <= maxRoot-HeaderLen {
		return root, nil, err
	}
	for n := leafLen; ; n *= 2 {
		var top []entry
		leaves = leaves[:0]
		for part := range slices.Chunk(list, n) {
			b, err := appendDir(part)
			if err != nil {
				return nil, nil, err
			}
			top = append(top, entry{id: part[0].id, off: uint64(len(leaves)), len: uint32(len(b))})
			leaves = append(leaves, b...)
		}
		if root, err = appendDir(top); err != nil || len(root) <= maxRoot-HeaderLen {
			return root, leaves, err
		}
	}
}

// copy copies contents, neighbours with one read.
func (x *extraction) copy(ctx context.Context, parts []section, out io.Writer) error {
	for len(parts) > 0 {
		from, to, n := parts[0].off, parts[0].off+parts[0].len, 1
		for n < len(parts) && parts[n].off <= to+batchGap && parts[n].off+parts[n].len-from <= batchSize {
			to = max(to, parts[n].off+parts[n].len)
			n++
		}
		b := make([]byte, to-from)
		if err := x.src.ReadAt(ctx, b, int64(x.h.data.off+from)); err != nil {
			return err
		}
		for _, p := range parts[:n] {
			if _, err := out.Write(b[p.off-from : p.off-from+p.len]); err != nil {
				return err
			}
		}
		parts = parts[n:]
	}
	return nil
}
