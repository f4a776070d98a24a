package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"takd/http/httpd"
	"takd/store/auth"
)

// maxBulk bounds the users that one call makes: each costs the hash of a password.
const maxBulk = 500

func (a *api) users(prefix string) []httpd.Route {
	return on("Users",
		httpd.Route{Method: "GET", Path: prefix + "/list-users", Summary: "Names of all users.", Handler: a.listUsers},
		httpd.Route{Method: "GET", Path: prefix + "/list-groupnames", Summary: "Names of all groups.", Handler: a.listGroups},
		httpd.Route{Method: "GET", Path: prefix + "/get-groups-for-user/{username}", Summary: "Groups of a user.", Handler: a.groupsOfUser},
		httpd.Route{Method: "GET", Path: prefix + "/users-in-group/{group}", Summary: "Users of a group.", Handler: a.usersInGroup},
		httpd.Route{Method: "POST", Path: prefix + "/new-user", Summary: "Add a user.", Handler: a.newUser},
		httpd.Route{Method: "POST", Path: prefix + "/new-users", Summary: "Add users with numbers in their names and passwords of the server's.", Handler: a.newUsers},
		httpd.Route{Method: "PUT", Path: prefix + "/change-user-password", Summary: "Give a user another password.", Handler: a.changePassword},
		httpd.Route{Method: "PUT", Path: prefix + "/update-groups", Summary: "Replace the groups of a user.", Handler: a.updateGroups},
		httpd.Route{Method: "PUT", Path: prefix + "/update-group-users", Summary: "Replace the users of a group.", Handler: a.updateGroupUsers},
		httpd.Route{Method: "DELETE", Path: prefix + "/delete-user/{username}", Summary: "Remove a user and revoke its certificates.", Handler: a.deleteUser},
	)
}

// groupLists are groups of both directions, and of one: IN are those that the
// user may send to.
type groupLists struct {
	Both []string `json:"groupList"`
	In   []string `json:"groupListIN"`
	Out  []string `json:"groupListOUT"`
}

func (g groupLists) in() []string  { return slices.Concat(g.Both, g.In) }
func (g groupLists) out() []string { return slices.Concat(g.Both, g.Out) }

// split is the other way round.
func split(in, out []string) groupLists {
	g := groupLists{Both: []string{}, In: []string{}, Out: []string{}}
	for _, name := range in {
		if slices.Contains(out, name) {
			g.Both = append(g.Both, name)
		} else {
			g.In = append(g.In, name)
		}
	}
	for _, name := range out {
		if !slices.Contains(in, name) {
			g.Out = append(g.Out, name)
		}
	}
	return g
}

type userName struct {
	Name string `json:"username"`
}

type groupName struct {
	Name string `json:"groupname"`
}

type userPassword struct {
	Name     string `json:"username"`
	Password string `json:"password"`
}

type userGroups struct {
	Name string `json:"username"`
	groupLists
}

func (a *api) listUsers(r *httpd.Request) error {
	all, err := a.Auth.Users(r.Context())
	if err != nil {
		return err
	}
	list := make([]userName, 0, len(all))
	for _, u := range all {
		list = append(list, userName{u.Name})
	}
	return r.JSON(http.StatusOK, list)
}

func (a *api) listGroups(r *httpd.Request) error {
	all, err := a.Auth.Groups(r.Context())
	if err != nil {
		return err
	}
	list := make([]groupName, 0, len(all))
	for _, g := range all {
		list = append(list, groupName{g.Name})
	}
	return r.JSON(http.StatusOK, list)
}

func (a *api) groupsOfUser(r *httpd.Request) error {
	u, err := a.Auth.User(r.Context(), r.Param("username"))
	if err != nil {
		return refusal(err)
	}
	return r.JSON(http.StatusOK, userGroups{u.Name, split(u.In, u.Out)})
}

// groupUsers are the users of a group, in both directions and in one.
type groupUsers struct {
	Name string   `json:"groupname"`
	Both []string `json:"usersInGroupList"`
	In   []string `json:"usersInGroupListIN"`
	Out  []string `json:"usersInGroupListOUT"`
}

func (a *api) usersInGroup(r *httpd.Request) error {
	name := r.Param("group")
	groups, err := a.Auth.Groups(r.Context())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(groups, func(g auth.Group) bool { return g.Name == name }) {
		return httpd.NotFound("Not Found: there is no such group")
	}
	all, err := a.Auth.Users(r.Context())
	if err != nil {
		return err
	}
	var in, out []string
	for _, u := range all {
		if slices.Contains(u.In, name) {
			in = append(in, u.Name)
		}
		if slices.Contains(u.Out, name) {
			out = append(out, u.Name)
		}
	}
	g := split(in, out)
	return r.JSON(http.StatusOK, groupUsers{name, g.Both, g.In, g.Out})
}

func (a *api) newUser(r *httpd.Request) error {
	var q struct {
		userPassword
		groupLists
	}
	if err := r.ReadExactJSON(&q); err != nil {
		return err
	}
	err := a.Auth.AddUser(r.Context(), auth.NewUser{Name: q.Name, Password: q.Password, In: q.in(), Out: q.out()})
	if err != nil {
		return refusal(err)
	}
	a.Audit.By(r, "user add", fmt.Sprintf("%s in=%v out=%v", q.Name, q.in(), q.out()))
	return nil
}

