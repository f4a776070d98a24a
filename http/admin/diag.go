package admin

import (
	"context"
	"net/http"
	"time"

	"takd/http/httpd"
)

// Refusal is somebody who could not connect, or log in.
type Refusal struct {
	Time    time.Time `json:"time"`    // of the last one
	Where   string    `json:"where"`   // the stream's input, or https, enroll or federation
	Address string    `json:"address"` // without the port
	User    string    `json:"user"`    // as the certificate or the login names it; "" where nobody was named
	Reason  string    `json:"reason"`
	Count   int       `json:"count"` // how often that happened
}

// Verdict is what a certificate is, and whether the server would take it.
type Verdict struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Key       string    `json:"key"`   // RSA, ECDSA, ...
	Usage     string    `json:"usage"` // client, server, ca
	User      string    `json:"user"`
	Role      string    `json:"role"`
	In        []string  `json:"in"`
	Out       []string  `json:"out"`
	Refused   string    `json:"refused"` // why it would not be taken; "": it would
}

const maxPEM = 64 << 10

func (a *api) diag() []httpd.Route {
	return on("Operation",
		httpd.Route{Method: "GET", Path: "/api/admin/refusals", Summary: "Who could not shake hands or log in lately, and why, the newest first; equal ones are counted.", Handler: a.refused},
		httpd.Route{Method: "POST", Path: "/api/admin/diag/cert", Summary: "What the certificate in the body (PEM) is, and whether the server would take it.", MaxBody: maxPEM, Handler: a.diagCert},
	)
}

func (a *api) refused(r *httpd.Request) error {
	return r.JSON(http.StatusOK, append([]Refusal{}, a.Refusals()...))
}

func (a *api) diagCert(r *httpd.Request) error {
	v, err := a.Diagnose(r.Context(), r.PostBody())
	if err != nil {
		return httpd.Bad("body: %v", err)
	}
	return r.JSON(http.StatusOK, v)
}

// Diagnose looks at a certificate.
type Diagnose func(ctx context.Context, pem []byte) (Verdict, error)
