// Package icons is the API of icon sets: administrators put them there, and
// clients that show a marker fetch the image that its iconset path names.
package icons

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"takd/http/httpd"
	"takd/store/icon"
)

// Deps is what the API needs.
type Deps struct {
	Store *icon.Store
	Audit httpd.Audit
}

type api struct{ Deps }

const at = "/Marti/api"

// Routes is the table of what there is to call.
func Routes(d Deps) []httpd.Route {
	a := &api{d}
	query := []string{"iconsetpath", "relative"}
	routes := []httpd.Route{
		{Method: "GET", Path: at + "/iconset/all/uid", Role: httpd.User, Summary: "Uids of the icon sets.", Handler: a.uids},
		{Method: "GET", Path: at + "/iconseturl/{uid}", Role: httpd.User, Summary: "Addresses of the icons of a set.", Query: []string{"relative"}, Handler: a.urls},
		{Method: "GET", Path: at + "/iconurl", Role: httpd.User, Summary: "Address of the icon at an iconset path, UID/FOLDER/NAME.", Query: query, Handler: a.url},
		{Method: "GET", Path: at + "/iconimage", Role: httpd.User, Summary: "The icon at an iconset path.", Query: query[:1], Handler: a.byPath},
		{Method: "GET", Path: at + "/icon/{uid}/{name:*}", Role: httpd.User, Summary: "An icon.", Handler: a.byName},
		{
			Method: "POST", Path: at + "/iconset", Role: httpd.Admin, MaxBody: icon.MaxSet + 64<<10, Handler: a.add,
			Summary: "Put an icon set there: the zip that ATAK makes, as the part file of a form or as the body. Answers its uid.",
		},
		{Method: "DELETE", Path: at + "/iconset/{uid}", Role: httpd.Admin, Summary: "Delete an icon set.", Handler: a.remove},
	}
	for i := range routes {
		routes[i].Tag, routes[i].Faces = "Icons", httpd.Everyday
	}
	return routes
}

const stringKind = "java.lang.String"

func refused(err error) error {
	switch {
	case errors.Is(err, icon.ErrInvalid):
		return httpd.Bad("%v", err)
	case errors.Is(err, icon.ErrNotFound):
		return httpd.NotFound("Not Found: %v", err)
	}
	return err
}

func (a *api) uids(r *httpd.Request) error {
	sets := a.Store.Sets()
	uids := make([]string, 0, len(sets))
	for _, set := range sets {
		uids = append(uids, set.UID)
	}
	return r.Envelope(stringKind, uids)
}

// address is where an icon is, by the name and port that the caller used.
func address(r *httpd.Request, uid, name string) string {
	u := url.URL{Path: at + "/icon/" + uid + "/" + name}
	if string(r.QueryArgs().Peek("relative")) != "true" {
		u.Scheme, u.Host = "https", string(r.Host())
	}
	return u.String()
}

func (a *api) urls(r *httpd.Request) error {
	set, err := a.Store.Set(r.Param("uid"))
	all := make([]string, 0, len(set.Icons))
	for _, name := range set.Icons {
		all = append(all, address(r, set.UID, name))
	}
	if err != nil && !errors.Is(err, icon.ErrNotFound) { // of a set that is not here: none
		return err
	}
	return r.Envelope(stringKind, all)
}

// asked is the iconset path of the query.
func asked(r *httpd.Request) (string, error) {
	p := string(r.QueryArgs().Peek("iconsetpath"))
	if p == "" {
		return "", httpd.Bad("iconsetpath: want UID/FOLDER/NAME")
	}
	return p, nil
}

func (a *api) url(r *httpd.Request) error {
	p, err := asked(r)
	if err != nil {
		return err
	}
	if _, _, err := a.Store.Icon(p); err != nil {
		return refused(err)
	}
	uid, name, _ := strings.Cut(p, "/")
	r.Text(address(r, uid, name))
	return nil
}

func (a *api) byPath(r *httpd.Request) error {
	p, err := asked(r)
	if err != nil {
		return err
	}
	return a.image(r, p)
}

func (a *api) byName(r *httpd.Request) error {
	return a.image(r, r.Param("uid")+"/"+r.Param("name"))
}

func (a *api) image(r *httpd.Request, iconsetPath string) error {
	image, mime, err := a.Store.Icon(iconsetPath)
	if err != nil {
		return refused(err)
	}
	r.Response.Header.Set("Cache-Control", "private, max-age=3600")
	r.Reply(http.StatusOK, mime, image)
	return nil
}

func (a *api) add(r *httpd.Request) error {
	body, err := posted(r)
	if err != nil {
		return err
	}
	set, err := a.Store.Add(body)
	if err != nil {
		return refused(err)
	}
	a.Audit.By(r, "icon set put", set.UID)
	return r.Envelope(stringKind, set.UID)
}

// posted is the part file of a form, or the body.
func posted(r *httpd.Request) ([]byte, error) {
	if !strings.HasPrefix(strings.ToLower(string(r.Request.Header.ContentType())), "multipart/") {
		return r.PostBody(), nil
	}
	part, err := r.FormFile("file")
	if err != nil {
		return nil, httpd.Bad("file: want the part of the form with the zip")
	}
	in, err := part.Open()
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(in, icon.MaxSet+1))
	return body, errors.Join(err, in.Close())
}

func (a *api) remove(r *httpd.Request) error {
	uid := r.Param("uid")
	if err := a.Store.Delete(uid); err != nil {
		return refused(err)
	}
	a.Audit.By(r, "icon set delete", uid)
	r.SetStatusCode(http.StatusOK)
	return nil
}
