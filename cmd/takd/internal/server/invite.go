package server

import (
	"cmp"
	"context"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/http/enroll"
	"takd/store/auth"
)

// handleInvites adds the operations on invitations.
func (l *local) handleInvites(m control.Mux) {
	control.Handle(m, control.InviteAdd, l.inviteAdd)
	control.Handle(m, control.InviteList, l.inviteList)
	control.Handle(m, control.InviteRemove, l.inviteRemove)
}

// site is how clients reach this server.
func (l *local) site() (enroll.Site, error) {
	cfg, err := l.conf()
	if err != nil {
		return enroll.Site{}, err
	}
	port, err := l.streamPort(cfg.Current())
	return enroll.Site{Host: cfg.Current().Server.Host, StreamPort: port}, err
}

func (l *local) inviteAdd(ctx context.Context, q control.NewInvite) (enroll.Invitation, error) {
	site, err := l.site()
	if err != nil {
		return enroll.Invitation{}, err
	}
	if site.Host = cmp.Or(q.Host, site.Host); site.Host == "" {
		return enroll.Invitation{}, control.Errorf(control.ErrBad, "which host do clients connect to? give --host, or: takd config set server.host=NAME")
	}
	i, token, err := l.store.Auth.AddInvite(ctx, auth.NewInvite{
		User: q.User, In: q.In, Out: q.Out, Life: q.Life, Uses: q.Uses, Label: q.Label, By: "cli",
	})
	if err != nil {
		return enroll.Invitation{}, kinded(err)
	}
	l.audit(ctx, "invite", enroll.AuditText(i))
	v, err := enroll.NewInvitation(i, token, site)
	if err != nil {
		return enroll.Invitation{}, err
	}
	return *v, nil
}

func (l *local) inviteList(ctx context.Context, _ control.None) ([]enroll.Invite, error) {
	all, err := l.store.Auth.Invites(ctx)
	list := make([]enroll.Invite, 0, len(all))
	for _, i := range all {
		list = append(list, enroll.Invite{Invite: i, State: i.State(time.Now())})
	}
	return list, kinded(err)
}

// inviteRemove ends an invitation. Certificates that were issued with it stay.
func (l *local) inviteRemove(ctx context.Context, q control.InviteID) (enroll.Invite, error) {
	i, err := l.store.Auth.RemoveInvite(ctx, q.ID)
	if err != nil {
		return enroll.Invite{}, kinded(err)
	}
	l.audit(ctx, "invite remove", i.User+" id="+i.ID)
	return enroll.Invite{Invite: i, State: i.State(time.Now())}, nil
}
