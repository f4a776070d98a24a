package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Many users at once: what cannot be done is told by name, and files are read as
// the command line reads them.
func TestManyUsers(t *testing.T) {
	t.Parallel()
	w := start(t)
	root := w.root()
	post := func(status int, path, body string) string { return root.want(status, "POST", "https", path, "", body) }
	file := "name,password,role,groups,in\nann,a good password,user,Blue,\nben,,readonly,Blue;Red,Green\n"
	var p struct {
		Count     int
		Users     []struct{ Name string }
		NewGroups []string `json:"new_groups"`
		Errors    []struct {
			Line        int
			Field, Text string
		}
	}
	preview := func(text string) {
		t.Helper()
		p.Errors = nil
		if err := json.Unmarshal([]byte(post(200, "/api/admin/users/import?dryRun=1", text)), &p); err != nil {
			t.Fatal(err)
		}
	}
	preview(file)
	if p.Count != 2 || len(p.Errors) != 0 || strings.Join(p.NewGroups, " ") != "Blue Green Red" || strings.Contains(w.takd("user", "list"), "ann") {
		t.Errorf("preview: %+v", p)
	}
	if got := post(200, "/api/admin/users/import", file); !strings.Contains(got, `"added":2`) {
		t.Errorf("import: %s", got)
	}
	for name, text := range map[string]string{
		"2 name": "name\nann\n", "3 role": "name,role\na,user\nb,king\n", "2 password": "name,password\na,short\n", "3 ": "name,role\na,user\nb\n",
		"1 ": "colour\nblue\n", "2 in": "name,in\na,../x\n", "2 hash": "name,hash\na,plain\n", "3 name": "name\na\na\n",
	} {
		preview(text)
		if len(p.Errors) == 0 || fmt.Sprintf("%d %s", p.Errors[0].Line, p.Errors[0].Field) != name || strings.Contains(p.Errors[0].Text, "short") {
			t.Errorf("%q: %+v, want %s", text, p.Errors, name)
		}
		post(400, "/api/admin/users/import", text)
	}
	many := "name\n" + strings.Repeat("x", 3)
	for i := range 5001 {
		many += fmt.Sprintf("\nu%d", i)
	}
	post(400, "/api/admin/users/import", many)
	post(413, "/api/admin/users/import", strings.Repeat("n", 5<<20))

	if got := root.want(200, "GET", "https", "/api/admin/users.csv", "", ""); !strings.Contains(got, "\nann,user,Blue,Blue\n") ||
		!strings.Contains(got, "\nben,readonly,Blue;Green;Red,Blue;Red\n") || !strings.Contains(got, "\nadmin,admin,,\n") || strings.Contains(got, "argon2") {
		t.Errorf("export: %s", got)
	}
	bulk := func(body string) (done int, errs map[string]string) {
		t.Helper()
		var v struct {
			Done   int
			Errors map[string]string
		}
		if err := json.Unmarshal([]byte(post(200, "/api/admin/users/bulk", body)), &v); err != nil {
			t.Fatal(err)
		}
		return v.Done, v.Errors
	}
	ann := w.connect("ann", w.certificate("ann"))
	if n, errs := bulk(`{"users":["ann","ben","nobody"],"action":"add","group":"New"}`); n != 2 || errs["nobody"] == "" || len(errs) != 1 {
		t.Errorf("add: %d, %v", n, errs)
	}
	if n, errs := bulk(`{"users":["ann"],"action":"leave","group":"Blue"}`); n != 1 || len(errs) != 0 {
		t.Errorf("leave: %d, %v", n, errs)
	}
	if got := root.want(200, "GET", "https", "/api/admin/users.csv", "", ""); !strings.Contains(got, "\nann,user,New,New\n") {
		t.Errorf("after add and leave: %s", got)
	}
	if n, errs := bulk(`{"users":["ann","root"],"action":"disable"}`); n != 1 || !strings.Contains(errs["root"], "own") {
		t.Errorf("disable: %d, %v", n, errs)
	}
	ann.ends()
	if n, _ := bulk(`{"users":["ann","ben"],"action":"remove"}`); n != 2 || strings.Contains(w.takd("user", "list"), "ben") {
		t.Errorf("remove: %d", n)
	}
	for _, body := range []string{
		`{}`, `{"users":[],"action":"remove"}`, `{"users":["ann"],"action":"promote"}`, `{"users":["ann"],"action":"add"}`, `{"users":["ann"],"action":"remove","group":"x"}`,
		`{"users":["ann"],"action":"add","group":"__ANON__"}`, `{"users":["` + strings.Repeat(`a","`, 600) + `"],"action":"enable"}`, `{"users":["ann"],"action":"enable","all":true}`,
	} {
		post(400, "/api/admin/users/bulk", body)
	}
	if log := w.takd("audit"); !strings.Contains(log, "user import") || !strings.Contains(log, "user set") || !strings.Contains(log, "add New") || !strings.Contains(log, "user export") || !strings.Contains(log, "user remove") {
		t.Errorf("audit:\n%s", log)
	}
}
