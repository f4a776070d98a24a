package httpd

import (
	"context"
	"encoding/xml"
	"strings"
	"time"
)

// Event is a CoT event that a handler has the server send.
type Event struct {
	UID, Type, How string
	Lat, Lon       float64       // WGS 84, degrees
	Life           time.Duration // until it is stale
	Detail         string        // XML elements: what is in detail
}

// Publish sends e into the groups to which who may send; an administrator sends into
// all. Destinations in its detail hold. It returns when the server has taken it over.
type Publish func(ctx context.Context, who Principal, e Event) error

// EscapeXML returns text as it stands in an element or attribute.
func EscapeXML(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
