package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// wellFormed tells whether text is whole XML.
func wellFormed(text string) bool {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return true
		} else if err != nil {
			return false
		}
	}
}

// What clients ask the history: the groups of the asker now decide, a direct message
// is for its receiver and nobody else, whatever uid and callsign he takes later.
func TestHistoryForClients(t *testing.T) {
	t.Parallel()
	w := record(t, []string{"user", "add", "alice", "--group", "Blue"}, []string{"user", "add", "bob", "--group", "Blue"},
		[]string{"user", "add", "eve", "--group", "Red"}, []string{"user", "add", "mallory", "--group", "Blue"})
	certs := map[string]*browser{}
	for _, name := range []string{"alice", "bob", "eve", "mallory"} {
		certs[name] = w.browser(w.certificate(name))
	}
	root := w.root()
	alice, bob := w.connect("alice", w.certificate("alice")), w.connect("bob", w.certificate("bob"))
	for range 2 {
		alice.position()
	}
	alice.chat("bob", "a secret")
	bob.receives("a secret")
	alice.ping()
	w.takd("history", "flush")

	const latest, all = "/Marti/api/cot/xml/UID-alice", "/Marti/api/cot/xml/UID-alice/all"
	for name, status := range map[string]int{"alice": 200, "bob": 200, "mallory": 200, "eve": 404} {
		if got := certs[name].want(status, "GET", "https", latest, "", ""); status == 200 && (!wellFormed(got) || strings.Count(got, "<event ") != 1) || status == 404 && got != "" { // node-tak takes any text for an event
			t.Errorf("latest for %s: %s", name, got)
		}
	}
	for name, n := range map[string]int{"bob": 3, "eve": 0} {
		got := certs[name].want(200, "GET", "https", all+"?secago=3600", "", "")
		if !wellFormed(got) || strings.Count(got, "<event ") != n {
			t.Errorf("all for %s, want %d events: %s", name, n, got)
		}
	}
	for _, b := range []*browser{certs["alice"], certs["bob"], root} {
		if got := b.want(200, "GET", "https", "/api/history/chat", "", ""); !strings.Contains(got, "a secret") {
			t.Errorf("chat for its sender, receiver or an administrator: %s", got)
		}
	}
	// Another user takes the receiver's uid and callsign.
	_ = bob.conn.Close()
	alice.seesLeave("bob")
	w.connect("bob", w.certificate("mallory"))
	for _, name := range []string{"mallory", "eve"} {
		if got := certs[name].want(200, "GET", "https", "/api/history/chat", "", ""); got != "" {
			t.Errorf("chat for %s: %s", name, got)
		}
	}
	// The groups now: who has left Blue sees no more of it.
	w.takd("user", "set", "mallory", "--group", "Red")
	certs["mallory"].want(404, "GET", "https", latest, "", "")
	// Somebody else of the same name has nothing of his.
	w.takd("user", "remove", "bob")
	w.takd("user", "add", "bob", "--group", "Blue")
	again := w.browser(w.certificate("bob"))
	if got := again.want(200, "GET", "https", "/api/history/chat", "", ""); got != "" {
		t.Errorf("chat for a new bob: %s", got)
	}
	again.want(200, "GET", "https", latest, "", "")

	w.recallFormats(again)
}

// What was said can be read without the event, and who came and went is recorded.
func TestHistoryRowsAreComplete(t *testing.T) {
	t.Parallel()
	w := record(t, []string{"user", "add", "alice", "--group", "Blue"}, []string{"user", "add", "bob", "--group", "Blue"})
	alice, bob := w.connect("alice", w.certificate("alice")), w.connect("bob", w.certificate("bob"))
	alice.chat("bob", "fish &amp; chips")
	bob.receives("chips")
	w.takd("history", "flush")
	got := w.takd("history", "query", "--json", "--table", "chat")
	if !strings.Contains(got, `"text":"fish & chips"`) || !strings.Contains(got, `"flow":["TAK-Server-`) {
		t.Errorf("chat: %s", got)
	}
	w.until("that alice came", func() bool { return slices.Equal(w.cameAndWent("alice"), []string{"Connected"}) })
	_ = alice.conn.Close()
	w.until("that alice went", func() bool { return slices.Equal(w.cameAndWent("alice"), []string{"Connected", "Disconnected"}) })
}

// Who has hardly said who he is before he goes came, and went; whether there is an API or not.
func TestShortVisitsAreRecorded(t *testing.T) {
	t.Parallel()
	w := record(t, []string{"user", "add", "alice", "--group", "Blue"})
	cert := w.certificate("alice")
	var want []string
	for _, without := range [][]string{nil, {"api"}} {
		w.stop()
		w.without = without
		w.run()
		for range 2 {
			conn, err := w.dial(cert)
			if err != nil {
				t.Fatal(err)
			}
			(&client{world: w, name: "alice", conn: conn}).position()
			_ = conn.Close()
			want = append(want, "Connected", "Disconnected")
			w.until("that alice came and went", func() bool { return slices.Equal(w.cameAndWent("alice"), want) })
		}
	}
}

// cameAndWent is what the history says of a client of group Blue.
func (w *world) cameAndWent(name string) (types []string) {
	w.Helper()
	w.takd("history", "flush")
	for line := range strings.Lines(w.takd("history", "query", "--json", "--table", "endpoint_events")) {
		var r row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			w.Fatal(err)
		}
		if r.UID == "UID-"+name && r.User == name && r.Callsign == "CS-"+name && slices.Equal(r.Groups, []string{"Blue"}) {
			types = append(types, r.Type)
		}
	}
	return types
}

