// Package session holds one client: who it is, what it speaks, what of the
// shared batches it may not see, and what still waits for it.
//
// A Session belongs to one event loop, and only that loop touches it, but for
// the fields that say otherwise. Nothing here does I/O.
package session

import (
	"net/netip"
	"sync/atomic"
	"time"

	"takd/cot"
	"takd/cot/frame"
	"takd/netcore/group"
	"takd/netcore/msg"
	"takd/netcore/tlsio"
)

// Conn is what a session needs of its connection. A gnet.Conn is one.
type Conn interface {
	Write(p []byte) (int, error)
	OutboundBuffered() int
}

// Reach is what a session may send to and receive from. It is immutable.
type Reach struct{ In, Out *group.Set }

// Identity is what a client says it is, from its SA, with the user that it
// proved to be. It is immutable: a change makes a new one.
type Identity struct {
	msg.Origin
	Type             string // CoT type of its SA
	Team, Role, Takv string
}

// Session is one client.
type Session struct {
	ID     uint64
	Conn   Conn
	Layer  tlsio.Layer
	state  State
	Remote netip.AddrPort
	Since  time.Time

	// Fixed before the session is on its loop.
	Input     string
	User      string
	Serial    string // of the certificate
	Anonymous bool
	NoArchive bool
	Local     bool // its input is not federated

	// Written by the loop, read by anyone.
	Reach atomic.Pointer[Reach]
	Ident atomic.Pointer[Identity]

	// Reading.
	Decoder  frame.Decoder
	Partial  []byte    // plaintext that is not a whole event yet
	Deadline time.Time // of authentication

	// Writing.
	Format  cot.Format
	HasChat bool // Outbox holds chat of its own
	Outbox
	Sealed   uint64    // bytes given to Conn
	AtTaken  uint64    // of them taken by the kernel at Progress
	Progress time.Time // when it last took any

	SA        *msg.Msg // its latest position
	Incognito bool

	Stats Stats
}

// Stats counts what passed. The loop writes, others get copies.
type Stats struct {
	EventsIn, EventsOut uint64
	BytesIn, BytesOut   uint64          // plaintext
	Drops               [Reasons]uint64 // of what it sent
	Conflated           uint64          // positions that gave way to newer ones before it read them
	LastEvent           time.Time

	rateIn, rateOut float64 // events a second, smoothed
	markIn, markOut uint64
	mark            time.Time
}

// Reason says why an event that a client sent was not passed on.
type Reason uint8

// The reasons.
const (
	Malformed  Reason = iota // no CoT event, or without uid, type or a point on the earth
	Limit                    // larger or deeper than any client makes them
	Oversize                 // too large for clients to receive
	Stolen                   // claims the uid of another user's live client
	ServerOnly               // what only a server may say
	Looped                   // has passed this server already
	NoGroup                  // its sender may not send to these groups
	Flooded                  // more than its sender may send, and more than may wait
	Reasons
)

// names are those of the reasons in JSON and metrics.
var names = [Reasons]string{"malformed", "limit", "oversize", "uid", "server_only", "looped", "no_group", "flood"}

func (r Reason) String() string { return names[r] }

// Dropped is the sum over all reasons.
func (s *Stats) Dropped() (n uint64) {
	for _, d := range s.Drops {
		n += d
	}
	return n
}

// Rates returns events a second, in and out.
func (s *Stats) Rates() (in, out float64) { return s.rateIn, s.rateOut }

// Tick updates the rates; call it about once a second.
func (s *Stats) Tick(now time.Time) {
	d := now.Sub(s.mark).Seconds()
	if s.mark.IsZero() || d <= 0 {
		s.mark, s.markIn, s.markOut = now, s.EventsIn, s.EventsOut
		return
	}
	const weight = 0.4 // of the newest second: settles in about five
	s.rateIn += weight * (float64(s.EventsIn-s.markIn)/d - s.rateIn)
	s.rateOut += weight * (float64(s.EventsOut-s.markOut)/d - s.rateOut)
	s.mark, s.markIn, s.markOut = now, s.EventsIn, s.EventsOut
}

// UID returns the bound uid, "" before the first SA.
func (s *Session) UID() string {
	if id := s.Ident.Load(); id != nil {
		return id.UID
	}
	return ""
}

// Keep replaces the session's latest position.
func (s *Session) Keep(m *msg.Msg) {
	if s.SA != nil {
		s.SA.Superseded.Store(true)
		s.SA.Release()
	}
	s.SA = m.Hold()
}

// Drop gives back everything that the session holds.
func (s *Session) Drop() {
	if s.SA != nil {
		s.SA.Superseded.Store(true)
		s.SA.Release()
		s.SA = nil
	}
	s.Partial = nil
	s.Outbox.Reset(0, 0)
}
