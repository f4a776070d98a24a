package server

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"takd/cmd/takd/internal/control"
	"takd/store/auth"
)

func asUser(u auth.User) control.User {
	return control.User{
		Name: u.Name, Role: u.Role, In: append([]string{}, u.In...), Out: append([]string{}, u.Out...),
		Disabled: u.Disabled, Password: u.HasPassword, Created: u.Created,
	}
}

func (l *local) userList(ctx context.Context, _ control.None) ([]control.User, error) {
	users, err := l.store.Auth.Users(ctx)
	all := make([]control.User, 0, len(users))
	for _, u := range users {
		all = append(all, asUser(u))
	}
	return all, kinded(err)
}

// user is what a change left.
func (l *local) user(ctx context.Context, name string, err error) (control.User, error) {
	if err != nil {
		return control.User{}, kinded(err)
	}
	u, err := l.store.Auth.User(ctx, name)
	return asUser(u), kinded(err)
}

// userAudit completes a change of a user without a result.
func (l *local) userAudit(ctx context.Context, action, name string, err error) (control.None, error) {
	if err == nil {
		l.audit(ctx, action, name)
	}
	return control.None{}, kinded(err)
}

func (l *local) userAdd(ctx context.Context, q control.NewUser) (control.User, error) {
	err := l.store.Auth.AddUser(ctx, auth.NewUser{Name: q.Name, Role: q.Role, Password: q.Password, In: q.In, Out: q.Out})
	if err == nil {
		l.audit(ctx, "user add", fmt.Sprintf("%s role=%s in=%v out=%v", q.Name, q.Role, q.In, q.Out))
	}
	return l.user(ctx, q.Name, err)
}

func (l *local) userSet(ctx context.Context, q control.UserChange) (control.User, error) {
	var c auth.Change
	if q.Role != "" {
		c.Role = &q.Role
	}
	if q.Set {
		c.In, c.Out = &q.In, &q.Out
	}
	err := l.store.Auth.SetUser(ctx, q.Name, c)
	if err == nil {
		l.audit(ctx, "user set", fmt.Sprintf("%s role=%s groups=%t in=%v out=%v", q.Name, q.Role, q.Set, q.In, q.Out))
	}
	return l.user(ctx, q.Name, err)
}

func (l *local) userPasswd(ctx context.Context, q control.Password) (control.None, error) {
	return l.userAudit(ctx, "user passwd", q.Name, l.store.Auth.SetPassword(ctx, q.Name, q.Password))
}

func (l *local) userDisable(ctx context.Context, q control.Disable) (control.None, error) {
	action := "user enable"
	if q.Disabled {
		action = "user disable"
	}
	return l.userAudit(ctx, action, q.Name, l.store.Auth.SetDisabled(ctx, q.Name, q.Disabled))
}

func (l *local) userRemove(ctx context.Context, q control.Name) (control.None, error) {
	return l.userAudit(ctx, "user remove", q.Name, l.store.RemoveUser(ctx, q.Name))
}

func (l *local) userImport(ctx context.Context, q control.Import) (control.Imported, error) {
	n, err := l.store.Auth.ImportCSV(ctx, bytes.NewReader(q.CSV))
	if err == nil {
		l.audit(ctx, "user import", fmt.Sprintf("%d users", n))
	}
	return control.Imported{Users: n}, kinded(err)
}

func (l *local) groupList(ctx context.Context, _ control.None) ([]control.Group, error) {
	groups, err := l.store.Auth.Groups(ctx)
	if err != nil {
		return nil, kinded(err)
	}
	users, err := l.store.Auth.Users(ctx)
	all := make([]control.Group, 0, len(groups))
	for _, g := range groups {
		one := control.Group{Name: g.Name, Users: []string{}}
		for _, u := range users {
			if slices.Contains(u.In, g.Name) || slices.Contains(u.Out, g.Name) {
				one.Users = append(one.Users, u.Name)
			}
		}
		all = append(all, one)
	}
	return all, kinded(err)
}

func (l *local) groupAdd(ctx context.Context, q control.Name) (control.None, error) {
	return l.userAudit(ctx, "group add", q.Name, l.store.Auth.AddGroup(ctx, q.Name))
}

func (l *local) groupRemove(ctx context.Context, q control.Name) (control.None, error) {
	return l.userAudit(ctx, "group remove", q.Name, l.store.Auth.RemoveGroup(ctx, q.Name))
}
