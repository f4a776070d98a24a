package marti

import (
	"archive/zip"
	"context"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/history"
)

// maxPoints bounds the tracks of one answer: they are sorted by uid in memory.
const maxPoints = 200_000

// track is where one uid was.
type track struct {
	uid, callsign, kind string
	points              []point
}

type point struct {
	at            time.Time
	lat, lon, hae float64
	known         bool // hae is
}

// asked reads what KML and GPX exports have in common.
func (a *api) asked(r *httpd.Request, formats ...string) (h *history.Store, q history.Query, format string, err error) {
	h, v, err := a.ready(r)
	if err != nil {
		return nil, q, "", err
	}
	q = history.Query{Viewer: v, Type: argument(r, "cotType")}
	if q.Type == "" {
		q.Type = "a-"
	}
	if q.Since, q.Until, err = window(r, "startTime", "endTime"); err != nil {
		return nil, q, "", err
	}
	if format = strings.ToLower(argument(r, "format")); format == "" {
		format = formats[0]
	}
	if !slices.Contains(formats, format) {
		return nil, q, "", httpd.Bad("format %.20q: want %s", format, strings.Join(formats, ", "))
	}
	return h, q, format, nil
}

// exportTracks answers with the tracks of some uids, or of everybody.
func (a *api) exportTracks(r *httpd.Request) error {
	h, q, format, err := a.asked(r, "kml", "kmz", "gpx")
	if err != nil {
		return err
	}
	if q.Since.IsZero() {
		return httpd.Bad("startTime: want it, or secago")
	}
	uids := []string{}
	for _, list := range [][][]byte{r.QueryArgs().PeekMulti("uid"), r.PostArgs().PeekMulti("uid")} {
		for _, uid := range list {
			uids = append(uids, string(uid))
		}
	}
	if len(uids) > maxUIDs {
		return httpd.Bad("uid: %d of them: at most %d", len(uids), maxUIDs)
	}
	every, err := interval(argument(r, "interval"))
	if err != nil {
		return err
	}
	select {
	case a.asking <- struct{}{}:
	default:
		return errBusy
	}
	tracks, err := collect(h, q, uids, every)
	<-a.asking
	if err != nil {
		return refusedQuery(err)
	}
	if format == "gpx" {
		return a.file(r, "tracks.gpx", "application/gpx+xml", func(w io.Writer) error { return writeGPX(w, tracks) })
	}
	return a.kml(r, "tracks", format, func(w io.Writer) error { return writeTracks(w, tracks) })
}

func interval(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= 0 && n <= 86400) {
		return 0, httpd.Bad("interval %.40q: want 0 to 86400 seconds", text)
	}
	return time.Duration(n * float64(time.Second)), nil
}

