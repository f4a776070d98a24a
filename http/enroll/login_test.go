package enroll_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"takd/store/auth"
)

const form = "application/x-www-form-urlencoded"

type granted struct {
	Token   string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int    `json:"expires_in"`
}

func (s *site) grant(c call) granted {
	s.Helper()
	var g granted
	if err := json.Unmarshal(s.do(c).body, &g); err != nil {
		s.Fatal(err)
	}
	return g
}

func TestOAuth(t *testing.T) {
	s := newSite(t)
	const password = "p@ss word+&=%é"
	s.add(auth.NewUser{Name: "ann", Password: password, Role: auth.RoleAdmin})
	args := url.Values{"grant_type": {"password"}, "username": {"ann"}, "password": {password}}.Encode()
	for name, c := range map[string]call{
		"form":          {method: http.MethodPost, kind: form, body: []byte(args)},
		"query of POST": {method: http.MethodPost, path: "?" + args}, // node-tak 12.0
		"GET":           {path: "?" + args},
	} {
		t.Run(name, func(t *testing.T) {
			c.path, c.wantKind = "/oauth/token"+c.path, "application/json"
			a := s.do(c)
			var g granted
			if err := json.Unmarshal(a.body, &g); err != nil || g.Type != "Bearer" || g.Expires != 7800 {
				t.Errorf("%+v, %v", g, err)
			}
			if user, err := s.tokens.Verify(t.Context(), g.Token); user != "ann" || err != nil {
				t.Errorf("Verify = %q, %v", user, err)
			}
			// As node-tak reads it: all at once, cut at braces.
			text, _ := base64.StdEncoding.DecodeString(pad(strings.NewReplacer("-", "+", "_", "/").Replace(strings.Split(g.Token, ".")[0] + strings.Split(g.Token, ".")[1])))
			parts := strings.Split(string(text), "}")
			var claims struct {
				Sub, Aud string
				Exp, Nbf int64
			}
			if err := json.Unmarshal([]byte(parts[1]+"}"), &claims); err != nil || claims.Sub != "ann" || claims.Aud == "" || claims.Exp-claims.Nbf != 7800 {
				t.Errorf("claims %+v, %v", claims, err)
			}
			cookie := a.cookie(t)
			if cookie.Value != g.Token || !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" {
				t.Errorf("cookie %v", cookie)
			}
			if a.header.Get("Cache-Control") != "no-store" {
				t.Error("the answer may be stored")
			}
			s.do(call{path: config, bearer: g.Token})
		})
	}
	if log := s.log.String(); strings.Contains(log, "p@ss") || strings.Contains(log, url.QueryEscape(password)) {
		t.Error("the log holds the password")
	}
	entries, err := s.store.Meta.AuditLog(t.Context(), 10)
	if err != nil || len(entries) != 3 || entries[0].Action != "login" || entries[0].Actor != "ann" || !strings.Contains(entries[0].Detail, "127.0.0.1") {
		t.Errorf("audit: %+v, %v", entries, err)
	}
}

func pad(s string) string { return s + strings.Repeat("=", (4-len(s)%4)%4) }

func TestOAuthRefused(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "ann", Password: "ann's password"})
	s.add(auth.NewUser{Name: "off", Password: "off's password"})
	s.add(auth.NewUser{Name: "cert"})
	if err := s.store.Auth.SetDisabled(t.Context(), "off", true); err != nil {
		t.Fatal(err)
	}
	token := s.invite(auth.NewInvite{User: "ann"})
	for name, tc := range map[string]struct {
		user, password, kind string
		status               int
		want                 string
	}{
		"wrong":       {"ann", "wrong", "password", 401, `{"error":"invalid_grant","error_description":"Bad credentials"}`},
		"nobody":      {"nobody", "wrong", "password", 401, `{"error":"invalid_grant","error_description":"Bad credentials"}`},
		"disabled":    {"off", "off's password", "password", 401, "Bad credentials"},
		"no password": {"cert", "x", "password", 401, "Bad credentials"},
		"invitation":  {"ann", token, "password", 401, "Bad credentials"}, // enrolls, and no more
		"SQL":         {"' OR '1'='1", "' OR '1'='1", "password", 401, "Bad credentials"},
		"long":        {strings.Repeat("u", 3000), strings.Repeat("p", 3000), "password", 401, "Bad credentials"},
		"binary":      {"a\x00b", "\xff\xfe", "password", 401, "Bad credentials"},
		"empty":       {"", "", "password", 400, "invalid_request"},
		"other grant": {"ann", "ann's password", "client_credentials", 400, "unsupported_grant_type"},
	} {
		t.Run(name, func(*testing.T) {
			args := url.Values{"grant_type": {tc.kind}, "username": {tc.user}, "password": {tc.password}}.Encode()
			a := s.do(call{method: http.MethodPost, path: "/oauth/token", kind: form, body: []byte(args), status: tc.status, wantKind: "application/json", wantInBody: tc.want})
			if a.header.Get("Set-Cookie") != "" {
				t.Error("a cookie for nothing")
			}
		})
	}
}

