package files

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"strings"

	"takd/http/httpd"
)

// What a package may hold. Phones unpack it whole.
const (
	maxEntries   = 10_000
	maxUnpacked  = 4 << 30
	freeUnpacked = 64 << 20 // below it no ratio is too high
	maxRatio     = 200      // of all entries together
	maxEntryName = 1024
	maxInflate   = 64 << 20 // compressed bytes that are unpacked to check what is declared
)

// Signatures and lengths of the zip format.
const (
	endMark    = "PK\x05\x06"
	entryMark  = "PK\x01\x02"
	localMark  = "PK\x03\x04"
	endLen     = 22
	entryLen   = 46
	localLen   = 30
	maxComment = 1<<16 - 1
)

// entry is what the directory of a zip says of one file.
type entry struct {
	method, flags    uint16
	packed, unpacked uint32
	offset, mode     uint32
	name             string
}

func badZip(format string, args ...any) error { return httpd.Bad("package: "+format, args...) }

// inspect refuses packages that would hurt who opens them: names that lead out
// of their folder, links, and contents out of all proportion. It reads the
// directory entry by entry, so that the directory itself may be hostile, and
// unpacks into nothing. What is no zip at all is left alone.
func inspect(f io.ReaderAt, size int64) error {
	tail := make([]byte, min(size, endLen+maxComment))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return err
	}
	i := bytes.LastIndex(tail, []byte(endMark))
	if i < 0 || len(tail)-i < endLen {
		head := make([]byte, len(localMark))
		if _, err := f.ReadAt(head, 0); err == nil && string(head) == localMark {
			return badZip("the zip is cut off")
		}
		return nil
	}
	end := tail[i:]
	count, length, start := int(binary.LittleEndian.Uint16(end[10:])), int64(binary.LittleEndian.Uint32(end[12:])), int64(binary.LittleEndian.Uint32(end[16:]))
	position := size - int64(len(tail)) + int64(i)
	base := position - length - start // bytes before the zip
	switch {
	case count > maxEntries:
		return badZip("%d files; want at most %d", count, maxEntries)
	case base < 0:
		return badZip("its directory lies outside")
	}
	dir := bufio.NewReader(io.NewSectionReader(f, base+start, length))
	z := zipCheck{f: f, base: base, size: size, left: maxInflate}
	for n := 0; ; n++ {
		e, err := readEntry(dir)
		if err == io.EOF { //nolint:errorlint // bufio gives it bare
			if n != count {
				return badZip("its directory lists %d files instead of %d", n, count)
			}
			return nil
		}
		if err == nil && n >= count {
			err = badZip("its directory lists more than %d files", count)
		}
		if err == nil {
			err = z.entry(e)
		}
		if err != nil {
			return err
		}
	}
}

func readEntry(dir *bufio.Reader) (*entry, error) {
	var b [entryLen]byte
	if n, err := io.ReadFull(dir, b[:]); n == 0 && err == io.EOF {
		return nil, io.EOF
	} else if err != nil || string(b[:4]) != entryMark {
		return nil, badZip("its directory is broken")
	}
	u16 := func(i int) uint16 { return binary.LittleEndian.Uint16(b[i:]) }
	u32 := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	e := &entry{method: u16(10), flags: u16(8), packed: u32(20), unpacked: u32(24), mode: u32(38) >> 16, offset: u32(42)}
	length := int(u16(28))
	if length > maxEntryName {
		return nil, badZip("a name of %d bytes; want at most %d", length, maxEntryName)
	}
	name := make([]byte, length)
	if _, err := io.ReadFull(dir, name); err != nil {
		return nil, badZip("its directory is broken")
	}
	e.name = string(name)
	if _, err := dir.Discard(int(u16(30)) + int(u16(32))); err != nil {
		return nil, badZip("its directory is broken")
	}
	return e, nil
}

// zipCheck adds up the entries of one package.
type zipCheck struct {
	f                io.ReaderAt
	base, size       int64
	packed, unpacked int64
	left             int64
}

func (z *zipCheck) entry(e *entry) error {
	const whole, link, kind = 1<<32 - 1, 0xa000, 0xf000
	if e.packed == whole || e.unpacked == whole || e.offset == whole {
		return badZip("a file of 4 GiB")
	}
	if e.mode&kind == link {
		return badZip("%.80q is a link", e.name)
	}
	if leadsOutside(e.name) {
		return badZip("%.80q leads outside", e.name)
	}
	z.packed += int64(e.packed)
	z.unpacked += int64(e.unpacked)
	switch {
	case z.packed > z.size:
		return badZip("its files overlap")
	case z.unpacked > maxUnpacked, z.unpacked > freeUnpacked && z.unpacked > maxRatio*z.size:
		return badZip("unpacked it would be too large: more than %d times its size, or 4 GiB", maxRatio)
	case e.method == 0 && e.packed != e.unpacked && e.flags&1 == 0:
		return badZip("%.80q is not as large as it says", e.name)
	}
	return z.unpack(e)
}

// unpack compares what an entry holds with what it says, as long as that costs little.
func (z *zipCheck) unpack(e *entry) error {
	const deflate = 8
	if e.method != deflate || e.flags&1 != 0 || z.left <= 0 {
		return nil
	}
	var b [localLen]byte
	at := z.base + int64(e.offset)
	if _, err := z.f.ReadAt(b[:], at); err != nil || string(b[:4]) != localMark {
		return badZip("%.80q is not where the directory says", e.name)
	}
	at += localLen + int64(binary.LittleEndian.Uint16(b[26:])) + int64(binary.LittleEndian.Uint16(b[28:]))
	n := min(int64(e.packed), z.left)
	z.left -= n
	in := flate.NewReader(bufio.NewReader(io.NewSectionReader(z.f, at, n)))
	defer func() { _ = in.Close() }()
	if got, _ := io.CopyN(io.Discard, in, int64(e.unpacked)+1); got > int64(e.unpacked) {
		return badZip("%.80q is larger than it says", e.name)
	}
	return nil
}

// leadsOutside reports whether a name, joined to a folder, may be elsewhere.
func leadsOutside(name string) bool {
	name = strings.ReplaceAll(name, `\`, "/") // as Windows takes it
	if name == "" || name[0] == '/' || len(name) > 1 && name[1] == ':' || strings.ContainsRune(name, 0) {
		return true
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.TrimRight(part, " .") == "" && strings.HasPrefix(part, "..") {
			return true
		}
	}
	return false
}
