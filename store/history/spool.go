package history

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A segment is a file with one group: magic, rows (4 bytes), checksum of what
// follows it (4), length of that (8), and the group (segment.go) within zstd. Numbers
// are big-endian. Its name is the ID of the group. Those of the first kind hold
// whole events as gob; they are read, and not written any more.
const (
	magic     = "takdspl2"
	firstKind = "takdspl1"
	headSize  = len(magic) + 4 + 4 + 8
	segExt    = ".seg"
	badExt    = ".bad"
	tmpExt    = ".tmp"
	keptBad   = 4         // damaged segments that are kept for a look
	maxUnpack = 512 << 20 // bytes of a group
)

// errCorrupt means that a segment does not hold what was written.
var errCorrupt = errors.New("damaged segment")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SpoolStats is what waits on disk.
type SpoolStats struct {
	Segments int    `json:"segments"`
	Rows     uint64 `json:"rows"`
	Bytes    int64  `json:"bytes"`
	Max      int64  `json:"max"`
	Dropped  uint64 `json:"dropped"` // rows lost since the start: past the cap, or not written
	Damaged  uint64 `json:"damaged"` // segments that could not be read
}

type segment struct {
	id   uint64
	rows uint32
	size int64
}

// spool keeps groups on disk, oldest first. It is safe for concurrent use.
type spool struct {
	dir    string
	max    int64
	log    *slog.Logger
	enc    *zstd.Encoder
	dec    *zstd.Decoder
	notify chan struct{} // holds a token when there may be something new

	mu      sync.Mutex
	segs    []segment // in order of their IDs
	bytes   int64
	dropped uint64
	damaged uint64
}

func openSpool(dir string, limit int64, log *slog.Logger) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &spool{dir: dir, max: limit, log: log, notify: make(chan struct{}, 1)}
	var err error
	if s.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if s.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpack)); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, tmpExt) { // a crash while it was written
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("spool: %w", err)
			}
			continue
		}
		id, err := strconv.ParseUint(strings.TrimSuffix(name, segExt), 10, 64)
		if err != nil || !strings.HasSuffix(name, segExt) {
			continue
		}
		seg := segment{id: id}
		if info, err := e.Info(); err == nil {
			seg.size = info.Size()
		}
		if head, err := readHead(s.path(id)); err == nil {
			seg.rows = binary.BigEndian.Uint32(head[len(magic):])
		}
		s.segs = append(s.segs, seg)
		s.bytes += seg.size
	}
	slices.SortFunc(s.segs, func(a, b segment) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	s.mu.Lock()
	s.shrink(0)
	s.mu.Unlock()
	return s, nil
}

func (s *spool) path(id uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d%s", id, segExt))
}

func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, headSize)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	return head, nil
}

// append writes a group. It is on disk when append returns.
func (s *spool) append(g *group) error {
	plain := g.pack()
	out := make([]byte, headSize, headSize+len(plain)/2)
	out = s.enc.EncodeAll(plain, out)
	body := out[headSize:]
	copy(out, magic)
	binary.BigEndian.PutUint32(out[len(magic):], uint32(g.rows))
	binary.BigEndian.PutUint32(out[len(magic)+4:], crc32.Checksum(body, castagnoli))
	binary.BigEndian.PutUint64(out[len(magic)+8:], uint64(len(body)))

	s.mu.Lock()
	defer s.mu.Unlock()
	s.shrink(int64(len(out)))
	if err := s.write(s.path(g.ID), out); err != nil {
		s.dropped += uint64(g.rows)
		return fmt.Errorf("spool: %w", err)
	}
	s.segs = append(s.segs, segment{id: g.ID, rows: uint32(g.rows), size: int64(len(out))})
	s.bytes += int64(len(out))
	s.wake()
	return nil
}

func (s *spool) write(path string, b []byte) error {
	tmp := path + tmpExt
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncDir(s.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *spool) wake() {
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

// shrink drops the oldest segments until there is room for more bytes. The
// caller holds mu.
func (s *spool) shrink(more int64) {
	for len(s.segs) > 0 && s.bytes+more > s.max {
		old := s.segs[0]
		s.dropped += uint64(old.rows)
		s.log.Warn("history spool is full: oldest events dropped", "events", old.rows, "limit", s.max)
		s.forget(old.id)
		_ = os.Remove(s.path(old.id))
	}
}

// forget takes a segment off the list. The caller holds mu.
func (s *spool) forget(id uint64) {
	s.segs = slices.DeleteFunc(s.segs, func(seg segment) bool {
		if seg.id == id {
			s.bytes -= seg.size
		}
		return seg.id == id
	})
}

// front returns the oldest segment.
func (s *spool) front() (id uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segs) == 0 {
		return 0, false
	}
	return s.segs[0].id, true
}

// last returns the newest ID.
func (s *spool) last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segs) == 0 {
		return 0
	}
	return s.segs[len(s.segs)-1].id
}

// load reads a segment; errCorrupt means that it is of no use.
func (s *spool) load(id uint64) (*group, error) {
	b, err := os.ReadFile(s.path(id))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if len(b) < headSize || string(b[:len(magic)]) != magic && string(b[:len(magic)]) != firstKind {
		return nil, fmt.Errorf("%w: no head", errCorrupt)
	}
	body := b[headSize:]
	if n := binary.BigEndian.Uint64(b[len(magic)+8:]); n != uint64(len(body)) {
		return nil, fmt.Errorf("%w: %d bytes of %d", errCorrupt, len(body), n)
	}
	if binary.BigEndian.Uint32(b[len(magic)+4:]) != crc32.Checksum(body, castagnoli) {
		return nil, fmt.Errorf("%w: wrong checksum", errCorrupt)
	}
	plain, err := s.dec.DecodeAll(body, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	var g *group
	if string(b[:len(magic)]) == magic {
		g, err = unpack(plain)
	} else {
		g = new(group)
		err = gob.NewDecoder(bytes.NewReader(plain)).Decode(g)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	for _, b := range g.Batches {
		if len(b.Rows) == 0 || !known(b.Table) {
			return nil, fmt.Errorf("%w: batch of %q with %d rows", errCorrupt, b.Table, len(b.Rows))
		}
	}
	g.ID = id
	return g, nil
}

// remove forgets a segment that the database has.
func (s *spool) remove(id uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(id)
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// setAside puts a segment out of the way that cannot be written to the database.
func (s *spool) setAside(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segs {
		if seg.id == id {
			s.dropped += uint64(seg.rows)
		}
	}
	s.damaged++
	s.forget(id)
	path := s.path(id)
	_ = os.Rename(path, strings.TrimSuffix(path, segExt)+badExt)
	bad, _ := filepath.Glob(filepath.Join(s.dir, "*"+badExt))
	slices.Sort(bad)
	for len(bad) > keptBad {
		_ = os.Remove(bad[0])
		bad = bad[1:]
	}
}

func (s *spool) stats() SpoolStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SpoolStats{Segments: len(s.segs), Bytes: s.bytes, Max: s.max, Dropped: s.dropped, Damaged: s.damaged}
	for _, seg := range s.segs {
		st.Rows += uint64(seg.rows)
	}
	return st
}

func (s *spool) close() {
	_ = s.enc.Close()
	s.dec.Close()
}
