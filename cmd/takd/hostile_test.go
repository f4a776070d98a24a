package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// apiRow is one row of the table, as the running server describes it.
type apiRow struct {
	verb, path  string
	face        string
	inPath, ask []string // names of parameters
	hash        string   // of a file that is there
}

// table is every row that is neither a WebSocket nor the page, nor a second name.
func (b *browser) table() []apiRow {
	b.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			Tags        []string
			Description string
			Parameters  []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal([]byte(b.want(200, "GET", "https", "/openapi.json", "", "")), &doc); err != nil {
		b.Fatal(err)
	}
	var rows []apiRow
	for path, verbs := range doc.Paths {
		for verb, about := range verbs {
			if slices.Contains(about.Tags, "Page") || slices.Contains([]string{"/takproto/1", "/api/v1/live", "/api/v1/replay", "/Marti/latestKML"}, path) {
				continue
			}
			r := apiRow{verb: strings.ToUpper(verb), path: path, face: "https"}
			if !strings.Contains(about.Description, "8443") {
				r.face = "enroll"
			}
			for _, p := range about.Parameters {
				if p.In == "path" {
					r.inPath = append(r.inPath, p.Name)
				} else {
					r.ask = append(r.ask, p.Name)
				}
			}
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(x, y apiRow) int { return cmp.Or(strings.Compare(y.verb, x.verb), strings.Compare(x.path, y.path)) }) // DELETE comes last
	return rows
}

// What no client should say, for a parameter.
var oddValues = []string{
	"", "0", "-1", "-9223372036854775809", "99999999999999999999", "9223372036854775807", "2147483648", "1e999", "NaN", "-Inf", "1,2,3", "true", "null",
	"' OR 1=1 --", `" UNION SELECT 1 FROM users; DROP TABLE users`, "%", "_", "*", "{}", "[]", "x y", "ä\u202e", "<script>", "../../etc/passwd", `..\..\x`, "\x00", "abc\x00def", "\xff\xfe",
	"2026-13-45T99:99:99Z", "9999-12-31T23:59:59.999Z", "0000-00-00T00:00:00Z", strings.Repeat("x", 300), strings.Repeat("\U0001f600", 64), strings.Repeat("9", 300), strings.Repeat(",", 2000),
}

// And for a body.
func oddBodies() []string {
	bodies := []string{
		"", "null", "true", "0", "-1", "1e999", "99999999999999999999", `"x"`, "[]", "[null]", "[[]]", "[1]", `[""]`, "{}", `{"":""}`, `{"a":`, "\x00", "\xff\xfe", "\"\xff\"",
		"public", "a=b&c=d", "%", "<", "<x/>", "<events><event/></events>", "<videoConnections><feed/></videoConnections>",
		`<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><videoConnections><feed><alias>&b;</alias></feed></videoConnections>`,
		strings.Repeat("[", 20_000), strings.Repeat(`{"a":`, 20_000), strings.Repeat("<a>", 20_000), "PK\x03\x04", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	}
	fields := strings.Fields(`uid uuid name url key value username password groupList groupListIN groupListOUT groupname usersInGroupList usernameExpression startN endN
		toInject videoConnections feeds alias active groups applyOnConnect applyOnEnrollment role disabled user group expires uses schedule policies keys text to room
		users action days maximum minFree cron free set body latitude longitude`)
	for i, v := range []string{"1", `"\u0000"`, "[null]", "null", "-1", "1e300", "true", `""`, `"x"`, "[]", "{}", "[{}]", "[1]", `["",""]`, `{"a":{}}`} {
		all := make([]string, 0, len(fields))
		for _, f := range fields {
			all = append(all, fmt.Sprintf("%q:%s", f, v))
		}
		bodies = append(bodies, "{"+strings.Join(all, ",")+"}", "["+"{"+strings.Join(all, ",")+"}]")
		if i == 0 {
			for _, f := range fields { // each alone, too
				bodies = append(bodies, fmt.Sprintf("{%q:%s}", f, v))
			}
		}
	}
	return bodies
}

// insides are words of an answer that tell of the server's inside.
var insides = regexp.MustCompile(`(?i)goroutine |\.go:\d|sqlite|no such (table|column)|syntax error at|constraint failed|runtime error|DB::Exception|bun:|panic|Go (value|struct)`)

// Whatever a client says, in any parameter or body of any route, it is answered: with
// success or with what is wrong, never with a failure of the server, nor with its inside.
func TestHostileCalls(t *testing.T) {
	t.Parallel()
	w := record(t)
	w.takd("user", "add", "ann", "--group", "Blue", "--password-file", w.secretFile("ann's password"))
	root, ann := w.root(), w.browser(w.certificate("ann"))
	var token struct {
		Text string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(ann.want(200, "POST", "enroll", "/oauth/token", "", "grant_type=password&username=ann&password=ann%27s+password")), &token); err != nil {
		t.Fatal(err)
	}
	rows := root.table()
	if len(rows) < 150 {
		t.Fatalf("%d rows", len(rows))
	}
	bodies := oddBodies()
	_, address := ann.upload("photo", []byte("photo"))
	_, hash, _ := strings.Cut(address, "hash=")
	root.want(200, "POST", "https", "/Marti/api/device/profile/connection", "", "")
	root.want(200, "POST", "https", "/Marti/api/injectors/cot/uid", "", `{"uid":"x","toInject":"<x/>"}`)
	ann.want(200, "PUT", "https", "/Marti/api/properties/x", "", `{"x":"x"}`)
	ann.want(200, "POST", "https", "/Marti/api/maplayers", "", `{"uid":"x","name":"x","url":"x"}`)
	ann.want(200, "POST", "https", "/Marti/api/video", "", `{"videoConnections":[{"uuid":"x","alias":"x","feeds":[{"url":"rtsp://x/y"}]}]}`)
	say := func(b *browser, r *apiRow, path, body string) int {
		auth := ""
		if r.face == "enroll" {
			auth = token.Text
		}
		status, text := b.call(r.verb, r.face, path, auth, body)
		switch {
		case status >= 500 && !(strings.HasPrefix(path, "/Marti/api/certadmin/cert/") && strings.Contains(text, `"code":6`)): // of an unknown certificate; CloudTAK wants it so
			t.Errorf("%s %.300s with %.100q: %d %.300s", r.verb, path, body, status, text)
		case status >= 400 && (insides.MatchString(text) || strings.Contains(text, w.data)):
			t.Errorf("%s %.300s with %.100q tells too much: %d %.300s", r.verb, path, body, status, text)
		}
		return status
	}
	work := make(chan apiRow)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for r := range work {
				b := ann
				if say(b, &r, r.with(""), "") == 403 { // it is for administrators
					b = root
				}
				r.each(func(path string) { say(b, &r, path, "") })
				if r.verb == "GET" || r.verb == "DELETE" {
					continue
				}
				for _, body := range bodies {
					say(b, &r, r.with(""), body)
				}
			}
		})
	}
	for _, r := range rows {
		r.hash = hash
		work <- r
	}
	close(work)
	wg.Wait()
	root.want(200, "GET", "https", "/Marti/api/version", "", "")
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/health", "/run/takd.sock", "/conf/takd.yaml", "/ui/..%2f..%2fconf%2ftakd.yaml", "/Marti/none"} {
		for _, face := range []string{"https", "enroll"} {
			if status, text := root.call("GET", face, path, "", ""); status != 404 && status != 400 {
				t.Errorf("%s on %s: %d %.200s", path, face, status, text)
			}
		}
	}
	const none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0." // a token of root that nobody has signed
	for _, auth := range []string{"' OR '1'='1:x", "root'--:x", `" UNION SELECT 1:x`, "root:", ":", "\x00:x", "ä:\xff", strings.Repeat("x", 5000) + ":x", "x", "..", "null", none, none + "x", "' OR 1=1"} {
		if status, text := w.browser().call("GET", "enroll", "/Marti/api/version", auth, ""); status != 401 && status != 429 {
			t.Errorf("as %.40q: %d %.200s", auth, status, text)
		}
	}
	if log := w.log.String(); strings.Contains(log, "panic") {
		t.Error("a handler panicked")
	}
}

