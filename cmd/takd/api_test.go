package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"takd/http/enroll"
)

// browser calls the API, with a certificate where it has one.
type browser struct {
	*world
	http *http.Client
}

func (w *world) browser(certs ...tls.Certificate) *browser {
	w.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certs}}}
	w.Cleanup(c.CloseIdleConnections)
	return &browser{w, c}
}

// call returns status and body. face is https or enroll; auth is "user:password",
// a token, or nothing.
func (b *browser) call(method, face, path, auth, body string) (int, string) {
	b.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "https://"+b.srv.Status().Listeners[face]+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	if user, password, ok := strings.Cut(auth, ":"); ok {
		req.SetBasicAuth(user, password)
	} else if auth != "" {
		req.Header.Set("Authorization", "Bearer "+auth)
	}
	if method == http.MethodPost && strings.HasPrefix(body, "grant_type") {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		b.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (b *browser) want(status int, method, face, path, auth, body string) string {
	b.Helper()
	got, text := b.call(method, face, path, auth, body)
	if got != status {
		b.Errorf("%s %s: %d, want %d: %.300s", method, path, got, status, text)
	}
	return text
}

// enroll asks for a certificate as a phone does.
func (b *browser) enroll(user, secret, device string) tls.Certificate {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: user}}, key)
	if err != nil {
		b.Fatal(err)
	}
	auth := user + ":" + secret
	b.want(200, "GET", "enroll", "/Marti/api/tls/config", auth, "")
	text := b.want(200, "POST", "enroll", "/Marti/api/tls/signClient/v2?clientUid="+device+"&version=5.6", auth, base64.StdEncoding.EncodeToString(csr))
	b.want(200, "GET", "enroll", "/Marti/api/tls/profile/enrollment?clientUid="+device, auth, "")
	var signed map[string]string
	if err := json.Unmarshal([]byte(text), &signed); err != nil {
		b.Fatal(err)
	}
	c := tls.Certificate{PrivateKey: key}
	for _, name := range []string{"signedCert", "ca0", "ca1"} {
		der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(signed[name], "\n", ""))
		if err != nil || len(der) == 0 {
			b.Fatalf("%s: %v", name, err)
		}
		c.Certificate = append(c.Certificate, der)
	}
	return c
}

// From an invitation to the map, and out again.
func TestInvitationToMap(t *testing.T) {
	t.Parallel()
	w := start(t)
	i := ask[enroll.Invitation](w, "invite", "bob", "--group", "Blue")
	uri, err := url.Parse(i.ATAK)
	if err != nil || uri.Query().Get("token") != i.Token || uri.Query().Get("username") != "bob" {
		t.Fatalf("ATAK URI %s, %v", i.ATAK, err)
	}
	phone := w.browser()
	cert := phone.enroll("bob", i.Token, "UID-bob")
	phone.want(401, "POST", "enroll", "/Marti/api/tls/signClient/v2?clientUid=UID-bob", "bob:"+i.Token, "x")
	phone.want(401, "GET", "enroll", "/Marti/api/tls/profile/enrollment?clientUid=UID-eve", "bob:"+i.Token, "")
	bob := w.connect("bob", cert)
	app := w.browser(cert)
	if got := app.want(200, "GET", "https", "/Marti/api/contacts/all", "", ""); !strings.Contains(got, `"uid":"UID-bob"`) {
		t.Errorf("contacts: %s", got)
	}
	if got := app.want(200, "GET", "https", "/Marti/api/groups/all?useCache=true", "", ""); strings.Count(got, `"name":"Blue"`) != 2 {
		t.Errorf("groups: %s", got)
	}
	app.want(403, "DELETE", "https", "/Marti/api/subscriptions/delete/1", "", "")
	if got := app.want(200, "GET", "https", "/Marti/api/clientEndPoints", "", ""); !strings.Contains(got, `"lastStatus":"Connected"`) {
		t.Errorf("who is here: %s", got)
	}

	// Who is disabled is out within a second, on the kept connection too.
	began := time.Now()
	w.takd("user", "disable", "bob")
	if got := app.want(401, "GET", "https", "/Marti/api/version", "", ""); !strings.Contains(got, "BadCredentialsException") || time.Since(began) > time.Second {
		t.Errorf("after disable and %s: %s", time.Since(began), got)
	}
	bob.ends()
	w.takd("user", "enable", "bob")
	app.want(200, "GET", "https", "/Marti/api/version", "", "")
	w.takd("cert", "revoke", "bob")
	app.want(401, "GET", "https", "/Marti/api/version", "", "")

	other := w.certificate("alice")
	w.takd("user", "add", "alice", "--group", "Blue")
	got := w.browser(other).want(200, "GET", "https", "/Marti/api/clientEndPoints", "", "")
	if !strings.Contains(got, `"uid":"UID-bob"`) || !strings.Contains(got, `"lastStatus":"Disconnected"`) {
		t.Errorf("who left: %s", got)
	}
	w.stop()
	w.run()
	if got := w.browser(other).want(200, "GET", "https", "/Marti/api/clientEndPoints", "", ""); !strings.Contains(got, `"uid":"UID-bob"`) {
		t.Errorf("who left, after a restart: %s", got)
	}
}

