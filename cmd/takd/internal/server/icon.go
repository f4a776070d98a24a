package server

import (
	"bytes"
	"encoding/xml"

	"takd/store/icon"
)

// maxIconPath bounds an iconset path: a uid of 128 letters, and a folder and a name.
const maxIconPath = 256

var userIcon = []byte("<usericon")

// iconOf is the iconset path that an event names, of an image that sets has; nil
// where there is none. The element stands as XML in protobuf events, too.
func iconOf(raw []byte, sets *icon.Store) []byte {
	i := bytes.Index(raw, userIcon)
	if i < 0 {
		return nil
	}
	raw = raw[i:min(len(raw), i+2*maxIconPath)]
	tok, err := xml.NewDecoder(bytes.NewReader(raw)).Token()
	e, ok := tok.(xml.StartElement)
	if err != nil || !ok || e.Name.Local != "usericon" {
		return nil
	}
	path := attributes(e)["iconsetpath"]
	if len(path) > maxIconPath || !sets.Has(path) {
		return nil
	}
	return []byte(path)
}
