package admin

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/pki"
)

const (
	certType = "TakCert"
	// maxIDs bounds the certificates that one call names.
	maxIDs = 1000
)

func (a *api) certs() []httpd.Route {
	const path = "/Marti/api/certadmin/cert"
	list := func(keep func(*pki.Record, time.Time) bool) httpd.Handler {
		return func(r *httpd.Request) error { return a.listCerts(r, "", keep) }
	}
	return on("Certificates",
		httpd.Route{Method: "GET", Path: path, Summary: "Client certificates, the newest first.", Query: []string{"username"}, Handler: a.allCerts},
		httpd.Route{Method: "GET", Path: path + "/active", Summary: "Those that let somebody in.", Handler: list(active)},
		httpd.Route{Method: "GET", Path: path + "/replaced", Summary: "Those whose user and device have a newer one.", Handler: list(func(c *pki.Record, _ time.Time) bool { return c.Replaced && c.Revoked.IsZero() })},
		httpd.Route{Method: "GET", Path: path + "/expired", Summary: "Those whose time is over.", Handler: list(func(c *pki.Record, now time.Time) bool { return now.After(c.NotAfter) })},
		httpd.Route{Method: "GET", Path: path + "/revoked", Summary: "Those that were revoked.", Handler: list(func(c *pki.Record, _ time.Time) bool { return !c.Revoked.IsZero() })},
		httpd.Route{Method: "GET", Path: path + "/download/{ids}", Summary: "Certificates in PEM, as zip.", Handler: a.downloadCerts},
		httpd.Route{Method: "DELETE", Path: path + "/revoke/{ids}", Summary: "Revoke certificates; their connections end at once.", Handler: a.revokeCerts},
		httpd.Route{Method: "DELETE", Path: path + "/delete/{ids}", Summary: "Take expired certificates off the record; what is still valid is revoked and stays.", Handler: a.deleteCerts},
		httpd.Route{Method: "GET", Path: path + "/{hash}", Summary: "One certificate by its SHA-256.", Handler: a.oneCert},
		httpd.Route{Method: "DELETE", Path: path + "/{hash}", Summary: "Revoke one certificate.", Handler: a.revokeCert},
		httpd.Route{Method: "GET", Path: path + "/{hash}/download", Summary: "One certificate in PEM.", Handler: a.downloadCert},
		httpd.Route{Method: "GET", Path: "/api/admin/certs", Summary: "Client certificates with device, program and state (active, replaced, expired, revoked), the newest first; without the certificates themselves.", Handler: a.certRows},
	)
}

func active(c *pki.Record, now time.Time) bool { return c.Revoked.IsZero() && now.Before(c.NotAfter) }

// takCert is a certificate as node-tak reads it.
type takCert struct {
	ID          int64  `json:"id"`
	CreatorDN   string `json:"creatorDn"`
	SubjectDN   string `json:"subjectDn"`
	UserDN      string `json:"userDn"`
	Certificate string `json:"certificate"` // PEM
	Hash        string `json:"hash"`        // SHA-256, upper case with colons
	ClientUID   string `json:"clientUid"`
	Issued      string `json:"issuanceDate"`
	Expires     string `json:"expirationDate"`
	Effective   string `json:"effectiveDate"`
	Revoked     string `json:"revocationDate,omitempty"`
	Token       string `json:"token"`
	Serial      string `json:"serialNumber"`
}

func asCert(c *pki.Record) takCert {
	dn := "CN=" + c.Name
	t := takCert{
		ID: c.ID, CreatorDN: dn, SubjectDN: dn, UserDN: dn, Certificate: c.PEM(), Hash: c.Hash(), ClientUID: c.ClientUID,
		Issued: longTime(c.Issued), Expires: longTime(c.NotAfter), Effective: longTime(c.NotBefore), Serial: c.Serial,
	}
	if !c.Revoked.IsZero() {
		t.Revoked = longTime(c.Revoked)
	}
	return t
}

// certRow is a certificate in the list of the page.
type certRow struct {
	ID      int64     `json:"id"`
	Hash    string    `json:"hash"` // SHA-256, upper case with colons
	Serial  string    `json:"serial"`
	User    string    `json:"user"`
	UID     string    `json:"uid"`     // of the device that asked for it; "" for none
	Version string    `json:"version"` // of its program, as it said
	Address string    `json:"address"` // that it asked from
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Revoked time.Time `json:"revoked,omitzero"`
	State   string    `json:"state"`
	Kept    bool      `json:"kept"` // it can be downloaded
}

func (a *api) certRows(r *httpd.Request) error {
	all, err := a.PKI.Records(r.Context(), "")
	if err != nil {
		return err
	}
	now := time.Now()
	rows := make([]certRow, 0, len(all))
	for i := range all {
		c := &all[i]
		rows = append(rows, certRow{
			ID: c.ID, Hash: c.Hash(), Serial: c.Serial, User: c.Name, UID: c.ClientUID, Version: c.ClientVersion, Address: c.Address,
			From: c.NotBefore, Until: c.NotAfter, Revoked: c.Revoked, State: state(c, now), Kept: len(c.DER) > 0,
		})
	}
	return r.JSON(http.StatusOK, rows)
}

