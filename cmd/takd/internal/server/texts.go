package server

import (
	"bytes"
	"encoding/xml"
	"strings"
)

// remarks is the text of detail/remarks of an event; "" where there is none.
func remarks(raw []byte) string {
	const inDetail = 3 // event, detail, remarks
	d := xml.NewDecoder(bytes.NewReader(raw))
	depth, reads := 0, false
	var text strings.Builder
	for {
		t, err := d.RawToken()
		if err != nil {
			return text.String() // the end: the event was scanned before
		}
		switch t := t.(type) {
		case xml.StartElement:
			depth++
			reads = reads || depth == inDetail && t.Name.Local == "remarks" && t.Name.Space == ""
		case xml.EndElement:
			if depth == inDetail && reads {
				return text.String()
			}
			depth--
		case xml.CharData:
			if reads {
				_, _ = text.Write(t)
			}
		}
	}
}
