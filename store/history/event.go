package history

import (
	"math"
	"time"
)

// Tables: one for each class of data, because each is kept for a time of its own.
const (
	Cot       = "cot"             // positions, and whatever is in no other table
	Chat      = "chat"            // GeoChat
	Mission   = "mission_cot"     // events of missions
	Endpoints = "endpoint_events" // who came and went
)

// Tables lists all of them.
var Tables = []string{Cot, Chat, Mission, Endpoints}

// Unknown is a height, error, speed or course that nobody told.
const Unknown = 9999999

// Private is a destination that is nobody's: only who sent the event and operators
// see it.
const Private = "\x02"

// ForUser is the destination that is a user, whatever uids and callsigns he has.
func ForUser(name string) string { return "\x03" + name }

// Event is one row. What it holds belongs to the store once it was recorded.
type Event struct {
	Table    string    // one of Tables
	Received time.Time // by this server; partitions and order go by it

	Time, Start, Stale time.Time // as the event says, to the millisecond

	UID, Callsign string
	Type, How     string // of Endpoints: Connected or Disconnected, and why

	Lat, Lon      float64 // degrees
	HAE, CE, LE   float64 // metres, or Unknown; kept to 0.1
	Speed, Course float64 // metres a second to 0.01 and degrees to 0.1, or Unknown

	Team, Role string
	Groups     []string // that the sender sent to
	User       string   // who sent it
	Sender     string   // uid of the client that sent it
	Source     string   // input, feed or address it came by
	Dests      []string // uids and callsigns it was for; none: everybody in Groups
	Flow       []string // servers it passed

	Mission string
	Room    string // of chat
	Text    string // of chat

	Raw []byte // the event as it was sent
}

// size is about how much memory an event takes.
func (e *Event) size() int64 {
	n := 512 + len(e.Raw) + len(e.UID) + len(e.Callsign) + len(e.Text)
	for _, list := range [][]string{e.Groups, e.Dests, e.Flow} {
		for _, s := range list {
			n += 16 + len(s)
		}
	}
	return int64(n)
}

// How many units of a stored number make one.
const (
	degree = 1e7 // about 1 cm each
	deci   = 10
	centi  = 100
)

// scaled turns a number into what is stored; what is none becomes 0, what is too
// large Unknown.
func scaled(v, unit float64) int32 {
	v = math.Round(v * unit)
	switch {
	case math.IsNaN(v):
		return 0
	case v < math.MinInt32 || v > math.MaxInt32:
		return int32(min(Unknown*unit, math.MaxInt32))
	}
	return int32(v)
}
