package files

import (
	"net/http"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/blob"
)

// Tracks and error logs that devices send are files like any other, under a
// keyword: they count against the quota of who sends them.
const (
	trackWord = "track"
	errorWord = "errorlog"
	errorDays = 30 // that an error log is kept
)

func (a *api) reports() []httpd.Route {
	return on(httpd.Writer,
		httpd.Route{
			Method: "POST", Path: "/Marti/TracksKML", Summary: "Keep a track: the body is KML. It is a file with the keyword track.", Handler: a.track,
			Query: []string{"uid", "callsign", "cotType", "groupName", "groupRole"}, MaxBody: 64 << 20, Stream: true,
		},
		httpd.Route{
			Method: "POST", Path: "/Marti/ErrorLog", Summary: "Keep an error log of a device for 30 days, for administrators: a file with the keyword errorlog.", Handler: a.errorLog,
			Query: []string{"uid", "callsign", "platform", "majorVersion", "minorVersion"}, MaxBody: 16 << 20, Stream: true,
		},
	)
}

func (a *api) track(r *httpd.Request) error {
	p := query(r)
	f := blob.File{Name: reportName(p, "track", ".kml"), MIME: "application/vnd.google-earth.kml+xml", Keywords: []string{trackWord}, CreatorUID: p.get("uid")}
	return a.report(r, f)
}

func (a *api) errorLog(r *httpd.Request) error {
	p := query(r)
	f := blob.File{
		Name: reportName(p, "errorlog", ""), MIME: string(r.Request.Header.ContentType()), Keywords: []string{errorWord}, CreatorUID: p.get("uid"),
		Remarks: strings.Join([]string{p.get("platform"), p.get("majorversion"), p.get("minorversion")}, " "),
		Expires: time.Now().AddDate(0, 0, errorDays).Unix(),
	}
	return a.report(r, f)
}

// reportName is a name for people; a path is never made of it.
func reportName(p params, kind, ext string) string {
	return kind + "-" + p.get("callsign", "uid") + "-" + time.Now().UTC().Format("20060102T150405.000") + ext
}

// report keeps f. Error logs are in no group: only who sent one and
// administrators see it.
func (a *api) report(r *httpd.Request, f blob.File) error {
	if f.Keywords[0] == trackWord {
		f.Groups, f.Expires = r.Who.In, blob.Never
	}
	form := strings.HasPrefix(strings.ToLower(string(r.Request.Header.ContentType())), "multipart/")
	if _, err := a.take(r, f, form); err != nil {
		return err
	}
	r.SetStatusCode(http.StatusOK)
	return nil
}
