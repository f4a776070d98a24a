package netcore

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Refusal is a connection that was not let in.
type Refusal struct {
	Input  string
	Remote netip.Addr
	User   string // as the certificate or the preamble names it; "" where neither was seen
	Reason string
}

// refusedAs is why the holder of a certificate was refused.
type refusedAs struct {
	error

	user string
}

func (r refusedAs) Unwrap() error { return r.error }

// tell passes a refusal on to who keeps them.
func (e *Engine) tell(input string, remote netip.Addr, user string, err error) {
	told := e.opts.Load().Refused
	if told == nil {
		return
	}
	if as := (refusedAs{}); user == "" && errors.As(err, &as) {
		user = as.user
	}
	told(Refusal{Input: input, Remote: remote, User: user, Reason: err.Error()})
}

// refusals remembers who was refused lately, and why, for the operator who is
// asked why somebody cannot connect.
type refusals struct {
	mu   sync.Mutex
	ring [64]refusal
	next int
}

type refusal struct {
	user string
	why  string
	at   time.Time
}

func (r *refusals) note(user string, err error) {
	if user == "" || len(user) > 256 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.ring {
		if r.ring[i].user == user {
			r.ring[i] = refusal{user, err.Error(), time.Now()}
			return
		}
	}
	r.ring[r.next] = refusal{user, err.Error(), time.Now()}
	r.next = (r.next + 1) % len(r.ring)
}

// last says why user was refused; "" where that is not known.
func (r *refusals) last(user string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.ring {
		if x.user == user {
			return fmt.Sprintf("refused %s ago: %s", time.Since(x.at).Round(time.Second), x.why)
		}
	}
	return ""
}
