package enroll_test

import (
	"archive/zip"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"takd/store/auth"
)

const (
	signV2 = "/Marti/api/tls/signClient/v2"
	signV1 = "/Marti/api/tls/signClient"
	config = "/Marti/api/tls/config"
)

// node-tak reads the prefix of the root, ATAK 4 the namespace of the children.
func TestConfig(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "ann", Password: "ann's password"})
	token, _, err := s.tokens.Issue(t.Context(), "ann", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const want = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n" +
		`<ns2:certificateConfig xmlns="http://bbn.com/marti/xml/config" xmlns:ns2="com.bbn.marti.config">` +
		`<nameEntries><nameEntry name="O" value="Test &amp; Org"/><nameEntry name="OU" value="TAK"/></nameEntries></ns2:certificateConfig>`
	for _, c := range []call{
		{user: "ann", password: "ann's password"}, {bearer: token}, {user: "bob", password: s.invite(auth.NewInvite{User: "bob"})}, {bearer: s.invite(auth.NewInvite{User: "carol"})},
	} {
		c.path, c.wantKind = config, "text/plain"
		if got := s.do(c); string(got.body) != want {
			t.Errorf("config = %s, want %s", got.body, want)
		}
	}
	for name, c := range map[string]call{
		"nobody": {}, "wrong password": {user: "ann", password: "wrong password"}, "unknown": {user: "nobody", password: "wrong password"},
		"token": {bearer: token + "x"}, "invitation": {user: "ann", password: strings.Repeat("a", 26)}, "SQL": {user: "' OR 1=1 --", password: "' OR 1=1 --"},
	} {
		t.Run(name, func(*testing.T) {
			c.path, c.status = config, http.StatusUnauthorized
			s.do(c)
		})
	}
}

type enrollment struct {
	XMLName xml.Name `xml:"enrollment"`
	Signed  string   `xml:"signedCert"`
	CAs     []string `xml:"ca"`
}

func TestSignXML(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "ann", Password: "ann's password", In: []string{"Blue"}, Out: []string{"Blue"}})
	a := s.do(call{
		method: http.MethodPost, path: signV2 + "?clientUid=ANDROID-12%27&version=5.5.0%20(x)", user: "ann", password: "ann's password",
		accept: "application/xml", kind: "application/octet-stream", body: csr(t, "ann"), wantKind: "application/xml",
	})
	// Any text between elements ends ATAK.
	d, depth := xml.NewDecoder(bytes.NewReader(a.body)), 0
	for {
		tok, err := d.RawToken()
		if err != nil {
			break
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth != 2 {
				t.Errorf("text %q at depth %d", tok, depth)
			}
		}
	}
	if !bytes.HasPrefix(a.body, []byte(`<?xml version="1.0" encoding="UTF-8"?><enrollment><signedCert>`)) {
		t.Errorf("answer begins %.80s", a.body)
	}
	var e enrollment
	if err := xml.Unmarshal(a.body, &e); err != nil || len(e.CAs) != 2 {
		t.Fatalf("%d authorities, %v; want the whole chain", len(e.CAs), err)
	}
	leaf := parse(t, e.Signed)
	s.wantChain(leaf, []*x509.Certificate{parse(t, e.CAs[0]), parse(t, e.CAs[1])}, "ann")
	if len(leaf.UnknownExtKeyUsage) != 1 {
		t.Error("version was given: no mark for channels")
	}
	got := s.enrolled("ann")
	if len(got) != 1 || got[0].ClientUID != "ANDROID-12'" || got[0].Address != "127.0.0.1" || got[0].Serial != leaf.SerialNumber.Text(16) {
		t.Errorf("on record: %+v", got)
	}
}

func TestSignJSON(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "Ann Lee", Password: "ann's password"})
	for name, c := range map[string]call{
		"JSON":     {accept: "application/json", wantKind: "application/json"},
		"anything": {accept: "*/*", wantKind: "application/json"},
		"browser":  {accept: "text/html, */*;q=0.8", wantKind: "application/json"},
		"iTAK":     {accept: "text/plain", wantKind: "text/plain"},
		"none":     {header: map[string]string{"Accept": ""}, wantKind: "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			c.method, c.path, c.body = http.MethodPost, signV2+"?clientUID=uid%20(ETL)", csr(t, "ann lee")
			c.user, c.password = "Ann Lee", "ann's password"
			a := s.do(c)
			var m map[string]string
			if err := json.Unmarshal(a.body, &m); err != nil || len(m) != 3 {
				t.Fatalf("%d keys, %v: %.100s", len(m), err, a.body)
			}
			leaf := parse(t, m["signedCert"])
			s.wantChain(leaf, []*x509.Certificate{parse(t, m["ca0"]), parse(t, m["ca1"])}, "Ann Lee")
			if len(leaf.UnknownExtKeyUsage) != 0 {
				t.Error("no version was given: mark for channels")
			}
			for key, value := range m {
				if strings.Contains(value, "-----") || !strings.HasSuffix(value, "\n") {
					t.Errorf("%s = %.40q…: want bare base64 in lines", key, value)
				}
			}
		})
	}
	for _, e := range s.enrolled("Ann Lee") {
		if e.ClientUID != "uid (ETL)" {
			t.Errorf("clientUID %q", e.ClientUID)
		}
	}
	s.do(call{method: http.MethodPost, path: signV2, accept: "image/png", body: csr(t, "Ann Lee"), user: "Ann Lee", password: "ann's password", status: http.StatusBadRequest, wantInBody: "Accept"})
	if n := len(s.enrolled("Ann Lee")); n != 5 {
		t.Errorf("%d certificates, want 5", n)
	}
}

