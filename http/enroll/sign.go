package enroll

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"takd/http/httpd"
	"takd/store/auth"
	"takd/store/pki"
)

// config says what a request must name. node-tak reads literally the prefix ns2
// at the root, and breaks on a single nameEntry; ATAK 4 wants the namespace of the
// children; and TAK Aware takes it as plain text only.
func (a *API) config(r *httpd.Request) error {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n" +
		`<ns2:certificateConfig xmlns="http://bbn.com/marti/xml/config" xmlns:ns2="com.bbn.marti.config"><nameEntries>`)
	for _, e := range [][2]string{{"O", cmp.Or(strings.TrimSpace(a.PKI.Org()), "TAK")}, {"OU", pki.Unit}} {
		b.WriteString(`<nameEntry name="` + e[0] + `" value="`)
		_ = xml.EscapeText(&b, []byte(e[1])) // a Buffer does not fail
		b.WriteString(`"/>`)
	}
	b.WriteString(`</nameEntries></ns2:certificateConfig>`)
	r.Reply(http.StatusOK, "text/plain", b.Bytes())
	return nil
}

// signV2 answers in the form that the client accepts.
func (a *API) signV2(r *httpd.Request) error {
	form, err := signForm(string(r.Request.Header.Peek("Accept")))
	if err != nil {
		return err
	}
	signed, err := a.sign(r)
	if err != nil {
		return err
	}
	if form == formXML {
		r.Reply(http.StatusOK, form, signedXML(signed))
		return nil
	}
	body, err := signedJSON(signed)
	if err != nil {
		return err
	}
	r.Reply(http.StatusOK, form, body)
	return nil
}

// The forms of an answer, as content types.
const (
	formJSON = "application/json"
	formXML  = "application/xml"
	formText = "text/plain" // JSON for iTAK, which asks for text
)

func signForm(accept string) (string, error) {
	accept = strings.ToLower(accept)
	for _, form := range []string{formJSON, formXML, formText} {
		if strings.Contains(accept, form) {
			return form, nil
		}
	}
	if accept == "" || strings.Contains(accept, "*/*") || strings.Contains(accept, "application/*") {
		return formJSON, nil
	}
	return "", httpd.Bad("Accept: want application/json, application/xml or text/plain")
}

