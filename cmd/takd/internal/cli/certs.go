package cli

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/store/pki"
)

// defaultP12 is the password that TAK clients try first.
const defaultP12 = "atakatak"

type certCmd struct {
	Issue    certIssueCmd    `cmd:"" help:"Issue certificates: NAME.pem, .key, .p12, ca.pem, truststore.p12."`
	List     certListCmd     `cmd:"" help:"List certificates."`
	Revoke   certRevokeCmd   `cmd:"" help:"Revoke certificates, and close their connections."`
	Renew    certRenewCmd    `cmd:"" help:"Renew the server certificate, without a restart."`
	ImportCA certImportCACmd `cmd:"" name:"import-ca" help:"Trust client certificates of another CA."`
}

type certIssueCmd struct {
	Names       []string      `arg:"" name:"name" help:"Name of the user, or of the server."`
	Out         string        `help:"Folder for the files." default:"." type:"path" placeholder:"DIR"`
	Server      bool          `help:"A server certificate."`
	SAN         []string      `name:"san" help:"Names and IP addresses of a server certificate; NAME when left out." placeholder:"HOST"`
	P12Password string        `name:"p12-password" help:"Password of the .p12 files." default:"atakatak"`
	ECDSA       bool          `name:"ecdsa" help:"P-256 key, quick to make; RSA, which every client takes, otherwise."`
	Count       int           `help:"Issue N certificates, NAME-1 to NAME-N." placeholder:"N"`
	Validity    time.Duration `help:"How long they are valid." placeholder:"8760h"`
}

// batch is how many certificates one request asks for: an answer stays small.
const batch = 50

func (c *certIssueCmd) Run(a *app) (err error) {
	names := c.Names
	switch {
	case c.Count < 0:
		return usage("--count %d: want 1 or more", c.Count)
	case c.Count > 0 && len(names) != 1:
		return usage("--count takes one NAME")
	case c.Count > 0:
		names = nil
		for i := range c.Count {
			names = append(names, fmt.Sprintf("%s-%d", c.Names[0], i+1))
		}
	case len(c.SAN) > 0 && !c.Server:
		return usage("--san is for --server")
	}
	d, err := a.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	type line struct {
		Name     string    `json:"name"`
		Serial   string    `json:"serial"`
		NotAfter time.Time `json:"not_after"`
		Files    []string  `json:"files"`
	}
	var lines []line
	for some := range slices.Chunk(names, batch) {
		issued, err := control.CertIssue.Call(a.ctx, d, control.Issue{
			Names: some, Server: c.Server, Hosts: c.SAN, ECDSA: c.ECDSA, Validity: c.Validity, Password: c.P12Password,
		})
		if err != nil {
			return err
		}
		for _, one := range issued {
			files, err := pki.WriteFiles(c.Out, one.Files)
			if err != nil {
				return err
			}
			lines = append(lines, line{one.Name, one.Serial, one.NotAfter, files})
			if c.Count == 0 && !a.json {
				_, _ = fmt.Fprintf(a.Out, "%s: serial %s, valid until %s\n", one.Name, one.Serial, one.NotAfter.Format(time.DateOnly))
			}
		}
	}
	note := ""
	if c.P12Password == defaultP12 {
		note = " (password " + defaultP12 + ")"
	}
	return a.say(lines, "%d issued; files in %s%s\n", len(lines), shorten(c.Out), note)
}

type certListCmd struct{}

func (certListCmd) Run(a *app) error {
	certs, err := ask(a, control.CertList, control.None{})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(certs))
	for _, c := range certs {
		rows = append(rows, []string{c.Name, c.Kind, c.Serial, c.NotAfter.Format(time.DateOnly), c.State(time.Now())})
	}
	return a.table(certs, "NAME KIND SERIAL UNTIL STATE", rows)
}

type certRevokeCmd struct {
	Who    string `arg:"" name:"serial|name" help:"Serial of a certificate, or the user whose certificates to revoke."`
	Reason string `help:"Why; kept with it." default:"revoked by operator"`
}

