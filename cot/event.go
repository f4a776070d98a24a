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
	MaxSize    = 8 << 20  // largest event that is accepted at all, in bytes
	MaxDepth   = 64       // deepest nesting of elements
	MaxAttrs   = 64       // attributes of one element
	MaxDests   = 4096     // marti destinations of one event
	ClientSize = 64 << 10 // largest event that ATAK can receive: longer ones are never sent to it
)

// Errors returned by Scan. Each means that the event is skipped and counted;
// the stream that carried it goes on.
var (
	ErrMalformed = errors.New("cot: malformed event")
	ErrDTD       = errors.New("cot: document type or entity declaration")
	ErrLimit     = errors.New("cot: limit exceeded")
)

// Event is one scanned event. Text fields are plain text: entities are
// resolved, and nil means that the attribute is absent. The zero value is
// ready for use; reusing an Event makes scanning free of allocations.
type Event struct {
	Format Format
	Raw    []byte // XML: from "<event" to the end of its end tag. Proto: the TakMessage.

	Version, UID, Type, How                 []byte
	Access, QOS, Opex, Caveat, ReleasableTo []byte
	Time, Start, Stale                      Instant
	HasPoint                                bool
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

	HasMarti     bool
	Dests        []Dest   // detail/marti/dest, in order
	MartiArchive Tristate // marti/@archive

	TakRequest []byte // detail/TakControl/TakRequest/@version, of t-x-takp-q

	at   spans   // where things are, for splicing
	scan scanner // scratch of the scanner
	text []byte  // resolved entities
	buf  [2][]byte
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
	Millis  int64  // receive time for TakMessage fields 3 and 4 when converting to protobuf; 0 leaves them out
}
