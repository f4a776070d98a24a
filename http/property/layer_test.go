package property_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// A layer is everybody's to see and its owner's to change.
func TestMapLayers(t *testing.T) {
	s := newSite(t)
	const at = "/Marti/api/maplayers"
	var made struct {
		Type string `json:"type"`
		Data struct {
			UID, Name, URL, CreatorUID string
			MinZoom                    int
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(s.Want(200, "ann", "POST", at, `{"name":"Topo","url":"https://x/{z}","minZoom":3,"creatorUid":"red"}`).Body), &made); err != nil {
		t.Fatal(err)
	}
	uid := made.Data.UID
	if made.Type != "MapLayer" || len(uid) != 36 || made.Data.MinZoom != 3 || made.Data.CreatorUID != "ann" {
		t.Errorf("%+v", made)
	}
	for _, path := range []string{"/all", "/" + uid} {
		if got := s.Want(200, "view", "GET", at+path, "").Body; !strings.Contains(got, `"Topo"`) {
			t.Errorf("%s: %s", path, got)
		}
	}
	renamed := `{"uid":"` + uid + `","name":"Neu","url":"u"}`
	s.Want(403, "red", "PUT", at, renamed)
	s.Want(403, "view", "PUT", at, renamed)
	s.Want(401, "", "GET", at+"/all", "")
	s.Want(200, "ann", "PUT", at, renamed)
	s.Want(404, "red", "DELETE", at+"/"+uid, "")
	s.Want(200, "ann", "DELETE", at+"/"+uid, "")
	s.Want(404, "ann", "GET", at+"/"+uid, "")
	for _, bad := range []string{"", "null", "[]", "{}", `{"name":1,"url":"u"}`, `{"uid":5,"name":"n","url":"u"}`, `{"uid":{},"name":"n","url":"u"}`, `{"name":"n"}`, `{"uid":"` + strings.Repeat("x", 300) + `","name":"n","url":"u"}`} {
		s.Want(400, "ann", "POST", at, bad)
	}
	s.Want(400, "ann", "PUT", at, `{"name":"n","url":"u"}`) // which one
	s.Want(413, "ann", "POST", at, `{"name":"`+strings.Repeat("x", 70_000)+`"}`)
}
