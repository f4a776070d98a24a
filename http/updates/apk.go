package updates

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
)

// app is what the manifest of an .apk says of it.
type app struct {
	id       string // package name
	version  string
	revision string // a number
	label    string // "" where it is in the resources, which nobody here reads
	minSDK   string
	needs    string // of a plugin: the form of ATAK that it is for, com.atakmap.app@5.4.0.CIV
	about    string
}

// errAPK is an .apk that cannot be read.
var errAPK = errors.New("no readable .apk")

// maxXML bounds the manifest of an .apk: real ones have some 20 KiB.
const maxXML = 4 << 20

// readAPK reads the manifest of an .apk of size bytes.
func readAPK(r io.ReaderAt, size int64) (app, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return app{}, fmt.Errorf("%w: %w", errAPK, err)
	}
	f, err := z.Open("AndroidManifest.xml")
	if err != nil {
		return app{}, fmt.Errorf("%w: %w", errAPK, err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxXML))
	if err != nil {
		return app{}, fmt.Errorf("%w: manifest: %w", errAPK, err)
	}
	return readManifest(text)
}

// Android keeps a manifest as chunks: a header of 2 bytes type, 2 bytes header
// length, 4 bytes length; then what the type says. All is little-endian.
const (
	chunkXML     = 0x0003
	chunkStrings = 0x0001
	chunkElement = 0x0102
	utf8Flag     = 1 << 8
	typeString   = 0x03
	typeInt      = 0x10
	typeHex      = 0x11
	noString     = 0xFFFFFFFF

	maxWords = 1 << 16
	maxWord  = 4096 // bytes of one that are looked at
)

// readManifest reads Android's binary XML as far as the update server needs it.
func readManifest(b []byte) (a app, err error) {
	if len(b) < 8 || u16(b) != chunkXML {
		return a, fmt.Errorf("%w: the manifest is not in Android's form", errAPK)
	}
	var words []string
	for b = b[8:]; len(b) >= 8; {
		head, size := int(u16(b[2:])), int(u32(b[4:]))
		if size < 8 || size > len(b) || head < 8 || head > size {
			return a, fmt.Errorf("%w: the manifest is damaged", errAPK)
		}
		chunk := b[:size:size]
		switch u16(b) {
		case chunkStrings:
			words = readStrings(chunk)
		case chunkElement:
			a.element(readElement(chunk[head:], words))
		}
		b = b[size:]
	}
	if a.id == "" {
		return a, fmt.Errorf("%w: the manifest names no package", errAPK)
	}
	return a, nil
}

func u16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

// readStrings reads a pool of strings; what lies outside of it is "".
func readStrings(b []byte) []string {
	if len(b) < 28 {
		return nil
	}
	n, flags, start := int(u32(b[8:])), u32(b[16:]), int(u32(b[20:]))
	if n > min(len(b)/4, maxWords) || start > len(b) {
		return nil
	}
	words := make([]string, n)
	for i := range words {
		if at := 28 + 4*i; at+4 <= len(b) {
			if off := int(u32(b[at:])); off < len(b)-start {
				words[i] = readString(b[start+off:min(len(b), start+off+maxWord)], flags&utf8Flag != 0)
			}
		}
	}
	return words
}

// readString reads one string. Its length stands before it, in one unit or two.
func readString(b []byte, isUTF8 bool) string {
	if isUTF8 {
		_, b = length8(b) // in UTF-16 units
		n, b := length8(b)
		return string(b[:min(n, len(b))])
	}
	if len(b) < 2 {
		return ""
	}
	n := int(u16(b))
	b = b[2:]
	if n&0x8000 != 0 && len(b) >= 2 {
		n = n&0x7FFF<<16 | int(u16(b))
		b = b[2:]
	}
	units := make([]uint16, 0, min(n, len(b)/2))
	for ; n > 0 && len(b) >= 2; n, b = n-1, b[2:] {
		units = append(units, u16(b))
	}
	return string(utf16.Decode(units))
}

func length8(b []byte) (int, []byte) {
	switch {
	case len(b) == 0:
		return 0, nil
	case b[0]&0x80 != 0 && len(b) > 1:
		return int(b[0]&0x7F)<<8 | int(b[1]), b[2:]
	}
	return int(b[0]), b[1:]
}

// readElement returns the name of an element and its attributes. Those that are
// references to resources are left out.
func readElement(b []byte, words []string) (name string, attrs map[string]string) {
	word := func(i uint32) string {
		if i == noString || int64(i) >= int64(len(words)) {
			return ""
		}
		return words[i]
	}
	if len(b) < 20 {
		return "", nil
	}
	name, attrs = word(u32(b[4:])), map[string]string{}
	start, size, n := int(u16(b[8:])), int(u16(b[10:])), int(u16(b[12:]))
	for i := range n {
		at := start + i*size
		if size < 20 || at+20 > len(b) {
			break
		}
		a := b[at:]
		key := word(u32(a[4:]))
		switch a[15] {
		case typeString:
			attrs[key] = word(u32(a[16:]))
		case typeInt, typeHex:
			attrs[key] = strconv.FormatUint(uint64(u32(a[16:])), 10)
		}
	}
	return name, attrs
}

func (a *app) element(name string, attrs map[string]string) {
	switch name {
	case "manifest":
		a.id, a.version, a.revision = attrs["package"], attrs["versionName"], attrs["versionCode"]
	case "uses-sdk":
		a.minSDK = attrs["minSdkVersion"]
	case "application":
		a.label = attrs["label"]
	case "meta-data":
		switch attrs["name"] {
		case "plugin-api":
			a.needs = attrs["value"]
		case "app_desc":
			a.about = attrs["value"]
		}
	}
}