// CloudTAK's way: a password for a token and a certificate, and then the stream.
func TestPasswordLogin(t *testing.T) {
	t.Parallel()
	w := start(t)
	file := w.secretFile("ann's password")
	w.takd("user", "add", "ann", "--password-file", file, "--group", "Blue")
	b := w.browser()
	form := "grant_type=password&username=ann&password="
	var grant struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(b.want(200, "POST", "enroll", "/oauth/token", "", form+url.QueryEscape("ann's password"))), &grant); err != nil {
		t.Fatal(err)
	}
	if got := b.want(401, "POST", "enroll", "/oauth/token", "", form+"wrong"); got != `{"error":"invalid_grant","error_description":"Bad credentials"}` {
		t.Errorf("wrong password: %s", got)
	}
	b.want(200, "GET", "enroll", "/Marti/api/tls/config", grant.Token, "")
	b.want(200, "GET", "enroll", "/Marti/api/contacts/all", grant.Token, "")
	b.want(401, "GET", "https", "/Marti/api/contacts/all", grant.Token, "") // that port wants a certificate
	cert := b.enroll("ann", "ann's password", "ann%20(ETL)")
	w.browser(cert).want(200, "GET", "https", "/Marti/api/version", "", "")
	b.want(200, "GET", "enroll", "/logout", grant.Token, "")
	b.want(401, "GET", "enroll", "/Marti/api/contacts/all", grant.Token, "")
}

// Channels: what a device switches off leaves its live stream at once, once, and
// stays off after a restart.
func TestChannelsHoldOnTheStream(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, name := range []string{"alice", "bob"} {
		w.takd("user", "add", name, "--group", "Blue")
	}
	aliceCert := w.certificate("alice")
	alice := w.connect("alice", aliceCert)
	bob := w.connect("bob", w.certificate("bob"))
	alice.receives("UID-bob")
	app := w.browser(aliceCert)
	put := func(active bool) {
		t.Helper()
		body := fmt.Sprintf(`[{"name":"Blue","direction":"IN","created":1,"active":%t},{"name":"Blue","direction":"OUT","created":1,"active":%t}]`, active, active)
		app.want(200, "PUT", "https", "/Marti/api/groups/active?clientUid=UID-alice", "", body)
	}
	changes := func() int { return strings.Count(alice.in.String(), `"t-x-g-c"`) }
	put(true) // as it was
	time.Sleep(50 * time.Millisecond)
	if n := changes(); n != 0 {
		t.Errorf("%d t-x-g-c for nothing", n)
	}
	put(false)
	w.until("t-x-g-c", func() bool { return changes() == 1 })
	bob.seesLeave("alice")
	if got := app.want(200, "GET", "https", "/Marti/api/groups/all?useCache=true", "", ""); strings.Count(got, `"active":false`) != 2 {
		t.Errorf("groups: %s", got)
	}
	w.stop()
	alice.ends()
	w.run()
	alice = w.connect("alice", aliceCert)
	bob = w.connect("bob", w.certificate("bob"))
	bob.position()
	time.Sleep(100 * time.Millisecond)
	if strings.Contains(alice.in.String(), "UID-bob") || strings.Contains(bob.in.String(), "UID-alice") {
		t.Error("a channel that was off is on after a restart")
	}
	put(true)
	alice.receives("UID-bob")
	bob.receives("UID-alice")
}

