package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"takd/http/admin"
)

// Who could not come in is listed with the reason, for administrators and the
// operator; one address cannot push everybody else out.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := start(t)
	root := w.root()
	w.takd("user", "add", "mallory")
	mallory := w.certificate("mallory")
	w.takd("cert", "revoke", "mallory")
	if w.refused(mallory) == nil {
		t.Fatal("a revoked certificate came in")
	}
	anybody := w.browser()
	anybody.want(401, "GET", "enroll", "/Marti/api/version", "ann:wrong password", "")
	anybody.want(401, "GET", "enroll", "/Marti/api/version", "ann:wrong password", "")
	anybody.want(401, "POST", "enroll", "/oauth/token", "", "grant_type=password&username=cy&password=wrong")
	w.browser(mallory).want(401, "GET", "https", "/Marti/api/version", "", "")
	anybody.want(401, "GET", "https", "/Marti/api/version", "", "") // says nothing, so it is no attempt
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	if _, err := tls.Dial("tcp", w.srv.Status().Listeners["https"], old); err == nil {
		t.Fatal("TLS 1.1 came in")
	}
	list := func() (all []admin.Refusal) {
		if err := json.Unmarshal([]byte(root.want(200, "GET", "https", "/api/admin/refusals", "", "")), &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	w.until("all refusals", func() bool { return len(list()) == 5 })
	got := map[string]admin.Refusal{}
	for _, r := range list() {
		got[r.Where+" "+r.User] = r
		if r.Address != "127.0.0.1" || r.Time.IsZero() {
			t.Errorf("%+v", r)
		}
	}
	for key, want := range map[string]struct {
		count  int
		reason string
	}{"tls mallory": {1, "revoked"}, "enroll ann": {2, "known"}, "enroll cy": {1, "known"}, "https mallory": {1, "revoked"}, "https ": {1, "handshake"}} {
		if r := got[key]; r.Count != want.count || !strings.Contains(r.Reason, want.reason) {
			t.Errorf("%q: %+v, want %d times %q", key, r, want.count, want.reason)
		}
	}
	if out := w.takd("diag", "refused"); !strings.Contains(out, "mallory") || !strings.Contains(out, "revoked") {
		t.Errorf("diag refused: %s", out)
	}
	w.takd("user", "add", "bob")
	w.browser(w.certificate("bob")).want(403, "GET", "https", "/api/admin/refusals", "", "")
}

// A certificate is looked at by command and by API, with the same result.
func TestDiagnoseCertificate(t *testing.T) {
	t.Parallel()
	w := start(t)
	root := w.root()
	w.takd("user", "add", "ann", "--group", "Blue")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.certificate("ann").Certificate[0]})
	look := func() (v admin.Verdict) {
		if err := json.Unmarshal([]byte(root.want(200, "POST", "https", "/api/admin/diag/cert", "", string(text))), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := look(); v.User != "ann" || v.Refused != "" || v.Usage != "client" || fmt.Sprint(v.In) != "[Blue]" {
		t.Errorf("%+v", v)
	}
	w.takd("cert", "revoke", "ann")
	if v := look(); !strings.Contains(v.Refused, "revoked") {
		t.Errorf("%+v", v)
	}
	for _, bad := range []string{"", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		root.want(400, "POST", "https", "/api/admin/diag/cert", "", bad)
	}
	root.want(413, "POST", "https", "/api/admin/diag/cert", "", strings.Repeat("x", 70<<10))
}

// A unit is invited at once, with a page for each of its people.
func TestInvitationSheet(t *testing.T) {
	t.Parallel()
	w := start(t)
	dir := t.TempDir()
	people, sheet := filepath.Join(dir, "people.csv"), filepath.Join(dir, "sheet.pdf")
	if err := os.WriteFile(people, []byte("name,group\nann,Blue\nЖанна,Blue\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.takd("invite", "--csv", people, "--sheet", sheet)
	pdf, err := os.ReadFile(sheet)
	if err != nil {
		t.Fatal(err)
	}
	if n, m := bytes.Count(pdf, []byte("/Type /Page\n")), bytes.Count(pdf, []byte("/Subtype /Image")); !bytes.HasPrefix(pdf, []byte("%PDF-")) || n != 2 || m != 3 { // iTAK's code is the same for all
		t.Errorf("%.8q: %d pages and %d codes", pdf, n, m)
	}
	if info, err := os.Stat(sheet); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: others can read the tokens", info.Mode(), err)
	}
	if out, code := w.try("invite", "علي", "--sheet", sheet); code != 1 || !strings.Contains(out, ".html") {
		t.Errorf("letters without a font: %d, %s", code, out)
	}
}
