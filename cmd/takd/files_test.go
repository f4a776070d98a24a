package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"testing"
)

// upload sends a data package as ATAK does, and returns the address of its content.
func (b *browser) upload(name string, data []byte) (int, string) {
	b.Helper()
	return b.uploadTo("https", name, data)
}

func (b *browser) uploadTo(face, name string, data []byte) (int, string) {
	b.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("assetfile", name)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = part.Write(data)
	_ = w.Close()
	resp, err := b.http.Post("https://"+b.srv.Status().Listeners[face]+"/Marti/sync/missionupload?filename="+name+"&creatorUid=U", w.FormDataContentType(), &body)
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

// A package sent to a contact arrives: at once, and after he was away; the
// sender hears of it; a stranger gets nothing; a restart changes nothing.
func TestPackageForAContact(t *testing.T) {
	t.Parallel()
	w := start(t)
	certs := map[string]*browser{}
	for _, name := range []string{"alice", "bob", "eve"} {
		certs[name] = w.browser(w.certificate(name))
	}
	w.takd("user", "add", "eve", "--group", "Elsewhere")
	aliceCert, bobCert := certs["alice"].http.Transport.(*http.Transport).TLSClientConfig.Certificates[0], certs["bob"].http.Transport.(*http.Transport).TLSClientConfig.Certificates[0]
	alice, bob := w.connect("alice", aliceCert), w.connect("bob", bobCert)

	data := bytes.Repeat([]byte("photo"), 100_000)
	status, address := certs["alice"].upload("photo", data)
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	if want := "https://" + w.srv.Status().Listeners["https"] + "/Marti/sync/content?hash=" + hash; status != 200 || address != want {
		t.Fatalf("missionupload: %d %s, want %s", status, address, want)
	}
	path := strings.TrimPrefix(address, "https://"+w.srv.Status().Listeners["https"])
	offer := func(id string) string {
		return `<fileshare filename="photo.zip" name="photo" senderUrl="` + address + `" sizeInBytes="500000" sha256="` + hash + `" senderUid="UID-alice" senderCallsign="CS-alice"/>` +
			`<ackrequest uid="` + id + `" ackrequested="true" tag="photo"/><marti><dest callsign="CS-bob"/></marti>`
	}
	alice.say("offer-1", "b-f-t-r", offer("ack-1"))
	bob.receives("offer-1")
	if got := certs["bob"].want(200, "GET", "https", path+"&receiver=CS-bob", "", ""); got != string(data) {
		t.Errorf("bob got %d bytes of %d", len(got), len(data))
	}
	bob.say("UID-bob", "b-f-t-a", `<ackresponse uid="ack-1" senderUid="UID-bob" success="true" tag="photo" sha256="`+hash+`" sizeInBytes="500000"/><marti><dest callsign="CS-alice"/></marti>`)
	alice.receives("ackresponse")
	certs["eve"].want(404, "GET", "https", path, "", "")
	if got := certs["eve"].want(200, "GET", "https", "/Marti/sync/search?keywords=missionpackage", "", ""); !strings.Contains(got, `"resultCount":0`) {
		t.Errorf("eve sees %s", got)
	}

	_ = bob.conn.Close()
	alice.seesLeave("bob")
	alice.say("offer-2", "b-f-t-r", offer("ack-2"))
	alice.say("fence", "t-x-c-t", "")
	alice.receives("takPong")
	w.stop()
	w.run()
	w.connect("bob", bobCert).receives("offer-2")
	certs["bob"].want(200, "GET", "https", path, "", "")

	resp, err := http.Get("http://" + w.srv.Status().Listeners["ops"] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !strings.Contains(string(metrics), "takd_files 1\ntakd_files_bytes 500000\n") {
		t.Errorf("metrics: %v, %.2000s", err, metrics)
	}

	// Limits hold from the next upload on, and clients are told.
	w.takd("config", "set", "files.max_upload=1048576", "files.quota_user=100GiB")
	if got := certs["bob"].want(200, "GET", "https", "/files/api/config", "", ""); got != `{"uploadSizeLimit":1}` {
		t.Errorf("files/api/config: %s", got)
	}
	if status, text := certs["bob"].upload("large", make([]byte, 3<<20)); status != 413 || !strings.Contains(text, "files.max_upload is 1MiB") {
		t.Errorf("upload beyond the limit: %d %s", status, text)
	}
	if got := w.takd("config", "get", "files"); !strings.Contains(got, "max_upload: 1MiB") || !strings.Contains(got, "min_free: 1GiB") {
		t.Errorf("config get files: %s", got)
	}
}

// Another server puts packages into the groups that are named for that, and finds what is
// in these; nothing else, and nothing before they are named.
func TestFilesOfServers(t *testing.T) {
	t.Parallel()
	w := start(t)
	ca, peerCert := foreign(t, "other-server")
	if err := os.WriteFile(w.data+"/pki/federates.pem", ca, 0o600); err != nil {
		t.Fatal(err)
	}
	w.takd("config", "reload")
	w.takd("user", "add", "eve", "--group", "Elsewhere")
	alice, eve, peer := w.browser(w.certificate("alice")), w.browser(w.certificate("eve")), w.browser(peerCert)
	const query, search = "/Marti/sync/missionquery?hash=", "/Marti/sync/search?keywords=missionpackage"
	if status, text := peer.uploadTo("federation", "early", []byte("early")); status != 403 || !strings.Contains(text, "api.federation_groups") {
		t.Errorf("in no group: %d %s", status, text)
	}
	peer.want(403, "GET", "federation", search, "", "")
	alice.want(401, "GET", "federation", search, "", "") // a client's certificate is none of a server's

	w.takd("config", "set", "api.federation_groups=[__ANON__]")
	status, address := peer.uploadTo("federation", "theirs", []byte("theirs"))
	_, hash, _ := strings.Cut(address, "hash=")
	if status != 200 || !strings.HasPrefix(address, "https://127.0.0.1:") || len(hash) != 64 {
		t.Fatalf("upload: %d %s", status, address)
	}
	if got := alice.want(200, "GET", "https", "/Marti/sync/content?hash="+hash, "", ""); got != "theirs" {
		t.Errorf("alice got %q", got)
	}
	eve.want(404, "GET", "https", "/Marti/sync/content?hash="+hash, "", "")
	_, _ = alice.upload("ours", []byte("ours"))
	_, hidden := eve.upload("hidden", []byte("hidden"))
	if got := peer.want(200, "GET", "federation", search, "", ""); !strings.Contains(got, "ours") || strings.Contains(got, "hidden") {
		t.Errorf("the other server finds %s", got)
	}
	_, hash, _ = strings.Cut(hidden, "hash=")
	peer.want(404, "GET", "federation", query+hash, "", "")
	peer.want(404, "GET", "federation", "/Marti/sync/content?hash="+hash, "", "")
	if out, code := w.try("config", "set", "api.federation_groups=['a/b']"); code == 0 || !strings.Contains(out, "api.federation_groups") {
		t.Errorf("a name that is none: %d %s", code, out)
	}
}