// The right password of a user does not help an address that guesses it.
func TestOAuthThrottle(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "ann", Password: "ann's password"})
	last := 0
	here := auth.WithPeer(t.Context(), netip.MustParseAddr("127.0.0.1"))
	for range 12 {
		_, err := s.store.Auth.PrincipalForPassword(here, "ann", "wrong password")
		if err == nil {
			t.Fatal("a wrong password was taken")
		}
	}
	args := url.Values{"grant_type": {"password"}, "username": {"ann"}, "password": {"ann's password"}}.Encode()
	a := s.do(call{method: http.MethodPost, path: "/oauth/token", kind: form, body: []byte(args), status: http.StatusTooManyRequests})
	if last = a.status; last != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q", last, a.header.Get("Retry-After"))
	}
}

type who struct {
	Authenticated bool
	User, Role    string
	In, Out       []string
	Via, Expires  string
}

func (s *site) who(c call) who {
	s.Helper()
	var w who
	if err := json.Unmarshal(s.do(c).body, &w); err != nil {
		s.Fatal(err)
	}
	return w
}

func TestSession(t *testing.T) {
	s := newSite(t)
	s.add(auth.NewUser{Name: "ann", Password: "ann's password", In: []string{"Blue"}, Out: []string{"Blue", "Red"}})
	if w := s.who(call{path: "/login"}); w.Authenticated || w.User != "" || w.In == nil {
		t.Errorf("nobody is %+v", w)
	}
	login := call{method: http.MethodPost, path: "/login", kind: "application/json; charset=utf-8", body: []byte(`{"username":"ann","password":"ann's password"}`)}
	a := s.do(login)
	cookie := a.cookie(t).Value
	if strings.Contains(string(a.body), cookie) {
		t.Error("the answer shows scripts the token")
	}
	w := s.who(call{path: "/login", cookie: cookie})
	if !w.Authenticated || w.User != "ann" || w.Role != auth.RoleUser || len(w.Out) != 2 || w.Expires == "" {
		t.Errorf("session is %+v", w)
	}
	// Another site can send forms, but neither JSON nor a header.
	args := []byte("username=ann&password=ann%27s+password")
	s.do(call{method: http.MethodPost, path: "/login", kind: form, body: args, status: http.StatusForbidden})
	s.do(call{method: http.MethodPost, path: "/login", kind: form, body: args, csrf: "takd"})
	cross := call{method: http.MethodPost, path: "/oauth/token?grant_type=password&" + string(args), header: map[string]string{"Sec-Fetch-Site": "cross-site"}}
	if got := s.do(cross); got.header.Get("Set-Cookie") != "" {
		t.Error("a form of another site logs in")
	}
	s.do(call{method: http.MethodPost, path: "/login", kind: "application/json", body: []byte(`{"username":"ann","password":"wrong"}`), status: http.StatusUnauthorized})
	s.do(call{method: http.MethodPost, path: "/login", kind: "application/json", body: []byte(`{`), status: http.StatusBadRequest})
	s.do(call{method: http.MethodPost, path: "/login", kind: "application/json", body: []byte(`{}`), status: http.StatusBadRequest})

	again := s.do(call{method: http.MethodPost, path: "/login/refresh", cookie: cookie, csrf: "takd"}).cookie(t).Value
	if again == cookie {
		t.Error("refresh gives the same token")
	}
	s.do(call{method: http.MethodPost, path: "/login/refresh", user: "ann", password: "ann's password", status: http.StatusForbidden})
	out := s.do(call{method: http.MethodPost, path: "/logout", cookie: cookie, csrf: "takd"}).cookie(t)
	if out.Value != "" || out.MaxAge > 0 {
		t.Errorf("logout leaves the cookie %v", out)
	}
	if w := s.who(call{path: "/login", cookie: cookie}); w.Authenticated {
		t.Error("a copy of the cookie outlives the logout")
	}
	s.do(call{path: config, bearer: cookie, status: http.StatusUnauthorized})
	if w := s.who(call{path: "/login", cookie: again}); !w.Authenticated {
		t.Error("logging out of one session ends another")
	}
	s.do(call{path: "/logout"})                         // nobody
	s.do(call{path: "/logout", bearer: "not.a.token!"}) // anything
	if err := s.store.Auth.SetPassword(t.Context(), "ann", "another password"); err != nil {
		t.Fatal(err)
	}
	if w := s.who(call{path: "/login", cookie: again}); w.Authenticated {
		t.Error("a session outlives its password")
	}
}
