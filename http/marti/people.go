package marti

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/valyala/fasthttp"

	"takd/http/httpd"
	"takd/store/contact"
)

func (a *api) people() []httpd.Route {
	sorted := []string{"sortBy", "direction", "noFederates"}
	return on("Contacts",
		httpd.Route{Method: "GET", Path: "/Marti/api/contacts/all", Summary: "Who is connected, and may be seen.", Query: sorted, Handler: a.contactsAll},
		httpd.Route{Method: "GET", Path: "/Marti/api/contacts/all/lite", Summary: "The same, with the user as an object.", Query: sorted, Handler: a.contactsLite},
		httpd.Route{Method: "GET", Path: "/Marti/api/contacts/all/full", Summary: "The same.", Query: sorted, Handler: a.contactsAll},
		httpd.Route{
			Method: "GET", Path: "/Marti/api/clientEndPoints", Summary: "Who is or was connected.",
			Query: []string{"secAgo", "showCurrentlyConnectedClients", "showMostRecentOnly", "group"}, Handler: a.endpoints,
		},
		httpd.Route{
			Method: "GET", Path: "/Marti/api/subscriptions/all", Summary: "Connections, with what passes.",
			Query: []string{"sortBy", "direction", "page", "limit"}, Handler: a.subscriptions,
		},
		httpd.Route{Method: "GET", Path: "/Marti/api/subscription/{uid}", Summary: "One connection.", Handler: a.subscription},
		httpd.Route{Method: "DELETE", Path: "/Marti/api/subscriptions/delete/{uid}", Role: httpd.Admin, Summary: "Close a connection.", Handler: a.unsubscribe},
	)
}

// person is an entry of contacts/all. Clients expect the nulls.
type person struct {
	FilterGroups *string `json:"filterGroups"`
	Notes        string  `json:"notes"` // the user
	Callsign     string  `json:"callsign"`
	Team         string  `json:"team"`
	Role         string  `json:"role"`
	Takv         string  `json:"takv"`
	UID          string  `json:"uid"`
	User         *user   `json:"user,omitempty"` // of contacts/all/lite
}

type user struct {
	Name string `json:"name"`
}

// fresh is how long a list of contacts is given out again. Many clients ask for
// it at the same moment: after a reconnect, all of them.
const fresh = 200 * time.Millisecond

// view keeps the lists of contacts, by what a caller may see.
type view struct {
	mu    sync.Mutex
	at    time.Time
	lists map[string]*list
}

// list is one answer, in the encodings that were asked for.
type list struct {
	mu          sync.Mutex
	json        []byte
	zstd, gzip_ []byte
}

// maxViews bounds what is kept: in time there is one for each set of groups.
const maxViews = 1000

// of returns the answer for key, which make makes unless it is fresh.
func (v *view) of(key string, makeIt func() ([]byte, error)) (*list, error) {
	v.mu.Lock()
	if now := time.Now(); now.Sub(v.at) > fresh || len(v.lists) >= maxViews {
		v.at, v.lists = now, make(map[string]*list)
	}
	l := v.lists[key]
	if l == nil {
		l = new(list)
		v.lists[key] = l
	}
	v.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.json == nil {
		b, err := makeIt()
		if err != nil {
			return nil, err
		}
		l.json = b
	}
	return l, nil
}

var encoder = func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
}()