// An administrator closes a connection by its number.
func TestDeleteSubscription(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.takd("user", "add", "root", "--role", "admin")
	alice := w.connect("alice", w.certificate("alice"))
	id := ask[[]struct{ ID uint64 }](w, "clients")[0].ID
	w.browser(w.certificate("root")).want(200, "DELETE", "https", fmt.Sprint("/Marti/api/subscriptions/delete/", id), "", "")
	alice.ends()
}

// Every route of the running server, on every port, without credentials: only
// those of this list answer.
func TestNoRouteWithoutCredentials(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.takd("user", "add", "root", "--role", "admin")
	text := w.browser(w.certificate("root")).want(200, "GET", "https", "/openapi.json", "", "")
	var doc struct {
		Paths map[string]map[string]struct{ Tags []string }
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Paths) < 30 {
		t.Fatalf("%d paths", len(doc.Paths))
	}
	open := map[string]bool{
		"get /oauth/token": true, "post /oauth/token": true, "get /login": true, "post /login": true, "get /logout": true, "post /logout": true,
		"get /invite/package.zip": true, // asks for the token itself
	}
	b := w.browser()
	for path, verbs := range doc.Paths {
		for verb, about := range verbs {
			if slices.Contains(about.Tags, "Page") { // it asks who is there by itself
				continue
			}
			for _, face := range []string{"https", "enroll"} {
				status, text := b.call(strings.ToUpper(verb), face, strings.NewReplacer("{", "", "}", "").Replace(path), "", "")
				switch {
				case open[verb+" "+path] && (status == 404 || status < 500):
				case status == 401, status == 404 && strings.Contains(text, "no such path"):
				default:
					t.Errorf("%s %s on %s without credentials: %d %.200s", verb, path, face, status, text)
				}
			}
		}
	}
}

func (w *world) secretFile(text string) string {
	w.Helper()
	name := w.TempDir() + "/secret"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	return name
}

// The port of federated servers has a trust of its own, and no routes but theirs.
func TestFederationPort(t *testing.T) {
	t.Parallel()
	w := start(t)
	if addr := ask[struct{ Listeners map[string]string }](w, "status").Listeners["federation"]; !strings.HasPrefix(addr, "127.0.0.1:") {
		t.Fatalf("listens on %q", addr)
	}
	_, peer := foreign(t, "other-server")
	client := w.certificate("alice")
	for _, cert := range []tls.Certificate{client, peer} {
		for _, path := range []string{"/Marti/api/contacts/all", "/Marti/api/version", "/oauth/token", "/takproto/1", "/api/docs", "/Marti/api/tls/config"} {
			w.browser(cert).want(404, "GET", "federation", path, "", "")
		}
	}
}

// A certificate in files is shown where people enroll and log in, and nowhere else.
func TestCertificateOfEnrollment(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.takd("cert", "issue", "public", "--server", "--san", "public.example.org", "--out", w.data+"/public")
	w.takd("config", "set", "api.certificate.cert="+w.data+"/public/public.pem", "api.certificate.key="+w.data+"/public/public.key")
	w.stop()
	w.run()
	for face, want := range map[string]bool{"enroll": true, "https": false, "federation": false, "tls": false} {
		c, err := tls.Dial("tcp", w.srv.Status().Listeners[face], &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{w.certificate("alice")}})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().PeerCertificates[0].VerifyHostname("public.example.org") == nil; got != want {
			t.Errorf("%s shows it: %t, want %t", face, got, want)
		}
		_ = c.Close()
	}
	if out := w.takd("invite", "bob"); strings.Contains(out, "public authority") {
		t.Errorf("invite warns of the server's own certificate: %s", out)
	}
	if out, code := w.try("config", "set", "api.acme.host=tak.example.org"); code == 0 {
		t.Errorf("both: %s", out)
	}
}
