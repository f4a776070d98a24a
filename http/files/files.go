// Package files is the API by which clients exchange files and data packages:
// /Marti/sync and its newer forms. It also serves what operators and clients lay
// down for others: device profiles, and video connections.
//
// Bodies are streamed between the connection and the store; none is held in
// memory. Who asks sees what is in a group that he receives from, and what he
// sent himself; that is the store's doing, with the viewer that each handler
// gives it. What a caller names, a path is never made of.
package files

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/blob"
	"takd/store/video"
)

// Deps is what the API needs.
type Deps struct {
	Store  *blob.Store
	Videos *video.Store
	Audit  httpd.Audit
	Log    *slog.Logger
}

type api struct{ Deps }

// packageWord is the keyword by which clients know data packages.
const packageWord = "missionpackage"

// uploadTime bounds one upload; within it, each part has idleTime to come.
const uploadTime = 2 * time.Hour

// anyBody leaves the size to the store, whose limits can change.
const anyBody = 1 << 50

// Routes is the table of what there is to call.
func Routes(d Deps) []httpd.Route {
	a := &api{d}
	return slices.Concat(a.transfer(), a.lists(), a.changes(), a.reports(), a.videoRoutes())
}

// on completes the rows of one chapter.
func on(role httpd.Role, routes ...httpd.Route) []httpd.Route {
	for i := range routes {
		r := &routes[i]
		r.Tag, r.Faces, r.Role = "Files", httpd.Everyday, role
		switch r.Path {
		case "/Marti/sync/missionquery", "/Marti/sync/missionupload", "/Marti/sync/search":
			r.Faces |= httpd.Federation // what servers exchange files with
		}
	}
	return routes
}

// federated refuses other servers where there is no group to exchange files in: what
// they bring would be nobody's.
func federated(h httpd.Handler) httpd.Handler {
	return func(r *httpd.Request) error {
		if r.Face == httpd.Federation && len(r.Who.In) == 0 {
			return httpd.Forbidden("files are exchanged with other servers in no group: api.federation_groups names none")
		}
		return h(r)
	}
}

func (a *api) transfer() []httpd.Route {
	upload := httpd.Route{
		Method: "POST", Path: "/Marti/sync/upload", Summary: "Keep a file: the body, or one part of a form.", Handler: a.upload,
		Query:   []string{"name", "keywords", "creatorUid", "tool", "uid", "Groups", "mimetype", "latitude", "longitude", "altitude", "expiration"},
		MaxBody: anyBody, Stream: true, Timeout: uploadTime,
	}
	put := upload
	put.Method = "PUT"
	mission := httpd.Route{
		Method: "POST", Path: "/Marti/sync/missionupload", Summary: "Keep a data package: the part assetfile of a form. Answers the address of its content.",
		Query: []string{"filename", "hash", "creatorUid", "tool", "keyword", "mimetype", "Groups", "expiration"}, Handler: federated(a.missionUpload),
		MaxBody: anyBody, Stream: true, Timeout: uploadTime,
	}
	return slices.Concat(on(httpd.Writer,
		mission, upload, put,
	), on(httpd.User,
		httpd.Route{Method: "GET", Path: "/Marti/sync/missionquery", Summary: "Address of a file, if it is there.", Query: []string{"hash"}, Handler: federated(a.missionQuery)},
		httpd.Route{Method: "GET", Path: "/Marti/sync/content", Summary: "Bytes of a file.", Query: []string{"hash", "uid", "offset", "length"}, Handler: a.content},
		httpd.Route{Method: "GET", Path: "/Marti/api/files/{hash}", Summary: "Bytes of a file.", Handler: a.byHash},
		// The address that other servers answer to an upload.
		httpd.Route{Method: "GET", Path: "/Marti/api/sync/metadata/{hash}/tool", Summary: "Bytes of a file.", Handler: a.byHash},
	))
}

func (a *api) lists() []httpd.Route {
	query := []string{"keywords", "tool", "uid", "hash", "name", "mimetype", "creatorUid", "bbox", "circle", "startTime", "stopTime", "minAltitude", "maxAltitude", "primaryKey"}
	return on(httpd.User,
		httpd.Route{Method: "GET", Path: "/Marti/sync/search", Summary: "Files, as ATAK lists them.", Query: query, Handler: federated(a.search)},
		httpd.Route{Method: "GET", Path: "/Marti/api/sync/search", Summary: "Files, in the envelope.", Query: query, Handler: a.resources},
		httpd.Route{
			Method: "GET", Path: "/Marti/api/files/metadata", Summary: "Files, for people to read.",
			Query: []string{"page", "limit", "mission", "missionPackage", "name", "sort", "ascending"}, Handler: a.filesMetadata,
		},
		httpd.Route{Method: "GET", Path: "/Marti/api/files/metadata/count", Summary: "Number of files.", Query: []string{"mission", "missionPackage"}, Handler: a.filesCount},
		httpd.Route{Method: "GET", Path: "/Marti/sync/{hash}/metadata", Summary: "What is known of a file.", Handler: a.one},
	)
}