// signedXML has no white space between elements: ATAK's network library takes
// every child for a certificate, texts too, and ends the process over one.
func signedXML(s *pki.Signed) []byte {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?><enrollment><signedCert>`)
	b.WriteString(pki.Base64(s.Leaf))
	b.WriteString(`</signedCert>`)
	for _, ca := range s.CAs {
		b.WriteString(`<ca>` + pki.Base64(ca) + `</ca>`)
	}
	b.WriteString(`</enrollment>`)
	return b.Bytes()
}

func signedJSON(s *pki.Signed) ([]byte, error) {
	certs := map[string]string{"signedCert": pki.Base64(s.Leaf)}
	for i, ca := range s.CAs {
		certs["ca"+strconv.Itoa(i)] = pki.Base64(ca)
	}
	b, err := json.MarshalIndent(certs, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("answer as JSON: %w", err)
	}
	return b, nil
}

// signV1 is what ATAK 4 asks for.
func (a *API) signV1(r *httpd.Request) error {
	signed, err := a.sign(r)
	if err != nil {
		return err
	}
	der, err := signed.P12()
	if err != nil {
		return err
	}
	r.Reply(http.StatusOK, "application/x-pkcs12", der)
	return nil
}

// sign issues the certificate that the body asks for, to the caller.
func (a *API) sign(r *httpd.Request) (*pki.Signed, error) {
	csr, err := pki.ParseCSR(r.PostBody(), r.Who.User)
	if err != nil {
		return nil, refusal(err)
	}
	o, err := a.device(r)
	if err != nil {
		return nil, err
	}
	var signed *pki.Signed
	err = a.invited(r, o.ClientUID, func() error {
		signed, err = a.PKI.SignCSR(r.Context(), csr, o)
		return err
	})
	if err != nil {
		return nil, refusal(err)
	}
	a.Log.Info("device enrolled", "user", o.User, "client_uid", o.ClientUID, "serial", signed.Serial, "address", o.Address, "via", r.Who.Via)
	return signed, nil
}

// device is what is known of the caller's device.
func (a *API) device(r *httpd.Request) (pki.SignOptions, error) {
	args, uid := r.QueryArgs(), clientUID(r)
	if !pki.CleanClientUID(uid) {
		return pki.SignOptions{}, httpd.Bad("clientUid: want at most 256 characters of text")
	}
	return pki.SignOptions{
		User: r.Who.User, ClientUID: uid, Address: r.RemoteIP().String(),
		Version: string(args.Peek("version")), Validity: a.Options().WithDefaults().Validity,
	}, nil
}

// clientUID is that of the device. ATAK and others write it differently.
func clientUID(r *httpd.Request) string {
	args := r.QueryArgs()
	return cmp.Or(string(args.Peek("clientUid")), string(args.Peek("clientUID")))
}

// keyStore makes the key, too, for clients that cannot.
func (a *API) keyStore(r *httpd.Request) error {
	const maxPassword = 128
	if r.IsHead() {
		return headless
	}
	args := r.QueryArgs()
	if cn := string(args.Peek("cn")); cn != "" && !strings.EqualFold(cn, r.Who.User) {
		return httpd.Forbidden("cn: a certificate is only issued to the user who asks")
	}
	password := string(args.Peek("password"))
	if len(password) > maxPassword {
		return httpd.Bad("password: want at most %d bytes", maxPassword)
	}
	o, err := a.device(r)
	if err != nil {
		return err
	}
	var der []byte
	err = a.issueKey(r, func() (*pki.Issued, error) {
		var issued *pki.Issued
		err := a.invited(r, o.ClientUID, func() (err error) {
			issued, der, err = a.PKI.IssueKeyStore(r.Context(), o, password)
			return err
		})
		return issued, err
	})
	if err != nil {
		return refusal(err)
	}
	r.Response.Header.Set("Content-Disposition", `attachment; filename="clientCert.p12"`)
	r.Reply(http.StatusOK, "application/x-pkcs12", der)
	return nil
}

// issueKey waits for its turn: an RSA key takes a core for a good part of a second.
func (a *API) issueKey(r *httpd.Request, issue func() (*pki.Issued, error)) error {
	const patience = 20 * time.Second
	select {
	case a.keys <- struct{}{}:
		defer func() { <-a.keys }()
	case <-r.Context().Done():
		return busy()
	case <-time.After(patience):
		return busy()
	}
	issued, err := issue()
	if err == nil {
		a.Log.Info("device enrolled", "user", issued.Name, "serial", issued.Serial, "address", r.RemoteIP().String(), "via", r.Who.Via)
	}
	return err
}

// headless answers HEAD where GET makes a certificate, or spends an invitation: what
// looks at links, as programs for mail and chat do, shall not.
var headless = httpd.Bad("HEAD: this route takes GET alone")

func busy() error {
	return &httpd.Error{Status: http.StatusServiceUnavailable, Code: 6, Message: "The server is making keys for others; try again"}
}

// invited runs issue, and where the caller showed an invitation takes one use of
// it: only certificates count, and one that was not issued is given back.
func (a *API) invited(r *httpd.Request, clientUID string, issue func() error) error {
	token := shown(r)
	back := func(context.Context) error { return nil }
	if auth.LooksLikeInvite(token) {
		use, err := a.Auth.UseInvite(r.Context(), r.Who.User, token, clientUID)
		switch {
		case err == nil:
			back = use
		case errors.Is(err, auth.ErrNotFound) && r.Who.Via != httpd.ViaInvite:
			// A password of that form.
		default:
			return err
		}
	}
	err := issue()
	if err != nil {
		err = errors.Join(err, back(context.WithoutCancel(r.Context())))
	}
	return err
}

// shown is the password or token in the Authorization header.
func shown(r *httpd.Request) string {
	scheme, rest, _ := strings.Cut(string(r.Request.Header.Peek("Authorization")), " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return rest
	case strings.EqualFold(scheme, "Basic"):
		text, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return ""
		}
		_, password, _ := strings.Cut(string(text), ":")
		return password
	}
	return ""
}

// refusal gives errors of the store the status and text that clients understand:
// ATAK shows 401 as wrong credentials and 403 as denied.
func refusal(err error) error {
	for _, e := range []error{auth.ErrInviteUsed, auth.ErrInviteExpired, auth.ErrNotFound} {
		if errors.Is(err, e) {
			return httpd.Unauthorized("Bad credentials: the invitation is used up, expired or unknown; ask for a new one")
		}
	}
	switch {
	case errors.Is(err, pki.ErrOtherName):
		return httpd.Forbidden("A certificate is only issued to the user who asks: %v", err)
	case errors.Is(err, auth.ErrDisabled):
		return httpd.Forbidden("The user is disabled")
	case errors.Is(err, pki.ErrInvalid):
		return httpd.Bad("%v", err)
	}
	return err
}
