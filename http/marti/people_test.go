package marti_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"takd/http/marti"
	"takd/store/contact"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 7e6, time.UTC)

func client(id uint64, name string, groups ...string) marti.Client {
	return marti.Client{
		ID: id, UID: "UID-" + name, Callsign: strings.ToUpper(name), User: name, Team: "Cyan", Role: "Team Member", Takv: "ATAK-CIV 5.6.0",
		Address: "192.0.2.7:4711", Protocol: "xml", In: groups, Out: groups, Since: noon, LastEvent: noon, EventsOut: 12, Queue: 3,
	}
}

const bobContact = `{"filterGroups":null,"notes":"bob","callsign":"BOB","team":"Cyan","role":"Team Member","takv":"ATAK-CIV 5.6.0","uid":"UID-bob"}`

func TestContacts(t *testing.T) {
	s := newSite(t)
	annContact := strings.NewReplacer("bob", "ann", "BOB", "ANN").Replace(bobContact)
	for _, path := range []string{"/Marti/api/contacts/all", "/Marti/api/contacts/all/full"} {
		s.want("ann", "GET", path, "", jsonOK+"[]")
	}
	silent := client(4, "silent", "Blue")
	silent.UID = ""
	s.live.all = []marti.Client{client(1, "bob", "Blue"), client(2, "ann", "Blue"), client(3, "red", "Red"), silent}
	time.Sleep(250 * time.Millisecond) // a list is given out again for 200 ms
	s.want("ann", "GET", "/Marti/api/contacts/all", "", jsonOK+"["+annContact+","+bobContact+"]")
	lite := func(contact, user string) string {
		return strings.TrimSuffix(contact, "}") + `,"user":{"name":"` + user + `"}}`
	}
	s.want("ann", "GET", "/Marti/api/contacts/all/lite", "", jsonOK+"["+lite(annContact, "ann")+","+lite(bobContact, "bob")+"]")
	s.want("view", "GET", "/Marti/api/contacts/all?sortBy=UID&direction=DESCENDING&noFederates=true", "", jsonOK+"["+bobContact+","+annContact+"]")
	if got := s.Do("red", "GET", "/Marti/api/contacts/all", "").Body; strings.Contains(got, "bob") || !strings.Contains(got, "UID-red") {
		t.Errorf("red sees %s", got)
	}
	for _, q := range []string{"?sortBy=x", "?direction=x"} {
		if got := s.Do("ann", "GET", "/Marti/api/contacts/all"+q, ""); got.Status != 400 {
			t.Errorf("%s: %d", q, got.Status)
		}
	}
}

