package files

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/blob"
)

// metadata is a file as ATAK reads it: capitals, and numbers as text.
type metadata struct {
	UID                string
	Name               string
	Hash               string
	PrimaryKey         string
	SubmissionDateTime string
	SubmissionUser     string
	CreatorUID         string `json:"CreatorUid"`
	Keywords           []string
	MIMEType           string
	Size               string
	EXPIRATION         string
	Tool               string   `json:",omitempty"`
	Remarks            string   `json:",omitempty"`
	Latitude           string   `json:",omitempty"`
	Longitude          string   `json:",omitempty"`
	Altitude           string   `json:",omitempty"`
	Groups             []string `json:",omitempty"`
}

// uploaded is the answer to an upload.
type uploaded struct {
	UID                string
	SubmissionDateTime string
	Keywords           []string
	MIMEType           string
	SubmissionUser     string
	PrimaryKey         string
	Hash               string
	CreatorUID         string `json:"CreatorUid"`
	Name               string
}

func metadataOf(f *blob.File) metadata {
	m := metadata{
		UID: f.UID, Name: f.Name, Hash: f.Hash, PrimaryKey: formatInt(f.ID), SubmissionDateTime: padded(f.Time()), SubmissionUser: f.Submitter,
		CreatorUID: f.CreatorUID, Keywords: orEmpty(f.Keywords), MIMEType: f.MIME, Size: formatInt(f.Size), EXPIRATION: formatInt(f.Expires),
		Tool: f.Tool, Remarks: f.Remarks, Latitude: degrees(f.Lat), Longitude: degrees(f.Lon), Altitude: degrees(f.Alt),
	}
	if slices.Contains(f.Keywords, packageWord) { // ATAK puts it back
		if bare := strings.TrimSuffix(f.Name, ".zip"); bare != "" {
			m.Name = bare
		}
	}
	return m
}

func degrees(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'f', -1, 64)
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// textJSON answers with v as text/json, as the official server does here: node-tak
// parses the answer to an upload itself, and has it as text only where it is not
// application/json.
func textJSON(r *httpd.Request, v any) error {
	err := r.JSON(http.StatusOK, v)
	r.SetContentType("text/json")
	return err
}

// search is what ATAK lists data packages with. No envelope.
func (a *api) search(r *httpd.Request) error {
	files, err := a.find(r)
	if err != nil {
		return err
	}
	results := make([]metadata, 0, len(files))
	for i := range files {
		results = append(results, metadataOf(&files[i]))
	}
	return textJSON(r, struct {
		ResultCount int        `json:"resultCount"`
		Results     []metadata `json:"results"`
	}{len(results), results})
}

// Resource is a file in the newer form. Clients crash on null: what is not known is left out.
type Resource struct {
	Filename       string   `json:"filename"`
	Keywords       []string `json:"keywords"`
	MIMEType       string   `json:"mimeType"`
	ContentType    string   `json:"contentType"`
	Name           string   `json:"name"`
	SubmissionTime string   `json:"submissionTime"`
	Submitter      string   `json:"submitter"`
	UID            string   `json:"uid"`
	CreatorUID     string   `json:"creatorUid"`
	Hash           string   `json:"hash"`
	Size           int64    `json:"size"`
	Tool           string   `json:"tool,omitempty"`
	Groups         []string `json:"groups"`
	Expiration     int64    `json:"expiration"`
	Latitude       *float64 `json:"latitude,omitempty"`
	Longitude      *float64 `json:"longitude,omitempty"`
	Altitude       *float64 `json:"altitude,omitempty"`
}