// As CloudTAK and other programs make their requests.
func TestSignOpenSSL(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "ann", Password: "ann's password"})
	dir := t.TempDir()
	file, key := filepath.Join(dir, "csr"), filepath.Join(dir, "key")
	out, err := exec.CommandContext(t.Context(), "openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=TAK/OU=TAK/CN=ann", "-keyout", key, "-out", file).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a := s.do(call{method: http.MethodPost, path: signV1 + "?clientUid=x&version=4.6", user: "ann", password: "ann's password", body: body})
	certs, err := pkcs12.DecodeTrustStore(a.body, "atakatak")
	if err != nil || len(certs) != 3 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	s.wantChain(certs[0], certs[1:], "ann")
	// ATAK stays broken where the alias is missing.
	p12 := filepath.Join(dir, "p12")
	if err := os.WriteFile(p12, a.body, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = exec.CommandContext(t.Context(), "openssl", "pkcs12", "-legacy", "-nokeys", "-passin", "pass:atakatak", "-in", p12).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "friendlyName: signedCert") || !strings.Contains(string(out), "friendlyName: ca1") {
		t.Errorf("openssl: %v\n%.300s", err, out)
	}
}

func TestKeyStore(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "ann", Password: "ann's password"})
	const path = "/Marti/api/tls/makeClientKeyStore"
	ann := call{path: path + "?cn=ANN&clientUid=uid-9", user: "ann", password: "ann's password"}
	_, leaf, chain, err := pkcs12.DecodeChain(s.do(ann).body, "atakatak")
	if err != nil || len(chain) != 2 {
		t.Fatalf("%d authorities, %v", len(chain), err)
	}
	s.wantChain(leaf, chain, "ann")
	if got := s.enrolled("ann"); len(got) != 1 || got[0].ClientUID != "uid-9" {
		t.Errorf("on record: %+v", got)
	}
	ann.method, ann.status = http.MethodHead, http.StatusBadRequest
	s.do(ann)
	if got := s.enrolled("ann"); len(got) != 1 {
		t.Errorf("HEAD made a certificate: %d", len(got))
	}
	ann.method = http.MethodGet
	ann.path, ann.status = path+"?cn=bob", http.StatusForbidden
	s.do(ann)
	ann.path, ann.status = path+"?password="+strings.Repeat("x", 500), http.StatusBadRequest
	s.do(ann)
}

func TestSignHostile(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "ann", Password: "ann's password"})
	forged := bytes.Replace(csr(t, "ann"), []byte("\n"), []byte("\nMA"), 1)
	for name, c := range map[string]call{
		"other CN":     {body: csr(t, "bob"), status: http.StatusForbidden, wantInBody: "CN="},
		"SQL":          {body: csr(t, "ann'; DROP TABLE certificates; --"), status: http.StatusForbidden},
		"path":         {body: csr(t, "../../ann"), status: http.StatusForbidden},
		"garbage":      {body: []byte("hello, world"), status: http.StatusBadRequest, wantInBody: "PKCS#10"},
		"empty":        {status: http.StatusBadRequest},
		"broken":       {body: forged, status: http.StatusBadRequest},
		"1 MB":         {body: bytes.Repeat([]byte("QUFB"), 1<<18), status: http.StatusRequestEntityTooLarge},
		"long uid":     {path: signV2 + "?clientUid=" + strings.Repeat("u", 1000), body: csr(t, "ann"), status: http.StatusBadRequest, wantInBody: "clientUid"},
		"NUL in uid":   {path: signV2 + "?clientUid=a%00b", body: csr(t, "ann"), status: http.StatusBadRequest},
		"no password":  {user: "-", body: csr(t, "ann"), status: http.StatusUnauthorized},
		"GET":          {method: http.MethodGet, body: nil, status: http.StatusMethodNotAllowed},
		"other's form": {path: signV1, body: csr(t, "bob"), status: http.StatusForbidden},
	} {
		t.Run(name, func(*testing.T) {
			if c.method == "" {
				c.method = http.MethodPost
			}
			if c.path == "" {
				c.path = signV2
			}
			if c.user == "" {
				c.user, c.password = "ann", "ann's password"
			}
			s.do(c)
		})
	}
	if n := len(s.enrolled("ann")); n != 0 {
		t.Errorf("%d certificates were issued", n)
	}
	if err := s.store.Auth.SetDisabled(t.Context(), "ann", true); err != nil {
		t.Fatal(err)
	}
	a := s.do(call{method: http.MethodPost, path: signV2, user: "ann", password: "ann's password", body: csr(t, "ann"), status: http.StatusUnauthorized})
	_ = a
}

