package files

import (
	"bytes"
	"encoding/xml"
	"net"
	"net/http"
	"net/url"
	"strings"

	"takd/http/httpd"
)

// feedXML is a feed in the older form: the address in parts.
type feedXML struct {
	Protocol          string `xml:"protocol"`
	Alias             string `xml:"alias"`
	UUID              string `xml:"uuid"`
	Address           string `xml:"address"`
	Port              string `xml:"port"`
	RoverPort         string `xml:"roverPort"`
	IgnoreEmbeddedKLV string `xml:"ignoreEmbeddedKLV"`
	MACAddress        string `xml:"preferredMacAddress"`
	Path              string `xml:"path"`
	Buffer            string `xml:"buffer"`
	Timeout           string `xml:"timeout"`
	RTSPReliable      string `xml:"rtspReliable"`
	OtherUUID         string `xml:"uid,omitempty"` // some write it so
}

type feedsXML struct {
	XMLName xml.Name  `xml:"videoConnections"`
	Feeds   []feedXML `xml:"feed"`
}

// usual are the ports of protocols where an address names none.
var usual = map[string]string{"rtsp": "554", "rtsps": "322", "rtmp": "1935", "rtmps": "443", "http": "80", "https": "443"}

// feeds lists each feed of each connection. iTAK wants the whole address in one
// place, ATAK only the host.
func (a *api) feeds(r *httpd.Request) error {
	list, err := a.visible(r, "")
	if err != nil {
		return err
	}
	whole := strings.Contains(strings.ToLower(string(r.UserAgent())), "itak")
	doc := feedsXML{Feeds: []feedXML{}}
	for i := range list {
		for j := range list[i].Feeds {
			f := &list[i].Feeds[j]
			u, err := url.Parse(f.URL)
			if err != nil || u.Host == "" {
				continue // one bad entry would empty the list of some clients
			}
			port := u.Port()
			if port == "" {
				port = usual[u.Scheme]
			}
			if port == "" {
				port = "0"
			}
			x := feedXML{
				Protocol: u.Scheme, Alias: f.Alias, UUID: f.UUID, Address: u.Hostname(), Port: port, RoverPort: string(f.RoverPort),
				IgnoreEmbeddedKLV: string(f.IgnoreEmbeddedKLV), MACAddress: string(f.MACAddress), Path: u.RequestURI(), Buffer: string(f.BufferTime),
				Timeout: string(f.NetworkTimeout), RTSPReliable: string(f.RTSPReliable),
			}
			if whole {
				x.Address = u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port) + u.RequestURI()
			}
			doc.Feeds = append(doc.Feeds, x)
		}
	}
	b, err := xml.Marshal(&doc)
	if err != nil {
		return err
	}
	r.Reply(http.StatusOK, "application/xml", append([]byte(xml.Header), b...))
	return nil
}

// addFeeds makes a connection of each feed.
func (a *api) addFeeds(r *httpd.Request) error {
	var doc feedsXML
	d := xml.NewDecoder(bytes.NewReader(r.PostBody())) // it knows no entities of a document
	if err := d.Decode(&doc); err != nil || len(doc.Feeds) == 0 || len(doc.Feeds) > 100 {
		return httpd.Bad("body: want videoConnections with 1 to 100 feeds")
	}
	list := make([]connection, 0, len(doc.Feeds))
	for _, x := range doc.Feeds {
		address := x.Address
		if !strings.Contains(address, "://") {
			port := ""
			if x.Port != "" && x.Port != "0" && !strings.HasPrefix(x.Port, "-") {
				port = ":" + x.Port
			}
			if strings.Contains(address, ":") {
				address = "[" + strings.Trim(address, "[]") + "]"
			}
			address = x.Protocol + "://" + address + port + "/" + strings.TrimPrefix(x.Path, "/")
		}
		if u, err := url.Parse(address); err != nil || u.Scheme == "" || u.Host == "" {
			return httpd.Bad("feed: want protocol and address")
		}
		id := x.UUID
		if id == "" {
			id = x.OtherUUID
		}
		list = append(list, connection{UUID: id, Active: true, Alias: x.Alias, Feeds: []feed{{
			UUID: id, Active: true, Alias: x.Alias, URL: address, MACAddress: text(x.MACAddress), RoverPort: text(x.RoverPort),
			IgnoreEmbeddedKLV: text(x.IgnoreEmbeddedKLV), NetworkTimeout: text(x.Timeout), BufferTime: text(x.Buffer), RTSPReliable: text(x.RTSPReliable),
		}}})
	}
	return a.keep(r, list)
}

func (a *api) deleteFeed(r *httpd.Request) error {
	id := query(r).get("id", "uid", "uuid")
	if err := a.Videos.Delete(r.Context(), videoViewer(r), id); err != nil {
		return refusedVideo(err)
	}
	a.Audit.By(r, "video delete", id)
	return nil
}
