package server

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/http/admin"
	"takd/http/httpd"
	"takd/netcore"
)

// What is kept of refusals, so that neither one address nor all of them fill the memory.
const (
	refusalsKept   = 256
	refusalsFrom   = 32 // one address
	longestRefusal = 300
)

// refusals are those who were not let in lately, and why: for the operator who is
// asked why somebody cannot connect.
type refusals struct {
	mu  sync.Mutex
	all []admin.Refusal // the newest last
}

// note adds one, or counts it to its like.
func (l *refusals) note(where string, from netip.Addr, user, reason string) {
	clip := func(s string) string { return strings.ToValidUTF8(s[:min(len(s), longestRefusal)], "") }
	x := admin.Refusal{Time: time.Now().UTC(), Where: where, Address: from.String(), User: clip(user), Reason: clip(reason), Count: 1}
	l.mu.Lock()
	defer l.mu.Unlock()
	like := func(o admin.Refusal) bool {
		return o.Where == x.Where && o.Address == x.Address && o.User == x.User && o.Reason == x.Reason
	}
	same := func(o admin.Refusal) bool { return o.Address == x.Address }
	n := 0
	for _, o := range l.all {
		if same(o) {
			n++
		}
	}
	i := slices.IndexFunc(l.all, like)
	switch {
	case i >= 0:
		x.Count += l.all[i].Count
	case n >= refusalsFrom:
		i = slices.IndexFunc(l.all, same)
	case len(l.all) >= refusalsKept:
		i = 0
	}
	if i >= 0 {
		l.all = slices.Delete(l.all, i, i+1)
	}
	l.all = append(l.all, x)
}

// list is all that is kept, the newest first.
func (l *refusals) list() []admin.Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := append([]admin.Refusal{}, l.all...)
	slices.Reverse(all)
	return all
}

func (s *Server) streamRefused(r netcore.Refusal) {
	s.refusals.note(r.Input, r.Remote, r.User, r.Reason)
}

func (s *Server) callRefused(r httpd.Refusal) {
	where := map[httpd.Face]string{httpd.API: "https", httpd.Enroll: "enroll", httpd.Federation: "federation"}[r.Face]
	s.refusals.note(cmp.Or(where, "http"), r.Remote, r.User, r.Reason)
}

func (l *local) refused(context.Context, control.None) ([]control.Refusal, error) {
	if l.refusals == nil {
		return nil, errNoEngine
	}
	all := []control.Refusal{}
	for _, r := range l.refusals.list() {
		all = append(all, control.Refusal(r))
	}
	return all, nil
}
