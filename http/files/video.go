package files

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"takd/http/httpd"
	"takd/store/video"
)

func (a *api) videoRoutes() []httpd.Route {
	const v2, v2UID, v1 = "/Marti/api/video", "/Marti/api/video/{uid}", "/Marti/vcm"
	routes := slices.Concat(on(httpd.User,
		httpd.Route{Method: "GET", Path: v2, Summary: "Video connections.", Query: []string{"protocol"}, Handler: a.videos},
		httpd.Route{Method: "GET", Path: v2UID, Summary: "One video connection.", Handler: a.video},
		httpd.Route{Method: "GET", Path: v1, Summary: "Video feeds, as XML.", Handler: a.feeds},
	), on(httpd.Writer,
		httpd.Route{Method: "POST", Path: v2, Summary: "Add video connections.", Query: []string{"group"}, Handler: a.addVideos},
		httpd.Route{Method: "PUT", Path: v2UID, Summary: "Change a video connection.", Query: []string{"group"}, Handler: a.putVideo},
		httpd.Route{Method: "DELETE", Path: v2UID, Summary: "Delete a video connection.", Handler: a.deleteVideo},
		httpd.Route{Method: "POST", Path: v1, Summary: "Add video feeds, as XML.", Handler: a.addFeeds},
		httpd.Route{Method: "DELETE", Path: v1, Summary: "Delete a video feed.", Query: []string{"id"}, Handler: a.deleteFeed},
	))
	for i := range routes {
		routes[i].Tag = "Video"
	}
	return routes
}

// text is a figure that clients write as a string, a number or a truth value;
// they read strings.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
	case string:
		*t = text(v)
	case float64, bool:
		*t = text(b)
	default:
		return errors.New("want a string")
	}
	return nil
}

// connection is a video connection as clients read it: strings, but for order,
// width, height and bitrate.
type connection struct {
	UUID           string `json:"uuid"`
	Active         bool   `json:"active"`
	Alias          string `json:"alias"`
	Thumbnail      *text  `json:"thumbnail"`
	Classification *text  `json:"classification"`
	Feeds          []feed `json:"feeds"`
}

type feed struct {
	UUID              string `json:"uuid"`
	Active            bool   `json:"active"`
	Alias             string `json:"alias"`
	URL               string `json:"url"`
	Order             *int   `json:"order"`
	MACAddress        text   `json:"macAddress"`
	RoverPort         text   `json:"roverPort"`
	IgnoreEmbeddedKLV text   `json:"ignoreEmbeddedKLV"`
	Source            *text  `json:"source"`
	NetworkTimeout    text   `json:"networkTimeout"`
	BufferTime        text   `json:"bufferTime"`
	RTSPReliable      text   `json:"rtspReliable"`
	Thumbnail         *text  `json:"thumbnail"`
	Classification    *text  `json:"classification"`
	Latitude          *text  `json:"latitude"`
	Longitude         *text  `json:"longitude"`
	FOV               *text  `json:"fov"`
	Heading           *text  `json:"heading"`
	Range             *text  `json:"range"`
	Width             *int   `json:"width"`
	Height            *int   `json:"height"`
	Bitrate           *int   `json:"bitrate"`
}

type connections struct {
	VideoConnections []connection `json:"videoConnections"`
}

// noPort finds the port in an address that says -1 or nothing: it breaks the
// whole list of iTAK.
var noPort = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*://[^/?#]*?):(?:-\d+|0)?([/?#]|$)`)

