// Package property is the API for what plugins and web clients keep by uid, and
// for their counters. It also answers, with nothing, the lists that plugins ask
// a server for which takd does not have: a 404 would be an error to their users.
package property

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"takd/http/httpd"
	"takd/store/property"
)

// Deps is what the API needs.
type Deps struct {
	Store *property.Store
}

type api struct{ Deps }

// Routes is the table of what there is to call.
func Routes(d Deps) []httpd.Route {
	a := &api{d}
	const at = "/Marti/api/properties"
	routes := slices.Concat(a.layers(), []httpd.Route{
		{Method: "GET", Path: at + "/uids", Role: httpd.User, Summary: "Uids that have properties.", Handler: a.uids},
		{Method: "GET", Path: at + "/{uid}/all", Role: httpd.User, Summary: "Properties of a uid: lists of values by key.", Handler: a.all},
		{Method: "GET", Path: at + "/{uid}/{key}", Role: httpd.User, Summary: "Values of a property.", Handler: a.one},
		{Method: "PUT", Path: at + "/{uid}", Role: httpd.Writer, Summary: `Add a value to a property: {"KEY":"VALUE"}.`, MaxBody: 64 << 10, Handler: a.put},
		{Method: "DELETE", Path: at + "/{uid}/all", Role: httpd.Writer, Summary: "Delete the properties of a uid.", Handler: a.remove},
		{Method: "DELETE", Path: at + "/{uid}/{key}", Role: httpd.Writer, Summary: "Delete a property.", Handler: a.remove},
		{Method: "GET", Path: "/Marti/api/sync/sequence/{key}", Role: httpd.Writer, Summary: "The next number of a counter.", Handler: a.next},

		{Method: "GET", Path: "/Marti/api/excheck/checklist/active", Role: httpd.User, Summary: "Checklists under way: none.", Query: []string{"clientUid"}, Handler: noChecklists},
	})
	for i := range routes {
		routes[i].Tag, routes[i].Faces = "Plugins", httpd.Everyday
	}
	return routes
}

func noChecklists(r *httpd.Request) error {
	r.Reply(http.StatusOK, "application/xml", []byte(`<?xml version="1.0" encoding="UTF-8" standalone="yes"?><checklists/>`))
	return nil
}

func (a *api) uids(r *httpd.Request) error {
	all, err := a.Store.UIDs(r.Context())
	if err != nil {
		return err
	}
	return r.Envelope("java.lang.String", all)
}

func (a *api) all(r *httpd.Request) error {
	all, err := a.Store.Of(r.Context(), r.Param("uid"), "")
	if err != nil {
		return err
	}
	return r.Envelope("Property", all)
}

func (a *api) one(r *httpd.Request) error {
	key := r.Param("key")
	all, err := a.Store.Of(r.Context(), r.Param("uid"), key)
	if err != nil {
		return err
	}
	return r.Envelope("java.lang.String", append([]string{}, all[key]...))
}

// put takes one pair, as an object with one field or with key and value.
func (a *api) put(r *httpd.Request) error {
	var body map[string]string
	if err := r.ReadJSON(&body); err != nil {
		return err
	}
	key, value := body["key"], body["value"]
	switch {
	case len(body) == 1:
		for k, v := range body {
			key, value = k, v
		}
	case len(body) != 2 || key == "" || value == "":
		return httpd.Bad(`body: want {"KEY":"VALUE"}`)
	}
	if err := a.Store.Add(r.Context(), r.Param("uid"), key, value); errors.Is(err, property.ErrInvalid) {
		return httpd.Bad("%v", err)
	} else if err != nil {
		return err
	}
	return r.Envelope("Property", map[string]string{key: value})
}

func (a *api) remove(r *httpd.Request) error {
	if err := a.Store.Delete(r.Context(), r.Param("uid"), r.Param("key")); err != nil {
		return err
	}
	r.SetStatusCode(http.StatusOK)
	return nil
}

func (a *api) next(r *httpd.Request) error {
	if r.IsHead() {
		return httpd.Bad("HEAD: a counter takes GET alone")
	}
	n, err := a.Store.Next(r.Context(), r.Param("key"))
	if errors.Is(err, property.ErrInvalid) {
		return httpd.Bad("%v", err)
	} else if err != nil {
		return err
	}
	r.Text(strconv.FormatInt(n, 10))
	return nil
}
