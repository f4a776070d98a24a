package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"takd/http/enroll"
)

// person is a line of a file with people to invite.
type person struct {
	line       int
	name, role string
	groups     []string
}

// maxPeople bounds such a file.
const maxPeople = 10_000

// parsePeople reads all of a file before anybody is invited. The first line names
// the columns.
func parsePeople(text []byte) ([]person, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	r.TrimLeadingSpace = true
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("first line: want the columns name, group and role: %w", err)
	}
	for i, column := range head {
		head[i] = strings.ToLower(strings.TrimSpace(column))
		if !slices.Contains([]string{"name", "group", "role"}, head[i]) || slices.Contains(head[:i], head[i]) {
			return nil, fmt.Errorf("first line: column %q: want name, group and role, each once", column)
		}
	}
	if !slices.Contains(head, "name") {
		return nil, errors.New("first line: there is no column name")
	}
	var people []person
	seen := map[string]int{}
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err // names the line
		}
		p := person{}
		p.line, _ = r.FieldPos(0)
		for i, field := range fields {
			field = strings.TrimSpace(field)
			switch head[i] {
			case "name":
				p.name = field
			case "role":
				p.role = field
			case "group":
				for g := range strings.SplitSeq(field, ";") {
					p.groups = append(p.groups, strings.TrimSpace(g))
				}
			}
		}
		switch first := seen[p.name]; {
		case p.name == "":
			return nil, fmt.Errorf("line %d: no name", p.line)
		case first > 0:
			return nil, fmt.Errorf("line %d: %s is in line %d already", p.line, p.name, first)
		case !slices.Contains([]string{"", "admin", "user", "readonly"}, p.role):
			return nil, fmt.Errorf("line %d: role %q: want admin, user or readonly", p.line, p.role)
		case len(people) == maxPeople:
			return nil, fmt.Errorf("line %d: want at most %d people", p.line, maxPeople)
		}
		seen[p.name] = p.line
		people = append(people, p)
	}
	if len(people) == 0 {
		return nil, errors.New("there is nobody in it")
	}
	return people, nil
}

var sheet = template.Must(template.New("sheet").Funcs(template.FuncMap{
	"image": func(png []byte) template.URL {
		return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(png)) //nolint:gosec // base64 of our own image
	},
}).Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Invitations</title>
<style>
body{font:12pt sans-serif;margin:0}
section{page-break-after:always;padding:1.5cm}
section:last-child{page-break-after:auto}
figure{display:inline-block;margin:0 1cm 1cm 0;width:7cm;vertical-align:top}
img{width:7cm}
code{font-size:13pt;word-break:break-all}
</style>
{{range .}}<section>
<h1>{{.User}}</h1>
<figure><img src="{{image .ATAKPNG}}" alt="ATAK"><figcaption>ATAK: scan this.</figcaption></figure>
<figure><img src="{{image .ITAKPNG}}" alt="iTAK"><figcaption>iTAK: scan this to add the server, then enter user and token.</figcaption></figure>
<p>User <code>{{.User}}</code></p>
<p>Token <code>{{.Token}}</code></p>
<p>Or in a browser: <code>{{.Package}}</code></p>
<p>Good for {{.MaxUses}} device(s) until {{.Expires.Local.Format "2006-01-02 15:04"}}. Keep it to yourself.</p>
</section>
{{end}}</html>
`))

// writeSheet writes one page for each person, for the owner of the file only.
func writeSheet(name string, all []enroll.Invitation) error {
	var b bytes.Buffer
	var err error
	if strings.EqualFold(filepath.Ext(name), ".pdf") {
		var pdf []byte
		if pdf, err = sheetPDF(all); err == nil {
			_, err = b.Write(pdf)
		}
	} else {
		err = sheet.Execute(&b, all)
	}
	if err != nil {
		return fmt.Errorf("write sheet: %w", err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write sheet: %w", err)
	}
	return nil
}
