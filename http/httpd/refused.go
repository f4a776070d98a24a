package httpd

import "net/netip"

// Refusal is a handshake that failed, or a caller who was not known.
type Refusal struct {
	Face   Face
	Remote netip.Addr
	User   string // as he says; "" where he did not
	Reason string
}

func (s *Server) tell(face Face, remote netip.Addr, user, reason string) {
	if s.opts.Refused != nil {
		s.opts.Refused(Refusal{Face: face, Remote: remote, User: user, Reason: reason})
	}
}
