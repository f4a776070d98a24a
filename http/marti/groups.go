package marti

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"takd/http/httpd"
	"takd/store/auth"
)

const (
	groupType = "com.bbn.marti.remote.groups.Group"
	maxGroups = 256 << 10 // bytes of a list of groups
	// maxDevice bounds the uid of a device that sets its groups.
	maxDevice = 256
)

func (a *api) groupRoutes() []httpd.Route {
	return on("Groups",
		httpd.Route{
			Method: "GET", Path: "/Marti/api/groups/all", Summary: "Groups of the caller: with useCache both directions with what is switched on, else those it receives from; all for administrators.",
			Query: []string{"useCache", "sendLatestSA", "clientUid"}, Handler: a.groupsAll,
		},
		httpd.Route{Method: "GET", Path: "/Marti/api/groups/active", Summary: "Groups of the caller, both directions, with what is switched on.", Query: []string{"clientUid"}, Handler: a.active},
		httpd.Route{
			Method: "PUT", Path: "/Marti/api/groups/active", Summary: "Switch groups of the caller on and off, for one device or all.",
			Query: []string{"clientUid"}, MaxBody: maxGroups, Handler: a.setActive,
		},
		httpd.Route{
			Method: "PUT", Path: "/Marti/api/groups/activebits", Summary: "The same by bit positions.",
			Query: []string{"clientUid"}, MaxBody: maxGroups, Handler: a.setActiveBits,
		},
		httpd.Route{
			Method: "PUT", Path: "/Marti/api/groups/activeForce", Role: httpd.Admin, Summary: "Switch groups of a user on and off, on all devices.",
			Query: []string{"username"}, MaxBody: maxGroups, Handler: a.forceActive,
		},
		httpd.Route{Method: "GET", Path: "/Marti/api/groups/groupCacheEnabled", Summary: "Whether groups can be switched: yes.", Handler: cacheEnabled},
		httpd.Route{Method: "GET", Path: "/Marti/api/groups", Summary: "Groups of a directory service: none.", Query: []string{"groupNameFilter"}, Handler: noDirectory},
		httpd.Route{Method: "GET", Path: "/Marti/api/groupprefix", Role: httpd.Admin, Summary: "What names of groups of a directory service begin with: nothing.", Handler: noPrefix},
		httpd.Route{Method: "GET", Path: "/Marti/api/groups/members", Summary: "Number of users in a group of the caller.", Query: []string{"groupNameFilter"}, Handler: a.members},
		httpd.Route{Method: "GET", Path: "/Marti/api/groups/user", Role: httpd.Admin, Summary: "Groups of a user.", Query: []string{"username"}, Handler: a.userGroups},
		httpd.Route{Method: "GET", Path: "/Marti/api/groups/{name}/{direction}", Summary: "One group.", Handler: a.oneGroup},
	)
}

// group is one group in one direction, as ATAK and CloudTAK read it.
type group struct {
	Name        string `json:"name"`
	Direction   string `json:"direction"` // IN: the caller sends to it; OUT: it receives
	Created     string `json:"created"`   // a date
	Type        string `json:"type"`
	Bit         int    `json:"bitpos"`
	Active      bool   `json:"active"`
	Description string `json:"description"`
}

// groupInfo is what is known of groups by name.
type groupInfo map[string]struct {
	bit     int
	created time.Time
}

func (a *api) known(r *httpd.Request) (groupInfo, error) {
	all, err := a.Auth.Groups(r.Context())
	if err != nil {
		return nil, err
	}
	info := make(groupInfo, len(all))
	for _, g := range all {
		info[g.Name] = struct {
			bit     int
			created time.Time
		}{g.Bit, g.Created}
	}
	return info, nil
}

func (i groupInfo) entries(in, out, activeIn, activeOut []string) []group {
	list := make([]group, 0, len(in)+len(out))
	add := func(names, active []string, direction string) {
		for _, name := range names {
			g := i[name]
			list = append(list, group{
				Name: name, Direction: direction, Created: g.created.UTC().Format(time.DateOnly), Type: "SYSTEM", Bit: g.bit, Active: slices.Contains(active, name),
			})
		}
	}
	add(in, activeIn, "IN")
	add(out, activeOut, "OUT")
	return list
}

// member is whose groups are meant, on one device or, with "", on all.
type member struct {
	user, device string
	in, out      []string
}

func caller(r *httpd.Request) member {
	return member{r.Who.User, string(r.QueryArgs().Peek("clientUid")), r.Who.In, r.Who.Out}
}

// named is the member that an administrator means.
func (a *api) named(r *httpd.Request) (member, error) {
	p, err := a.Auth.Principal(r.Context(), string(r.QueryArgs().Peek("username")))
	if errors.Is(err, auth.ErrInvalid) || errors.Is(err, auth.ErrDisabled) {
		return member{}, httpd.NotFound("Not Found: there is no such user")
	}
	return member{user: p.User, in: p.In, out: p.Out}, err
}

func (a *api) groupsOf(r *httpd.Request, m member) ([]group, error) {
	known, err := a.known(r)
	if err != nil {
		return nil, err
	}
	in, out, err := a.Contact.Active(r.Context(), m.user, m.device, m.in, m.out)
	if err != nil {
		return nil, err
	}
	return known.entries(m.in, m.out, in, out), nil
}