func TestEndpoints(t *testing.T) {
	s := newSite(t)
	nameless := client(4, "x", "Blue")
	nameless.Callsign = ""
	s.live.all = []marti.Client{client(1, "bob", "Blue"), client(3, "red", "Red"), nameless}
	settled := false
	s.live.settle = func() { settled = true }
	now := time.Now().UTC().Truncate(time.Second)
	gone := []contact.Endpoint{
		{UID: "UID-old", Callsign: "OLD", User: "old", Team: "Red", Role: "HQ", Groups: []string{"Blue"}, At: now.Add(-2 * time.Hour)},
		{UID: "UID-new", Callsign: "NEW", User: "new", Groups: []string{"Blue"}, At: now.Add(120 * time.Millisecond)},
		{UID: "UID-bob", Callsign: "BOB", User: "bob", Groups: []string{"Blue"}, At: now}, // is back
		{UID: "UID-other", Callsign: "OTHER", User: "other", Groups: []string{"Red"}, At: now},
		{UID: "UID-nameless", User: "nameless", Groups: []string{"Blue"}, At: now},
	}
	if err := s.contact.Left(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	stamp := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.") }
	const head = jsonOK + `{"version":"3","type":"com.bbn.marti.remote.ClientEndpoint","data":[`
	bob := `{"callsign":"BOB","uid":"UID-bob","username":"bob","team":"Cyan","role":"Team Member","lastEventTime":"2026-03-04T12:00:00.7Z","lastStatus":"Connected"}`
	fresh := `{"callsign":"NEW","uid":"UID-new","username":"new","team":"","role":"","lastEventTime":"` + stamp(now) + `120Z","lastStatus":"Disconnected"}`
	old := `{"callsign":"OLD","uid":"UID-old","username":"old","team":"Red","role":"HQ","lastEventTime":"` + stamp(now.Add(-2*time.Hour)) + `0Z","lastStatus":"Disconnected"}`
	const tail = `],"nodeId":"node-1"}`
	got := s.want("ann", "GET", "/Marti/api/clientEndPoints", "", head+bob+","+fresh+","+old+tail)
	if got.Header.Get("Cache-Control") != "must-revalidate, max-age=0, no-cache, no-store" || got.Header.Get("Expires") != "0" || !settled {
		t.Errorf("headers %v, settled %v", got.Header, settled)
	}
	s.want("ann", "GET", "/Marti/api/clientEndPoints?secAgo=3600&showMostRecentOnly=maybe", "", head+bob+","+fresh+tail)
	s.want("ann", "GET", "/Marti/api/clientEndPoints?showCurrentlyConnectedClients=true&group=Blue", "", head+bob+tail)
	for query, want := range map[string]int{"secAgo=-1": 400, "secAgo=x": 400, "group=Red": 403, "showCurrentlyConnectedClients=what": 200} {
		if got := s.Do("ann", "GET", "/Marti/api/clientEndPoints?"+query, ""); got.Status != want {
			t.Errorf("%s: %d, want %d", query, got.Status, want)
		}
	}
}

func TestSubscriptions(t *testing.T) {
	s := newSite(t)
	s.live.all = []marti.Client{client(7, "bob", "Blue"), client(8, "ann", "Blue"), client(9, "red", "Red")}
	type page struct {
		Type string
		Data []struct {
			Callsign, SubscriptionUID string
			Diff                      int64 `json:"lastReportDiffMilliseconds"`
		}
	}
	names := func(user, query string) string {
		t.Helper()
		var p page
		got := s.Do(user, "GET", "/Marti/api/subscriptions/all"+query, "")
		if err := json.Unmarshal([]byte(got.Body), &p); err != nil || p.Type != "com.bbn.marti.remote.SubscriptionInfo" || p.Data == nil {
			t.Fatalf("%s: %v: %s", query, err, got.Body)
		}
		all := []string{}
		for _, one := range p.Data {
			all = append(all, one.Callsign)
		}
		return strings.Join(all, " ")
	}
	for query, want := range map[string]string{
		"": "ANN BOB RED", "?page=-1&limit=-1": "ANN BOB RED", "?page=1&limit=2": "ANN BOB", "?page=2&limit=2": "RED", "?page=3&limit=2": "",
		"?page=9223372036854775807&limit=9223372036854775807": "", "?direction=DESCENDING&page=1&limit=1": "RED", "?sortBy=UID": "ANN BOB RED",
	} {
		if got := names("boss", query); got != want {
			t.Errorf("subscriptions/all%s: %s, want %s", query, got, want)
		}
	}
	if got := names("ann", ""); got != "ANN BOB" {
		t.Errorf("ann sees %s", got)
	}
	got := s.Do("ann", "GET", "/Marti/api/subscription/UID-bob", "").Body
	i, j := strings.Index(got, `"lastReportDiffMilliseconds":`), strings.LastIndex(got, "},")
	created := time.Now().UTC().Format(time.DateOnly)
	group := func(direction string) string {
		return `{"name":"Blue","direction":"` + direction + `","created":"` + created + `","type":"SYSTEM","bitpos":3,"active":true,"description":""}`
	}
	want := `{"version":"3","type":"com.bbn.marti.remote.SubscriptionInfo","data":{"dn":null,"callsign":"BOB","clientUid":"UID-bob","lastReportMilliseconds":1772625600007,` +
		`"takClient":"ATAK-CIV","takVersion":"5.6.0","username":"bob","groups":[` + group("IN") + `,` + group("OUT") + `],"role":"Team Member","team":"Cyan",` +
		`"ipAddress":"192.0.2.7","port":"4711","pendingWrites":3,"numProcessed":12,"protocol":"xml","xpath":null,"subscriptionUid":"7","appFramerate":"","battery":"",` +
		`"batteryStatus":"","batteryTemp":"","deviceDataRx":"","deviceDataTx":"","heapCurrentSize":"","heapFreeSize":"","heapMaxSize":"","deviceIPAddress":"",` +
		`"storageAvailable":"","storageTotal":"","incognito":false,"handlerType":"netty",`
	if i < 0 || got[:i] != want || got[j:] != `},"nodeId":"node-1"}` {
		t.Errorf("subscription:\n%s\nwant\n%s", got, want)
	}
	if got := s.Do("ann", "GET", "/Marti/api/subscription/UID-red", ""); got.Status != 404 {
		t.Errorf("a subscription of another group: %d", got.Status)
	}
}

func TestDeleteSubscription(t *testing.T) {
	s := newSite(t)
	s.live.all = []marti.Client{client(7, "bob", "Blue")}
	const path = "/Marti/api/subscriptions/delete/"
	s.want("boss", "DELETE", path+"7", "", jsonOK+`{"version":"3","type":"java.lang.String","data":"7","nodeId":"node-1"}`)
	for id, want := range map[string]int{"8": 404, "UID-bob": 400, "-1": 400, "18446744073709551616": 400} {
		if got := s.Do("boss", "DELETE", path+id, ""); got.Status != want {
			t.Errorf("delete %s: %d, want %d", id, got.Status, want)
		}
	}
	log, err := s.db.AuditLog(t.Context(), 10)
	if err != nil || len(log) != 1 || log[0].Actor != "boss" || log[0].Action != "kick" || log[0].Detail != "connection 7" {
		t.Errorf("audit %+v, %v", log, err)
	}
}