func (a *api) resources(r *httpd.Request) error {
	files, err := a.find(r)
	if err != nil {
		return err
	}
	list := make([]Resource, 0, len(files))
	for i := range files {
		f := &files[i]
		list = append(list, Resource{
			Filename: f.Name, Keywords: orEmpty(f.Keywords), MIMEType: f.MIME, ContentType: f.MIME, Name: f.Name, SubmissionTime: unpadded(f.Time()),
			Submitter: f.Submitter, UID: f.UID, CreatorUID: f.CreatorUID, Hash: f.Hash, Size: f.Size, Tool: f.Tool, Groups: groupsFor(r, f),
			Expiration: f.Expires, Latitude: f.Lat, Longitude: f.Lon, Altitude: f.Alt,
		})
	}
	return r.Envelope("Resource", list)
}

// groupsFor are the groups of a file that the caller knows of: a name can tell too much.
func groupsFor(r *httpd.Request, f *blob.File) []string {
	groups := []string{}
	for _, g := range f.Groups {
		if r.Who.Role == httpd.Admin || f.Submitter == r.Who.User || slices.Contains(r.Who.Out, g) || slices.Contains(r.Who.In, g) {
			groups = append(groups, g)
		}
	}
	return groups
}

// find reads the parameters that both searches know.
func (a *api) find(r *httpd.Request) ([]blob.File, error) {
	p := query(r)
	q := blob.Query{
		Hash: strings.ToLower(p.get("hash")), UID: p.get("uid"), Name: p.get("name", "filename"), Keywords: p.list("keywords", "keyword"), Tool: p.get("tool"),
		MIME: p.get("mimetype", "mime"), CreatorUID: p.get("creatoruid"), Submitter: p.get("submissionuser"),
	}
	if p.get("mission", "missionname") != "" {
		return []blob.File{}, nil // files of missions are not kept here
	}
	var err error
	if q.IDs, err = keys(p.list("primarykey")); err != nil {
		return nil, err
	}
	if q.Since, err = moment(p, "starttime", "submissiondatetime"); err != nil {
		return nil, err
	}
	if q.Until, err = moment(p, "stoptime", "endtime"); err != nil {
		return nil, err
	}
	if q.Box, err = area(p); err != nil {
		return nil, err
	}
	if q.MinAlt, err = p.number("minaltitude"); err != nil {
		return nil, err
	}
	if q.MaxAlt, err = p.number("maxaltitude"); err != nil {
		return nil, err
	}
	return a.Store.Find(r.Context(), viewer(r), q)
}

