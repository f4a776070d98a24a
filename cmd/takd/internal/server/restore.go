package server

import (
	"bytes"
	"context"
	"slices"
	"time"

	"takd/cot"
	"takd/netcore"
	"takd/store/history"
)

// What is restored at the start.
const (
	restoreWindow = time.Hour       // positions that were received since
	restoreLimit  = 32 << 10        // of them
	restoreWait   = 5 * time.Minute // for the history, after the start
	restoreLife   = 24 * time.Hour  // at most, after its receipt
	maxLeavers    = 100_000         // rows of endpoint_events that are read
)

// stopped is why clients are recorded as gone when the server stops: they have not
// left.
const stopped = "server stops"

// restorer gives the engine the positions that were fresh when the server stopped.
// Nobody waits for it.
type restorer struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (s *Server) startRestorer(ctx context.Context) *restorer {
	if s.archive == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &restorer{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		ctx, cancel := context.WithTimeout(ctx, restoreWait)
		defer cancel()
		if n, err := s.restore(ctx); err != nil {
			s.log.Warn("positions not restored", "error", err)
		} else if n > 0 {
			s.log.Info("positions restored", "positions", n)
		}
	}()
	return r
}

func (r *restorer) stop() {
	if r != nil {
		r.cancel()
		<-r.done
	}
}

func (s *Server) restore(ctx context.Context) (int, error) {
	h, now := s.archive.store, time.Now()
	if err := h.Wait(ctx); err != nil {
		return 0, err
	}
	if err := h.Flush(ctx); err != nil { // what the last run left in the spool
		return 0, err
	}
	gone, err := s.leftBefore(ctx, now)
	if err != nil {
		return 0, err
	}
	deleted, err := s.deletedBefore(ctx, now)
	if err != nil {
		return 0, err
	}
	in := s.groupsOfUsers(ctx)
	var list []netcore.Restored
	var ev cot.Event
	err = h.Fresh(ctx, now.Add(-restoreWindow), now, restoreLimit, func(e *history.Event) error {
		if !s.since.After(e.Received) || !e.Received.After(gone[device{e.User, e.Sender}]) || deleted(e) || !kept(e.Raw, &ev) {
			return nil
		}
		groups := slices.DeleteFunc(in(e.User, e.Sender), func(g string) bool { return !slices.Contains(e.Groups, g) })
		life := min(e.Stale.Sub(e.Time), restoreLife)
		list = append(list, netcore.Restored{
			User: e.User, Client: e.Sender, Input: e.Source, Groups: groups, XML: e.Raw, Received: e.Received, Until: e.Received.Add(life),
		})
		return nil
	})
	if err != nil {
		return 0, err
	}
	return s.engine.Restore(ctx, list), nil
}

// kept tells whether the engine keeps such a position for newcomers: that of a
// client, or of a device, and nothing that somebody has drawn.
func kept(raw []byte, ev *cot.Event) bool {
	if n, err := cot.Scan(raw, ev); err != nil || n != len(raw) {
		return false
	}
	return len(ev.Contact.Callsign) > 0 && (len(ev.Contact.Endpoint) > 0 || bytes.HasPrefix(ev.How, []byte("m-")))
}

// device is a user's client, by its uid.
type device struct{ user, uid string }

// leftBefore tells when clients have left that did not come back.
func (s *Server) leftBefore(ctx context.Context, now time.Time) (map[device]time.Time, error) {
	seen, gone := map[device]bool{}, map[device]time.Time{}
	q := history.Query{Table: history.Endpoints, Since: now.Add(-restoreWindow), Newest: true, Limit: maxLeavers}
	return gone, s.archive.store.Query(ctx, q, func(e *history.Event) error {
		who := device{e.User, e.UID}
		if !seen[who] && e.Type == disconnected && e.How != stopped {
			gone[who] = e.Received
		}
		seen[who] = true
		return nil
	})
}

// deletedBefore returns what tells whether a client has deleted an event since it
// came, for somebody who had received it.
func (s *Server) deletedBefore(ctx context.Context, now time.Time) (func(*history.Event) bool, error) {
	type deletion struct {
		at     time.Time
		groups []string
	}
	deletions := map[string][]deletion{}
	deleted := func(e *history.Event) bool {
		return slices.ContainsFunc(deletions[e.UID], func(d deletion) bool {
			return !d.at.Before(e.Received) && slices.ContainsFunc(d.groups, func(g string) bool { return slices.Contains(e.Groups, g) })
		})
	}
	var ev cot.Event
	q := history.Query{Type: "t-x-d-d", Since: now.Add(-restoreWindow), Newest: true, Limit: maxLeavers}
	return deleted, s.archive.store.Query(ctx, q, func(e *history.Event) error {
		if n, err := cot.Scan(e.Raw, &ev); err != nil || n == 0 {
			return nil //nolint:nilerr // what is no event deletes nothing
		}
		deletions[string(ev.Link)] = append(deletions[string(ev.Link)], deletion{e.Received, e.Groups})
		return nil
	})
}

// groupsOfUsers returns what tells the groups that a user's device may send to now.
// The answer is the caller's.
func (s *Server) groupsOfUsers(ctx context.Context) func(user, uid string) []string {
	known := map[device][]string{}
	return func(user, uid string) []string {
		k := device{user, uid}
		in, ok := known[k]
		if !ok {
			if p, err := s.store.Auth.Principal(ctx, user); err == nil {
				if in, _, err = s.contact.Active(ctx, user, uid, p.In, p.Out); err != nil {
					in = nil
				}
			}
			known[k] = in
		}
		return slices.Sorted(slices.Values(in))
	}
}
