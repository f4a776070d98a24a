package main

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// root is a browser with the certificate of an administrator.
func (w *world) root() *browser {
	w.Helper()
	w.takd("user", "add", "root", "--role", "admin")
	return w.browser(w.certificate("root"))
}

// The official server's user management, under both of its prefixes.
func TestUserManagement(t *testing.T) {
	t.Parallel()
	w := start(t)
	root := w.root()
	for _, prefix := range []string{"/user-management/api", "/Marti/api/user-management/api"} {
		name := fmt.Sprintf("ann%d", len(prefix))
		call := func(status int, method, path, body, want string) {
			t.Helper()
			if got := root.want(status, method, "https", prefix+path, "", body); want != "" && got != want {
				t.Errorf("%s %s: %s, want %s", method, path, got, want)
			}
		}
		call(200, "POST", "/new-user", `{"username":"`+name+`","password":"a good password","groupList":["Blue"],"groupListIN":["Up"],"groupListOUT":[]}`, "")
		call(409, "POST", "/new-user", `{"username":"`+name+`","password":"a good password"}`, "")
		call(400, "POST", "/new-user", `{"username":"eve","password":"short"}`, "")
		call(400, "POST", "/new-user", `{"username":"eve","password":"a good password","grouplst":["Blue"]}`, "")
		call(200, "GET", "/get-groups-for-user/"+name, "", `{"username":"`+name+`","groupList":["Blue"],"groupListIN":["Up"],"groupListOUT":[]}`)
		call(404, "GET", "/get-groups-for-user/nobody", "", "")
		call(200, "GET", "/users-in-group/Blue", "", `{"groupname":"Blue","usersInGroupList":["`+name+`"],"usersInGroupListIN":[],"usersInGroupListOUT":[]}`)
		call(404, "GET", "/users-in-group/None", "", "")
		call(200, "PUT", "/update-groups", `{"username":"`+name+`","groupList":["Red"],"groupListIN":[],"groupListOUT":["Down"]}`, "")
		call(200, "GET", "/get-groups-for-user/"+name, "", `{"username":"`+name+`","groupList":["Red"],"groupListIN":[],"groupListOUT":["Down"]}`)
		call(200, "PUT", "/change-user-password", `{"username":"`+name+`","password":"another password"}`, "")
		call(400, "PUT", "/change-user-password", `{"username":"`+name+`"}`, "")
		root.want(200, "POST", "enroll", "/oauth/token?grant_type=password&username="+name+"&password=another%20password", "", "")

		text := root.want(200, "POST", "https", prefix+"/new-users", "", `{"usernameExpression":"`+name+`-[N]","startN":1,"endN":2,"groupList":["Blue"]}`)
		var made []struct{ Username, Password string }
		if err := json.Unmarshal([]byte(text), &made); err != nil || len(made) != 2 || made[1].Username != name+"-2" {
			t.Fatalf("new-users: %v: %s", err, text)
		}
		root.want(200, "POST", "enroll", "/oauth/token?grant_type=password&username="+made[0].Username+"&password="+made[0].Password, "", "")
		call(409, "POST", "/new-users", `{"usernameExpression":"`+name+`-[N]","startN":0,"endN":2}`, "")
		call(404, "GET", "/get-groups-for-user/"+name+"-0", "", "") // all or none
		call(400, "POST", "/new-users", `{"usernameExpression":"x","startN":1,"endN":2}`, "")
		call(400, "POST", "/new-users", `{"usernameExpression":"x[N]","startN":1,"endN":1000000}`, "")

		call(200, "PUT", "/update-group-users", `{"groupname":"Blue","usersInGroupList":["`+name+`"],"usersInGroupListIN":["root"],"usersInGroupListOUT":[]}`, "")
		call(200, "GET", "/users-in-group/Blue", "", `{"groupname":"Blue","usersInGroupList":["`+name+`"],"usersInGroupListIN":["root"],"usersInGroupListOUT":[]}`)
		call(400, "PUT", "/update-group-users", `{"groupname":"Blue","usersInGroupList":["nobody"]}`, "")
		call(200, "GET", "/list-users", "", `[{"username":"admin"},{"username":"`+name+`"},{"username":"`+name+`-1"},{"username":"`+name+`-2"},{"username":"root"}]`)
		for _, n := range []string{name, name + "-1", name + "-2"} {
			call(200, "DELETE", "/delete-user/"+n, "", "")
		}
		call(404, "DELETE", "/delete-user/"+name, "", "")
		call(200, "PUT", "/update-group-users", `{"groupname":"Blue"}`, "")
		if got := root.want(200, "GET", "https", prefix+"/list-groupnames", "", ""); !strings.Contains(got, `{"groupname":"Blue"}`) {
			t.Errorf("groups: %s", got)
		}
	}
	log := w.takd("audit")
	for _, action := range []string{"user add", "user set", "user passwd", "user remove", "group set"} {
		if !regexp.MustCompile(`root +` + action).MatchString(log) {
			t.Errorf("%s is not in the audit log:\n%s", action, log)
		}
	}
}

