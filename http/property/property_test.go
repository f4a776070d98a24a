package property_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"takd/http/httpd/httpdtest"
	"takd/http/property"
	"takd/store/meta"
	store "takd/store/property"
)

func newSite(t *testing.T) *httpdtest.Site {
	t.Helper()
	db, err := meta.Open(t.Context(), filepath.Join(t.TempDir(), "meta.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return httpdtest.New(t, property.Routes(property.Deps{Store: store.New(db)}))
}

func TestProperties(t *testing.T) {
	s := newSite(t)
	const at = "/Marti/api/properties"
	has := func(path, want string) {
		t.Helper()
		if got := s.Want(200, "view", "GET", path, "").Body; !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	has(at+"/uids", `"data":[]`)
	has(at+"/U/all", `"data":{}`)
	s.Want(403, "view", "PUT", at+"/U", `{"colour":"red"}`)
	s.Want(401, "", "PUT", at+"/U", `{"colour":"red"}`)
	for _, body := range []string{`{"colour":"red"}`, `{"key":"colour","value":"blue"}`, `{"colour":"red"}`, `{"x' OR 1=1 --":"y"}`} {
		s.Want(200, "ann", "PUT", at+"/U", body)
	}
	has(at+"/uids", `"data":["U"]`)
	has(at+"/U/colour", `"data":["blue","red"]`)
	has(at+"/U/all", `"colour":["blue","red"]`)
	has(at+"/V/colour", `"data":[]`)
	s.Want(200, "ann", "DELETE", at+"/U/colour", "")
	has(at+"/U/colour", `"data":[]`)
	s.Want(200, "ann", "DELETE", at+"/U/all", "")
	has(at+"/uids", `"data":[]`)
	s.Want(200, "ann", "PUT", at+"/a%25b%20%C3%A4", `{"k%":"v"}`) // a percent sign is one
	has(at+"/uids", `"data":["a%b ä"]`)
	has(at+"/a%25b%20%C3%A4/k%25", `"data":["v"]`)
	s.Want(400, "ann", "PUT", at+"/a%2Fb", `{"k":"v"}`)
	for _, body := range []string{"", "{}", "[]", `{"a":1}`, `{"a":"b","c":"d"}`, `{"":"x"}`, `{"a":""}`, `{"a":"` + strings.Repeat("x", 5000) + `"}`, `{"a":"\u0000"}`, strings.Repeat("[", 10_000)} {
		s.Want(400, "ann", "PUT", at+"/U", body)
	}
	s.Want(413, "ann", "PUT", at+"/U", `{"a":"`+strings.Repeat("x", 100_000)+`"}`)
}

// A uid cannot have so many that others find no room.
func TestPropertiesAreBounded(t *testing.T) {
	s := newSite(t)
	status := 0
	for i := 0; i < 1100 && status != 400; i++ {
		status = s.Do("ann", "PUT", "/Marti/api/properties/U", fmt.Sprintf(`{"k":"%d"}`, i)).Status
	}
	if status != 400 {
		t.Error("a uid can have any number of values")
	}
	s.Want(200, "ann", "PUT", "/Marti/api/properties/V", `{"k":"v"}`)
}

// No number is given twice.
func TestSequence(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	got := map[string]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				n := s.Do("ann", "GET", "/Marti/api/sync/sequence/reports", "").Body
				mu.Lock()
				got[n] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(got) != 40 || !got["1"] || !got["40"] {
		t.Errorf("numbers: %v", got)
	}
	s.Want(403, "view", "GET", "/Marti/api/sync/sequence/reports", "")
	s.Want(400, "ann", "HEAD", "/Marti/api/sync/sequence/reports", "") // counts nothing
	if n := s.Want(200, "ann", "GET", "/Marti/api/sync/sequence/reports", "").Body; n != "41" {
		t.Errorf("after HEAD: %s", n)
	}
	s.Want(400, "ann", "GET", "/Marti/api/sync/sequence/"+strings.Repeat("x", 300), "")
}

// What plugins ask for and nobody has is an empty list.
func TestEmptyLists(t *testing.T) {
	s := newSite(t)
	if got := s.Want(200, "view", "GET", "/Marti/api/maplayers/all", "").Body; !strings.Contains(got, `"data":[]`) {
		t.Errorf("map layers: %s", got)
	}
	got := s.Want(200, "view", "GET", "/Marti/api/excheck/checklist/active?clientUid=U", "")
	if got.Body != `<?xml version="1.0" encoding="UTF-8" standalone="yes"?><checklists/>` || got.Header.Get("Content-Type") != "application/xml" {
		t.Errorf("checklists: %s %s", got.Header.Get("Content-Type"), got.Body)
	}
}