// with puts one value in every place of the path; "" is one that may be there.
func (r apiRow) with(value string) string {
	path := r.path
	for _, name := range r.inPath {
		v := value
		if v == "" {
			v = cmp.Or(map[string]string{"name": "connection", "hash": r.hash, "n": "1", "direction": "IN"}[name], "x")
		}
		path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(v))
	}
	return path
}

// each calls f with odd values in the path and in the query, one parameter at a time,
// all together, and twice.
func (r apiRow) each(f func(path string)) {
	f(r.with(""))
	for i, v := range oddValues {
		if len(r.inPath) > 0 && v != "" {
			f(r.with(v))
		}
		all := url.Values{}
		for _, name := range r.ask {
			all.Add(name, v)
			f(r.with("") + "?" + url.Values{name: {v}}.Encode())
			if i%8 == 2 {
				f(r.with("") + "?" + url.Values{name: {"1", v}}.Encode())
			}
		}
		if len(all) > 1 {
			f(r.with("") + "?" + all.Encode())
		}
	}
	if len(r.ask) > 0 {
		f(r.with("") + "?" + r.ask[0] + "=%zz&" + r.ask[0] + "&=&&;" + strings.Repeat("&"+r.ask[0]+"=1", 500))
	}
}

// unit is ann of Blue with what a unit has, everywhere with zebras; eve is of Red.
type unit struct {
	ann, eve, root *browser
	hash           string
	known          []string // of what eve has heard
}