// complete gives what has none a uuid that stays, and corrects addresses.
func (c *connection) complete() error {
	def := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	def(&c.UUID, uuid.NewString())
	switch {
	case c.Alias == "":
		return httpd.Bad("alias: want it")
	case len(c.Feeds) > 100:
		return httpd.Bad("feeds: %d; want at most 100", len(c.Feeds))
	}
	if c.Feeds == nil {
		c.Feeds = []feed{}
	}
	for i := range c.Feeds {
		f := &c.Feeds[i]
		def(&f.UUID, uuid.NewString())
		def(&f.Alias, c.Alias)
		f.URL = noPort.ReplaceAllString(strings.TrimSpace(f.URL), "$1$2")
		for _, d := range []struct {
			to  *text
			def text
		}{{&f.RoverPort, "-1"}, {&f.IgnoreEmbeddedKLV, "false"}, {&f.NetworkTimeout, "5000"}, {&f.BufferTime, "-1"}, {&f.RTSPReliable, "0"}} {
			if *d.to == "" {
				*d.to = d.def
			}
		}
	}
	return nil
}

func videoViewer(r *httpd.Request) video.Viewer { return video.Viewer(viewer(r)) }

func (a *api) visible(r *httpd.Request, uid string) ([]connection, error) {
	rows, err := a.Videos.List(r.Context(), videoViewer(r), uid)
	if err != nil {
		return nil, err
	}
	list := make([]connection, 0, len(rows))
	for i := range rows {
		var c connection
		if err := json.Unmarshal([]byte(rows[i].Body), &c); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func (a *api) videos(r *httpd.Request) error {
	list, err := a.visible(r, "")
	if err != nil {
		return err
	}
	if want := query(r).get("protocol"); want != "" {
		list = slices.DeleteFunc(list, func(c connection) bool {
			return !slices.ContainsFunc(c.Feeds, func(f feed) bool { return strings.HasPrefix(f.URL, want+"://") })
		})
	}
	return r.JSON(http.StatusOK, connections{list})
}

func (a *api) video(r *httpd.Request) error {
	list, err := a.visible(r, r.Param("uid"))
	if err == nil && len(list) == 0 {
		err = httpd.NotFound("Not Found: no such video")
	}
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, list[0])
}

func (a *api) addVideos(r *httpd.Request) error {
	var body connections
	if err := r.ReadJSON(&body); err != nil {
		return err
	}
	if len(body.VideoConnections) == 0 || len(body.VideoConnections) > 100 {
		return httpd.Bad("body: want videoConnections, 1 to 100 of them")
	}
	return a.keep(r, body.VideoConnections)
}

func (a *api) putVideo(r *httpd.Request) error {
	var c connection
	if err := r.ReadJSON(&c); err != nil {
		return err
	}
	c.UUID = r.Param("uid")
	if list, err := a.visible(r, c.UUID); err != nil || len(list) == 0 {
		return errors.Join(err, refused(video.ErrNotFound))
	}
	return a.keep(r, []connection{c})
}

// keep writes connections for the groups of the query, or those of the caller.
func (a *api) keep(r *httpd.Request, list []connection) error {
	groups := query(r).list("group", "groups")
	for _, g := range groups {
		if r.Who.Role != httpd.Admin && !slices.Contains(r.Who.In, g) {
			return httpd.Forbidden("group: you may not send to %.80q", g)
		}
	}
	if len(groups) == 0 && !strings.EqualFold(string(r.Method()), http.MethodPut) {
		groups = r.Who.In
	}
	for i := range list {
		if err := list[i].complete(); err != nil {
			return err
		}
	}
	for i := range list {
		body, err := json.Marshal(&list[i])
		if err != nil {
			return err
		}
		if err := a.Videos.Put(r.Context(), videoViewer(r), video.Connection{UID: list[i].UUID, Groups: groups, Body: string(body)}); err != nil {
			return refusedVideo(err)
		}
	}
	r.SetStatusCode(http.StatusOK)
	return nil
}

func refusedVideo(err error) error {
	if errors.Is(err, video.ErrExists) {
		return httpd.Forbidden("Access is denied: the video with this uid is another's")
	}
	return refused(err)
}

func (a *api) deleteVideo(r *httpd.Request) error {
	if err := a.Videos.Delete(r.Context(), videoViewer(r), r.Param("uid")); err != nil {
		return refusedVideo(err)
	}
	a.Audit.By(r, "video delete", r.Param("uid"))
	return nil
}