// A change through the API acts on live streams.
func TestUserManagementIsLive(t *testing.T) {
	t.Parallel()
	w := start(t)
	root := w.root()
	for _, name := range []string{"alice", "bob"} {
		root.want(200, "POST", "https", "/user-management/api/new-user", "", `{"username":"`+name+`","groupList":["Blue"]}`)
	}
	alice, bob := w.connect("alice", w.certificate("alice")), w.connect("bob", w.certificate("bob"))
	alice.receives("UID-bob")
	root.want(200, "PUT", "https", "/user-management/api/update-groups", "", `{"username":"bob","groupList":["Red"]}`)
	alice.seesLeave("bob")
	root.want(200, "DELETE", "https", "/user-management/api/delete-user/bob", "", "")
	bob.ends()
}

type takCert struct {
	ID                                           int64
	Hash, UserDN, Certificate                    string
	RevocationDate, ExpirationDate, SerialNumber string
}

// certs are the entries of a list of certificates.
func (b *browser) certs(path string) []takCert {
	b.Helper()
	var list struct {
		Type string
		Data []takCert
	}
	text := b.want(200, "GET", "https", "/Marti/api/certadmin/"+path, "", "")
	if err := json.Unmarshal([]byte(text), &list); err != nil || list.Type != "TakCert" {
		b.Fatalf("%s: %v: %s", path, err, text)
	}
	return list.Data
}

func TestCertificateAdmin(t *testing.T) {
	t.Parallel()
	w := start(t)
	root := w.root()
	aliceCert := w.certificate("alice")
	alice := w.connect("alice", aliceCert)
	w.certificate("bob")
	own := root.certs("cert?username=alice")
	sum := sha256.Sum256(aliceCert.Certificate[0])
	hash := strings.ToUpper(strings.ReplaceAll(fmt.Sprintf("% x", sum), " ", ":"))
	if len(own) != 1 || own[0].Hash != hash || own[0].UserDN != "CN=alice" {
		t.Fatalf("alice's: %+v, want hash %s", own, hash)
	}
	if b, _ := pem.Decode([]byte(own[0].Certificate)); b == nil || string(b.Bytes) != string(aliceCert.Certificate[0]) {
		t.Errorf("certificate: %s", own[0].Certificate)
	}
	for _, form := range []string{hash, strings.ToLower(strings.ReplaceAll(hash, ":", ""))} {
		if got := root.want(200, "GET", "https", "/Marti/api/certadmin/cert/"+form, "", ""); !strings.Contains(got, hash) {
			t.Errorf("by hash: %s", got)
		}
	}
	// CloudTAK asks again by name after 5xx alone.
	root.want(500, "GET", "https", "/Marti/api/certadmin/cert/"+strings.Repeat("AB:", 31)+"AB", "", "")
	root.want(400, "GET", "https", "/Marti/api/certadmin/cert/xyz", "", "")
	if got := root.want(200, "GET", "https", "/Marti/api/certadmin/cert/"+hash+"/download", "", ""); got != own[0].Certificate {
		t.Errorf("download: %s", got)
	}
	before := len(root.certs("cert/active"))
	all := root.certs("cert")
	var ids []string
	for _, c := range all {
		if c.UserDN == "CN=alice" || c.UserDN == "CN=bob" {
			ids = append(ids, fmt.Sprint(c.ID))
		}
	}
	path := strings.Join(ids, ",")
	text := root.want(200, "GET", "https", "/Marti/api/certadmin/cert/download/"+path, "", "")
	z, err := zip.NewReader(strings.NewReader(text), int64(len(text)))
	if err != nil || len(z.File) != 2 {
		t.Errorf("download: %v, %d bytes", err, len(text))
	}
	root.want(404, "DELETE", "https", "/Marti/api/certadmin/cert/revoke/"+path+",1", "", "")
	root.want(400, "DELETE", "https", "/Marti/api/certadmin/cert/revoke/x", "", "")
	if n := len(root.certs("cert/revoked")); n != 0 {
		t.Errorf("%d revoked by a call that failed", n)
	}
	root.want(200, "DELETE", "https", "/Marti/api/certadmin/cert/"+hash, "", "")
	alice.ends()
	root.want(200, "DELETE", "https", "/Marti/api/certadmin/cert/delete/"+path, "", "") // bob's is still valid: revoked, and kept
	if got := root.certs("cert/revoked"); len(got) != 2 || got[0].RevocationDate == "" {
		t.Errorf("revoked: %+v", got)
	}
	if n := len(root.certs("cert/active")); n != before-2 {
		t.Errorf("%d active, want %d", n, before-2)
	}
	if n := len(root.certs("cert/expired")) + len(root.certs("cert/replaced")); n != 0 {
		t.Errorf("%d expired or replaced", n)
	}
	var rows []struct{ User, Serial, State, Hash string }
	if err := json.Unmarshal([]byte(root.want(200, "GET", "https", "/api/admin/certs", "", "")), &rows); err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, r := range rows {
		states[r.User+" "+r.State] = r.Hash
	}
	if states["alice revoked"] != hash || states["bob revoked"] == "" || states["admin active"] == "" {
		t.Errorf("rows: %+v", rows)
	}
	if log := w.takd("audit"); strings.Count(log, "cert revoke") != 2 {
		t.Errorf("audit:\n%s", log)
	}
	w.takd("user", "add", "carl")
	w.browser(w.certificate("carl")).want(403, "GET", "https", "/Marti/api/certadmin/cert", "", "")
}