func (w *world) unit() unit {
	w.Helper()
	for name, group := range map[string]string{"ann": "Blue", "bob": "Blue", "eve": "Red"} {
		w.takd("user", "add", name, "--group", group)
	}
	annCert := w.certificate("ann")
	u := unit{ann: w.browser(annCert), eve: w.browser(w.certificate("eve")), root: w.root()}
	stream, bob := w.connect("ann", annCert), w.connect("bob", w.certificate("bob"))
	stream.chat("bob", "zebra in a chat")
	bob.receives("zebra in a chat")
	_, address := u.ann.upload("zebra.zip", []byte("zebra in a file"))
	_, u.hash, _ = strings.Cut(address, "hash=")
	for path, body := range map[string]string{
		"/Marti/sync/upload?name=zebra.jpg&uid=MARKER&keywords=stripes": "zebra at a marker", "/Marti/TracksKML?uid=UID-ann&callsign=zebra": "<kml>zebra</kml>",
		"/Marti/ErrorLog?uid=UID-ann&callsign=zebra": "zebra", "/Marti/api/maplayers": `{"uid":"LAYER","name":"layer","url":"x"}`,
		"/Marti/api/video": `{"videoConnections":[{"uuid":"VIDEO","alias":"zebra","feeds":[{"url":"rtsp://zebra/y"}]}]}`, "/locate/api?latitude=1&longitude=1&name=zebra&remarks=zebra": "",
	} {
		u.ann.want(200, "POST", "https", path, "", body)
	}
	u.root.want(200, "PUT", "https", "/Marti/api/device/profile/connection:Blue/file?filename=zebra.pref", "", "zebra")
	stream.ping()
	u.known = []string{"UID-ann", "CS-an", "ann", "Blue", "MARKER", "VIDEO", "LAYER", "IN", "1", "stripes", "zeb", "connection:Blue", u.hash, "3600"}
	return u
}

