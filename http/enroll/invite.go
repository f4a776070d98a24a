package enroll

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/auth"
	"takd/store/pki"
	"takd/store/pki/connpack"
)

// Invitation is an invitation on the day it is made: the only time that its
// token is known.
type Invitation struct {
	auth.Invite

	State string `json:"state"`
	Token string `json:"token"`

	// Public tells that enrollment shows a certificate that phones may know: ATAK
	// takes its code from no other server.
	Public bool `json:"public"`

	Links

	ATAKPNG []byte `json:"atak_png"` // base64
	ITAKPNG []byte `json:"itak_png"`

	RegistrationPNG []byte   `json:"registration_png"`
	Files           []string `json:"files,omitempty"` // that a command wrote
}

// NewInvitation puts together what the person who invites hands on.
func NewInvitation(i auth.Invite, token string, site Site) (*Invitation, error) {
	v := &Invitation{Public: site.Public, Invite: i, State: i.State(time.Now()), Token: token, Links: site.Links(i.User, token)}
	var err1, err2, err3 error
	v.ATAKPNG, err1 = PNG(v.ATAK)
	v.ITAKPNG, err2 = PNG(v.ITAK)
	v.RegistrationPNG, err3 = PNG(v.Registration)
	return v, errors.Join(err1, err2, err3)
}

// Invite is an invitation in a list.
type Invite struct {
	auth.Invite

	State string `json:"state"` // open, used or expired
}

func (a *API) listInvites(r *httpd.Request) error {
	all, err := a.Auth.Invites(r.Context())
	if err != nil {
		return err
	}
	list := make([]Invite, 0, len(all))
	for _, i := range all {
		list = append(list, Invite{i, i.State(time.Now())})
	}
	return r.JSON(http.StatusOK, list)
}

// A wish is the body of a request for an invitation.
type wish struct {
	User    string   `json:"user"`
	Groups  []string `json:"groups"` // both directions
	In      []string `json:"in"`
	Out     []string `json:"out"`
	Expires string   `json:"expires"` // as "24h"
	Uses    int      `json:"uses"`
	Label   string   `json:"label"`
	Role    string   `json:"role"` // of a user that is made
}

func (a *API) addInvite(r *httpd.Request) error {
	noStore(r)
	var q wish
	if err := r.ReadExactJSON(&q); err != nil {
		return err
	}
	n := auth.NewInvite{
		User: q.User, In: slices.Concat(q.Groups, q.In), Out: slices.Concat(q.Groups, q.Out), Uses: q.Uses, Label: q.Label, Role: q.Role, By: r.Who.User,
	}
	if q.Expires != "" {
		var err error
		if n.Life, err = time.ParseDuration(q.Expires); err != nil || n.Life == 0 {
			return httpd.Bad("expires: want a duration as 24h")
		}
	}
	i, token, err := a.Auth.AddInvite(r.Context(), n)
	if err != nil {
		return refusal(err)
	}
	a.Audit.By(r, "invite", AuditText(i))
	v, err := NewInvitation(i, token, a.Site())
	if err != nil {
		return err
	}
	return r.JSON(http.StatusCreated, v)
}

// AuditText describes an invitation for the audit log.
func AuditText(i auth.Invite) string {
	return fmt.Sprintf("%s id=%s uses=%d until=%s in=%v out=%v", i.User, i.ID, i.MaxUses, i.Expires.Format(time.RFC3339), i.In, i.Out)
}

func (a *API) removeInvite(r *httpd.Request) error {
	id, _ := r.UserValue("id").(string)
	i, err := a.Auth.RemoveInvite(r.Context(), id)
	if errors.Is(err, auth.ErrNotFound) {
		return httpd.NotFound("Not Found: there is no such invitation")
	}
	if err != nil {
		return err
	}
	a.Audit.By(r, "invite remove", i.User+" id="+i.ID)
	r.SetStatusCode(http.StatusNoContent)
	return nil
}

// invitedPackage is the link for clients that do not enroll from a QR code: a
// connection package with a new certificate, which takes one use.
func (a *API) invitedPackage(r *httpd.Request) error {
	noStore(r)
	if r.IsHead() {
		return headless
	}
	token := string(r.QueryArgs().Peek("token"))
	kind := strings.ToLower(string(r.QueryArgs().Peek("for")))
	if kind != "" && kind != "atak" && kind != "itak" && kind != "wintak" {
		return httpd.Bad("for: want atak, itak or wintak")
	}
	p, err := a.Auth.PrincipalForInvite(r.Context(), "", token)
	if err != nil {
		return refusal(err)
	}
	var zip []byte
	err = a.issueKey(r, func() (issued *pki.Issued, err error) {
		issued, zip, err = a.pack(r, p.User, token, kind)
		return issued, err
	})
	if err != nil {
		return refusal(err)
	}
	r.Response.Header.Set("Content-Disposition", `attachment; filename="connection.zip"`)
	r.Response.Header.Set("X-Content-Type-Options", "nosniff")
	r.Reply(http.StatusOK, "application/zip", zip)
	return nil
}

func (a *API) pack(r *httpd.Request, user, token, kind string) (*pki.Issued, []byte, error) {
	back, err := a.Auth.UseInvite(r.Context(), user, token, "")
	if err != nil {
		return nil, nil, err
	}
	issued, zip, err := a.packIssued(r, user, kind)
	if err != nil {
		return nil, nil, errors.Join(err, back(r.Context()))
	}
	return issued, zip, nil
}

func (a *API) packIssued(r *httpd.Request, user, kind string) (*pki.Issued, []byte, error) {
	site := a.Site()
	o := pki.SignOptions{User: user, Address: r.RemoteIP().String(), Validity: a.Options().WithDefaults().Validity}
	issued, p12, err := a.PKI.IssueKeyStore(r.Context(), o, pki.DefaultPassword)
	if err != nil {
		return nil, nil, err
	}
	trust, err := a.PKI.TruststoreP12(pki.DefaultPassword)
	if err != nil {
		return nil, nil, err
	}
	var zip bytes.Buffer
	err = connpack.Write(&zip, connpack.Package{
		Name: user, Host: site.Host, Port: site.StreamPort, Description: site.Name, UserP12: p12, TruststoreP12: trust, For: kind,
	})
	return issued, zip.Bytes(), err
}