// What is under way: who sees whom, emergencies, and who did what.
func TestOperationsByAPI(t *testing.T) {
	t.Parallel()
	w := start(t)
	root := w.root()
	for name, group := range map[string]string{"alice": "Blue", "bob": "Red"} {
		w.takd("user", "add", name, "--group", group)
	}
	alice := w.connect("alice", w.certificate("alice"))
	w.connect("bob", w.certificate("bob"))
	root.want(400, "GET", "https", "/api/admin/reach?a=alice", "", "")
	if got := root.want(200, "GET", "https", "/api/admin/reach?a=alice&b=bob", "", ""); !strings.Contains(got, `"visible":false`) || !strings.Contains(got, "share none") {
		t.Errorf("reach: %s", got)
	}
	w.takd("user", "set", "bob", "--group", "Blue")
	if got := root.want(200, "GET", "https", "/api/admin/reach?a=CS-alice&b=UID-bob", "", ""); !strings.Contains(got, `"visible":true`) {
		t.Errorf("reach: %s", got)
	}
	carl := w.certificate("carl")
	w.takd("user", "add", "carl")
	w.takd("user", "disable", "carl")
	if w.refused(carl) == nil {
		t.Error("carl is let in")
	}
	w.until("why carl was refused", func() bool {
		return strings.Contains(root.want(200, "GET", "https", "/api/admin/reach?a=carl&b=bob", "", ""), "refused")
	})

	if got := root.want(200, "GET", "https", "/api/admin/emergencies", "", ""); got != "[]" {
		t.Errorf("emergencies: %s", got)
	}
	alice.emergency()
	w.until("the emergency", func() bool {
		return strings.Contains(root.want(200, "GET", "https", "/api/admin/emergencies", "", ""), `"uid":"UID-alice-9-1-1"`)
	})
	// The same in the form of the official server.
	if got := root.want(200, "GET", "https", "/Marti/api/repeater/list", "", ""); !strings.Contains(got, `"uid":"UID-alice-9-1-1","repeatType":"911 Alert","cotType":"b-a-o-tbl"`) {
		t.Errorf("repeater: %s", got)
	}
	if got := root.want(200, "GET", "https", "/Marti/api/repeater/remove/none", "", ""); !strings.Contains(got, `"data":false`) {
		t.Errorf("remove: %s", got)
	}
	if got := root.want(200, "GET", "https", "/Marti/api/repeater/period", "", ""); !strings.Contains(got, `"data":10000`) {
		t.Errorf("period: %s", got)
	}
	root.want(200, "POST", "https", "/Marti/api/repeater/period", "", "3000")
	root.want(400, "POST", "https", "/Marti/api/repeater/period", "", "10")
	if got := root.want(200, "GET", "https", "/Marti/api/repeater/period", "", "") + w.takd("config", "get", "messaging.emergency_period"); !strings.Contains(got, `"data":3000`) || !strings.Contains(got, "3s") {
		t.Errorf("period: %s", got)
	}
	if got := root.want(200, "GET", "https", "/Marti/api/repeater/remove/UID-alice-9-1-1", "", ""); !strings.Contains(got, `"data":true`) {
		t.Errorf("remove: %s", got)
	}
	alice.emergency()
	w.until("the emergency again", func() bool {
		return strings.Contains(root.want(200, "GET", "https", "/api/admin/emergencies", "", ""), `"uid":"UID-alice-9-1-1"`)
	})
	root.want(404, "DELETE", "https", "/api/admin/emergencies/none", "", "")
	root.want(204, "DELETE", "https", "/api/admin/emergencies/UID-alice-9-1-1", "", "")
	if got := root.want(200, "GET", "https", "/api/admin/emergencies", "", ""); got != "[]" {
		t.Errorf("emergencies: %s", got)
	}
	if got := root.want(200, "GET", "https", "/api/admin/audit?limit=1", "", ""); !strings.Contains(got, `"actor":"root","action":"emergency cancel","detail":"UID-alice-9-1-1"`) {
		t.Errorf("audit: %s", got)
	}
	root.want(400, "GET", "https", "/api/admin/audit?limit=0", "", "")
	w.browser(w.certificate("alice")).want(403, "GET", "https", "/api/admin/audit", "", "")
}