// A user of another group learns nothing of a unit by any route that reads, whatever
// of it he has heard: uids, hashes, names.
func TestNoRouteTellsAnotherGroup(t *testing.T) {
	t.Parallel()
	w := record(t)
	u := w.unit()
	w.takd("history", "flush")
	told := map[string]bool{} // rows that tell ann something
	for _, r := range u.root.table() {
		if r.verb != "GET" || r.face != "https" || strings.HasSuffix(r.path, "/delete") {
			continue
		}
		ask := func(path string) {
			tells := func(b *browser) string {
				_, text := b.call("GET", r.face, path, "", "")
				if strings.Contains(text, "zebra") || strings.Contains(text, "CS-ann") {
					return text
				}
				return ""
			}
			if text := tells(u.eve); text != "" {
				t.Errorf("%s tells eve: %.300s", path, text)
			}
			told[r.path] = told[r.path] || tells(u.ann) != ""
		}
		day := url.Values{"start": {time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)}, "end": {time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, "uid": {"UID-ann"}}
		ask(r.with("UID-ann") + "?" + day.Encode())
		for _, value := range u.known {
			ask(r.with(value))
			if len(r.inPath) > 1 {
				for _, other := range u.known {
					ask(strings.Replace(apiRow{path: r.path, inPath: r.inPath[:1]}.with(value), "{"+r.inPath[1]+"}", url.PathEscape(other), 1))
				}
			}
			for _, name := range r.ask {
				q := url.Values{name: {value}}
				if strings.Contains(r.path, "KML") {
					q.Set("secago", "3600")
				}
				ask(r.with(value) + "?" + q.Encode())
			}
		}
	}
	n := 0
	for _, tells := range told {
		if tells {
			n++
		}
	}
	if n < 15 {
		t.Errorf("only %d routes tell ann of her unit: %v", n, told)
	}
}

// Nor does he change or delete anything of it, by any route that writes.
func TestNoRouteChangesForAnotherGroup(t *testing.T) {
	t.Parallel()
	u := start(t).unit()
	state := func() string {
		var all strings.Builder
		for _, path := range []string{
			"/Marti/api/sync/search", "/Marti/sync/search", "/Marti/api/video", "/Marti/vcm", "/Marti/api/maplayers/all", "/Marti/api/device/profile/connection:Blue/missionpackage",
			"/Marti/api/groups/all?useCache=true", "/Marti/api/contacts/all", "/Marti/sync/content?uid=MARKER",
		} {
			all.WriteString(path + " " + u.ann.want(200, "GET", "https", path, "", "") + "\n")
		}
		return all.String()
	}
	before, n := state(), 0
	bodies := []string{
		"", "private", `["x"]`, `{"uid":"LAYER","name":"mine","url":"x"}`, `{"alias":"mine","feeds":[]}`, `{"videoConnections":[{"uuid":"VIDEO","alias":"mine"}]}`,
		`[{"name":"Blue","direction":"IN","active":false},{"name":"Blue","direction":"OUT","active":false}]`, "[3]", `["UID-ann"]`, `{"groups":["Blue"],"text":"x"}`,
		"<videoConnections><feed><protocol>rtsp</protocol><address>x</address><alias>mine</alias><uuid>VIDEO</uuid></feed></videoConnections>",
	}
	for _, r := range u.root.table() {
		deletes := strings.HasSuffix(r.path, "/delete")                                                                                      // also by GET
		if r.verb == "GET" && !deletes || r.face != "https" || strings.Contains(r.path, "/properties/") || strings.Contains(r.path, "log") { // properties are everybody's
			continue
		}
		all := url.Values{}
		for _, name := range r.ask {
			switch name {
			case "hash":
				all.Set(name, u.hash)
			case "group", "Groups":
				all.Set(name, "Blue")
			case "username":
				all.Set(name, "ann")
			case "expiration":
				all.Set(name, "1")
			case "PrimaryKey":
				all["PrimaryKey"] = []string{"1", "2", "3"}
			case "uid", "clientUid", "id":
				all.Set(name, map[bool]string{true: "VIDEO", false: "UID-ann"}[r.path == "/Marti/vcm"])
			}
		}
		for _, value := range u.known {
			for _, body := range bodies {
				u.eve.call(r.verb, r.face, r.with(value)+"?"+all.Encode(), "", body)
				n++
			}
		}
		if deletes {
			all.Del("hash")
			u.eve.call(r.verb, r.face, r.path+"?"+all.Encode(), "", "")
		}
	}
	if after := state(); after != before || n < 1000 {
		t.Errorf("after %d calls of a stranger:\n%s\nbefore:\n%s", n, after, before)
	}
}
