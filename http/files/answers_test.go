package files_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"takd/http/httpd/httpdtest"
)

// times stand for themselves: everything else is compared byte by byte.
var (
	paddedTime   = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
	unpaddedTime = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(0|[1-9]\d{0,2})Z"`)
	listTime     = regexp.MustCompile(`"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"`)
	randomUID    = regexp.MustCompile(`"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`)
)

func (s *site) same(what string, got httpdtest.Answer, pattern *regexp.Regexp, want string) {
	s.Helper()
	text := randomUID.ReplaceAllString(pattern.ReplaceAllString(got.Body, `"TIME"`), `"RANDOM"`)
	kind := "application/json"
	if what == "search" || what == "upload" { // node-tak parses these itself
		kind = "text/json"
	}
	if got.Status != http.StatusOK || got.Header.Get("Content-Type") != kind || text != want {
		s.Errorf("%s: %d %s\n%s\nwant\n%s", what, got.Status, got.Header.Get("Content-Type"), text, want)
	}
}

// The four calls of ATAK's network library, and what each client then reads.
func TestPackage(t *testing.T) {
	s := newSite(t)
	data := []byte("not really a zip")
	hash := hashOf(data)
	s.want(404, `"NOT_FOUND"`, "ann", "GET", "/Marti/sync/missionquery?hash="+hash, "")
	s.pack("ann", "trip.zip", data, "&hash="+strings.Repeat("0", 64), "Host: tak.example.org:8443")
	for host, address := range map[string]string{
		"tak.example.org:8443": "https://tak.example.org:8443", "tak.example.org:8444": "https://tak.example.org:8443",
		"10.1.2.3:9443": "https://10.1.2.3:9443", "[2001:db8::1]:8443": "https://[2001:db8::1]:8443", "tak.example.org": "https://tak.example.org:443",
	} {
		got := s.want(200, "", "bob", "GET", "/Marti/sync/missionquery?hash="+strings.ToUpper(hash), "", "Host: "+host)
		if want := address + "/Marti/sync/content?hash=" + hash; got.Body != want || got.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("by %s: %q, want %q", host, got.Body, want)
		}
	}
	s.want(403, "file is", "bob", "PUT", "/Marti/api/sync/metadata/"+hash+"/tool", "private")
	s.want(200, "", "ann", "PUT", "/Marti/api/sync/metadata/"+hash+"/tool", "private", "Content-Type: text/plain")
	got := s.want(200, string(data), "bob", "GET", "/Marti/sync/content?hash="+hash+"&receiver=BOB", "")
	for name, want := range map[string]string{
		"Content-Type": "application/x-zip-compressed", "Content-Disposition": `attachment; filename="trip.zip"`, "X-Content-Type-Options": "nosniff",
		"Etag": `"` + hash + `"`, "Accept-Ranges": "bytes", "Content-Length": "16", "Api-Version": "3",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	s.same("search", s.Send("bob", "GET", "/Marti/sync/search?keywords=missionpackage&tool=private", nil), paddedTime,
		`{"resultCount":1,"results":[{"UID":"`+hash+`","Name":"trip","Hash":"`+hash+`","PrimaryKey":"1","SubmissionDateTime":"TIME","SubmissionUser":"ann",`+
			`"CreatorUid":"UID-ann","Keywords":["missionpackage"],"MIMEType":"application/x-zip-compressed","Size":"16","EXPIRATION":"-1","Tool":"private"}]}`)
	s.same("search", s.Send("bob", "GET", "/Marti/sync/search?keywords=missionpackage&tool=public", nil), paddedTime, `{"resultCount":0,"results":[]}`)
	s.same("resources", s.Send("bob", "GET", "/Marti/api/sync/search?uid="+hash, nil), unpaddedTime,
		`{"version":"3","type":"Resource","data":[{"filename":"trip.zip","keywords":["missionpackage"],"mimeType":"application/x-zip-compressed",`+
			`"contentType":"application/x-zip-compressed","name":"trip.zip","submissionTime":"TIME","submitter":"ann","uid":"`+hash+`","creatorUid":"UID-ann",`+
			`"hash":"`+hash+`","size":16,"tool":"private","groups":["Blue"],"expiration":-1}],"nodeId":"node-1"}`)
	s.same("metadata", s.Send("view", "GET", "/Marti/api/files/metadata?missionPackage=true&name=trip.zip", nil), listTime,
		`{"version":"3","type":"Files","data":[{"Name":"trip.zip","User":"ann","Creator":"UID-ann","Size":"16B","Time":"TIME","MimeType":"application/x-zip-compressed",`+
			`"Keywords":"missionpackage","Expiration":"none","Hash":"`+hash+`","Groups":"Blue"}],"nodeId":"node-1"}`)
	s.same("count", s.Send("view", "GET", "/Marti/api/files/metadata/count?missionPackage=true", nil), listTime, `{"version":"3","type":"Count","data":1,"nodeId":"node-1"}`)
	s.pack("ann", "trip.zip", data, "") // again: the answer was lost on the way
	if s.count() != 1 {
		t.Errorf("%d rows after the same upload twice", s.count())
	}
}

