package enroll_test

import (
	"bytes"
	"encoding/json"
	"image/png"
	"net/http"
	"strings"
	"testing"

	"takd/http/enroll"
	"takd/store/auth"
)

func TestInvites(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "boss", Password: "boss's password", Role: auth.RoleAdmin})
	s.add(auth.NewUser{Name: "ann", Password: "ann's password"})
	const path = "/api/v1/invites"
	boss := call{user: "boss", password: "boss's password"}
	do := func(method, path, body string, status int) answer {
		t.Helper()
		c := boss
		c.method, c.path, c.body, c.status = method, path, []byte(body), status
		return s.do(c)
	}
	if got := do(http.MethodGet, path, "", 200); string(got.body) != "[]" {
		t.Errorf("list = %s, want []", got.body)
	}
	a := do(http.MethodPost, path, `{"user":"Jo Ann","groups":["Blue"],"out":["Red"],"expires":"2h","uses":2,"label":"<b>"}`, 201)
	var i enroll.Invitation
	if err := json.Unmarshal(a.body, &i); err != nil {
		t.Fatal(err)
	}
	if i.User != "Jo Ann" || i.MaxUses != 2 || i.CreatedBy != "boss" || i.State != "open" || len(i.Out) != 2 || !auth.LooksLikeInvite(i.Token) {
		t.Errorf("invitation %+v", i.Invite)
	}
	for _, image := range [][]byte{i.ATAKPNG, i.ITAKPNG, i.RegistrationPNG} {
		if p, err := png.Decode(bytes.NewReader(image)); err != nil || p.Bounds().Dx() < 256 {
			t.Errorf("PNG: %v", err)
		}
	}
	s.do(call{method: http.MethodPost, path: signV2, user: "jo ann", password: i.Token, body: csr(t, "Jo Ann")})
	a = do(http.MethodGet, path, "", 200)
	var list []enroll.Invite
	if err := json.Unmarshal(a.body, &list); err != nil || len(list) != 1 || list[0].Uses != 1 || list[0].ID != i.ID {
		t.Errorf("list %s, %v", a.body, err)
	}
	if strings.Contains(string(a.body), i.Token) {
		t.Error("the list holds the token")
	}
	do(http.MethodDelete, path+"/"+i.ID, "", 204)
	do(http.MethodDelete, path+"/"+i.ID, "", 404)
	do(http.MethodDelete, path+"/%27%20OR%201=1", "", 404)
	s.do(call{path: config, user: "Jo Ann", password: i.Token, status: http.StatusUnauthorized})
	entries, err := s.store.Meta.AuditLog(t.Context(), 10)
	if err != nil || len(entries) != 2 || entries[0].Action != "invite remove" || entries[1].Actor != "boss" {
		t.Errorf("audit: %+v, %v", entries, err)
	}
	for name, body := range map[string]string{
		"no JSON": "x", "no user": "{}", "path": `{"user":"../x"}`, "unknown field": `{"user":"x","group":"Blue"}`, "more": `{"user":"x"} {}`,
		"days": `{"user":"x","expires":"1 day"}`, "zero": `{"user":"x","expires":"0s"}`, "for ever": `{"user":"x","expires":"99999h"}`, "uses": `{"user":"x","uses":-1}`, "array": `[]`, "role": `{"user":"x","role":"king"}`,
	} {
		t.Run(name, func(*testing.T) { do(http.MethodPost, path, body, 400) })
	}
	// Only admins; and nobody who was merely invited, though it be the admin.
	token := s.invite(auth.NewInvite{User: "boss"})
	for _, c := range []call{{user: "ann", password: "ann's password", status: 403}, {user: "boss", password: token, status: 403}, {bearer: token, status: 403}, {status: 401}} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			c.method, c.path = method, path
			s.do(c)
		}
	}
}

func TestLinks(t *testing.T) {
	const token = "abcdefghijklmnopqrstuvwxyz"
	for name, tc := range map[string]struct {
		site          enroll.Site
		user          string
		atak, itak    string
		pack, imports string
		connect       string
	}{
		"usual": {
			enroll.Site{Host: "tak.example.com"},
			"bob",
			"tak://com.atakmap.app/enroll?host=tak.example.com&username=bob&token=" + token,
			"tak.example.com,tak.example.com,8089,SSL",
			"https://tak.example.com:8446/invite/package.zip?token=" + token,
			"tak://com.atakmap.app/import?url=https%3A%2F%2Ftak.example.com%3A8446%2Finvite%2Fpackage.zip%3Ftoken%3D" + token,
			"tak.example.com:8089",
		},
		"ports": {
			enroll.Site{Host: "192.0.2.7", StreamPort: 9089, EnrollPort: 9446, Name: "Fire, Dept"},
			"Jo & Co+é",
			"tak://com.atakmap.app/enroll?host=192.0.2.7:9089&username=Jo%20%26%20Co%2B%C3%A9&token=" + token,
			"Fire  Dept,192.0.2.7,9089,SSL",
			"https://192.0.2.7:9446/invite/package.zip?token=" + token,
			"tak://com.atakmap.app/import?url=https%3A%2F%2F192.0.2.7%3A9446%2Finvite%2Fpackage.zip%3Ftoken%3D" + token,
			"192.0.2.7:9089",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := tc.site.Links(tc.user, token)
			registration := `{"type":"registration","passphrase":"false","serverCredentials":{"connectionString":"` + tc.connect + `:ssl"},` +
				`"userCredentials":{"username":"` + tc.user + `","password":"` + token + `","registrationId":""}}`
			if want := (enroll.Links{ATAK: tc.atak, ITAK: tc.itak, Registration: registration, Package: tc.pack, Import: tc.imports}); l != want {
				t.Errorf("Links = %+v, want %+v", l, want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	if err := (enroll.Options{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, o := range []enroll.Options{{Validity: -1}, {Validity: 1 << 62}, {Session: 1}, {Session: 1 << 62}} {
		if o.Validate() == nil {
			t.Errorf("%+v is valid", o)
		}
	}
}

// Two servers share no secret: neither invitations nor tokens.
func TestTwoServers(t *testing.T) {
	one, two := newSite(t), newSite(t)
	for _, s := range []*site{one, two} {
		s.add(auth.NewUser{Name: "ann", Password: "ann's password"})
	}
	invite := one.invite(auth.NewInvite{User: "ann"})
	token := one.grant(call{path: "/oauth/token?grant_type=password&username=ann&password=ann%27s%20password"}).Token
	two.grant(call{path: "/oauth/token?grant_type=password&username=ann&password=ann%27s%20password"})
	for _, c := range []call{{bearer: token}, {bearer: invite}, {user: "ann", password: invite}, {cookie: token}} {
		c.path = config
		one.do(c)
		c.status = http.StatusUnauthorized
		two.do(c)
	}
}
