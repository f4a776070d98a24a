package files

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"takd/http/httpd"
	"takd/store/blob"
)

const (
	idleTime  = 60 * time.Second // for the next part of a body
	maxName   = 255              // bytes of a file's name
	maxParts  = 32               // of a form
	maxFields = 1 << 20          // bytes of a form beside the file
	zipMIME   = "application/x-zip-compressed"
)

// known are the parameters of an upload that anybody was seen to send. Others are refused,
// as clients know it from the official server.
var known = words("name filename keywords keyword creatoruid tool uid groups mimetype mime hash latitude longitude altitude " +
	"expiration remarks permissions contacts submissiondatetime submissionuser size primarykey downloadpath pluginclassname missionname clientuid receiver")

func words(text string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(text) {
		m[w] = true
	}
	return m
}

// upload keeps what a client sends as it is, and data packages of iTAK, which
// come here and not to missionupload.
func (a *api) upload(r *httpd.Request) error {
	p := query(r)
	for name := range p {
		if !known[name] {
			return httpd.Bad("%.40s: there is no such parameter", name)
		}
	}
	f := blob.File{UID: p.get("uid"), Name: p.get("name", "filename"), Keywords: p.list("keywords", "keyword"), Tool: p.get("tool")}
	contentType := string(r.Request.Header.ContentType())
	form := strings.HasPrefix(strings.ToLower(contentType), "multipart/")
	if !form {
		f.MIME = contentType
	}
	got, err := a.receive(r, p, f, form)
	if err != nil {
		return err
	}
	m := metadataOf(&got)
	return textJSON(r, &uploaded{
		UID: m.UID, SubmissionDateTime: m.SubmissionDateTime, Keywords: m.Keywords, MIMEType: m.MIMEType, SubmissionUser: m.SubmissionUser,
		PrimaryKey: m.PrimaryKey, Hash: m.Hash, CreatorUID: m.CreatorUID, Name: got.Name,
	})
}

// missionUpload keeps a data package and answers where it is.
func (a *api) missionUpload(r *httpd.Request) error {
	p := query(r)
	f := blob.File{Name: p.get("filename"), MIME: zipMIME, Keywords: p.list("keyword", "keywords"), Tool: p.get("tool")}
	if f.Name == "" {
		return httpd.Bad("filename: want the name of the package")
	}
	if f.Tool == "" {
		f.Tool = "public"
	}
	if len(f.Keywords) == 0 {
		f.Keywords = []string{packageWord}
	}
	if _, err := contentURL(r, ""); err != nil {
		return err
	}
	got, err := a.receive(r, p, f, true)
	if err != nil {
		return err
	}
	address, err := contentURL(r, got.Hash)
	if err != nil {
		return err
	}
	r.Text(address)
	return nil
}

// missionQuery answers where a file is, so that nobody uploads it again. It
// does so only if everybody to whom the caller may send can fetch it there: a
// package that he got in one group is uploaded again for another.
func (a *api) missionQuery(r *httpd.Request) error {
	text := query(r).get("hash")
	if text == "" {
		return httpd.Bad("hash: want the SHA-256 of a file")
	}
	files, err := a.Store.Find(r.Context(), viewer(r), blob.Query{HashOrUID: text})
	if err != nil {
		return err
	}
	missing := slices.Clone(r.Who.In)
	for i := range files {
		missing = slices.DeleteFunc(missing, func(g string) bool { return slices.Contains(files[i].Groups, g) })
	}
	if len(files) == 0 || len(missing) > 0 {
		return httpd.NotFound("Not Found: no such file")
	}
	address, err := contentURL(r, files[0].Hash)
	if err != nil {
		return err
	}
	r.Text(address)
	return nil
}

// complete fills in f what the query says of every upload.
func complete(r *httpd.Request, p params, f *blob.File) (err error) {
	f.CreatorUID, f.Remarks = p.get("creatoruid", "clientuid"), p.get("remarks")
	if m := p.get("mimetype", "mime"); m != "" {
		f.MIME = m
	}
	if f.Expires, err = expiry(p.get("expiration")); err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		to   **float64
	}{{"latitude", &f.Lat}, {"longitude", &f.Lon}, {"altitude", &f.Alt}} {
		if *c.to, err = p.number(c.name); err != nil {
			return err
		}
	}
	f.Groups = p.list("groups")
	for _, g := range f.Groups {
		if r.Who.Role != httpd.Admin && !slices.Contains(r.Who.In, g) {
			return httpd.Forbidden("Groups: you may not send to %.80q", g)
		}
	}
	if len(f.Groups) == 0 {
		f.Groups = r.Who.In
	}
	return nil
}

// receive streams the body, or the file of a form, into the store.
func (a *api) receive(r *httpd.Request, p params, f blob.File, form bool) (blob.File, error) {
	if err := complete(r, p, &f); err != nil {
		return f, err
	}
	return a.take(r, f, form)
}

