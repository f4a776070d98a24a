package enroll

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"

	"takd/http/httpd"
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
	site := a.Site()
	body, err := profileZip(site)
	if err != nil {
		return err
	}
	r.Reply(http.StatusOK, "application/zip", body)
	r.Response.Header.Set("Content-Disposition", "attachment; filename=profile.zip")
	return nil
}

// profileZip is a data package with preferences: channels on, and the port of the
// API where it is not the usual one.
func profileZip(site Site) ([]byte, error) {
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
	const manifest = `<MissionPackageManifest version="2"><Configuration><Parameter name="uid" value="takd-enrollment"/>` +
		`<Parameter name="name" value="Enrollment"/><Parameter name="onReceiveImport" value="true"/><Parameter name="onReceiveDelete" value="true"/>` +
		`</Configuration><Contents><Content ignore="false" zipEntry="file0/takd.pref"/></Contents></MissionPackageManifest>`
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range []struct {
		name string
		data []byte
	}{{"MANIFEST/manifest.xml", []byte(manifest)}, {"file0/takd.pref", pref.Bytes()}} {
		w, err := z.Create(f.name)
		if err == nil {
			_, err = w.Write(f.data)
		}
		if err != nil {
			return nil, fmt.Errorf("make profile: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("make profile: %w", err)
	}
	return b.Bytes(), nil
}