// reply answers in an encoding that the caller understands.
func (l *list) reply(r *httpd.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	body, encoding := l.json, ""
	if len(body) > 1<<10 {
		switch {
		case r.Accepts("zstd"):
			if l.zstd == nil {
				l.zstd = encoder.EncodeAll(l.json, nil)
			}
			body, encoding = l.zstd, "zstd"
		case r.Accepts("gzip"):
			if l.gzip_ == nil {
				l.gzip_ = fasthttp.AppendGzipBytesLevel(nil, l.json, fasthttp.CompressBestSpeed)
			}
			body, encoding = l.gzip_, "gzip"
		}
	}
	r.Reply(http.StatusOK, "application/json", body)
	if encoding != "" {
		r.Response.Header.SetContentEncoding(encoding)
		r.Response.Header.Set(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	}
}

func (a *api) contactsAll(r *httpd.Request) error  { return a.contactList(r, false) }
func (a *api) contactsLite(r *httpd.Request) error { return a.contactList(r, true) }

func (a *api) contactList(r *httpd.Request, users bool) error {
	byUID, down, err := order(r)
	if err != nil {
		return err
	}
	key := fmt.Sprint(byUID, down, users, "\x00", strings.Join(r.Who.Out, "\x00"))
	l, err := a.contacts.of(key, func() ([]byte, error) {
		people := make([]person, 0, 16)
		for _, c := range a.visible(r.Who.Out) {
			one := person{Notes: c.User, Callsign: c.Callsign, Team: c.Team, Role: c.Role, Takv: c.Takv, UID: c.UID}
			if users {
				one.User = &user{c.User}
			}
			people = append(people, one)
		}
		sortBy(people, byUID, down, func(p person) (string, string) { return p.Callsign, p.UID })
		return json.Marshal(people)
	})
	if err != nil {
		return err
	}
	l.reply(r)
	return nil
}

// order reads sortBy and direction.
func order(r *httpd.Request) (byUID, down bool, err error) {
	q := r.QueryArgs()
	switch by := strings.ToUpper(string(q.Peek("sortBy"))); by {
	case "", "CALLSIGN":
	case "UID":
		byUID = true
	default:
		return false, false, httpd.Bad("sortBy: want CALLSIGN or UID")
	}
	switch d := strings.ToUpper(string(q.Peek("direction"))); d {
	case "", "ASCENDING":
	case "DESCENDING":
		down = true
	default:
		return false, false, httpd.Bad("direction: want ASCENDING or DESCENDING")
	}
	return byUID, down, nil
}

func sortBy[T any](list []T, byUID, down bool, keys func(T) (callsign, uid string)) {
	slices.SortStableFunc(list, func(x, y T) int {
		xc, xu := keys(x)
		yc, yu := keys(y)
		n := cmp.Or(strings.Compare(xc, yc), strings.Compare(xu, yu))
		if byUID {
			n = strings.Compare(xu, yu)
		}
		if down {
			n = -n
		}
		return n
	})
}

// visible are the clients with a uid that who receives from out can see.
func (a *api) visible(out []string) []Client {
	return slices.DeleteFunc(a.Live.Clients(), func(c Client) bool { return c.UID == "" || !reaches(c.In, out) })
}

// endpoint is an entry of clientEndPoints.
type endpoint struct {
	Callsign string `json:"callsign"`
	UID      string `json:"uid"`
	Username string `json:"username"`
	Team     string `json:"team"`
	Role     string `json:"role"`
	LastTime string `json:"lastEventTime"`
	Status   string `json:"lastStatus"` // Connected or Disconnected
}

// shortTime is a time as clients of clientEndPoints read it, in the way of Java's
// "ss.S": the milliseconds are a number without zeroes before it.
func shortTime(t time.Time) string {
	t = t.UTC()
	return t.Format("2006-01-02T15:04:05.") + strconv.Itoa(t.Nanosecond()/int(time.Millisecond)) + "Z"
}

func (a *api) endpoints(r *httpd.Request) error {
	q := r.QueryArgs()
	secs, err := number(r, "secAgo", 0)
	if err != nil {
		return err
	}
	out := r.Who.Out
	if groups := peekAll(r, "group"); len(groups) > 0 {
		for _, g := range groups {
			if _, ok := slices.BinarySearch(out, g); !ok {
				return httpd.Forbidden("group: %s is none of yours", g)
			}
		}
		out = groups
	}
	var since time.Time
	if secs > 0 {
		since = time.Now().Add(-time.Duration(secs) * time.Second)
	}
	connected := map[string]bool{}
	list := make([]endpoint, 0, 16)
	a.Live.Settle(r.Context())
	for _, c := range a.visible(out) {
		if c.Callsign == "" {
			continue // ATAK throws the whole list away over one that it cannot show
		}
		at := c.LastEvent
		if at.IsZero() {
			at = c.Since
		}
		connected[c.UID] = true
		list = append(list, endpoint{c.Callsign, c.UID, c.User, c.Team, c.Role, shortTime(at), "Connected"})
	}
	if !q.GetBool("showCurrentlyConnectedClients") {
		gone, err := a.Contact.Endpoints(r.Context(), since)
		if err != nil {
			return err
		}
		for _, e := range gone {
			if !connected[e.UID] && e.UID != "" && e.Callsign != "" && reaches(e.Groups, out) {
				list = append(list, fromStore(e))
			}
		}
	}
	r.Response.Header.Set(fasthttp.HeaderCacheControl, "must-revalidate, max-age=0, no-cache, no-store")
	r.Response.Header.Set(fasthttp.HeaderExpires, "0")
	return r.Envelope("com.bbn.marti.remote.ClientEndpoint", list)
}

func fromStore(e contact.Endpoint) endpoint {
	return endpoint{e.Callsign, e.UID, e.User, e.Team, e.Role, shortTime(e.At), "Disconnected"}
}

// number reads a count.
func number(r *httpd.Request, name string, missing int) (int, error) {
	text := string(r.QueryArgs().Peek(name))
	if text == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1<<31-1 {
		return 0, httpd.Bad("%s: want a number from 0 to 2147483647", name)
	}
	return n, nil
}

// peekAll are the values of a parameter that may come several times or as one
// with commas, sorted.
func peekAll(r *httpd.Request, name string) []string {
	var all []string
	for _, v := range r.QueryArgs().PeekMulti(name) {
		for one := range strings.SplitSeq(string(v), ",") {
			if one != "" {
				all = append(all, one)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// subscription is an entry of subscriptions/all, with the types that node-tak checks.
type subscription struct {
	DN             *string `json:"dn"`
	Callsign       string  `json:"callsign"`
	ClientUID      string  `json:"clientUid"`
	LastReport     int64   `json:"lastReportMilliseconds"`
	TakClient      string  `json:"takClient"`
	TakVersion     string  `json:"takVersion"`
	Username       string  `json:"username"`
	Groups         []group `json:"groups"`
	Role           string  `json:"role"`
	Team           string  `json:"team"`
	IP             string  `json:"ipAddress"`
	Port           string  `json:"port"`
	Pending        int     `json:"pendingWrites"`
	Processed      uint64  `json:"numProcessed"`
	Protocol       string  `json:"protocol"`
	XPath          *string `json:"xpath"`
	ID             string  `json:"subscriptionUid"`
	Framerate      string  `json:"appFramerate"`
	Battery        string  `json:"battery"`
	BatteryStatus  string  `json:"batteryStatus"`
	BatteryTemp    string  `json:"batteryTemp"`
	DataRx         string  `json:"deviceDataRx"`
	DataTx         string  `json:"deviceDataTx"`
	HeapCurrent    string  `json:"heapCurrentSize"`
	HeapFree       string  `json:"heapFreeSize"`
	HeapMax        string  `json:"heapMaxSize"`
	DeviceIP       string  `json:"deviceIPAddress"`
	StorageFree    string  `json:"storageAvailable"`
	StorageTotal   string  `json:"storageTotal"`
	Incognito      bool    `json:"incognito"`
	HandlerType    string  `json:"handlerType"`
	LastReportDiff int64   `json:"lastReportDiffMilliseconds"`
}

// connections are all for an administrator, and those that may be seen for others.
func (a *api) connections(r *httpd.Request) ([]subscription, error) {
	clients := a.Live.Clients()
	if r.Who.Role != httpd.Admin {
		clients = slices.DeleteFunc(clients, func(c Client) bool { return !reaches(c.In, r.Who.Out) })
	}
	known, err := a.known(r)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	list := make([]subscription, 0, len(clients))
	for _, c := range clients {
		host, port, _ := net.SplitHostPort(c.Address)
		client, version, _ := strings.Cut(c.Takv, " ")
		last := cmp.Or(c.LastEvent, c.Since)
		list = append(list, subscription{
			Callsign: c.Callsign, ClientUID: c.UID, LastReport: last.UnixMilli(), LastReportDiff: now.Sub(last).Milliseconds(),
			TakClient: client, TakVersion: version, Username: c.User, Groups: known.entries(c.In, c.Out, c.In, c.Out), Role: c.Role, Team: c.Team,
			IP: host, Port: port, Pending: c.Queue, Processed: c.EventsOut, Protocol: c.Protocol, ID: strconv.FormatUint(c.ID, 10), HandlerType: "netty",
		})
	}
	return list, nil
}

func (a *api) subscriptions(r *httpd.Request) error {
	byUID, down, err := order(r)
	if err != nil {
		return err
	}
	list, err := a.connections(r)
	if err != nil {
		return err
	}
	sortBy(list, byUID, down, func(s subscription) (string, string) { return s.Callsign, s.ClientUID })
	page, err1 := strconv.Atoi(cmp.Or(string(r.QueryArgs().Peek("page")), "-1"))
	limit, err2 := strconv.Atoi(cmp.Or(string(r.QueryArgs().Peek("limit")), "-1"))
	if err1 != nil || err2 != nil {
		return httpd.Bad("page and limit: want numbers")
	}
	if limit > 0 && page >= 0 {
		limit = min(limit, max(1, len(list))) // so that nothing overflows
		from := min(min(len(list), max(page, 1)-1)*limit, len(list))
		list = list[from:min(from+limit, len(list))]
	}
	return r.Envelope("com.bbn.marti.remote.SubscriptionInfo", list)
}

func (a *api) subscription(r *httpd.Request) error {
	list, err := a.connections(r)
	if err != nil {
		return err
	}
	uid := r.Param("uid")
	for _, s := range list {
		if s.ClientUID == uid || s.ID == uid {
			return r.Envelope("com.bbn.marti.remote.SubscriptionInfo", s)
		}
	}
	return httpd.NotFound("Not Found: there is no such subscription")
}

func (a *api) unsubscribe(r *httpd.Request) error {
	text := r.Param("uid")
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return httpd.Bad("subscription: want the subscriptionUid of subscriptions/all")
	}
	if !a.Live.Kick(id) {
		return httpd.NotFound("Not Found: there is no such subscription")
	}
	a.Audit.By(r, "kick", "connection "+text)
	return r.Envelope("java.lang.String", text)
}
