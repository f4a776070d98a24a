package live

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// ask is a plain question with a user's token.
func (s *site) ask(user, path string) (status int, body string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://"+s.addr+path, http.NoBody)
	if err != nil {
		s.Fatal(err)
	}
	if user != "" {
		req.Header.Set("Cookie", "access_token="+user)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		s.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A trail is of one uid and of the groups of who asks, and bounded.
func TestTrail(t *testing.T) {
	past := &memory{events: []PastEvent{then("u", -time.Hour, 9, "Blue"), then("other", 0, 4, "Blue")}}
	for i := range 4000 {
		past.events = append(past.events, then("u", time.Duration(i)*time.Second, float64(i)/100, "Blue"))
	}
	past.events = append(past.events, then("u", 4001*time.Second, 80, "Red"))
	s := newSiteOf(t, past)
	at := func(d time.Duration) string { return noon.Add(d).Format(time.RFC3339) }
	path := "/api/v1/track?uid=u&since=" + at(0) + "&until=" + at(4010*time.Second)
	trailOf := func(user string) (tr trail) {
		status, body := s.ask(user, path)
		if status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		if err := json.Unmarshal([]byte(body), &tr); err != nil {
			t.Fatal(err)
		}
		return tr
	}
	blue, red := trailOf("ann"), trailOf("red")
	if n := len(blue.At); n > maxPoints || n < maxPoints/2 || len(blue.Lon) != n || len(blue.Lat) != n || blue.Cut || blue.At[0] != noon.UnixMilli() || blue.Lat[0] != 0 {
		t.Errorf("ann: %d points, every %d ms", n, blue.Every)
	}
	for i := range blue.At {
		if want := int32((blue.At[i] - noon.UnixMilli()) * 100); blue.Lat[i] != want {
			t.Fatalf("point %d: %d, want %d", i, blue.Lat[i], want)
		}
	}
	if len(red.At) != 1 || red.Lat[0] != 80e7 {
		t.Errorf("red: %+v", red)
	}
	for name, bad := range map[string]string{
		"no uid": "?since=" + at(0), "long": "?uid=" + strings.Repeat("x", 513) + "&since=" + at(0), "no time": "?uid=u", "backwards": "?uid=u&since=" + at(1) + "&until=" + at(0),
		"days": "?uid=u&since=" + at(0) + "&until=" + at(25*time.Hour), "no times": "?uid=u&since=0&until=" + url.QueryEscape("' OR 1=1"),
	} {
		if status, body := s.ask("ann", "/api/v1/track"+bad); status != 400 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _ := s.ask("", path); status != 401 {
		t.Errorf("nobody: %d", status)
	}
	if status, body := newSite(t).ask("ann", path); status != 503 || !strings.Contains(body, "keeps no history") {
		t.Errorf("without history: %d %s", status, body)
	}
}