// recallFormats asks for all forms of answers, and for what makes no sense.
func (w *world) recallFormats(b *browser) {
	w.Helper()
	at := func(d time.Duration) string { return url.QueryEscape(time.Now().Add(d).UTC().Format(time.RFC3339)) }
	hour := "start=" + at(-time.Hour) + "&end=" + at(time.Minute)
	for path, n := range map[string]int{
		"?" + hour: 5, "?" + hour + "&left=11&bottom=48&right=12&top=49": 5, "?" + hour + "&left=1&bottom=8&right=2&top=9": 0,
	} {
		if got := b.want(200, "GET", "https", "/Marti/api/cot/sa"+path, "", ""); !wellFormed(got) || (strings.Count(got, "<event ") > 0) != (n > 0) {
			w.Errorf("sa%s: %s", path, got)
		}
	}
	if got := b.want(200, "POST", "https", "/Marti/api/cot", "", `["UID-alice","none"]`); !wellFormed(got) || strings.Count(got, "<event ") != 1 {
		w.Errorf("cot: %s", got)
	}
	tracks := "/Marti/ExportMissionKML?secago=3600&uid=UID-alice"
	for format, want := range map[string]string{"kml": "<gx:coord>11.5000000 48.1000000 500.0</gx:coord>", "gpx": `<trkpt lat="48.1000000" lon="11.5000000"><ele>500.0</ele>`} {
		if got := b.want(200, "GET", "https", tracks+"&format="+format, "", ""); !wellFormed(got) || strings.Count(got, want) != 3 || !strings.Contains(got, "<name>CS-alice</name>") {
			w.Errorf("%s: %s", format, got)
		}
	}
	if got := b.want(200, "GET", "https", tracks+"&interval=3600", "", ""); strings.Count(got, "<gx:coord>") != 1 {
		w.Errorf("one point an hour: %s", got)
	}
	if got := b.want(200, "GET", "https", "/Marti/LatestKML", "", ""); !wellFormed(got) || strings.Count(got, "<Placemark><name>CS-alice</name>") != 1 {
		w.Errorf("latest: %s", got)
	}
	kmz := b.want(200, "GET", "https", "/Marti/latestKML?format=kmz", "", "")
	if z, err := zip.NewReader(bytes.NewReader([]byte(kmz)), int64(len(kmz))); err != nil || len(z.File) != 1 || z.File[0].Name != "doc.kml" {
		w.Errorf("kmz: %v", err)
	}
	for path, method := range map[string]string{
		"/Marti/api/cot/sa?start=" + at(-48*time.Hour) + "&end=" + at(0): "GET",
		"/Marti/api/cot/sa": "GET", "/Marti/api/cot/sa?" + hour + "&left=1": "GET", "/Marti/api/cot/sa?" + hour + "&left=1&bottom=95&right=2&top=99": "GET",
		"/Marti/api/cot/sa?" + hour + "&left=x&bottom=1&right=2&top=9": "GET", "/Marti/api/cot/xml/u/all?secago=-1": "GET", "/Marti/api/cot/xml/u/all?start=now": "GET",
		"/Marti/api/cot": "POST", "/Marti/ExportMissionKML": "GET", "/Marti/ExportMissionKML?secago=60&format=exe": "GET", "/Marti/ExportMissionKML?secago=60&interval=NaN": "GET",
		"/Marti/ExportMissionKML?secago=60" + strings.Repeat("&uid=x", 300): "POST", "/api/history/chat?limit=0": "GET",
		"/api/history/chat?secago=99999999999": "GET", "/Marti/api/cot/xml/" + strings.Repeat("x", 1000): "GET",
	} {
		b.want(400, method, "https", path, "", "")
	}
}

// Texts of clients stay texts.
func TestHistoryTextsAreEscaped(t *testing.T) {
	t.Parallel()
	w := record(t)
	root := w.root()
	line := `{"server_time":"` + time.Now().UTC().Format(time.RFC3339) + `","event":"<event version='2.0' uid='u&lt;x&gt;' type='a-f-G' how='m-g' time='2026-01-02T03:04:05Z' start='2026-01-02T03:04:05Z' stale='2026-01-02T03:05:05Z'>` +
		`<point lat='1' lon='2' hae='3' ce='4' le='5'/><detail><contact callsign='&lt;/name&gt;&lt;script&gt;'/></detail></event>"}` + "\n"
	file := filepath.Join(t.TempDir(), "x.ndjson")
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	w.takd("history", "import", file)
	for _, path := range []string{"/Marti/ExportMissionKML?secago=3600", "/Marti/ExportMissionKML?secago=3600&format=gpx", "/Marti/LatestKML"} {
		if got := root.want(200, "GET", "https", path, "", ""); !wellFormed(got) || strings.Contains(got, "<script>") || !strings.Contains(got, "&lt;script&gt;") {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// A server without history says so.
func TestHistoryOff(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.browser(w.certificate("ann"))
	for _, path := range []string{"/Marti/api/cot/xml/u", "/api/history/chat", "/Marti/LatestKML"} {
		if got := b.want(503, "GET", "https", path, "", ""); !strings.Contains(got, "keeps no history") {
			t.Errorf("%s: %s", path, got)
		}
	}
	if out, code := w.try("history", "query"); code != 1 || !strings.Contains(out, "history is off") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out := w.takd("history", "stats", "--json"); !strings.Contains(out, `"engine": "off"`) {
		t.Errorf("stats: %s", out)
	}
}
