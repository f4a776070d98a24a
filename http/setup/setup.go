// Package setup is the first start in a browser: what `takd init` asks for, as a
// page and three routes, behind a link that works once and for half an hour.
//
// It is served instead of everything else, while there is no server yet.
package setup

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"takd/http/httpd"
)

// Addresses are where the server will listen: a port, host:port or off.
type Addresses struct {
	Cot        string `json:"cot"`
	HTTPS      string `json:"https"`
	Enroll     string `json:"enroll"`
	Federation string `json:"federation"`
	Ops        string `json:"ops"`
}

// Draft is what somebody has entered so far.
type Draft struct {
	Hosts     []string  `json:"hosts"` // names and addresses, the first is the server's
	Org       string    `json:"org"`   // in the certificates of the CA
	Admin     string    `json:"admin"`
	Password  string    `json:"password"`
	Addresses Addresses `json:"addresses"`

	CACert string `json:"ca_cert"` // PEM of an authority instead of a new one, and
	CAKey  string `json:"ca_key"`  // PEM of its key; "" for none
}

// Start is what the page begins with.
type Start struct {
	Draft

	Data        string    `json:"data"`         // the directory that will be made
	Given       []string  `json:"given"`        // fields of Addresses that the command line sets: they stay as they are
	MinPassword int       `json:"min_password"` // characters
	Expires     time.Time `json:"expires"`
}

// Made is what was made. It is the only time that these files leave the machine by
// themselves.
type Made struct {
	Host        string `json:"host"`
	Admin       string `json:"admin"`
	Files       string `json:"files"` // where they lie on the machine
	P12         []byte `json:"p12"`   // base64: key and certificate of the administrator
	P12Password string `json:"p12_password"`
	CA          []byte `json:"ca"`      // PEM
	Package     []byte `json:"package"` // a connection package of the administrator
	APIPort     int    `json:"api_port"`
	EnrollPort  int    `json:"enroll_port"` // 0 for none
}

// Deps is what the first start needs.
type Deps struct {
	Gate  *Gate
	Start Start
	// Check returns what is wrong with a draft, by field: "hosts", "org", "admin",
	// "password", "addresses.cot", "ca_cert", "ca_key".
	Check func(Draft) map[string]string
	// Finish makes the server's data.
	Finish func(context.Context, Draft) (*Made, error)
}

// maxDraft bounds a draft: two PEM texts of 64 KiB are its largest part.
const maxDraft = 160 << 10

// Routes is everything that there is to call before there is a server; the page
// itself is ui's.
func Routes(d Deps) []httpd.Route {
	routes := []httpd.Route{
		{Method: http.MethodGet, Path: "/api/setup", Summary: "What the page of the first start begins with. This and the two below are there only before there is a server, for who has the printed link.", Handler: d.start},
		{Method: http.MethodPost, Path: "/api/setup/check", Summary: "What is wrong with what was entered, by field.", Handler: d.check},
		{Method: http.MethodPost, Path: "/api/setup/finish", Summary: "Make the server's data and start it; the link is closed then.", Handler: d.finish},
	}
	for i := range routes {
		r := &routes[i]
		r.Faces, r.Role, r.Tag, r.MaxBody = httpd.Enroll, httpd.Admin, "First start", maxDraft
	}
	return routes
}

func (d *Deps) start(r *httpd.Request) error {
	r.Response.Header.Set("Cache-Control", "no-store")
	if err := d.Gate.open(); err != nil {
		return err
	}
	return r.JSON(http.StatusOK, d.Start)
}

func read(r *httpd.Request) (v Draft, err error) {
	return v, r.ReadExactJSON(&v)
}

func (d *Deps) check(r *httpd.Request) error {
	r.Response.Header.Set("Cache-Control", "no-store")
	if err := d.Gate.open(); err != nil {
		return err
	}
	v, err := read(r)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, d.Check(v))
}

func (d *Deps) finish(r *httpd.Request) error {
	r.Response.Header.Set("Cache-Control", "no-store")
	var made *Made
	err := d.Gate.once(func() error {
		v, err := read(r)
		if err != nil {
			return err
		}
		if wrong := d.Check(v); len(wrong) > 0 {
			text, err := json.Marshal(wrong)
			if err != nil {
				return err
			}
			return httpd.Bad("%s", text)
		}
		// With the server's context: who leaves now must not leave half a server behind.
		made, err = d.Finish(r.ServerContext(), v)
		return err
	})
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, made)
}