// collect reads the tracks, sorted by callsign.
func collect(h *history.Store, q history.Query, uids []string, every time.Duration) ([]*track, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	if len(uids) == 0 {
		uids = []string{""} // everybody
	}
	found, points := map[string]*track{}, 0
	for _, uid := range uids {
		q.UID = uid
		err := h.Query(ctx, q, func(e *history.Event) error {
			t := found[e.UID]
			if t == nil {
				t = &track{uid: e.UID, kind: e.Type}
				found[e.UID] = t
			}
			if e.Callsign != "" {
				t.callsign = e.Callsign
			}
			if n := len(t.points); n > 0 && e.Received.Sub(t.points[n-1].at) < every {
				return nil
			}
			if points++; points > maxPoints {
				return httpd.TooLarge("more than %d points: ask for less time, fewer uids or a longer interval", maxPoints)
			}
			t.points = append(t.points, point{e.Received, e.Lat, e.Lon, e.HAE, e.HAE < history.Unknown/2})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	list := slices.Collect(maps.Values(found))
	slices.SortFunc(list, func(a, b *track) int {
		return strings.Compare(a.callsign+"\x00"+a.uid, b.callsign+"\x00"+b.uid)
	})
	return list, nil
}

// latestKML answers with the newest position of everybody.
func (a *api) latestKML(r *httpd.Request) error {
	h, q, format, err := a.asked(r, "kml", "kmz")
	if err != nil {
		return err
	}
	if q.Since.IsZero() {
		q.Since = time.Now().Add(-saWindow)
	}
	q.Limit = maxEvents
	if err := q.Validate(); err != nil {
		return refusedQuery(err)
	}
	select {
	case a.asking <- struct{}{}:
	default:
		return errBusy
	}
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	all := []*track{}
	err = h.Latest(ctx, q, func(e *history.Event) error {
		all = append(all, &track{uid: e.UID, callsign: e.Callsign, kind: e.Type, points: []point{{e.Received, e.Lat, e.Lon, e.HAE, e.HAE < history.Unknown/2}}})
		return nil
	})
	<-a.asking
	if err != nil {
		return refusedQuery(err)
	}
	return a.kml(r, "latest", format, func(w io.Writer) error { return writePlaces(w, all) })
}

// kml answers with a KML document, zipped for kmz.
func (a *api) kml(r *httpd.Request, name, format string, body func(io.Writer) error) error {
	whole := func(w io.Writer) error {
		if _, err := io.WriteString(w, xmlHead+`<kml xmlns="http://www.opengis.net/kml/2.2" xmlns:gx="http://www.google.com/kml/ext/2.2"><Document><name>`+name+"</name>\n"); err != nil {
			return err
		}
		if err := body(w); err != nil {
			return err
		}
		_, err := io.WriteString(w, "</Document></kml>\n")
		return err
	}
	if format == "kml" {
		return a.file(r, name+".kml", "application/vnd.google-earth.kml+xml", whole)
	}
	return a.file(r, name+".kmz", "application/vnd.google-earth.kmz", func(w io.Writer) error {
		z := zip.NewWriter(w)
		doc, err := z.Create("doc.kml")
		if err == nil {
			err = whole(doc)
		}
		if err == nil {
			err = z.Close()
		}
		return err
	})
}

func (a *api) file(r *httpd.Request, name, contentType string, write func(io.Writer) error) error {
	r.Response.Header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	return a.stream(r, contentType, func(_ context.Context, w io.Writer) error { return write(w) })
}

func (t *track) name() string {
	if t.callsign != "" {
		return t.callsign
	}
	return t.uid
}

func degrees(v float64) string { return strconv.FormatFloat(v, 'f', 7, 64) }

func (p point) height() string {
	if !p.known {
		return "0"
	}
	return strconv.FormatFloat(p.hae, 'f', 1, 64)
}

func stampOf(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func writePlaces(w io.Writer, all []*track) error {
	for _, t := range all {
		p := t.points[0]
		_, err := io.WriteString(w, "<Placemark><name>"+httpd.EscapeXML(t.name())+"</name><description>"+httpd.EscapeXML(t.uid+" "+t.kind)+"</description><TimeStamp><when>"+
			stampOf(p.at)+"</when></TimeStamp><Point><coordinates>"+degrees(p.lon)+","+degrees(p.lat)+","+p.height()+"</coordinates></Point></Placemark>\n")
		if err != nil {
			return err
		}
	}
	return nil
}

func writeTracks(w io.Writer, all []*track) error {
	for _, t := range all {
		var b strings.Builder
		b.WriteString("<Placemark><name>" + httpd.EscapeXML(t.name()) + "</name><description>" + httpd.EscapeXML(t.uid+" "+t.kind) + "</description><gx:Track>\n")
		for _, p := range t.points {
			b.WriteString("<when>" + stampOf(p.at) + "</when>")
		}
		b.WriteByte('\n')
		for _, p := range t.points {
			b.WriteString("<gx:coord>" + degrees(p.lon) + " " + degrees(p.lat) + " " + p.height() + "</gx:coord>")
		}
		b.WriteString("\n</gx:Track></Placemark>\n")
		if _, err := io.WriteString(w, b.String()); err != nil {
			return err
		}
	}
	return nil
}

func writeGPX(w io.Writer, all []*track) error {
	if _, err := io.WriteString(w, xmlHead+`<gpx version="1.1" creator="takd" xmlns="http://www.topografix.com/GPX/1/1">`+"\n"); err != nil {
		return err
	}
	for _, t := range all {
		var b strings.Builder
		b.WriteString("<trk><name>" + httpd.EscapeXML(t.name()) + "</name><desc>" + httpd.EscapeXML(t.uid) + "</desc><trkseg>\n")
		for _, p := range t.points {
			b.WriteString(`<trkpt lat="` + degrees(p.lat) + `" lon="` + degrees(p.lon) + `">`)
			if p.known {
				b.WriteString("<ele>" + p.height() + "</ele>")
			}
			b.WriteString("<time>" + stampOf(p.at) + "</time></trkpt>\n")
		}
		b.WriteString("</trkseg></trk>\n")
		if _, err := io.WriteString(w, b.String()); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "</gpx>\n")
	return err
}
