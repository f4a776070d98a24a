package files_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"takd/http/httpd/httpdtest"
	"takd/store/blob"
)

// raw sends bytes and returns what comes back. cut ends sending after them.
func (s *site) raw(text string, cut bool) string {
	s.Helper()
	c, err := tls.Dial("tcp", s.Addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		s.Fatal(err)
	}
	if cut {
		_ = c.CloseWrite()
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error()
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return resp.Status + " " + string(b)
}

const head = "POST /Marti/sync/upload?name=a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ann\r\n"

func TestHostileBodies(t *testing.T) {
	s := newSite(t)
	body, kind := form(t, "a", []byte("data"))
	two, kindTwo := form(t, "a", []byte("data"), "resource")
	other, kindOther := form(t, "a", bytes.Repeat([]byte("x"), 2<<20), "x")
	other = bytes.Replace(other, []byte(`"assetfile"`), []byte(`"another"`), 1)
	tests := map[string]struct {
		text, want string
		cut        bool
	}{
		"too short":       {head + "Content-Length: 10\r\n\r\nhalf", "400", true},
		"no body":         {head + "\r\n", "400", false},
		"length zero":     {head + "Content-Length: 0\r\n\r\n", "400", false},
		"negative length": {head + "Content-Length: -5\r\n\r\n", "400", true},
		"two lengths":     {head + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nhalf", "400", true},
		"cut chunk":       {head + "Transfer-Encoding: chunked\r\n\r\n10\r\nhalf", "400", true},
		"no last chunk":   {head + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "400", true},
		"cut form":        {head + kind + "\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)-10) + string(body[:len(body)-10]), "400", false},
		"cut form early":  {head + kind + "\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + string(body[:len(body)-10]), "400", true},
		"two files":       {head + kindTwo + "\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(two)) + string(two), "one file", false},
		"large fields":    {head + kindOther + "\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(other)) + string(other), "nothing but the file", false},
		"no boundary":     {head + "Content-Type: multipart/form-data\r\nContent-Length: 4\r\n\r\nhalf", "400", false},
		"not a form":      {strings.Replace(head, "upload?name", "missionupload?filename", 1) + "Content-Length: 4\r\n\r\nhalf", "400", false},
		"no file name":    {strings.Replace(head, "upload?name=a", "missionupload", 1) + kind + "\r\nContent-Length: 4\r\n\r\nhalf", "filename", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := s.raw(tc.text, tc.cut); !strings.Contains(got, tc.want) || !strings.HasPrefix(got, "400") {
				t.Errorf("%s; want 400 and %s", got, tc.want)
			}
		})
	}
	if own, total := s.store.Usage("ann"); s.count() != 0 || own != 0 || total != 0 {
		t.Errorf("%d rows, %d, %d bytes are left", s.count(), own, total)
	}
}

func TestHostileNames(t *testing.T) {
	s := newSite(t)
	for name, want := range map[string]string{
		"..%2F..%2Fetc%2Fpasswd": `filename="passwd"`, "%2Fabsolute": `filename="absolute"`, "C:%5Cx%5Cy.zip": `filename="y.zip"`, "a%22b": `filename="a_b"; filename*=UTF-8''a%22b`,
		"%C3%A4.zip": `filename="_.zip"; filename*=UTF-8''%C3%A4.zip`, "%25%32%65": `filename="%2e"`,
	} {
		hash := s.pack("ann", name, []byte(name), "")
		got := s.want(200, "", "bob", "GET", "/Marti/sync/content?hash="+hash, "")
		if d := got.Header.Get("Content-Disposition"); d != "attachment; "+want {
			t.Errorf("%s: %s, want %s", name, d, want)
		}
	}
	n := s.count()
	for _, name := range []string{"..", "a%00b", "a%0d%0aX:1", strings.Repeat("x", 300), "%ff%fe", "..%5C.."} {
		s.want(400, "name", "ann", "POST", "/Marti/sync/upload?name="+name, "x")
	}
	if s.count() != n {
		t.Error("a hostile name was kept")
	}
	for _, hash := range []string{"", "x", "..%2F..%2Fmeta.db", strings.Repeat("g", 64), "'%20OR%201=1%20--", hashOf(nil) + "0"} {
		for _, path := range []string{"/Marti/sync/content?hash=", "/Marti/sync/missionquery?hash="} {
			if got := s.Send("ann", "GET", path+hash, nil); got.Status != 404 && got.Status != 400 {
				t.Errorf("%s%s: %d %s", path, hash, got.Status, got.Body)
			}
		}
	}
	s.want(200, `"MIMEType":"application/octet-stream"`, "ann", "POST", "/Marti/sync/upload?name=a&mimetype=text/html%0d%0aX:1", "x")
}

func TestLimits(t *testing.T) {
	s := newSite(t)
	data := bytes.Repeat([]byte("0123456789"), 300_000) // 3 MB
	s.limits.MaxUpload = 2 * blob.MiB
	s.want(413, "files.max_upload is 2MiB", "ann", "POST", "/Marti/sync/upload?name=a", string(data))
	if got := s.Send("ann", "POST", "/Marti/sync/upload?name=a", io.MultiReader(bytes.NewReader(data))); got.Status != 413 { // chunked
		t.Errorf("chunked: %d %s", got.Status, got.Body)
	}
	body, kind := form(t, "a", data)
	s.want(413, "files.max_upload", "ann", "POST", "/Marti/sync/missionupload?filename=a", string(body), kind)
	s.limits = blob.Options{MinFree: 1, QuotaUser: 4_000_000}
	s.want(200, "", "ann", "POST", "/Marti/sync/upload?name=a", string(data))
	s.want(413, "files.quota_user is 4000000", "ann", "POST", "/Marti/sync/upload?name=b", string(data))
	s.want(200, "", "bob", "POST", "/Marti/sync/upload?name=a", string(data))
	s.limits = blob.Options{MinFree: 1, QuotaTotal: 4_000_000}
	s.want(413, "files.quota_total", "red", "POST", "/Marti/sync/upload?name=c", "c"+string(data))
	s.limits = blob.Options{MinFree: 1000 * blob.TiB}
	s.want(507, "files.min_free is 1000TiB", "ann", "POST", "/Marti/sync/upload?name=d", "d")
	if s.count() != 2 {
		t.Errorf("%d rows, want 2", s.count())
	}
}

func TestExpectContinue(t *testing.T) {
	s := newSite(t)
	data := bytes.Repeat([]byte("x"), 3<<20)
	s.want(200, hashOf(data), "ann", "POST", "/Marti/sync/upload?name=a", string(data), "Expect: 100-continue")
}

type member struct {
	name string
	size int
	mode fs.FileMode
}

func pack(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		if m.mode != 0 {
			h.SetMode(m.mode)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		for n := m.size; n > 0; n -= len(zeros) {
			_, _ = f.Write(zeros[:min(n, len(zeros))])
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// edit changes what the directory of a zip says of its first file.
func edit(data []byte, offset int, value uint32) []byte {
	data = bytes.Clone(data)
	i := bytes.Index(data, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(data[i+offset:], value)
	return data
}

func TestHostilePackages(t *testing.T) {
	s := newSite(t)
	many := make([]member, 10_001)
	for i := range many {
		many[i].name = fmt.Sprint(i)
	}
	good := pack(t, member{name: "MANIFEST/manifest.xml", size: 1000}, member{name: "a..b/..c", size: 5})
	tests := map[string]struct {
		data []byte
		want string
	}{
		"bomb":      {pack(t, member{name: "zeros", size: 100 << 20}), "too large"},
		"parent":    {pack(t, member{name: "a/../../x"}), "leads outside"},
		"absolute":  {pack(t, member{name: "/etc/passwd"}), "leads outside"},
		"backslash": {pack(t, member{name: `..\x`}), "leads outside"},
		"drive":     {pack(t, member{name: `C:\x`}), "leads outside"},
		"link":      {pack(t, member{name: "l", mode: fs.ModeSymlink | 0o777}), "is a link"},
		"many":      {pack(t, many...), "at most 10000"},
		"long name": {pack(t, member{name: strings.Repeat("n", 2000)}), "a name of 2000 bytes"},
		"lies":      {edit(pack(t, member{name: "zeros", size: 1 << 20}), 24, 100), "larger than it says"},
		"overlap":   {edit(good, 20, 1<<30), "overlap"},
		"elsewhere": {edit(good, 42, 7), "not where the directory says"},
		"zip64":     {edit(good, 24, 1<<32-1), "4 GiB"},
		"cut off":   {good[:len(good)-30], "cut off"},
		"more":      {bytes.Replace(good, []byte("PK\x05\x06\x00\x00\x00\x00\x02\x00\x02\x00"), []byte("PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00"), 1), "more than 1"},
		"fewer":     {bytes.Replace(good, []byte("PK\x05\x06\x00\x00\x00\x00\x02\x00\x02\x00"), []byte("PK\x05\x06\x00\x00\x00\x00\x03\x00\x03\x00"), 1), "instead of 3"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			body, kind := form(t, "a.zip", tc.data)
			s.want(400, tc.want, "ann", "POST", "/Marti/sync/missionupload?filename=a", string(body), kind)
		})
	}
	if s.count() != 0 {
		t.Errorf("%d packages were kept", s.count())
	}
	s.pack("ann", "good", good, "")
	s.pack("ann", "before", append([]byte("something before it"), good...), "")
}

// A user of another group learns of a file neither that it is there nor what it
// is, over any route: every answer is as if it were not there.
func TestNoLeaks(t *testing.T) {
	s := newSite(t)
	secret := []byte("secret bytes")
	hash, none := s.pack("ann", "secret-name", secret, "&keyword=missionpackage&keyword=secretword"), hashOf([]byte("never"))
	s.want(200, "", "ann", "POST", "/Marti/sync/upload?name=secret-name&uid=SECRET", "secret bytes")
	s.want(200, "", "ann", "POST", "/Marti/api/video", `{"videoConnections":[{"uuid":"SECRET","alias":"secret video","feeds":[{"url":"rtsp://secret/1"}]}]}`)
	before := s.Send("ann", "GET", "/Marti/api/sync/search", nil).Body + s.Send("ann", "GET", "/Marti/api/video", nil).Body
	ask := func(row, hash, uid, id string) httpdtest.Answer {
		method, path, _ := strings.Cut(row, " ")
		path = strings.ReplaceAll(strings.ReplaceAll(path, "{hash}", hash), "{uid}", uid)
		body := "public"
		if strings.HasSuffix(path, "/keywords") {
			body = `["k"]`
		}
		path += "?hash=" + hash
		if method == "GET" || method == "DELETE" {
			path += "&uid=" + uid + "&id=" + uid + "&PrimaryKey=" + id
		}
		if method == "PUT" && strings.Contains(path, "/video/") {
			body = `{"alias":"mine now"}`
		}
		return s.Send("red", method, path+"&expiration=4100000000&missionPackage=true", strings.NewReader(body))
	}
	for _, row := range s.rows() {
		if strings.Contains(row, "upload") {
			continue
		}
		there, missing := ask(row, hash, "SECRET", "1"), ask(row, none, "NONE", "999")
		if there.Status != missing.Status || there.Body != missing.Body {
			t.Errorf("%s: %d %s\nof what is not there: %d %s", row, there.Status, there.Body, missing.Status, missing.Body)
		}
		if all := fmt.Sprint(there); strings.Contains(all, "secret") || strings.Contains(all, "ann") {
			t.Errorf("%s: %s", row, all)
		}
		open := s.Send("red", strings.Fields(row)[0], strings.ReplaceAll(strings.Fields(row)[1], "{hash}", none), nil)
		if all := fmt.Sprint(open); strings.Contains(all, "secret") || strings.Contains(all, hash) {
			t.Errorf("%s without parameters: %s", row, all)
		}
	}
	for _, path := range []string{"content?uid=SECRET", "search?uid=SECRET", "search?primaryKey=1", "search?keywords=secretword", "search?name=secret", "delete?PrimaryKey=1", "delete?PrimaryKey=2"} {
		if got := s.Send("red", "GET", "/Marti/sync/"+path, nil); strings.Contains(fmt.Sprint(got), "secret") {
			t.Errorf("%s: %v", path, got)
		}
	}
	if after := s.Send("ann", "GET", "/Marti/api/sync/search", nil).Body + s.Send("ann", "GET", "/Marti/api/video", nil).Body; after != before {
		t.Errorf("changed by a stranger:\n%s\n%s", before, after)
	}
	// The same bytes of his own: he gets his, and nothing of hers.
	s.pack("red", "mine", secret, "")
	got := s.want(200, "secret bytes", "red", "GET", "/Marti/sync/content?hash="+hash, "")
	if !strings.Contains(got.Header.Get("Content-Disposition"), "mine") {
		t.Errorf("name of another's: %s", got.Header.Get("Content-Disposition"))
	}
	// Who is in both groups sees both; the names of foreign groups are nobody's business.
	s.pack("both", "shared", []byte("shared"), "&Groups=Blue,Red")
	if got := s.Send("ann", "GET", "/Marti/api/sync/search?name=shared", nil); !strings.Contains(got.Body, `"groups":["Blue"]`) {
		t.Errorf("groups: %s", got.Body)
	}
	// What he has in one group is uploaded again for the other, or nobody there could fetch it.
	s.want(404, "", "both", "GET", "/Marti/sync/missionquery?hash="+s.pack("ann", "blue", []byte("blue only"), ""), "")
	for _, row := range s.rows() {
		method, path, _ := strings.Cut(row, " ")
		if got := s.Send("", method, path, nil); got.Status != 401 {
			t.Errorf("%s without a login: %d", row, got.Status)
		}
	}
}
