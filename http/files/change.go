package files

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"takd/http/httpd"
	"takd/store/blob"
)

// own returns the rows of a hash that the caller may change: his, or all for an
// administrator. What he does not see is not there; what is another's he may not.
func (a *api) own(r *httpd.Request, hash string) ([]int64, error) {
	hash, err := validHash(hash)
	if err != nil {
		return nil, err
	}
	return a.owned(r, blob.Query{Hash: hash})
}

func (a *api) owned(r *httpd.Request, q blob.Query) ([]int64, error) {
	q.Own = true
	files, err := a.Store.Find(r.Context(), viewer(r), q)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		q.Own = false
		f, err := a.Store.First(r.Context(), viewer(r), q)
		if err != nil {
			return nil, refused(err)
		}
		return nil, httpd.Forbidden("Access is denied: the file is %.64q's", f.Submitter)
	}
	ids := make([]int64, 0, len(files))
	for i := range files {
		ids = append(ids, files[i].ID)
	}
	return ids, nil
}

func (a *api) change(r *httpd.Request, c blob.Change) error {
	ids, err := a.own(r, r.Param("hash"))
	if err != nil {
		return err
	}
	if err := a.Store.Update(r.Context(), ids, c); err != nil {
		return refused(err)
	}
	r.SetStatusCode(http.StatusOK)
	return nil
}

// word is the body as one word; ATAK sends public or private. Some put quotes around it.
func word(r *httpd.Request) string {
	return strings.Trim(strings.TrimSpace(string(r.PostBody())), `"`)
}

func (a *api) setTool(r *httpd.Request) error {
	tool := word(r)
	if tool == "" || len(tool) > 64 || strings.ContainsFunc(tool, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("_-. ", c)
	}) {
		return httpd.Bad("tool: want a word such as public or private")
	}
	return a.change(r, blob.Change{Tool: &tool})
}

func (a *api) setMIME(r *httpd.Request) error {
	kind := word(r)
	if kind == "" || cleanMIME(kind) != kind {
		return httpd.Bad("mimetype: want a type such as text/plain")
	}
	return a.change(r, blob.Change{MIME: &kind})
}

func (a *api) setKeywords(r *httpd.Request) error {
	list := []string{}
	if err := r.ReadJSON(&list); err != nil {
		return httpd.Bad("keywords: want a JSON list of words: %v", err)
	}
	return a.change(r, blob.Change{Keywords: &list})
}

func (a *api) setExpiration(r *httpd.Request) error {
	text := query(r).get("expiration")
	if text == "" {
		text = word(r)
	}
	until, err := expiry(text)
	if err != nil {
		return err
	}
	return a.change(r, blob.Change{Expires: &until})
}

func (a *api) setSome(r *httpd.Request) error {
	p := query(r)
	var c blob.Change
	if text := p.get("expiration"); text != "" {
		until, err := expiry(text)
		if err != nil {
			return err
		}
		c.Expires = &until
	}
	if list := p.list("keywords", "keyword"); len(list) > 0 {
		c.Keywords = &list
	}
	return a.change(r, c)
}

// deleteHash answers 200 to what is not there: clients that delete twice see no error.
func (a *api) deleteHash(r *httpd.Request) error {
	hash, err := validHash(r.Param("hash"))
	if err != nil {
		return nil //nolint:nilerr // nothing is there by that name
	}
	_, err = a.remove(r, blob.Query{Hash: hash})
	return err
}

// deleteAny deletes by hash or by PrimaryKey, and answers with a page for people.
func (a *api) deleteAny(r *httpd.Request) error {
	if r.IsGet() && r.Who.Via == "session" && len(r.Request.Header.Peek("X-Requested-With")) == 0 {
		return httpd.Forbidden("a session that changes something sends X-Requested-With") // else any page could delete by a link
	}
	if r.IsHead() {
		return httpd.Bad("HEAD deletes nothing")
	}
	p := query(r)
	for key, value := range r.PostArgs().All() {
		name := strings.ToLower(string(key))
		p[name] = append(p[name], string(value))
	}
	var queries []blob.Query
	for _, text := range p.list("hash") {
		if hash, err := validHash(text); err == nil {
			queries = append(queries, blob.Query{Hash: hash})
		}
	}
	if len(p["hash"]) == 0 {
		ids, err := keys(p.list("primarykey"))
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return httpd.Bad("hash: want it, or PrimaryKey")
		}
		for _, id := range ids {
			queries = append(queries, blob.Query{IDs: []int64{id}})
		}
	}
	n := 0
	for _, q := range queries {
		one, err := a.remove(r, q)
		if err != nil {
			return err
		}
		n += one
	}
	r.Reply(http.StatusOK, "text/html; charset=utf-8", fmt.Appendf(nil,
		"<!DOCTYPE html><html><head><title>Files</title></head><body><h1>Success</h1><p>Deleted: %d</p></body></html>\n", n))
	return nil
}

func (a *api) remove(r *httpd.Request, q blob.Query) (int, error) {
	ids, err := a.owned(r, q)
	if e := new(httpd.Error); errors.As(err, &e) && e.Status == http.StatusNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if err := a.Store.Delete(r.Context(), ids...); err != nil {
		return 0, err
	}
	a.Audit.By(r, "file delete", fmt.Sprintf("%s ids=%v", q.Hash, ids))
	return len(ids), nil
}
