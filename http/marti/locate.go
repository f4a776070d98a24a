package marti

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"takd/http/httpd"
)

// A marker that somebody reports is there for an hour.
const locateLife = time.Hour

// Bounds of what is said of it, in bytes.
const (
	maxLocateName    = 128
	maxLocateRemarks = 4096
)

func (a *api) locateRoutes() []httpd.Route {
	return on("Locate", httpd.Route{
		Method: "POST", Path: "/locate/api", Role: httpd.Writer, Query: []string{"latitude", "longitude", "name", "remarks"}, Handler: a.locate,
		Summary: "Report where somebody or something is: a marker for the groups of the caller, for an hour.",
	})
}

// coordinate reads degrees.
func coordinate(r *httpd.Request, name string, most float64) (float64, error) {
	v, err := strconv.ParseFloat(string(r.QueryArgs().Peek(name)), 64)
	if err != nil || !(v >= -most && v <= most) { // NaN is neither
		return 0, httpd.Bad("%s: want degrees from -%g to %g", name, most, most)
	}
	return v, nil
}

// locate reports a marker. One name of one caller is one marker: said again, it moves.
func (a *api) locate(r *httpd.Request) error {
	lat, err := coordinate(r, "latitude", 90)
	if err != nil {
		return err
	}
	lon, err := coordinate(r, "longitude", 180)
	if err != nil {
		return err
	}
	name, remarks := string(r.QueryArgs().Peek("name")), string(r.QueryArgs().Peek("remarks"))
	switch {
	case name == "" || len(name) > maxLocateName:
		return httpd.Bad("name: want 1 to %d bytes", maxLocateName)
	case len(remarks) > maxLocateRemarks:
		return httpd.Bad("remarks: %d bytes; want at most %d", len(remarks), maxLocateRemarks)
	}
	err = a.Publish(r.Context(), r.Who, httpd.Event{
		UID: "locate-" + digest(r.Who.User, name), Type: "a-f-G", How: "h-e", Lat: lat, Lon: lon, Life: locateLife,
		Detail: `<contact callsign="` + httpd.EscapeXML(name) + `"/><remarks>` + httpd.EscapeXML(remarks) + `</remarks>`,
	})
	if err != nil {
		return err
	}
	r.SetStatusCode(http.StatusOK)
	return nil
}

// digest is a short name for words that may hold anything.
func digest(words ...string) string {
	h := sha256.New()
	for _, w := range words {
		_, _ = h.Write([]byte(strconv.Itoa(len(w)) + ":" + w)) // never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}
