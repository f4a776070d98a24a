package server

import (
	"cmp"
	"context"
	"net"
	"strconv"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/http/enroll"
	"takd/store/auth"
	"takd/store/meta"
)

// handleInvites adds the operations on invitations.
func (l *local) handleInvites(m control.Mux) {
	control.Handle(m, control.InviteAdd, l.inviteAdd)
	control.Handle(m, control.InviteList, l.inviteList)
	control.Handle(m, control.InviteRevoke, l.inviteRevoke)
	control.Handle(m, control.AuditOp, l.auditLog)
}

// site is how clients reach this server.
func (l *local) site() (enroll.Site, error) {
	cfg, err := l.conf()
	if err != nil {
		return enroll.Site{}, err
	}
	port, err := l.streamPort(cfg.Current())
	site := enroll.Site{Host: cfg.Current().Server.Host, StreamPort: port, EnrollPort: addressPort(cfg.Current().WithDefaults().API.Enroll), Public: cfg.Current().API.Public()}
	if l.status != nil {
		site.EnrollPort = addressPort(l.status().Listeners["enroll"])
	}
	return site, err
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
		User: q.User, In: q.In, Out: q.Out, Life: q.Life, Uses: q.Uses, Label: q.Label, Role: q.Role, By: "cli",
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

// addressPort is 0 where there is none.
func addressPort(address string) int {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(text)
	return n
}

// inviteRevoke ends invitations. Certificates that were issued with them stay.
func (l *local) inviteRevoke(ctx context.Context, q control.InviteID) ([]enroll.Invite, error) {
	gone, err := l.store.Auth.RemoveInvites(ctx, q.Who)
	if err != nil {
		return nil, kinded(err)
	}
	list := make([]enroll.Invite, 0, len(gone))
	for _, i := range gone {
		l.audit(ctx, "invite revoke", i.User+" id="+i.ID)
		list = append(list, enroll.Invite{Invite: i, State: i.State(time.Now())})
	}
	return list, nil
}

// maxAudit bounds one answer.
const maxAudit = 10_000

func (l *local) auditLog(ctx context.Context, q control.Number) ([]meta.AuditEntry, error) {
	if q.N < 1 || q.N > maxAudit {
		return nil, control.Errorf(control.ErrBad, "limit %d: want 1 to %d", q.N, maxAudit)
	}
	return l.store.Meta.AuditLog(ctx, int64(q.N))
}