func keys(list []string) ([]int64, error) {
	ids := make([]int64, 0, len(list))
	for _, text := range list {
		id, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
		if err != nil || id < 0 || len(ids) > 1000 {
			return nil, httpd.Bad("PrimaryKey: want at most 1000 numbers")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func moment(p params, names ...string) (time.Time, error) {
	text := p.get(names...)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text) // any number of digits after the second
	if err != nil {
		return t, httpd.Bad("%s: want a time such as 2006-01-02T15:04:05.000Z", names[0])
	}
	return t, nil
}

// area reads bbox (west, south, east, north) or circle (longitude, latitude, meters).
func area(p params) (*blob.Box, error) {
	name, want := "bbox", 4
	text := p.get("bbox", "box")
	if text == "" {
		name, want = "circle", 3
		text = p.get("circle")
	}
	if text == "" {
		return nil, nil
	}
	v := make([]float64, 0, want)
	for part := range strings.SplitSeq(text, ",") {
		f, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || f-f != 0 || len(v) == want {
			return nil, httpd.Bad("%s: want %d numbers with commas", name, want)
		}
		v = append(v, f)
	}
	if len(v) != want {
		return nil, httpd.Bad("%s: want %d numbers with commas", name, want)
	}
	if name == "bbox" {
		return &blob.Box{West: v[0], South: v[1], East: v[2], North: v[3]}, nil
	}
	const metersPerDegree = 111_320
	high := v[2] / metersPerDegree
	wide := high / max(math.Cos(v[1]*math.Pi/180), 0.01)
	return &blob.Box{West: v[0] - wide, South: v[1] - high, East: v[0] + wide, North: v[1] + high}, nil
}

// one is what is known of one file, for who has its hash.
func (a *api) one(r *httpd.Request) error {
	hash, err := validHash(r.Param("hash"))
	if err != nil {
		return err
	}
	f, err := a.Store.First(r.Context(), viewer(r), blob.Query{Hash: hash})
	if err != nil {
		return refused(err)
	}
	return r.JSON(http.StatusOK, metadataOf(&f))
}

// listed is a file as a table for people shows it; TAKAware and CloudTAK read it.
type listed struct {
	Name, User, Creator, Size, Time, MimeType, Keywords, Expiration, Hash, Groups string
}

func (a *api) filesMetadata(r *httpd.Request) error {
	p := query(r)
	q := blob.Query{Name: p.get("name")}
	if strings.EqualFold(p.get("missionpackage"), "true") {
		q.Keywords = []string{packageWord}
	}
	var files []blob.File
	if p.get("mission") == "" {
		var err error
		if files, err = a.Store.Find(r.Context(), viewer(r), q); err != nil {
			return err
		}
	}
	arrange(files, p)
	list := make([]listed, 0, len(files))
	for i := range files {
		f := &files[i]
		until := "none"
		if f.Expires != blob.Never {
			until = time.Unix(f.Expires, 0).UTC().Format("2006-01-02T15:04:05")
		}
		list = append(list, listed{
			Name: f.Name, User: f.Submitter, Creator: f.CreatorUID, Size: human(f.Size), Time: f.Time().Format("2006-01-02 15:04:05.000"), MimeType: f.MIME,
			Keywords: strings.Join(f.Keywords, ","), Expiration: until, Hash: f.Hash, Groups: strings.Join(groupsFor(r, f), ","),
		})
	}
	return r.Envelope("Files", page(list, p))
}

// arrange sorts by a column; the newest is first otherwise.
func arrange(files []blob.File, p params) {
	by := map[string]func(x, y *blob.File) int{
		"name": func(x, y *blob.File) int { return strings.Compare(x.Name, y.Name) },
		"user": func(x, y *blob.File) int { return strings.Compare(x.Submitter, y.Submitter) },
		"size": func(x, y *blob.File) int { return cmp.Compare(x.Size, y.Size) },
		"time": func(x, y *blob.File) int { return cmp.Compare(x.Submitted, y.Submitted) },
	}[strings.ToLower(p.get("sort"))]
	if by == nil {
		return
	}
	slices.SortStableFunc(files, func(x, y blob.File) int {
		if strings.EqualFold(p.get("ascending"), "false") {
			return by(&y, &x)
		}
		return by(&x, &y)
	})
}

// page cuts one page out; -1, or what is no number, is all.
func page(list []listed, p params) []listed {
	limit, err1 := strconv.Atoi(p.get("limit"))
	number, err2 := strconv.Atoi(p.get("page"))
	if err1 != nil || limit <= 0 {
		return list
	}
	if err2 != nil || number < 0 {
		number = 0
	}
	if number > len(list)/limit {
		return []listed{}
	}
	from := number * limit
	return list[from:min(from+limit, len(list))]
}

// human is a size as the official server shows it: 16kB.
func human(n int64) string {
	switch {
	case n < 1000:
		return formatInt(n) + "B"
	case n < 1e6:
		return formatInt(n/1e3) + "kB"
	case n < 1e9:
		return formatInt(n/1e6) + "MB"
	}
	return formatInt(n/1e9) + "GB"
}

func (a *api) filesCount(r *httpd.Request) error {
	p := query(r)
	q := blob.Query{}
	if strings.EqualFold(p.get("missionpackage"), "true") {
		q.Keywords = []string{packageWord}
	}
	n := 0
	if p.get("mission") == "" {
		var err error
		if n, err = a.Store.Count(r.Context(), viewer(r), q); err != nil {
			return err
		}
	}
	return r.Envelope("Count", n)
}
