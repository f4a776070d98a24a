package profile

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"takd/http/httpd"
)

// What one call of send may be.
const (
	maxReceivers = 1000
	maxUID       = 256 // bytes
)

// An offer waits so long for who is away.
const offerLife = 24 * time.Hour

// send offers a profile to devices, by their uids, as one phone offers a package to
// another: each fetches it when its user agrees.
func (a *api) send(r *httpd.Request) error {
	name, _, err := a.dir(r)
	if err != nil {
		return err
	}
	var uids []string
	if err := r.ReadJSON(&uids); err != nil {
		return err
	}
	if len(uids) == 0 || len(uids) > maxReceivers || slices.ContainsFunc(uids, func(uid string) bool { return uid == "" || len(uid) > maxUID }) {
		return httpd.Bad("body: want 1 to %d uids of 1 to %d bytes", maxReceivers, maxUID)
	}
	sum, size := sha256.New(), new(counter)
	p, err := a.whole(name)
	if err != nil {
		return err
	}
	if len(p.files) == 0 {
		_ = p.Close() // of nothing
		return httpd.NotFound("Not Found: there is nothing in the profile")
	}
	if err := p.write(io.MultiWriter(sum, size)); err != nil {
		return err
	}
	var to strings.Builder
	for _, uid := range uids {
		to.WriteString(`<dest uid="` + httpd.EscapeXML(uid) + `"/>`)
	}
	text := httpd.EscapeXML(name)
	address := httpd.EscapeXML(a.Site() + at + "/" + url.PathEscape(name) + "/missionpackage")
	const from = "takd-profiles"
	err = a.Publish(r.Context(), r.Who, httpd.Event{
		UID: strings.ToLower(rand.Text()), Type: "b-f-t-r", How: "h-e", Life: offerLife,
		Detail: fmt.Sprintf(`<fileshare filename="%s.zip" name="%s" senderUrl="%s" sizeInBytes="%d" sha256="%s" senderUid="%s" senderCallsign="%s"/>`+
			`<ackrequest uid="%s" ackrequested="false" tag="%s"/><marti>%s</marti>`,
			text, text, address, *size, hex.EncodeToString(sum.Sum(nil)), from, httpd.EscapeXML(r.Who.User), strings.ToLower(rand.Text()), text, to.String()),
	})
	if err != nil {
		return err
	}
	a.Audit.By(r, "profile send", fmt.Sprintf("%s to %d devices", name, len(uids)))
	r.SetStatusCode(http.StatusOK)
	return nil
}

// counter counts what is written.
type counter int64

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