func (a *api) changes() []httpd.Route {
	routes := append(make([]httpd.Route, 0, 9), []httpd.Route{
		{Method: "PUT", Path: "/Marti/api/sync/metadata/{hash}/tool", Summary: "Make a file public or private: the body is the word.", Handler: a.setTool},
		{Method: "PUT", Path: "/Marti/api/sync/metadata/{hash}/mimetype", Summary: "Set the MIME type of a file: the body.", Handler: a.setMIME},
		{Method: "PUT", Path: "/Marti/api/sync/metadata/{hash}/keywords", Summary: "Set the keywords of a file: a JSON list.", Handler: a.setKeywords},
		{Method: "PUT", Path: "/Marti/api/sync/metadata/{hash}/expiration", Summary: "Set when a file expires.", Query: []string{"expiration"}, Handler: a.setExpiration},
		{Method: "PUT", Path: "/Marti/api/files/{hash}/metadata", Summary: "Set expiry and keywords of a file.", Query: []string{"expiration", "keywords"}, Handler: a.setSome},
		{Method: "DELETE", Path: "/Marti/api/files/{hash}", Summary: "Delete a file.", Handler: a.deleteHash},
	}...)
	for _, method := range []string{"GET", "POST", "DELETE"} {
		routes = append(routes, httpd.Route{
			Method: method, Path: "/Marti/sync/delete", Summary: "Delete files.", Query: []string{"hash", "PrimaryKey"}, Handler: a.deleteAny,
		})
	}
	return on(httpd.Writer, routes...)
}

// viewer is the caller, as the store sees it.
func viewer(r *httpd.Request) blob.Viewer {
	return blob.Viewer{User: r.Who.User, Admin: r.Who.Role == httpd.Admin, Groups: r.Who.Out}
}

// params are the query's, whose names mean the same in any case.
type params map[string][]string

func query(r *httpd.Request) params {
	p := params{}
	for key, value := range r.QueryArgs().All() {
		name := strings.ToLower(string(key))
		p[name] = append(p[name], string(value))
	}
	return p
}

// get returns the first value under any of the names.
func (p params) get(names ...string) string {
	for _, n := range names {
		if v := p[n]; len(v) > 0 && v[0] != "" {
			return v[0]
		}
	}
	return ""
}

// list returns all values; a single one is a list with commas.
func (p params) list(names ...string) []string {
	var all []string
	for _, n := range names {
		if v := p[n]; len(v) == 1 {
			all = append(all, strings.Split(v[0], ",")...)
		} else {
			all = append(all, v...)
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return strings.TrimSpace(s) == "" })
}

// number reads a decimal number; nil where there is none.
func (p params) number(names ...string) (*float64, error) {
	text := p.get(names...)
	if text == "" {
		return nil, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v-v != 0 { // NaN and infinity
		return nil, httpd.Bad("%s: want a number", names[0])
	}
	return &v, nil
}

// integer reads a number that is not negative, or gives def.
func (p params) integer(name string, def int64) (int64, error) {
	text := p.get(name)
	if text == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, httpd.Bad("%s: want a number, not negative", name)
	}
	return n, nil
}

// expiry reads Unix seconds, or -1. Some clients send milliseconds.
func expiry(text string) (int64, error) {
	if text == "" {
		return blob.Never, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < blob.Never {
		return 0, httpd.Bad("expiration: want Unix seconds, or -1")
	}
	if n > 100_000_000_000 { // the year 5138
		n /= 1000
	}
	return n, nil
}

// validHash returns the hash that a path or query names, or 404: what is no hash, no file has.
func validHash(text string) (string, error) {
	if text = strings.ToLower(text); !blob.ValidHash(text) {
		return "", httpd.NotFound("Not Found: hash: want the 64 hex digits of a file that is here")
	}
	return text, nil
}

// contentURL is where a file is to be had, by the name and port that the caller used.
func contentURL(r *httpd.Request, hash string) (string, error) {
	u, err := url.Parse("https://" + string(r.Host()))
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return "", httpd.Bad("Host: want a name and a port")
	}
	port := u.Port()
	switch port {
	case "":
		port = "443"
	case "8444": // federated servers upload there, and phones cannot fetch there
		port = "8443"
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "https://" + host + ":" + port + "/Marti/sync/content?hash=" + hash, nil
}

// refused gives an error of the store the form of an answer.
func refused(err error) error {
	var limit *blob.LimitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &limit) && errors.Is(err, blob.ErrFull):
		return &httpd.Error{Status: http.StatusInsufficientStorage, Code: 2, Message: "file: " + limit.Error()}
	case errors.As(err, &limit):
		return httpd.TooLarge("file: %v", limit)
	case errors.Is(err, blob.ErrInvalid):
		return httpd.Bad("%v", err)
	case errors.Is(err, blob.ErrNotFound):
		return httpd.NotFound("Not Found: no such file")
	}
	return err
}
