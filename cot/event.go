// Package cot reads and writes Cursor on Target events, as XML and as TAK
// protobuf, without copying them.
//
// An [Event] is one event as it came off the wire. Its byte slices alias the
// scanned buffer, or scratch memory of the Event itself: they are valid until
// the buffer is reused or the Event is scanned into again, and must never be
// written to. Nothing here does I/O, logs, or starts goroutines.
package cot

import "errors"

// Format is the encoding of an event on the wire.
type Format uint8

// The two encodings of TAK protocol version 1 streams.
const (
	XML   Format = iota // <event …>…</event>
	Proto               // one TakMessage, without its stream frame
)

// Limits on one event. They are constants because a client that exceeds them
// is broken or hostile; what operators tune is the size (see frame.Decoder).
const (
	MaxSize     = 8 << 20  // largest event that is accepted at all, in bytes
	MaxDepth    = 64       // deepest nesting of elements
	MaxAttrs    = 4096     // attributes of one element: a chat group has one for each member
	MaxDests    = 4096     // marti destinations of one event
	MaxUID      = 256      // event/@uid, in bytes of UTF-8
	MaxCallsign = 128      // contact/@callsign, in bytes of UTF-8
	ClientSize  = 64 << 10 // largest event that ATAK can receive: longer ones are never sent to it
)

// Errors of Scan, ScanProto and frame.Decoder.Next: every error they return
// wraps exactly one of these (or, from Next, frame.ErrTooBig), so that what was
// skipped can be counted by reason. Each means that the event is skipped; the
// stream that carried it goes on.
var (
	ErrMalformed = errors.New("cot: malformed event")
	ErrDTD       = errors.New("cot: document type or entity declaration")
	ErrLimit     = errors.New("cot: limit exceeded")
)

// Event is one scanned event. Text fields are plain text: entities are
// resolved, and nil means that the attribute is absent. The zero value is
// ready for use; reusing an Event makes scanning free of allocations.
//
// A number that is none, such as NaN or "48,137", is never passed on. In lat or
// lon it makes HasPoint false, and the event cannot be appended: nobody shall
// see it at 0,0. A height or an error becomes unknown (9999999), and speed and
// course are left out.
type Event struct {
	Format Format
	Raw    []byte // XML: from "<event" to the end of its end tag. Proto: the TakMessage.

	Version, UID, Type, How                 []byte
	Access, QOS, Opex, Caveat, ReleasableTo []byte
	Time, Start, Stale                      Instant
	HasPoint                                bool // there is a point, and its lat and lon are finite decimals
	Point                                   Point

	HasDetail bool
	Contact   Contact   // detail/contact
	Group     Group     // detail/__group
	Takv      Takv      // detail/takv
	Track     Track     // detail/track
	Battery   []byte    // detail/status/@battery
	Precision Precision // detail/precisionlocation
	Chat      Chat      // detail/__chat
	Emergency Emergency // detail/emergency
	Archive   bool      // detail/archive is present
	Link      []byte    // detail/link/@uid, of the first one: whom a t-x-d-d is about

	HasMarti     bool
	Dests        []Dest   // detail/marti/dest, in order
	MartiArchive Tristate // marti/@archive

	TakRequest []byte // detail/TakControl/TakRequest/@version, of t-x-takp-q

	at   spans   // where things are, for splicing
	scan scanner // scratch of the scanner
	text []byte  // resolved entities
	buf  [2][]byte
	ns   []attribute // xmlns:… of event and detail
}

// Point is where the event is: degrees and metres (WGS-84 height above ellipsoid).
type Point struct{ Lat, Lon, HAE, CE, LE Number }

// Contact is detail/contact. Endpoint is what makes ATAK treat the sender as a contact.
type Contact struct{ Callsign, Endpoint []byte }

// Group is detail/__group: the team colour and the role, not an access group.
type Group struct{ Name, Role []byte }

// Takv is detail/takv: the client's device and program.
type Takv struct{ Device, Platform, OS, Version []byte }

// Track is detail/track: metres per second and degrees.
type Track struct{ Speed, Course Number }

// Precision is detail/precisionlocation.
type Precision struct{ GeopointSrc, AltSrc []byte }

// Chat is detail/__chat; UIDs are chatgrp/@uid0, @uid1, … in order.
type Chat struct {
	ID, Room, MessageID, SenderCallsign, Parent []byte
	UIDs                                        [][]byte
}

// Emergency is detail/emergency.
type Emergency struct {
	Type   []byte
	Cancel bool
	Set    bool // the element is present
}

// Dest is one marti destination.
type Dest struct {
	Callsign, UID, Group, Mission, MissionGUID, Path, After, Publish []byte
}

// Nobody reports whether d names nobody: no attribute says to whom, or those
// that do are empty. A misspelt attribute leads here, and so does an empty one;
// path, after and publish alone say how, not to whom. Such a destination is
// still one: what carries it was not meant for everybody.
func (d *Dest) Nobody() bool {
	return len(d.Callsign)+len(d.UID)+len(d.Group)+len(d.Mission)+len(d.MissionGUID) == 0
}

// Tristate is a flag that may be absent.
type Tristate int8

// Values of a Tristate.
const (
	Unset Tristate = iota
	Yes
	No
)

// Splice says what changes when an event is passed on.
type Splice struct {
	FlowTag string // attribute of _flow-tags_ to add, "TAK-Server-<id>"; empty adds none
	Stamp   string // its value, a CoT time
	Limit   int    // leave the flow tag out where the event would exceed this many bytes with it, in protobuf with its stream frame; 0: no limit
	Millis  int64  // receive time for TakMessage fields 3 and 4 when converting to protobuf; 0 leaves them out
}
