package property

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"takd/http/httpd"
	"takd/store/property"
)

const layerKind = "MapLayer"

func (a *api) layers() []httpd.Route {
	const at = "/Marti/api/maplayers"
	return []httpd.Route{
		{Method: "GET", Path: at + "/all", Role: httpd.User, Summary: "Layers of maps.", Handler: a.allLayers},
		{Method: "GET", Path: at + "/{uid}", Role: httpd.User, Summary: "A layer of maps.", Handler: a.oneLayer},
		{Method: "POST", Path: at, Role: httpd.Writer, Summary: "Add a layer of maps: an object with name, url and more; it gets a uid if it has none.", MaxBody: 64 << 10, Handler: a.putLayer},
		{Method: "PUT", Path: at, Role: httpd.Writer, Summary: "Replace a layer of maps that one has added.", MaxBody: 64 << 10, Handler: a.putLayer},
		{Method: "DELETE", Path: at + "/{uid}", Role: httpd.Writer, Summary: "Delete a layer of maps that one has added.", Handler: a.deleteLayer},
	}
}

func (a *api) allLayers(r *httpd.Request) error {
	all, err := a.Store.Layers(r.Context(), "")
	if err != nil {
		return err
	}
	list := make([]json.RawMessage, 0, len(all))
	for _, l := range all {
		list = append(list, json.RawMessage(l.Body))
	}
	return r.Envelope(layerKind, list)
}

func (a *api) oneLayer(r *httpd.Request) error {
	all, err := a.Store.Layers(r.Context(), r.Param("uid"))
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return httpd.NotFound("Not Found: there is no such map layer")
	}
	return r.Envelope(layerKind, json.RawMessage(all[0].Body))
}

// putLayer keeps what it does not know as it is: web clients have fields of their own.
func (a *api) putLayer(r *httpd.Request) error {
	var body map[string]any
	if err := r.ReadJSON(&body); err != nil {
		return err
	}
	for _, field := range []string{"name", "url"} {
		if s, ok := body[field].(string); !ok || s == "" {
			return httpd.Bad("%s: want text", field)
		}
	}
	uid, ok := body["uid"].(string)
	if !ok && body["uid"] != nil {
		return httpd.Bad("uid: want text")
	}
	if uid == "" && r.IsPost() {
		uid = uuid.NewString()
	}
	body["uid"], body["creatorUid"] = uid, r.Who.User
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	err = a.Store.PutLayer(r.Context(), property.Layer{UID: uid, Owner: r.Who.User, Body: string(text)}, r.Who.Role == httpd.Admin)
	switch {
	case errors.Is(err, property.ErrExists):
		return httpd.Forbidden("Access is denied: the map layer is another's")
	case errors.Is(err, property.ErrInvalid):
		return httpd.Bad("%v", err)
	case err != nil:
		return err
	}
	return r.Envelope(layerKind, json.RawMessage(text))
}

func (a *api) deleteLayer(r *httpd.Request) error {
	err := a.Store.DeleteLayer(r.Context(), r.Param("uid"), r.Who.User, r.Who.Role == httpd.Admin)
	if errors.Is(err, property.ErrNotFound) {
		return httpd.NotFound("Not Found: there is no such map layer of yours")
	} else if err != nil {
		return err
	}
	r.SetStatusCode(http.StatusOK)
	return nil
}
