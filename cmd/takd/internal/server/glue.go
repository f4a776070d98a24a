package server

import (
	"context"
	"crypto/x509"
	"time"

	"takd/netcore"
	"takd/store/auth"
	"takd/store/contact"
	"takd/store/letter"
)

// authenticator lets the messaging engine ask the store: who it is, and which of
// its groups are switched on.
type authenticator struct {
	*auth.Service
	contact *contact.Store
}

// Certificate implements netcore.Authenticator.
func (a authenticator) Certificate(ctx context.Context, leaf *x509.Certificate) (netcore.Principal, error) {
	p, err := a.PrincipalForCertificate(ctx, leaf)
	return a.active(ctx, p, err)
}

// Password implements netcore.Authenticator.
func (a authenticator) Password(ctx context.Context, user, password string) (netcore.Principal, error) {
	if addr := netcore.Peer(ctx); addr.IsValid() {
		ctx = auth.WithPeer(ctx, addr)
	}
	p, err := a.PrincipalForPassword(ctx, user, password)
	return a.active(ctx, p, err)
}

func (a authenticator) active(ctx context.Context, p auth.Principal, err error) (netcore.Principal, error) {
	if err == nil && a.contact != nil {
		p.In, p.Out, err = a.contact.Active(ctx, p.User, "", p.In, p.Out)
	}
	return netcore.Principal(p), err
}

// letterbox lets the messaging engine keep the mail of absent clients.
type letterbox struct {
	*letter.Box
	ttl time.Duration
}

// Load implements netcore.Letterbox.
func (b letterbox) Load(ctx context.Context) ([]netcore.Absentee, []netcore.Letter, error) {
	absentees, err := b.Absentees(ctx)
	if err != nil {
		return nil, nil, err
	}
	kept, err := b.All(ctx)
	if err != nil {
		return nil, nil, err
	}
	away := make([]netcore.Absentee, 0, len(absentees))
	for _, a := range absentees {
		away = append(away, netcore.Absentee{
			Device: netcore.Device{User: a.User, UID: a.UID}, Callsign: a.Callsign, Groups: a.Groups, Since: a.LeftAt,
		})
	}
	letters := make([]netcore.Letter, 0, len(kept))
	for _, l := range kept {
		letters = append(letters, netcore.Letter{
			ID: uint64(l.ID), To: netcore.Device{User: l.User, UID: l.UID}, Groups: l.Groups, XML: l.XML, Kept: l.KeptAt,
		})
	}
	return away, letters, nil
}

// Save implements netcore.Letterbox. Everything but the new letters can be done
// twice, so they come last.
func (b letterbox) Save(ctx context.Context, c netcore.LetterChanges) error {
	away := make([]letter.Absentee, 0, len(c.Left))
	for _, a := range c.Left {
		away = append(away, letter.Absentee{User: a.User, UID: a.UID, Callsign: a.Callsign, Groups: a.Groups, LeftAt: a.Since})
	}
	back := make([]letter.Key, 0, len(c.Back))
	for _, d := range c.Back {
		back = append(back, letter.Key(d))
	}
	gone := make([]int64, 0, len(c.Gone))
	for _, id := range c.Gone {
		gone = append(gone, int64(id))
	}
	fresh := make([]letter.Letter, 0, len(c.New))
	for _, l := range c.New {
		fresh = append(fresh, letter.Letter{
			ID: int64(l.ID), User: l.To.User, UID: l.To.UID, Groups: l.Groups, XML: l.XML, KeptAt: l.Kept, Expires: l.Kept.Add(b.ttl),
		})
	}
	if err := b.SaveAbsentees(ctx, away); err != nil {
		return err
	}
	if err := b.RemoveAbsentees(ctx, back); err != nil {
		return err
	}
	if err := b.Remove(ctx, gone); err != nil {
		return err
	}
	return b.Add(ctx, fresh)
}

// link makes changes of the store act on live connections.
func (s *Server) link(ctx context.Context) {
	s.store.PKI.OnCAChange(s.engine.ReloadTLS)
	s.store.PKI.OnRevoke(func(serial string) {
		s.twice.do("serial "+serial, func() {
			if n := s.engine.Kick(netcore.Who{Serial: serial}, "certificate revoked"); n > 0 {
				s.log.Info("clients closed", "serial", serial, "reason", "certificate revoked", "closed", n)
			}
		})
	})
	s.store.Auth.OnChange(func(user string) {
		s.twice.do("user "+user, func() { s.regroup(ctx, user) })
	})
}

// regroup gives the sessions of a user what its account says now.
func (s *Server) regroup(ctx context.Context, user string) {
	p, err := s.store.Auth.Principal(ctx, user)
	if err == nil {
		if p.In, p.Out, err = s.live(ctx, p); err != nil {
			s.log.Error("groups not changed", "user", user, "error", err)
			return
		}
		n := s.engine.SetGroups(user, p.In, p.Out)
		s.log.Debug("user changed", "user", user, "in", p.In, "out", p.Out, "sessions", n)
		return
	}
	// Disabled, removed, or nobody knows: then nobody gets in either.
	if n := s.engine.Kick(netcore.Who{User: user}, err.Error()); n > 0 {
		s.log.Info("clients closed", "user", user, "reason", err, "closed", n)
	}
}
