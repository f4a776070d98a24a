// Package group turns access group names into bits and answers the one
// question of the hot path: may this message reach that client?
//
// A client sends into its IN groups and receives from its OUT groups; a message
// reaches a client when the two share a group. Bits are local to one process:
// nothing outside netcore ever sees them.
package group

import (
	"slices"
	"sync"
	"unsafe"
)

// Anon is the group of clients that have no other.
const Anon = "__ANON__"

// Bits is a set of groups, 64 to a word. Bits that were handed out are immutable.
type Bits []uint64

// Intersects reports whether a and b share a group.
func (b Bits) Intersects(o Bits) bool {
	n := min(len(b), len(o))
	for i := range n {
		if b[i]&o[i] != 0 {
			return true
		}
	}
	return false
}

// AppendAnd appends the groups that a and b share to dst[:0] and reports
// whether there is one.
func AppendAnd(dst, a, b Bits) (Bits, bool) {
	dst = dst[:0]
	some := uint64(0)
	for i := range min(len(a), len(b)) {
		w := a[i] & b[i]
		some |= w
		dst = append(dst, w)
	}
	return dst, some != 0
}

// AppendOr adds the groups of b to dst.
func AppendOr(dst, b Bits) Bits {
	for len(dst) < len(b) {
		dst = append(dst, 0)
	}
	for i, w := range b {
		dst[i] |= w
	}
	return dst
}

// Set is an immutable set of groups with its names.
type Set struct {
	Bits  Bits
	Names []string // sorted
	key   string
}

// Key is equal for equal sets, so that receivers with the same view share one batch.
func (s *Set) Key() string { return s.key }

// Table knows the bit of each group name. It is safe for concurrent use.
// Names come from the operator, never from a client: a client's dest group is
// only ever looked up.
type Table struct {
	mu    sync.RWMutex
	one   map[string]Bits // the set of just this group
	count int
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{one: make(map[string]Bits)} }

// Set returns the set of the named groups, giving new names their bits.
func (t *Table) Set(names []string) *Set {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	s := &Set{Names: names}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		one, ok := t.one[name]
		if !ok {
			one = make(Bits, t.count/64+1)
			one[t.count/64] = 1 << (t.count % 64)
			t.one[name] = one
			t.count++
		}
		s.Bits = AppendOr(s.Bits, one)
	}
	if len(s.Bits) > 0 {
		s.key = string(unsafe.Slice((*byte)(unsafe.Pointer(&s.Bits[0])), len(s.Bits)*8))
	}
	return s
}

// One returns the set of just the named group, nil when nobody was ever in it.
func (t *Table) One(name []byte) Bits {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.one[string(name)]
}

// Names returns the groups of b, sorted.
func (t *Table) Names(b Bits) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var names []string
	for name, one := range t.one {
		if b.Intersects(one) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
