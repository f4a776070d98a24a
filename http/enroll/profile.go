package enroll

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"time"

	"takd/http/httpd"
	"takd/http/profile"
)

// apiPort is where ATAK looks for the API unless told otherwise.
const apiPort = 8443

// profile is the last of ATAK's three calls, with the credentials of the others:
// anything but 200, 204 and 304 makes it forget its new certificate. A one-time
// token was spent by then; it still serves the device that spent it.
func (a *API) profile(r *httpd.Request) error {
	uid := clientUID(r)
	if r.Who.Via == httpd.ViaSpent {
		spent, err := a.Auth.InviteSpentBy(r.Context(), shown(r), uid)
		if err != nil {
			return err
		}
		if !spent {
			return httpd.Unauthorized("Bad credentials: the invitation was used by another device")
		}
	}
	p, err := profile.Open(a.Profiles, profile.Enrollment, r.Who, time.Time{})
	if err != nil {
		return err
	}
	p.Add("takd.pref", preferences(a.Site()))
	return p.Reply(r)
}

// preferences are what every device sets: channels on, and the port of the API
// where it is not the usual one.
func preferences(site Site) []byte {
	var pref bytes.Buffer
	entry := func(key, value string) {
		pref.WriteString(`<entry key="`)
		_ = xml.EscapeText(&pref, []byte(key)) // a Buffer does not fail
		pref.WriteString(`" class="class java.lang.String">`)
		_ = xml.EscapeText(&pref, []byte(value))
		pref.WriteString("</entry>\n")
	}
	pref.WriteString("<?xml version='1.0' standalone='yes'?>\n<preferences>\n<preference version=\"1\" name=\"com.atakmap.app.civ_preferences\">\n")
	entry("prefs_enable_channels", "true")
	entry("prefs_enable_channels_host-"+site.Host, "true")
	if site.APIPort != 0 && site.APIPort != apiPort {
		entry("apiSecureServerPort", strconv.Itoa(site.APIPort))
	}
	pref.WriteString("</preference>\n</preferences>\n")
	return pref.Bytes()
}
