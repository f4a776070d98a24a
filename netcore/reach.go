package netcore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reach tells whether b sees a, each a callsign, a uid or a user, and why or why
// not, in words for an operator.
func (e *Engine) Reach(a, b string) (visible bool, reasons []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var from, to []ClientInfo
	hidden := make(map[uint64]bool)
	for _, c := range e.clients(ctx, hidden) {
		if c.is(a) {
			from = append(from, c)
		}
		if c.is(b) {
			to = append(to, c)
		}
	}
	for _, x := range []struct {
		name string
		list []ClientInfo
	}{{a, from}, {b, to}} {
		if len(x.list) == 0 {
			reasons = append(reasons, x.name+" is not connected: no client has this callsign, uid or user"+e.whyNot(x.name))
		}
	}
	for _, f := range from {
		for _, t := range to {
			ok, why := f.reaches(t, hidden[f.ID])
			visible = visible || ok
			reasons = append(reasons, why...)
		}
	}
	return visible, reasons
}

// whyNot is what was last heard of somebody who could not come in.
func (e *Engine) whyNot(name string) string {
	if why := e.refusals.last(name); why != "" {
		return "; " + why
	}
	return ""
}

func (i ClientInfo) is(name string) bool {
	return name == i.Callsign || name == i.UID || name == i.User
}

// name is how reasons call a client.
func (i ClientInfo) name() string {
	if i.Callsign == "" {
		return fmt.Sprintf("%s (%s)", i.User, i.Address)
	}
	return fmt.Sprintf("%s (%s, %s)", i.Callsign, i.User, i.Address)
}

// reaches tells whether t sees f.
func (i ClientInfo) reaches(t ClientInfo, hidden bool) (bool, []string) {
	f := i
	var shared []string
	for _, g := range f.In {
		if slices.Contains(t.Out, g) {
			shared = append(shared, g)
		}
	}
	list := func(names []string) string {
		if len(names) == 0 {
			return "no group"
		}
		return strings.Join(names, ", ")
	}
	var why []string
	switch {
	case f.ID == t.ID:
		return false, []string{f.name() + " is the same connection: nobody gets his own events"}
	case len(shared) == 0:
		return false, []string{fmt.Sprintf("%s sends into %s, %s receives from %s: they share none, or a channel is switched off",
			f.name(), list(f.In), t.name(), list(t.Out))}
	case hidden:
		return false, []string{f.name() + " is incognito: it is seen only by those whom it addresses"}
	}
	why = append(why, fmt.Sprintf("%s sends into %s, %s receives from %s", f.name(), list(f.In), t.name(), list(t.Out)))
	if f.LastEvent.IsZero() || f.UID == "" {
		why = append(why, f.name()+" has not sent a position yet")
	}
	if n := f.DropReasons["uid"]; n > 0 {
		why = append(why, fmt.Sprintf("%d events of %s were refused: they claim the uid of another user's live client (uid_policy)", n, f.name()))
	}
	if n := f.DropReasons["malformed"] + f.DropReasons["limit"] + f.DropReasons["oversize"]; n > 0 {
		why = append(why, fmt.Sprintf("%d events of %s were malformed or too large", n, f.name()))
	}
	if t.Behind {
		why = append(why, fmt.Sprintf("%s reads too slowly: %d bytes wait for it", t.name(), t.Queue))
	}
	return true, why
}