func TestUpload(t *testing.T) {
	s := newSite(t)
	hash := hashOf([]byte("photo"))
	got := s.Send("ann", "POST", "/Marti/sync/upload?name=a.jpg&keywords=x,y&creatorUid=U1&latitude=48.1&longitude=11.5&altitude=500", strings.NewReader("photo"), "Content-Type: image/jpeg")
	s.same("upload", got, paddedTime, `{"UID":"RANDOM","SubmissionDateTime":"TIME","Keywords":["x","y"],"MIMEType":"image/jpeg","SubmissionUser":"ann",`+
		`"PrimaryKey":"1","Hash":"`+hash+`","CreatorUid":"U1","Name":"a.jpg"}`)
	s.want(200, `"PrimaryKey":"2"`, "ann", "PUT", "/Marti/sync/upload?Name=a.jpg&CreatorUid=U1&uid=MARKER", "newer")
	s.want(200, "newer", "bob", "GET", "/Marti/sync/content?uid=MARKER", "")
	s.want(400, "colour", "ann", "POST", "/Marti/sync/upload?name=a&colour=red", "x")
	s.want(400, "want a file", "ann", "POST", "/Marti/sync/upload?name=a", "", "Transfer-Encoding: chunked")
	s.want(405, "", "ann", "GET", "/Marti/sync/upload?name=a", "")
	s.want(403, "Access is denied", "view", "POST", "/Marti/sync/upload?name=a", "x")
	s.want(403, "may not send", "ann", "POST", "/Marti/sync/upload?name=a&Groups=Red", "x")
	s.want(400, "hash of another file", "ann", "POST", "/Marti/sync/upload?name=a&uid="+hash, "x")

	// iTAK: a package comes as a plain file, or as a form, and is in the list of packages.
	agent := []string{"User-Agent: iTAK/2.8 CFNetwork", "Content-Type: application/x-zip-compressed"}
	s.want(200, `"Keywords":["missionpackage"]`, "ann", "POST", "/Marti/sync/upload?name=p1.zip&creatorUid=U&CreatorUid=U", "raw package", agent...)
	body, kind := form(t, "p2.zip", []byte("package in a form"))
	got = s.want(200, `"Hash":"`+hashOf([]byte("package in a form"))+`"`, "ann", "POST", "/Marti/sync/upload?name=p2.zip", string(body), agent[0], kind)
	if !strings.Contains(got.Body, `"MIMEType":"application/x-zip-compressed"`) {
		t.Errorf("MIME type of the part: %s", got.Body)
	}
	got = s.want(200, `"resultCount":2`, "bob", "GET", "/Marti/sync/search?keywords=missionpackage&tool=public", "")
	var list struct{ Results []map[string]any }
	if err := json.Unmarshal([]byte(got.Body), &list); err != nil || len(list.Results) != 2 || list.Results[0]["Name"] != "p2" {
		t.Errorf("packages: %v, %+v", err, list)
	}
	for path, n := range map[string]string{
		"bbox=11,48,12,49": "1", "bbox=12,48,13,49": "0", "circle=11.5,48.1,100": "1", "minAltitude=501": "0", "maxAltitude=500": "1", "Keyword=y": "1",
		"primaryKey=1,2": "2", "startTime=2020-01-01T00:00:00.000Z": "4", "stopTime=2020-01-01T00:00:00Z": "0", "mimetype=image/jpeg": "1", "NAME=A.J": "2", "mission=m": "0",
	} {
		s.want(200, `{"resultCount":`+n+",", "bob", "GET", "/Marti/sync/search?"+path, "")
	}
	for _, bad := range []string{"bbox=1,2,3", "bbox=a,b,c,d", "circle=1", "primaryKey=x", "startTime=today", "minAltitude=NaN"} {
		s.want(400, "BAD_REQUEST", "bob", "GET", "/Marti/sync/search?"+bad, "")
	}
}