func (c *certRevokeCmd) Run(a *app) error {
	r, err := ask(a, control.CertRevoke, control.Revoke{Who: c.Who, Reason: c.Reason})
	if err != nil {
		return err
	}
	if len(r.Serials) == 0 {
		return a.say(r, "all certificates of %s were revoked already\n", c.Who)
	}
	return a.say(r, "revoked: %s\n", strings.Join(r.Serials, " "))
}

type certRenewCmd struct {
	Host []string `help:"Names and IP addresses of the server; those of the old certificate when left out." placeholder:"HOST"`
}

func (c *certRenewCmd) Run(a *app) error {
	r, err := ask(a, control.CertRenew, control.Renew{Hosts: c.Host})
	if err != nil {
		return err
	}
	return a.say(r, "server certificate renewed: serial %s, valid until %s\n", r.Serial, r.NotAfter.Format(time.DateOnly))
}

type certImportCACmd struct {
	File string `arg:"" help:"PEM file of the CA, with its intermediates."`
}

func (c *certImportCACmd) Run(a *app) error {
	text, err := a.readFile(c.File)
	if err != nil {
		return err
	}
	r, err := ask(a, control.CertImport, control.PEM{PEM: text})
	if err != nil {
		return err
	}
	return a.say(r, "clients of %s are trusted now\n", r.Name)
}

type packageCmd struct {
	Name string `arg:"" help:"Name of the user; a new certificate is issued."`
	Out  string `help:"File to write; NAME.zip when left out." type:"path" placeholder:"FILE.zip"`
	For  string `help:"atak, itak or wintak." enum:"atak,itak,wintak" default:"atak"`
	Host string `help:"Name or address that the client connects to; server.host of the configuration when left out."`
}

func (c *packageCmd) Run(a *app) error {
	f, err := ask(a, control.PackageOp, control.Package{Name: c.Name, For: c.For, Host: c.Host})
	if err != nil {
		return err
	}
	if c.Out == "" {
		c.Out = f.Name
	}
	if err := pki.WriteFile(c.Out, f.Data, 0o600); err != nil {
		return err
	}
	path := shorten(c.Out)
	return a.say(map[string]string{"name": c.Name, "file": path}, "%s: copy it to the device and import it there\n", path)
}

type diagCmd struct {
	Cert diagCertCmd `cmd:"" help:"Say what a certificate is and whether the server would take it."`

	Refused diagRefusedCmd `cmd:"" help:"List who could not connect or log in lately, and why, the newest first."`
}

type diagRefusedCmd struct{}

func (diagRefusedCmd) Run(a *app) error {
	all, err := askServer(a, control.RefusedOp, control.None{})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(all))
	for _, r := range all {
		rows = append(rows, []string{r.Time.Local().Format(time.DateTime), strconv.Itoa(r.Count), r.Address, r.Where, cmp.Or(r.User, "-"), r.Reason})
	}
	return a.table(all, "TIME COUNT ADDRESS WHERE USER REASON", rows)
}

type diagCertCmd struct {
	File string `arg:"" help:"PEM file."`
}

// Run prints what the file holds, and checks the first certificate as the
// server does.
func (c *diagCertCmd) Run(a *app) error {
	text, err := a.readFile(c.File)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return fmt.Errorf("%s: no PEM certificate in it; of a .p12 file make one with: openssl pkcs12 -legacy -in FILE.p12 -nokeys", c.File)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	r, err := ask(a, control.CertCheck, control.PEM{PEM: text})
	if err != nil {
		return err
	}
	verdict := "the server takes it: user " + r.User + ", role " + r.Role + ", groups " + groupText(r.In, r.Out)
	if r.Refused != "" {
		verdict = "the server refuses it: " + r.Refused
	}
	err = a.say(r, "subject  %s\nissuer   %s\nserial   %s\nvalid    %s to %s\nkey      %s\nfor      %s\n%s\n",
		cert.Subject, cert.Issuer, r.Serial, cert.NotBefore.Format(time.DateTime), cert.NotAfter.Format(time.DateTime),
		cert.PublicKeyAlgorithm, r.Usage, verdict)
	if err == nil && r.Refused != "" {
		err = control.Errorf(control.ErrBad, "%s would be refused: %s", c.File, r.Refused)
	}
	return err
}