// take is receive for an f that is complete.
func (a *api) take(r *httpd.Request, f blob.File, form bool) (blob.File, error) {
	announced := int64(r.Request.Header.ContentLength())
	if announced == 0 {
		return f, httpd.Bad("body: want a file")
	}
	// Of a form the file is a little less: the store sees its size when it is there.
	expect := announced
	if form {
		expect = max(announced-maxFields, -1)
	}
	u, err := a.Store.Begin(r.Who.User, max(expect, -1))
	if err != nil {
		return f, refused(err)
	}
	defer func() { _ = u.Close() }()
	body := &patient{r: r, from: r.Body(), until: time.Now().Add(uploadTime)}
	if form {
		err = readForm(r, body, u, &f)
	} else {
		err = pour(u, body)
	}
	if err == nil && announced > 0 && body.n != announced {
		err = httpd.Bad("body: it ended after %d of %d bytes", body.n, announced)
	}
	if err == nil && u.Size() == 0 {
		err = httpd.Bad("body: the file is empty")
	}
	if err == nil {
		err = named(&f)
	}
	if err != nil {
		return f, refused(err)
	}
	f.MIME = cleanMIME(f.MIME)
	a.packaged(r, &f)
	if slices.Contains(f.Keywords, packageWord) {
		if err := inspect(u, u.Size()); err != nil {
			return f, err
		}
	}
	if f.Name == "" {
		f.Name = u.Hash()
	}
	if f.UID == "" && !slices.Contains(f.Keywords, packageWord) {
		f.UID = uuid.NewString()
	}
	f, err = u.Keep(r.Context(), f)
	if err != nil {
		return f, refused(err)
	}
	a.Log.Debug("file kept", "user", r.Who.User, "hash", f.Hash, "bytes", f.Size)
	return f, nil
}

// packaged makes a data package of what iTAK uploads as a plain file.
func (a *api) packaged(r *httpd.Request, f *blob.File) {
	agent := strings.ToLower(string(r.UserAgent()))
	if strings.Contains(agent, "itak") && strings.Contains(f.MIME, "zip") && !slices.Contains(f.Keywords, packageWord) {
		f.Keywords = append(f.Keywords, packageWord)
		if f.Tool == "" {
			f.Tool = "public"
		}
	}
}

// readForm takes the one part that is the file, and reads to the end of the form.
func readForm(r *httpd.Request, body io.Reader, u *blob.Upload, f *blob.File) error {
	boundary := string(r.Request.Header.MultipartFormBoundary())
	if boundary == "" {
		return httpd.Bad("Content-Type: want multipart/form-data with a boundary")
	}
	form := multipart.NewReader(body, boundary)
	found, rest := false, int64(maxFields)
	for range maxParts {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			if !found {
				return httpd.Bad("body: want a part assetfile")
			}
			_, err = io.Copy(io.Discard, io.LimitReader(body, maxFields)) // what follows the form
			return unreadable(err)
		}
		if err != nil {
			return unreadable(err)
		}
		name := part.FormName()
		if name != "assetfile" && name != "resource" && name != "file" {
			n, err := io.Copy(io.Discard, io.LimitReader(part, rest+1))
			if rest -= n; err != nil || rest < 0 {
				return httpd.Bad("body: want nothing but the file in the form")
			}
			continue
		}
		if found {
			return httpd.Bad("body: want one file in the form")
		}
		found = true
		if f.MIME == "" {
			f.MIME = part.Header.Get("Content-Type")
		}
		if f.Name == "" {
			f.Name = part.FileName()
		}
		if err := pour(u, part); err != nil {
			return err
		}
	}
	return httpd.Bad("body: want at most %d parts", maxParts)
}

// patient reads a body whose sender has idleTime for each next part.
type patient struct {
	r     *httpd.Request
	from  io.Reader
	until time.Time
	n     int64
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	next := time.Now().Add(idleTime)
	if next.After(p.until) {
		next = p.until
	}
	if err := p.r.Conn().SetReadDeadline(next); err != nil {
		return 0, err
	}
	n, err := p.from.Read(b)
	p.n += int64(n)
	return n, err
}

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// pour copies what comes into the upload.
func pour(u *blob.Upload, from io.Reader) error {
	b, _ := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(b)
	for {
		n, err := from.Read(b[:])
		if n > 0 {
			if _, err := u.Write(b[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unreadable(err)
		}
	}
}

// unreadable is the caller's doing: what it sends does not come, or makes no sense.
func unreadable(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &httpd.Error{Status: http.StatusRequestTimeout, Code: 2, Message: "body: it takes too long"}
	}
	return httpd.Bad("body: it is cut off, or no form")
}

// named keeps of a name what follows the last slash: some clients send paths.
func named(f *blob.File) error {
	if i := strings.LastIndexAny(f.Name, `/\`); i >= 0 {
		f.Name = f.Name[i+1:]
	}
	f.Name = strings.TrimSpace(f.Name)
	if f.Name == "." || f.Name == ".." {
		return httpd.Bad("name: want the name of a file")
	}
	if len(f.Name) > maxName || !utf8.ValidString(f.Name) || strings.ContainsFunc(f.Name, unicode.IsControl) {
		return httpd.Bad("name: want at most %d bytes of UTF-8 without control characters", maxName)
	}
	return nil
}

// cleanMIME keeps what can stand in a header.
func cleanMIME(text string) string {
	if _, _, err := mime.ParseMediaType(text); err != nil || len(text) > maxName || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "application/octet-stream"
	}
	return text
}

func quote(name string) string {
	ascii := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '_'
		}
		return c
	}, name)
	text := `attachment; filename="` + ascii + `"`
	if ascii != name {
		text += "; filename*=UTF-8''" + escape(name)
	}
	return text
}

// escape is the percent-encoding of RFC 5987.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			b.WriteByte(c)
			continue
		}
		b.WriteString(fmt.Sprintf("%%%02X", c))
	}
	return b.String()
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
