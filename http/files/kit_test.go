package files_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"mime/multipart"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"takd/http/files"
	"takd/http/httpd"
	"takd/http/httpd/httpdtest"
	"takd/store/blob"
	"takd/store/meta"
	"takd/store/video"
)

type site struct {
	*httpdtest.Site

	dir    string
	db     *meta.DB
	store  *blob.Store
	limits blob.Options
	routes []httpd.Route
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), limits: blob.Options{MinFree: 1}}
	var err error
	if s.db, err = meta.Open(t.Context(), filepath.Join(s.dir, "meta.db"), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	if s.store, err = blob.Open(t.Context(), s.db, filepath.Join(s.dir, "blob"), func() blob.Options { return s.limits }, nil); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s.routes = files.Routes(files.Deps{Store: s.store, Videos: video.New(s.db), Audit: httpd.NewAudit(s.db.Audit, log), Log: log})
	s.Site = httpdtest.New(t, s.routes)
	return s
}

// want compares status and the beginning of the body.
func (s *site) want(status int, begin, user, method, path, body string, headers ...string) httpdtest.Answer {
	s.Helper()
	got := s.Do(user, method, path, body, headers...)
	if got.Status != status || !strings.Contains(got.Body, begin) {
		s.Errorf("%s %s as %s: %d %.300s; want %d %s", method, path, user, got.Status, got.Body, status, begin)
	}
	return got
}

// form is one part assetfile, as ATAK sends it.
func form(t testing.TB, name string, data []byte, more ...string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, field := range append([]string{"assetfile"}, more...) {
		part, err := w.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename=%q`, field, name)}, "Content-Type": {"application/x-zip-compressed"},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(data)
	}
	_ = w.Close()
	return b.Bytes(), "Content-Type: " + w.FormDataContentType()
}

// pack uploads a data package and returns its hash.
func (s *site) pack(user, name string, data []byte, query string, headers ...string) string {
	s.Helper()
	body, kind := form(s, name, data)
	got := s.Send(user, "POST", "/Marti/sync/missionupload?filename="+name+"&creatorUid=UID-"+user+query, bytes.NewReader(body), append(headers, kind)...)
	hash := hashOf(data)
	if got.Status != 200 || !strings.HasSuffix(got.Body, "/Marti/sync/content?hash="+hash) || got.Header.Get("Content-Type") != "text/plain" {
		s.Fatalf("missionupload: %d %s %s", got.Status, got.Header.Get("Content-Type"), got.Body)
	}
	return hash
}

func hashOf(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

func (s *site) count() int {
	s.Helper()
	n, err := s.store.Count(s.Context(), blob.Viewer{Admin: true}, blob.Query{})
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// rows of the table, as "GET /path".
func (s *site) rows() []string {
	list := make([]string, 0, len(s.routes))
	for i := range s.routes {
		list = append(list, s.routes[i].Method+" "+s.routes[i].Path)
	}
	slices.Sort(list)
	return list
}
