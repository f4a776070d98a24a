package session

// State is where a client is in its life. Every change goes through To, which
// knows the ways there are:
//
//	Opening ──> Authenticating ──> CatchingUp <──> Current
//	   └───────────────────────────────^   │          │
//	                                       v          v
//	                         (from each) Draining ──> Ended ──> Closed
//
// A client that is Current shares a bucket's batch. One that is CatchingUp has a
// Ledger of what it is still owed, in order: the positions of the others when it
// joins, letters, and what was conflated while it read too slowly. Nothing else
// decides who writes to it, or from where.
type State uint8

// The states.
const (
	Opening        State = iota // not yet on its loop
	Authenticating              // waits for, or checks, the <auth> preamble
	CatchingUp
	Current
	Draining // the server stops: closing alert sent, bytes on their way out
	Ended    // its connection is gone and never written to again; what it had sent is still read
	Closed   // forgotten
)

// ways says where one may go from each state.
var ways = [...]uint16{
	Opening:        1<<Authenticating | 1<<CatchingUp | 1<<Ended,
	Authenticating: 1<<CatchingUp | 1<<Draining | 1<<Ended,
	CatchingUp:     1<<Current | 1<<Draining | 1<<Ended,
	Current:        1<<CatchingUp | 1<<Draining | 1<<Ended,
	Draining:       1 << Ended,
	Ended:          1 << Closed,
	Closed:         0,
}

// State tells where s is.
func (s *Session) State() State { return s.state }

// To moves s on and reports whether there is a way.
func (s *Session) To(next State) bool {
	if ways[s.state]&(1<<next) == 0 {
		return false
	}
	s.state = next
	return true
}

// Live reports whether events may be sent to s.
func (s *Session) Live() bool { return s.state == CatchingUp || s.state == Current }

// Reads reports whether what comes from s still counts.
func (s *Session) Reads() bool { return s.Live() || s.state == Authenticating || s.state == Ended }

// Gone reports whether the connection of s must not be touched.
func (s *Session) Gone() bool { return s.state >= Ended }