func TestMetadata(t *testing.T) {
	s := newSite(t)
	hash := s.pack("ann", "p", []byte("one"), "&tool=private&keyword=missionpackage&keyword=more&mimetype=application/zip&Groups=Blue&expiration=4000000000000")
	m := "/Marti/api/sync/metadata/" + hash
	s.want(200, `"EXPIRATION":"4000000000"`, "bob", "GET", "/Marti/sync/"+hash+"/metadata", "") // milliseconds, as some send
	s.want(200, "one", "bob", "GET", m+"/tool", "")
	s.want(200, "", "ann", "PUT", m+"/keywords", `["missionpackage","k2"]`)
	s.want(200, "", "ann", "PUT", m+"/mimetype", "text/plain")
	s.want(200, "", "boss", "PUT", m+"/expiration?expiration=4100000000", "")
	s.want(200, "", "ann", "PUT", "/Marti/api/files/"+hash+"/metadata?keywords=a&keywords=missionpackage", "")
	s.want(200, `"keywords":["a","missionpackage"],"mimeType":"text/plain"`, "bob", "GET", "/Marti/api/sync/search?hash="+hash, "")
	s.want(200, `"Expiration":"2099-12-03T`, "bob", "GET", "/Marti/api/files/metadata?sort=name&page=0&limit=1", "")
	s.want(200, `"data":[]`, "bob", "GET", "/Marti/api/files/metadata?page=1&limit=1", "")
	for path, body := range map[string]string{"/tool": "<b>", "/mimetype": "a\r\nb", "/keywords": `{"a":1}`, "/expiration?expiration=soon": ""} {
		s.want(400, "BAD_REQUEST", "ann", "PUT", m+path, body)
	}
	s.want(404, "", "ann", "PUT", "/Marti/api/sync/metadata/"+hashOf(nil)+"/tool", "public")
	s.want(404, "", "ann", "PUT", m+"/name", "x")
	s.want(200, "", "ann", "PUT", m+"/expiration?expiration=1", "") // long ago: it is gone
	s.want(404, "", "ann", "GET", "/Marti/sync/content?hash="+hash, "")
}

func TestDelete(t *testing.T) {
	s := newSite(t)
	hash := s.pack("ann", "p", []byte("one"), "")
	s.pack("bob", "q", []byte("one"), "")
	s.want(403, "", "both", "DELETE", "/Marti/sync/delete?hash="+hash, "")
	for _, method := range []string{"GET", "POST", "DELETE"} {
		own := s.pack("ann", "x", []byte(method), "")
		got := s.want(200, "<p>Deleted: 1<", "ann", method, "/Marti/sync/delete?Hash="+own, "")
		if !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %s", method, got.Header.Get("Content-Type"))
		}
	}
	s.want(200, "Deleted: 1", "ann", "DELETE", "/Marti/sync/delete?hash="+hash, "")
	s.want(200, "one", "ann", "GET", "/Marti/sync/content?hash="+hash, "") // bob's is still there
	s.want(403, "", "ann", "DELETE", "/Marti/api/files/"+hash, "")
	s.want(200, "", "boss", "DELETE", "/Marti/api/files/"+hash, "")
	s.want(200, "", "boss", "DELETE", "/Marti/api/files/"+hash, "")
	s.want(200, "", "boss", "DELETE", "/Marti/api/files/none", "")
	s.want(404, "", "ann", "GET", "/Marti/sync/content?hash="+hash, "")
	two := s.pack("ann", "p", []byte("two"), "")
	// A page elsewhere that has the browser of a logged-in user follow a link.
	s.want(403, "X-Requested-With", "", "GET", "/Marti/sync/delete?hash="+two, "", "Cookie: access_token=ann")
	if got := s.Send("ann", "HEAD", "/Marti/sync/delete?hash="+two, nil); got.Status != 400 || s.count() != 1 {
		t.Errorf("HEAD: %d", got.Status)
	}
	s.want(200, "Deleted: 1", "ann", "DELETE", "/Marti/sync/delete?PrimaryKey=6&primarykey=99", "")
	s.want(400, "", "ann", "DELETE", "/Marti/sync/delete", "")
	if own, total := s.store.Usage("ann"); s.count() != 0 || own != 0 || total != 0 {
		t.Errorf("left: %d rows, %d, %d bytes", s.count(), own, total)
	}
}

