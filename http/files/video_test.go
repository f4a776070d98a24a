package files_test

import (
	"encoding/json"
	"strings"
	"testing"
)

const fullFeed = `"order":null,"macAddress":"","roverPort":"-1","ignoreEmbeddedKLV":"false","source":null,"networkTimeout":"5000","bufferTime":"-1","rtspReliable":"0",` +
	`"thumbnail":null,"classification":null,"latitude":null,"longitude":null,"fov":null,"heading":null,"range":null,"width":null,"height":null,"bitrate":null}`

func TestVideo(t *testing.T) {
	s := newSite(t)
	s.same("none", s.Send("ann", "GET", "/Marti/api/video", nil), paddedTime, `{"videoConnections":[]}`)
	s.want(200, "", "ann", "POST", "/Marti/api/video?group=Blue", `{"videoConnections":[{"uuid":"V1","active":true,"alias":"drone","feeds":[{"uuid":"F1","active":true,"alias":"a","url":"rtsp://10.0.0.1:-1/live"}]}]}`)
	one := `{"uuid":"V1","active":true,"alias":"drone","thumbnail":null,"classification":null,"feeds":[{"uuid":"F1","active":true,"alias":"a","url":"rtsp://10.0.0.1/live",` + fullFeed + `]}`
	s.same("list", s.Send("bob", "GET", "/Marti/api/video", nil), paddedTime, `{"videoConnections":[`+one+`]}`)
	s.same("one", s.Send("bob", "GET", "/Marti/api/video/V1", nil), paddedTime, one)
	s.same("protocol", s.Send("bob", "GET", "/Marti/api/video?protocol=rtmp", nil), paddedTime, `{"videoConnections":[]}`)
	s.same("red", s.Send("red", "GET", "/Marti/api/video", nil), paddedTime, `{"videoConnections":[]}`)

	// Who sees it may not change it; numbers become the strings that clients read.
	change := `{"active":false,"alias":"drone 2","feeds":[{"uuid":"F1","alias":"a","url":"udp://@239.1.1.1:1234","roverPort":5000,"ignoreEmbeddedKLV":true,"latitude":48.1,"width":640}]}`
	s.want(403, "another's", "bob", "PUT", "/Marti/api/video/V1", change)
	s.want(403, "another's", "bob", "POST", "/Marti/api/video", `{"videoConnections":[{"uuid":"V1","alias":"x"}]}`)
	s.want(403, "another's", "bob", "DELETE", "/Marti/api/video/V1", "")
	s.want(403, "may not send", "ann", "POST", "/Marti/api/video?group=Red", `{"videoConnections":[{"alias":"x"}]}`)
	s.want(403, "", "view", "POST", "/Marti/api/video", `{}`)
	s.want(404, "", "red", "PUT", "/Marti/api/video/V1", change)
	s.want(200, "", "ann", "PUT", "/Marti/api/video/V1", change)
	got := s.want(200, `"roverPort":"5000","ignoreEmbeddedKLV":"true"`, "bob", "GET", "/Marti/api/video/V1", "")
	if !strings.Contains(got.Body, `"latitude":"48.1"`) || !strings.Contains(got.Body, `"width":640`) {
		t.Errorf("after PUT: %s", got.Body)
	}
	// The uuids that the server gives stay.
	s.want(200, "", "ann", "POST", "/Marti/api/video", `{"videoConnections":[{"alias":"no uuid","feeds":[{"url":"http://x/y"}]}]}`)
	if a, b := s.Send("ann", "GET", "/Marti/api/video", nil).Body, s.Send("ann", "GET", "/Marti/api/video", nil).Body; a != b || strings.Contains(a, `"uuid":""`) {
		t.Errorf("two answers:\n%s\n%s", a, b)
	}
	for _, bad := range []string{"", "[]", `{"videoConnections":[]}`, `{"videoConnections":[{"feeds":[]}]}`, `{"videoConnections":[{"alias":"a","feeds":[{"url":{}}]}]}`, `{"videoConnections":[{"alias":"` + strings.Repeat("x", 70_000) + `"}]}`} {
		s.want(400, "BAD_REQUEST", "ann", "POST", "/Marti/api/video", bad)
	}
	s.want(200, "", "boss", "DELETE", "/Marti/api/video/V1", "")
	s.want(404, "", "ann", "DELETE", "/Marti/api/video/V1", "")
}

func TestVideoFeeds(t *testing.T) {
	s := newSite(t)
	if got := s.Send("ann", "GET", "/Marti/vcm", nil); got.Body != "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<videoConnections></videoConnections>" || got.Header.Get("Content-Type") != "application/xml" {
		t.Errorf("none: %s %s", got.Header.Get("Content-Type"), got.Body)
	}
	post := `<?xml version='1.0'?><videoConnections><feed><protocol>rtsp</protocol><alias>A &amp; B</alias><uid>F1</uid><address>10.0.0.1</address><port>-1</port><path>/live?x=1</path></feed></videoConnections>`
	s.want(200, "", "ann", "POST", "/Marti/vcm", post)
	const rest = `<roverPort>-1</roverPort><ignoreEmbeddedKLV>false</ignoreEmbeddedKLV><preferredMacAddress></preferredMacAddress><path>/live?x=1</path><buffer>-1</buffer><timeout>5000</timeout><rtspReliable>0</rtspReliable></feed>`
	s.want(200, `<feed><protocol>rtsp</protocol><alias>A &amp; B</alias><uuid>F1</uuid><address>10.0.0.1</address><port>554</port>`+rest, "bob", "GET", "/Marti/vcm", "")
	s.want(200, `<address>rtsp://10.0.0.1:554/live?x=1</address><port>554</port>`, "bob", "GET", "/Marti/vcm", "", "User-Agent: iTAK/2.8")
	var v2 struct{ VideoConnections []struct{ UUID string } }
	if err := json.Unmarshal([]byte(s.Send("bob", "GET", "/Marti/api/video", nil).Body), &v2); err != nil || len(v2.VideoConnections) != 1 || v2.VideoConnections[0].UUID != "F1" {
		t.Errorf("as v2: %+v, %v", v2, err)
	}
	for _, bad := range []string{"", "<x/>", "<videoConnections/>", `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><videoConnections><feed><alias>&e;</alias></feed></videoConnections>`, `<videoConnections><feed><alias>a</alias></feed></videoConnections>`} {
		s.want(400, "BAD_REQUEST", "ann", "POST", "/Marti/vcm", bad)
	}
	s.want(403, "", "bob", "DELETE", "/Marti/vcm?id=F1", "")
	s.want(200, "", "ann", "DELETE", "/Marti/vcm?id=F1", "")
}