// newUsers makes all of them or none.
func (a *api) newUsers(r *httpd.Request) error {
	var q struct {
		Expression string `json:"usernameExpression"` // "user[N]"
		Start      int    `json:"startN"`
		End        int    `json:"endN"`
		groupLists
	}
	if err := r.ReadExactJSON(&q); err != nil {
		return err
	}
	const place = "[N]"
	n := q.End - q.Start + 1
	switch {
	case strings.Count(q.Expression, place) != 1:
		return httpd.Bad("usernameExpression: want %s in it once", place)
	case q.Start < 0 || q.End < q.Start || q.End > 1<<31 || n > maxBulk:
		return httpd.Bad("startN and endN: want 0 or more, and at most %d users", maxBulk)
	}
	made := make([]userPassword, 0, n)
	for i := q.Start; i <= q.End; i++ {
		u := userPassword{strings.Replace(q.Expression, place, strconv.Itoa(i), 1), rand.Text()}
		err := a.Auth.AddUser(r.Context(), auth.NewUser{Name: u.Name, Password: u.Password, In: q.in(), Out: q.out()})
		if err != nil {
			return errors.Join(refusal(err), a.undo(r.Context(), made))
		}
		made = append(made, u)
	}
	a.Audit.By(r, "user add", fmt.Sprintf("%s from %d to %d in=%v out=%v", q.Expression, q.Start, q.End, q.in(), q.out()))
	r.Response.Header.Set("Cache-Control", "no-store")
	return r.JSON(http.StatusOK, made)
}

func (a *api) undo(ctx context.Context, made []userPassword) error {
	errs := make([]error, 0, len(made))
	for _, u := range made {
		errs = append(errs, a.Auth.RemoveUser(ctx, u.Name))
	}
	return errors.Join(errs...)
}

func (a *api) changePassword(r *httpd.Request) error {
	var q userPassword
	if err := r.ReadExactJSON(&q); err != nil {
		return err
	}
	if q.Password == "" {
		return httpd.Bad("password: want one")
	}
	if err := a.Auth.SetPassword(r.Context(), q.Name, q.Password); err != nil {
		return refusal(err)
	}
	a.Audit.By(r, "user passwd", q.Name)
	return nil
}

func (a *api) updateGroups(r *httpd.Request) error {
	var q userGroups
	if err := r.ReadExactJSON(&q); err != nil {
		return err
	}
	in, out := q.in(), q.out()
	if err := a.Auth.SetUser(r.Context(), q.Name, auth.Change{In: &in, Out: &out}); err != nil {
		return refusal(err)
	}
	a.Audit.By(r, "user set", fmt.Sprintf("%s in=%v out=%v", q.Name, in, out))
	return nil
}

// updateGroupUsers puts the named users into a group, and all others out of it.
func (a *api) updateGroupUsers(r *httpd.Request) error {
	var q groupUsers
	if err := r.ReadExactJSON(&q); err != nil {
		return err
	}
	if q.Name == auth.Anonymous {
		return httpd.Bad("groupname: who is in %s is who is in no other", auth.Anonymous)
	}
	all, err := a.Auth.Users(r.Context())
	if err != nil {
		return err
	}
	in, out := slices.Concat(q.Both, q.In), slices.Concat(q.Both, q.Out)
	for _, name := range slices.Concat(in, out) {
		if !slices.ContainsFunc(all, func(u auth.User) bool { return u.Name == name }) {
			return httpd.Bad("there is no user %q", name)
		}
	}
	if err := a.Auth.AddGroup(r.Context(), q.Name); err != nil && !errors.Is(err, auth.ErrExists) {
		return refusal(err)
	}
	for _, u := range all {
		oldIn, oldOut := u.In, u.Out
		if anon := []string{auth.Anonymous}; slices.Equal(u.In, anon) && slices.Equal(u.Out, anon) {
			oldIn, oldOut = nil, nil // it is there because it is in no other
		}
		newIn, newOut := member(oldIn, q.Name, slices.Contains(in, u.Name)), member(oldOut, q.Name, slices.Contains(out, u.Name))
		if slices.Equal(newIn, oldIn) && slices.Equal(newOut, oldOut) {
			continue
		}
		if err := a.Auth.SetUser(r.Context(), u.Name, auth.Change{In: &newIn, Out: &newOut}); err != nil && !errors.Is(err, auth.ErrNotFound) {
			return refusal(err)
		}
	}
	a.Audit.By(r, "group set", fmt.Sprintf("%s in=%v out=%v", q.Name, in, out))
	return nil
}

// member returns groups with name or without it.
func member(groups []string, name string, is bool) []string {
	switch has := slices.Contains(groups, name); {
	case has && !is:
		return slices.DeleteFunc(slices.Clone(groups), func(g string) bool { return g == name })
	case is && !has:
		return append(slices.Clone(groups), name)
	}
	return groups
}

func (a *api) deleteUser(r *httpd.Request) error {
	name := r.Param("username")
	if err := a.RemoveUser(r.Context(), name); err != nil {
		return refusal(err)
	}
	a.Audit.By(r, "user remove", name)
	return nil
}
