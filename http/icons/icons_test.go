package icons_test

import (
	"archive/zip"
	"bytes"
	"context"
	"mime/multipart"
	"strings"
	"testing"

	"takd/http/httpd/httpdtest"
	"takd/http/icons"
	"takd/store/icon"
)

func newSite(t *testing.T) (s *httpdtest.Site, audit *[]string) {
	t.Helper()
	store, err := icon.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	audit = new([]string)
	return httpdtest.New(t, icons.Routes(icons.Deps{Store: store, Audit: func(_ context.Context, actor, action, detail string) {
		*audit = append(*audit, actor+" "+action+" "+detail)
	}})), audit
}

func set(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, body := range map[string]string{"iconset.xml": `<iconset uid="fire-1" name="Fire"/>`, "Big Trucks/truck 1.png": "image"} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(body))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What an administrator puts there, everybody who is known can show.
func TestIconSets(t *testing.T) {
	s, audit := newSite(t)
	has := func(path, want string) {
		t.Helper()
		if got := s.Want(200, "view", "GET", path, "").Body; !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	has("/Marti/api/iconset/all/uid", `"type":"java.lang.String","data":[]`)
	has("/Marti/api/iconseturl/fire-1", `"data":[]`)

	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", "fire.zip")
	if err == nil {
		_, err = part.Write([]byte(set(t)))
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	put := s.Want(200, "boss", "POST", "/Marti/api/iconset", form.String(), "Content-Type: "+w.FormDataContentType())
	if !strings.Contains(put.Body, `"data":"fire-1"`) {
		t.Errorf("put: %s", put.Body)
	}
	const at = "/Marti/api/icon/fire-1/Big%20Trucks/truck%201.png"
	has("/Marti/api/iconset/all/uid", `"data":["fire-1"]`)
	has("/Marti/api/iconseturl/fire-1", s.URL+at)
	has("/Marti/api/iconurl?iconsetpath=fire-1/Big%20Trucks/truck%201.png&relative=true", at)
	for _, path := range []string{at, "/Marti/api/iconimage?iconsetpath=fire-1%2FBig%20Trucks%2Ftruck%201.png"} {
		a := s.Want(200, "view", "GET", path, "")
		if a.Body != "image" || a.Header.Get("Content-Type") != "image/png" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %q %v", path, a.Body, a.Header)
		}
	}
	s.Want(200, "boss", "DELETE", "/Marti/api/iconset/fire-1", "")
	s.Want(404, "boss", "DELETE", "/Marti/api/iconset/fire-1", "")
	s.Want(404, "view", "GET", at, "")
	if got := strings.Join(*audit, ", "); got != "boss icon set put fire-1, boss icon set delete fire-1" {
		t.Errorf("audit: %s", got)
	}
}

func TestIconSetsAreRefused(t *testing.T) {
	s, _ := newSite(t)
	s.Want(403, "ann", "POST", "/Marti/api/iconset", set(t))
	s.Want(403, "ann", "DELETE", "/Marti/api/iconset/fire-1", "")
	s.Want(401, "", "GET", "/Marti/api/iconset/all/uid", "")
	s.Want(400, "boss", "POST", "/Marti/api/iconset", "no zip")
	s.Want(400, "boss", "POST", "/Marti/api/iconset", "--x\r\n", "Content-Type: multipart/form-data; boundary=x")
	s.Want(200, "boss", "POST", "/Marti/api/iconset", set(t))
	s.Want(400, "view", "GET", "/Marti/api/iconimage", "")
	s.Want(400, "view", "GET", "/Marti/api/iconurl", "")
	for _, path := range []string{"..%2ffire-1.zip", "fire-1/..%2f..%2fmeta.db", "fire-1/iconset.xml", "fire-1", strings.Repeat("x", 1000)} {
		s.Want(404, "view", "GET", "/Marti/api/iconimage?iconsetpath="+path, "")
	}
}
