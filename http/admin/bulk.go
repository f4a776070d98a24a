package admin

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"takd/http/httpd"
	"takd/store/auth"
)

const (
	// maxImport bounds the bytes of a CSV file that comes this way, maxImported its users: each password takes
	// its time to hash. The command line takes more.
	maxImport   = 4 << 20
	maxImported = 5000
	// maxPreview bounds the users that a preview shows.
	maxPreview = 200
)

func (a *api) bulk() []httpd.Route {
	return on("Operation",
		httpd.Route{Method: "POST", Path: "/api/admin/users/bulk", Summary: "Do one thing to several users: enable, disable, add (to a group), leave (a group), remove. What cannot be done is told by name, and the others are done.", Handler: a.bulkUsers},
		httpd.Route{Method: "POST", Path: "/api/admin/users/import", Summary: "Add the users of a CSV file, as takd user import does, all or none; at most 5000. With dryRun=1 tell what would be made, and what is wrong with which line and field.", Query: []string{"dryRun"}, MaxBody: maxImport, Handler: a.importUsers},
		httpd.Route{Method: "GET", Path: "/api/admin/users.csv", Summary: "Users as CSV that can be imported, without passwords.", Handler: a.exportUsers},
	)
}

// bulkUsers does one thing to many.
func (a *api) bulkUsers(r *httpd.Request) error {
	var q struct {
		Users  []string `json:"users"`
		Action string   `json:"action"`
		Group  string   `json:"group"` // of add and leave
	}
	if err := r.ReadExactJSON(&q); err != nil {
		return err
	}
	switch {
	case len(q.Users) == 0 || len(q.Users) > maxBulk:
		return httpd.Bad("users: want 1 to %d names", maxBulk)
	case !slices.Contains([]string{"enable", "disable", "add", "leave", "remove"}, q.Action):
		return httpd.Bad("action %.20q: want enable, disable, add, leave or remove", q.Action)
	case (q.Action == "add" || q.Action == "leave") == (q.Group == ""):
		return httpd.Bad("group: want one with add and leave, and only there")
	case q.Group == auth.Anonymous:
		return httpd.Bad("group: who is in %s is who is in no other", auth.Anonymous)
	}
	answer := struct {
		Done   int               `json:"done"`
		Errors map[string]string `json:"errors"`
	}{Errors: map[string]string{}}
	for _, name := range q.Users {
		err := a.bulkUser(r, name, q.Action, q.Group)
		var told *httpd.Error
		switch {
		case err == nil:
			answer.Done++
		case errors.As(err, &told):
			answer.Errors[name] = told.Message
		default:
			return err
		}
	}
	return r.JSON(http.StatusOK, answer)
}

func (a *api) bulkUser(r *httpd.Request, name, action, group string) error {
	ctx := r.Context()
	if name == r.Who.User && (action == "disable" || action == "remove") {
		return httpd.Conflict("An administrator cannot take away his own account")
	}
	var err error
	switch action {
	case "remove":
		err = a.RemoveUser(ctx, name)
	case "enable", "disable":
		err = a.Auth.SetDisabled(ctx, name, action == "disable")
	default:
		err = a.Auth.SetMember(ctx, name, group, action == "add")
	}
	if err != nil {
		return refusal(err)
	}
	if group != "" {
		a.Audit.By(r, "user set", fmt.Sprintf("%s %s %s", name, action, group))
	} else {
		a.Audit.By(r, "user "+action, name)
	}
	return nil
}

// csvProblem is what is wrong with a line; line 0 is the file.
type csvProblem struct {
	Line  int    `json:"line"`
	Field string `json:"field"`
	Text  string `json:"text"`
}

// csvPreview is what an import would do.
type csvPreview struct {
	Count     int            `json:"count"` // of users
	Users     []auth.CSVUser `json:"users"` // the first of them
	NewGroups []string       `json:"new_groups"`
	Errors    []csvProblem   `json:"errors"` // at most twenty; none: it can be imported
}

func (a *api) importUsers(r *httpd.Request) error {
	r.Response.Header.Set("Cache-Control", "no-store")
	p, err := a.preview(r)
	if err != nil {
		return err
	}
	if string(r.QueryArgs().Peek("dryRun")) == "1" {
		return r.JSON(http.StatusOK, p)
	}
	if len(p.Errors) > 0 {
		e := p.Errors[0]
		where := fmt.Sprintf("line %d", e.Line)
		if e.Field != "" {
			where += ": " + e.Field
		}
		return httpd.Bad("%s: %s; dryRun=1 tells everything that is wrong", where, e.Text)
	}
	n, err := a.Auth.ImportCSV(r.Context(), bytes.NewReader(r.PostBody()))
	if err != nil {
		return refusal(err)
	}
	a.Audit.By(r, "user import", fmt.Sprintf("%d users", n))
	return r.JSON(http.StatusOK, map[string]int{"added": n})
}

func (a *api) preview(r *httpd.Request) (*csvPreview, error) {
	users, wrong, err := a.Auth.PreviewCSV(r.Context(), bytes.NewReader(r.PostBody()))
	if errors.Is(err, auth.ErrInvalid) {
		return &csvPreview{Users: []auth.CSVUser{}, NewGroups: []string{}, Errors: []csvProblem{{1, "", err.Error()}}}, nil
	} else if err != nil {
		return nil, err
	}
	p := &csvPreview{Count: len(users), Users: users[:min(len(users), maxPreview)], NewGroups: []string{}, Errors: []csvProblem{}}
	for _, e := range wrong {
		p.Errors = append(p.Errors, csvProblem{e.Line, e.Field, e.Err.Error()})
	}
	if p.Count > maxImported {
		p.Errors = append(p.Errors, csvProblem{0, "", fmt.Sprintf("%d users; want at most %d in this way: takd user import takes more", p.Count, maxImported)})
	}
	groups, err := a.Auth.Groups(r.Context())
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, g := range groups {
		known[g.Name] = true
	}
	for i := range users {
		for _, g := range slices.Concat(users[i].In, users[i].Out) {
			if !known[g] {
				known[g] = true
				p.NewGroups = append(p.NewGroups, g)
			}
		}
	}
	slices.Sort(p.NewGroups)
	return p, nil
}

func (a *api) exportUsers(r *httpd.Request) error {
	all, err := a.Auth.Users(r.Context())
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := auth.ExportCSV(&b, all); err != nil {
		return err
	}
	a.Audit.By(r, "user export", fmt.Sprintf("%d users", len(all)))
	r.Response.Header.Set("Cache-Control", "no-store")
	r.Response.Header.Set("Content-Disposition", `attachment; filename="users.csv"`)
	r.Reply(http.StatusOK, "text/csv; charset=utf-8", b.Bytes())
	return nil
}
