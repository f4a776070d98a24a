package marti

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"takd/http/httpd"
)

const (
	groupType = "com.bbn.marti.remote.groups.Group"
	maxGroups = 256 << 10 // bytes of a list of groups
	// maxDevice bounds the uid of a device that sets its groups.
	maxDevice = 256
)

func (a *api) groupRoutes() []httpd.Route {
	return on("Groups", httpd.User,
		httpd.Route{
			Method: "GET", Path: "/Marti/api/groups/all", Summary: "Groups of the caller, one entry for each direction.",
			Query: []string{"useCache", "sendLatestSA", "clientUid"}, Handler: a.groupsAll,
		},
		httpd.Route{Method: "GET", Path: "/Marti/api/groups/active", Summary: "The same.", Query: []string{"clientUid"}, Handler: a.groupsAll},
		httpd.Route{
			Method: "PUT", Path: "/Marti/api/groups/active", Summary: "Switch groups of the caller on and off, for one device or all.",
			Query: []string{"clientUid"}, MaxBody: maxGroups, Handler: a.setActive,
		},
		httpd.Route{
			Method: "PUT", Path: "/Marti/api/groups/activebits", Summary: "The same by bit positions.",
			Query: []string{"clientUid"}, MaxBody: maxGroups, Handler: a.setActiveBits,
		},
		httpd.Route{Method: "GET", Path: "/Marti/api/groups/groupCacheEnabled", Summary: "Whether groups can be switched: yes.", Handler: cacheEnabled},
		httpd.Route{Method: "GET", Path: "/Marti/api/groups/members", Summary: "Number of groups of the caller.", Query: []string{"groupNameFilter"}, Handler: a.members},
		httpd.Route{Method: "GET", Path: "/Marti/api/groups/user", Summary: "Groups of the caller.", Handler: a.groupsAll},
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
	all, err := a.Auth.Groups(r.RequestCtx)
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

func (a *api) mine(r *httpd.Request) ([]group, error) {
	known, err := a.known(r)
	if err != nil {
		return nil, err
	}
	in, out, err := a.Contact.Active(r.RequestCtx, r.Who.User, string(r.QueryArgs().Peek("clientUid")), r.Who.In, r.Who.Out)
	if err != nil {
		return nil, err
	}
	return known.entries(r.Who.In, r.Who.Out, in, out), nil
}

func (a *api) groupsAll(r *httpd.Request) error {
	list, err := a.mine(r)
	if err != nil {
		return err
	}
	return r.Envelope(groupType, list)
}

func (a *api) oneGroup(r *httpd.Request) error {
	list, err := a.mine(r)
	if err != nil {
		return err
	}
	for _, g := range list {
		if g.Name == r.UserValue("name") && g.Direction == r.UserValue("direction") {
			return r.Envelope(groupType, g)
		}
	}
	return httpd.NotFound("Not Found: you are in no such group")
}

func cacheEnabled(r *httpd.Request) error { return r.Envelope("java.lang.Boolean", true) }

func (a *api) members(r *httpd.Request) error {
	return r.Envelope("java.lang.Integer", len(r.Who.Out))
}

// setActive switches groups. What the list does not name stays as it is.
func (a *api) setActive(r *httpd.Request) error {
	var list []group
	if err := json.Unmarshal(r.PostBody(), &list); err != nil {
		return httpd.Bad("body: want a list of groups with name, direction and active")
	}
	wish := map[[2]string]bool{}
	for _, g := range list {
		if g.Direction != "IN" && g.Direction != "OUT" {
			return httpd.Bad("direction of %q: want IN or OUT", g.Name)
		}
		wish[[2]string{g.Name, g.Direction}] = g.Active
	}
	return a.switchGroups(r, func(g group) bool {
		active, ok := wish[[2]string{g.Name, g.Direction}]
		delete(wish, [2]string{g.Name, g.Direction})
		return ok && active || !ok && g.Active
	}, func() error {
		for k := range wish {
			return httpd.Forbidden("group %q %s: you are not in it", k[0], k[1])
		}
		return nil
	})
}

// setActiveBits switches on the groups with these bits, and all others off.
func (a *api) setActiveBits(r *httpd.Request) error {
	var bits []int
	if err := json.Unmarshal(r.PostBody(), &bits); err != nil {
		return httpd.Bad("body: want a list of bit positions")
	}
	return a.switchGroups(r, func(g group) bool { return slices.Contains(bits, g.Bit) }, func() error { return nil })
}

// switchGroups decides for each group of the caller whether it is on, and then
// has complain object.
func (a *api) switchGroups(r *httpd.Request, on func(group) bool, complain func() error) error {
	device := string(r.QueryArgs().Peek("clientUid"))
	if len(device) > maxDevice {
		return httpd.Bad("clientUid: %d bytes; want at most %d", len(device), maxDevice)
	}
	list, err := a.mine(r)
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
	if err := a.Contact.SetActive(r.RequestCtx, r.Who.User, device, r.Who.In, r.Who.Out, in, out); err != nil {
		return err
	}
	a.Live.SetActive(r.Who.User, device, in, out)
	r.SetStatusCode(http.StatusOK)
	return nil
}
