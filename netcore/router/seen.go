package router

import (
	"hash/maphash"
	"sync/atomic"
)

// Seen remembers, by hashes, which events passed lately: uid and time of each.
// It is shared by all loops, takes no lock, and never grows: of two events that
// fall on one place, the newer one is remembered.
type Seen struct {
	seed  maphash.Seed
	table [seenSize]atomic.Uint64
}

const seenSize = 1 << 16

// NewSeen returns an empty memory of half a megabyte.
func NewSeen() *Seen { return &Seen{seed: maphash.MakeSeed()} }

// Note remembers an event.
func (s *Seen) Note(uid []byte, ms int64) {
	h := s.hash(uid, ms)
	s.table[h%seenSize].Store(h)
}

// Has reports whether an event is remembered.
func (s *Seen) Has(uid []byte, ms int64) bool {
	h := s.hash(uid, ms)
	return s.table[h%seenSize].Load() == h
}

func (s *Seen) hash(uid []byte, ms int64) uint64 {
	h := maphash.Bytes(s.seed, uid) ^ uint64(ms)*0x9E3779B97F4A7C15
	h ^= h >> 29
	return h | 1<<63 // never the empty place
}