func TestRanges(t *testing.T) {
	s := newSite(t)
	hash := s.pack("ann", "p", []byte("0123456789"), "")
	tests := map[string]struct {
		query, header string
		status        int
		body, content string
	}{
		"whole":           {"", "", 200, "0123456789", ""},
		"offset":          {"&offset=4", "", 200, "456789", ""},
		"offset at end":   {"&offset=10", "", 200, "", ""},
		"offset beyond":   {"&offset=11", "", 416, "", "bytes */10"},
		"negative offset": {"&offset=-1", "", 400, "", ""},
		"length":          {"&offset=2&length=3", "", 206, "234", "bytes 2-4/10"},
		"length enough":   {"&offset=2&length=30", "", 200, "23456789", ""},
		"range":           {"", "bytes=2-4", 206, "234", "bytes 2-4/10"},
		"first byte":      {"", "bytes=0-0", 206, "0", "bytes 0-0/10"},
		"open":            {"", "bytes=7-", 206, "789", "bytes 7-9/10"},
		"too far":         {"", "bytes=7-99", 206, "789", "bytes 7-9/10"},
		"last":            {"", "bytes=-3", 206, "789", "bytes 7-9/10"},
		"last of more":    {"", "bytes=-30", 206, "0123456789", "bytes 0-9/10"},
		"none":            {"", "bytes=-0", 416, "", "bytes */10"},
		"beyond":          {"", "bytes=10-", 416, "", "bytes */10"},
		"turned round":    {"", "bytes=5-2", 200, "0123456789", ""},
		"several":         {"", "bytes=0-1,4-5", 200, "0123456789", ""},
		"other unit":      {"", "lines=0-1", 200, "0123456789", ""},
		"huge":            {"", "bytes=99999999999999999999-", 200, "0123456789", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				var headers []string
				if tc.header != "" {
					headers = append(headers, "Range: "+tc.header)
				}
				got := s.Send("bob", method, "/Marti/sync/content?hash="+hash+tc.query, nil, headers...)
				body := tc.body
				if method == "HEAD" {
					body = ""
				}
				if got.Status != tc.status || got.Header.Get("Content-Range") != tc.content || tc.status < 300 && got.Body != body {
					t.Errorf("%s: %d %q %q; want %d %q %q", method, got.Status, got.Header.Get("Content-Range"), got.Body, tc.status, tc.content, body)
				}
			}
		})
	}
	tag := `"` + hash + `"`
	s.want(304, "", "bob", "GET", "/Marti/sync/content?hash="+hash, "", "If-None-Match: "+tag)
	s.want(206, "01", "bob", "GET", "/Marti/sync/content?hash="+hash, "", "If-Range: "+tag, "Range: bytes=0-1")
	s.want(200, "0123456789", "bob", "GET", "/Marti/api/files/"+hash, "", `If-Range: "other"`, "Range: bytes=0-1")
	if got := s.Send("bob", "HEAD", "/Marti/sync/content?hash="+hash, nil); got.Header.Get("Content-Length") != "10" {
		t.Errorf("HEAD: Content-Length %q", got.Header.Get("Content-Length"))
	}
	s.want(404, "", "bob", "HEAD", "/Marti/sync/content?hash="+hashOf(nil), "")
}