// The way of a phone: one token for config, certificate and profile, once.
func TestInvitedPhone(t *testing.T) {
	s := newSite(t)
	token := s.invite(auth.NewInvite{User: "Bob", In: []string{"Blue"}, Out: []string{"Blue"}})
	bob := call{user: "bob", password: token}
	step := func(c call, method, path string, body []byte, status int) answer {
		t.Helper()
		c.method, c.path, c.body, c.status, c.accept = method, path, body, status, "application/xml"
		return s.do(c)
	}
	step(bob, http.MethodGet, config, nil, http.StatusOK)
	step(bob, http.MethodPost, signV2, csr(t, "mallory"), http.StatusForbidden) // uses nothing
	step(bob, http.MethodPost, signV2, []byte("x"), http.StatusBadRequest)
	const profile = "/Marti/api/tls/profile/enrollment"
	step(bob, http.MethodGet, profile+"?clientUid=ANDROID-1", nil, http.StatusOK) // the invitation is open
	a := step(bob, http.MethodPost, signV2+"?clientUid=ANDROID-1&version=5.6", csr(t, "bob"), http.StatusOK)
	var e enrollment
	if err := xml.Unmarshal(a.body, &e); err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, e.Signed)
	if p, err := s.store.Auth.PrincipalForCertificate(t.Context(), leaf); err != nil || p.User != "Bob" || !slices.Equal(p.In, []string{"Blue"}) {
		t.Errorf("PrincipalForCertificate = %v, %v", p, err)
	}
	if got := step(bob, http.MethodGet, profile+"?clientUid=ANDROID-1", nil, http.StatusOK); got.header.Get("Content-Disposition") != "attachment; filename=profile.zip" {
		t.Errorf("Content-Disposition %q", got.header.Get("Content-Disposition"))
	}
	step(call{bearer: token}, http.MethodGet, profile, nil, http.StatusOK) // a client that names no device
	step(bob, http.MethodGet, profile+"?clientUid=ANDROID-2", nil, http.StatusUnauthorized)
	step(bob, http.MethodGet, config, nil, http.StatusUnauthorized)
	step(bob, http.MethodPost, signV2+"?clientUid=ANDROID-1", csr(t, "bob"), http.StatusUnauthorized)
	step(call{bearer: token}, http.MethodPost, signV1, csr(t, "bob"), http.StatusUnauthorized)
	step(bob, http.MethodGet, "/Marti/api/tls/makeClientKeyStore", nil, http.StatusUnauthorized)
	step(bob, http.MethodGet, "/invite/package.zip?token="+token, nil, http.StatusUnauthorized)
	step(bob, http.MethodPost, "/login/refresh", nil, http.StatusUnauthorized) // no way to a session
	if n := len(s.enrolled("Bob")); n != 1 {
		t.Errorf("%d certificates of one invitation", n)
	}
	if strings.Contains(s.log.String(), token) {
		t.Error("the log holds the token")
	}

	if got := s.enrolled("Bob"); got[0].ClientVersion != "5.6" || got[0].ClientUID != "ANDROID-1" {
		t.Errorf("on record: %+v", got[0])
	}

	bearer := call{bearer: s.invite(auth.NewInvite{User: "Bob", Uses: 2})}
	step(bearer, http.MethodPost, signV2, csr(t, "bob"), http.StatusOK)
	step(bearer, http.MethodPost, signV1, csr(t, "bob"), http.StatusOK)
	step(bearer, http.MethodPost, signV2, csr(t, "bob"), http.StatusUnauthorized)
}

// A password may look like the token of an invitation.
func TestPasswordLikeToken(t *testing.T) {
	s := newSite(t)
	const password = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	s.add(auth.NewUser{Name: "ann", Password: password})
	for range 2 {
		s.do(call{method: http.MethodPost, path: signV2, user: "ann", password: password, body: csr(t, "ann")})
	}
}

func TestInvitedPackage(t *testing.T) {
	s := newSite(t)
	link := func(token, more string) string { return "/invite/package.zip?token=" + token + more }
	token := s.invite(auth.NewInvite{User: "Bob"})
	s.do(call{path: link(token, "&for=palm"), status: http.StatusBadRequest})
	s.do(call{path: link("", ""), status: http.StatusUnauthorized})
	s.do(call{path: link(strings.Repeat("a", 26), ""), status: http.StatusUnauthorized})
	s.do(call{method: http.MethodHead, path: link(token, ""), status: http.StatusBadRequest})
	a := s.do(call{path: link(token, "&for=itak"), wantKind: "application/zip"})
	z, err := zip.NewReader(bytes.NewReader(a.body), int64(len(a.body)))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range z.File {
		found = found || f.Name == "config.pref"
	}
	if !found {
		t.Error("no config.pref: iTAK reads nothing else")
	}
	if d := a.header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment") {
		t.Errorf("Content-Disposition %q", d)
	}
	s.do(call{path: link(token, ""), status: http.StatusUnauthorized})
	if n := len(s.enrolled("Bob")); n != 1 {
		t.Errorf("%d certificates, want 1", n)
	}
}