func state(c *pki.Record, now time.Time) string {
	switch {
	case !c.Revoked.IsZero():
		return "revoked"
	case now.After(c.NotAfter):
		return "expired"
	case c.Replaced:
		return "replaced"
	}
	return "active"
}

func longTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (a *api) allCerts(r *httpd.Request) error {
	return a.listCerts(r, string(r.QueryArgs().Peek("username")), func(*pki.Record, time.Time) bool { return true })
}

func (a *api) listCerts(r *httpd.Request, user string, keep func(*pki.Record, time.Time) bool) error {
	all, err := a.PKI.Records(r.Context(), user)
	if err != nil {
		return refusal(err)
	}
	now := time.Now()
	list := make([]takCert, 0, len(all))
	for i := range all {
		if keep(&all[i], now) {
			list = append(list, asCert(&all[i]))
		}
	}
	return r.Envelope(certType, list)
}

// named is the certificate of the path. For one that is not known the official
// server fails with 500, and CloudTAK then asks by user name; it takes 404 for a
// failure of its own.
func (a *api) named(r *httpd.Request) (*pki.Record, error) {
	c, err := a.PKI.Record(r.Context(), r.Param("hash"))
	if errors.Is(err, pki.ErrNotFound) {
		return nil, &httpd.Error{Status: http.StatusInternalServerError, Code: 6}
	}
	return c, refusal(err)
}

func (a *api) oneCert(r *httpd.Request) error {
	c, err := a.named(r)
	if err != nil {
		return err
	}
	return r.Envelope(certType, asCert(c))
}

func (a *api) downloadCert(r *httpd.Request) error {
	c, err := a.named(r)
	if err != nil {
		return err
	}
	if c.PEM() == "" {
		return httpd.NotFound("Not Found: it was issued before certificates were kept")
	}
	r.Text(c.PEM())
	return nil
}

func (a *api) revokeCert(r *httpd.Request) error {
	c, err := a.named(r)
	if err != nil {
		return err
	}
	if err := a.revoke(r, []*pki.Record{c}); err != nil {
		return err
	}
	if c, err = a.named(r); err != nil {
		return err
	}
	return r.Envelope(certType, asCert(c))
}

// listed are the certificates with the ids of the path. One that does not exist
// is an error before anything is done.
func (a *api) listed(r *httpd.Request) ([]*pki.Record, error) {
	texts := strings.Split(r.Param("ids"), ",")
	if len(texts) > maxIDs {
		return nil, httpd.Bad("ids: %d; want at most %d", len(texts), maxIDs)
	}
	all, err := a.PKI.Records(r.Context(), "")
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]*pki.Record, len(all))
	for i := range all {
		byID[all[i].ID] = &all[i]
	}
	list := make([]*pki.Record, 0, len(texts))
	for _, text := range texts {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, httpd.Bad("ids: want numbers with commas between them")
		}
		c := byID[id]
		if c == nil {
			return nil, httpd.NotFound("Not Found: there is no certificate %d", id)
		}
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list, nil
}

func (a *api) revoke(r *httpd.Request, list []*pki.Record) error {
	for _, c := range list {
		fresh, err := a.PKI.Revoke(r.Context(), c.Serial)
		if err != nil {
			return refusal(err)
		}
		if len(fresh) > 0 {
			a.Audit.By(r, "cert revoke", c.Name+" "+c.Serial)
		}
	}
	return nil
}

func (a *api) revokeCerts(r *httpd.Request) error {
	list, err := a.listed(r)
	if err != nil {
		return err
	}
	return a.revoke(r, list)
}

func (a *api) deleteCerts(r *httpd.Request) error {
	list, err := a.listed(r)
	if err != nil {
		return err
	}
	now := time.Now()
	var valid []*pki.Record
	var expired []string
	for _, c := range list {
		if now.After(c.NotAfter) {
			expired = append(expired, c.Serial)
		} else {
			valid = append(valid, c)
		}
	}
	if err := a.revoke(r, valid); err != nil {
		return err
	}
	n, err := a.PKI.Forget(r.Context(), expired)
	if err != nil {
		return err
	}
	if n > 0 {
		a.Audit.By(r, "cert delete", strings.Join(expired, ","))
	}
	return nil
}

func (a *api) downloadCerts(r *httpd.Request) error {
	list, err := a.listed(r)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, c := range list {
		if c.PEM() == "" {
			continue
		}
		f, err := z.Create(fmt.Sprintf("%s-%d.pem", fileName(c.Name), c.ID))
		if err != nil {
			return err
		}
		if _, err := f.Write([]byte(c.PEM())); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	r.Response.Header.Set("Content-Disposition", `attachment; filename="certificates.zip"`)
	r.Reply(http.StatusOK, "application/zip", b.Bytes())
	return nil
}

// fileName keeps of a user's name what every file system takes.
func fileName(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
			return c
		}
		return '_'
	}, name)
}