// groupsAll answers clients, which say useCache, and lists of groups, which do not.
func (a *api) groupsAll(r *httpd.Request) error {
	if r.QueryArgs().GetBool("sendLatestSA") {
		a.Live.Replay(r.Who.User, string(r.QueryArgs().Peek("clientUid")))
	}
	if r.QueryArgs().GetBool("useCache") {
		return a.active(r)
	}
	list, err := a.groupsOf(r, caller(r))
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(g group) bool { return g.Direction != "OUT" })
	if r.Who.Role == httpd.Admin {
		known, err := a.known(r)
		if err != nil {
			return err
		}
		var others []string
		for _, name := range slices.Sorted(maps.Keys(known)) {
			if !slices.Contains(r.Who.Out, name) {
				others = append(others, name)
			}
		}
		list = append(list, known.entries(nil, others, nil, others)...)
	}
	return r.Envelope(groupType, list)
}

func (a *api) active(r *httpd.Request) error {
	list, err := a.groupsOf(r, caller(r))
	if err != nil {
		return err
	}
	return r.Envelope(groupType, list)
}

func (a *api) userGroups(r *httpd.Request) error {
	m, err := a.named(r)
	if err != nil {
		return err
	}
	list, err := a.groupsOf(r, m)
	if err != nil {
		return err
	}
	return r.Envelope(groupType, list)
}

func (a *api) oneGroup(r *httpd.Request) error {
	list, err := a.groupsOf(r, caller(r))
	if err != nil {
		return err
	}
	for _, g := range list {
		if g.Name == r.Param("name") && g.Direction == r.Param("direction") {
			return r.Envelope(groupType, g)
		}
	}
	return httpd.NotFound("Not Found: you are in no such group")
}

// Web clients ask for groups of LDAP; here are none.
func noDirectory(r *httpd.Request) error {
	return r.Envelope("com.bbn.marti.remote.groups.LdapGroup", []string{})
}

func noPrefix(r *httpd.Request) error { return r.Envelope("java.lang.String", "") }

func cacheEnabled(r *httpd.Request) error { return r.Envelope("java.lang.Boolean", true) }

func (a *api) members(r *httpd.Request) error {
	name := string(r.QueryArgs().Peek("groupNameFilter"))
	n := 0
	if slices.Contains(r.Who.Out, name) || r.Who.Role == httpd.Admin {
		all, err := a.Auth.Groups(r.Context())
		if err != nil {
			return err
		}
		for _, g := range all {
			if g.Name == name {
				n = max(g.In, g.Out)
			}
		}
	}
	return r.Envelope("java.lang.Integer", n)
}

// setActive switches groups. What the list does not name stays as it is.
func (a *api) setActive(r *httpd.Request) error { return a.setGroups(r, caller(r)) }

// forceActive is setActive for somebody else.
func (a *api) forceActive(r *httpd.Request) error {
	m, err := a.named(r)
	if err != nil {
		return err
	}
	if err := a.setGroups(r, m); err != nil {
		return err
	}
	a.Audit.By(r, "groups active", m.user)
	return nil
}

func (a *api) setGroups(r *httpd.Request, m member) error {
	var list []struct { // the rest differs: ATAK sends created as a number
		Name      string `json:"name"`
		Direction string `json:"direction"`
		Active    bool   `json:"active"`
	}
	if err := r.ReadJSON(&list); err != nil {
		return err
	}
	wish := map[[2]string]bool{}
	for _, g := range list {
		if g.Direction != "IN" && g.Direction != "OUT" {
			return httpd.Bad("direction of %.80q: want IN or OUT", g.Name)
		}
		wish[[2]string{g.Name, g.Direction}] = g.Active
	}
	return a.switchGroups(r, m, func(g group) bool {
		active, ok := wish[[2]string{g.Name, g.Direction}]
		delete(wish, [2]string{g.Name, g.Direction})
		return ok && active || !ok && g.Active
	}, func() error {
		for k := range wish {
			return httpd.Forbidden("group %.80q %s: %s is not in it", k[0], k[1], m.user)
		}
		return nil
	})
}

// setActiveBits switches on the groups with these bits, and all others off.
func (a *api) setActiveBits(r *httpd.Request) error {
	var bits []int
	if err := r.ReadJSON(&bits); err != nil {
		return err
	}
	return a.switchGroups(r, caller(r), func(g group) bool { return slices.Contains(bits, g.Bit) }, func() error { return nil })
}

// switchGroups decides for each group of m whether it is on, and then has
// complain object.
func (a *api) switchGroups(r *httpd.Request, m member, on func(group) bool, complain func() error) error {
	if len(m.device) > maxDevice {
		return httpd.Bad("clientUid: %d bytes; want at most %d", len(m.device), maxDevice)
	}
	list, err := a.groupsOf(r, m)
	if err != nil {
		return err
	}
	in, out := []string{}, []string{}
	for _, g := range list {
		switch {
		case !on(g):
		case g.Direction == "IN":
			in = append(in, g.Name)
		default:
			out = append(out, g.Name)
		}
	}
	if err := complain(); err != nil {
		return err
	}
	if err := a.Contact.SetActive(r.Context(), m.user, m.device, m.in, m.out, in, out); err != nil {
		return err
	}
	a.Live.Regroup(r.Context(), m.user)
	r.SetStatusCode(http.StatusOK)
	return nil
}
