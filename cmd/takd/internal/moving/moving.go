// Package moving reads the data of other TAK servers: what of it comes over to
// takd, and what does not, and why. It changes nothing; a Plan is carried out by
// package server.
//
// What it reads was written by another program, in many versions: a part that
// is missing or cannot be read is said, and the rest is read.
package moving

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"takd/store/auth"
	"takd/store/meta"
)

// ErrNothing means that a directory is not that of such a server.
var ErrNothing = errors.New("nothing to import")

// maxFile bounds each file that is read whole.
const maxFile = 16 << 20

// User is an account that comes over.
type User struct {
	Name     string
	Role     string
	Hash     string // bcrypt; "" for none
	Password string // in clear, where the other server kept it so
	In, Out  []string
	Disabled bool
}

// Package is a file that users exchanged.
type Package struct {
	Path      string // where it lies
	Hash      string // SHA-256 that it should have
	Name      string
	User      string
	Creator   string // uid
	MIME      string
	Tool      string
	Keywords  []string
	Submitted time.Time
}

// Item is one thing that comes over, or that does not.
type Item struct {
	What   string `json:"what"`
	Detail string `json:"detail"` // of what does not come over: why
}

// Plan is what comes over.
type Plan struct {
	Users    []User
	CAs      []*x509.Certificate // whose clients keep working
	Revoked  []*x509.RevocationList
	Server   *tls.Certificate // what clients trust; nil for none
	Packages []Package
	Settings map[string]string // keys of the configuration
	Copies   map[string]string // file in conf/ -> where it lies
	Left     []Item            // what does not come over, and why
}

func (p *Plan) leave(what, why string, args ...any) {
	p.Left = append(p.Left, Item{what, fmt.Sprintf(why, args...)})
}

// Groups are all groups that users are in.
func (p *Plan) Groups() []string {
	var all []string
	for i := range p.Users {
		all = append(append(all, p.Users[i].In...), p.Users[i].Out...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Comes lists what comes over.
func (p *Plan) Comes() []Item {
	all := []Item{}
	add := func(n int, what, detail string) {
		if n > 0 {
			all = append(all, Item{fmt.Sprintf("%d %s", n, what), detail})
		}
	}
	names, withPassword := make([]string, 0, len(p.Users)), 0
	for i := range p.Users {
		names = append(names, p.Users[i].Name+" ("+p.Users[i].Role+")")
		if p.Users[i].Hash != "" || p.Users[i].Password != "" {
			withPassword++
		}
	}
	add(len(p.Users), "users", list(names))
	add(withPassword, "passwords", "they stay as they are")
	add(len(p.Groups()), "groups", list(p.Groups()))
	for _, c := range p.CAs {
		all = append(all, Item{"authority", c.Subject.String() + ", until " + c.NotAfter.Format(time.DateOnly) + ": clients keep their certificates"})
	}
	for _, r := range p.Revoked {
		add(len(r.RevokedCertificateEntries), "revoked certificates", "they stay revoked")
	}
	if p.Server != nil {
		all = append(all, Item{"server certificate", p.Server.Leaf.Subject.String() + ", until " + p.Server.Leaf.NotAfter.Format(time.DateOnly) + ": clients trust it, and it alone"})
	}
	add(len(p.Packages), "files", "whoever is in one of the groups sees them")
	for _, key := range sorted(p.Settings) {
		all = append(all, Item{"setting " + key, strings.ReplaceAll(strings.TrimSpace(p.Settings[key]), "\n", "; ")})
	}
	for _, name := range sorted(p.Copies) {
		all = append(all, Item{"file conf/" + name, "as it is"})
	}
	return all
}

func sorted(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func list(words []string) string {
	const limit = 20
	if len(words) > limit {
		return strings.Join(words[:limit], ", ") + fmt.Sprintf(" and %d more", len(words)-limit)
	}
	return strings.Join(words, ", ")
}

// addUser takes a user that takd can keep.
func (p *Plan) addUser(u User) {
	if err := meta.ValidName("name", u.Name); err != nil {
		p.leave(fmt.Sprintf("user %.100q", u.Name), "%v", err)
		return
	}
	if slices.ContainsFunc(p.Users, func(o User) bool { return o.Name == u.Name }) {
		p.leave("user "+u.Name, "it is there twice: the first one comes over")
		return
	}
	u.In, u.Out = p.groups(u.Name, u.In), p.groups(u.Name, u.Out)
	if u.Hash != "" && (!strings.HasPrefix(u.Hash, "$2") || len(u.Hash) != 60) {
		p.leave("password of "+u.Name, "it is kept in a form that takd cannot check: set a new one with takd user passwd")
		u.Hash = ""
	}
	p.Users = append(p.Users, u)
}

func (p *Plan) groups(user string, names []string) []string {
	var good []string
	for _, g := range names {
		g = strings.TrimSpace(g)
		if err := meta.ValidName("group name", g); err != nil || strings.Contains(g, ";") {
			p.leave(fmt.Sprintf("group %.100q of %s", g, user), "takd's groups have names of 1 to 64 printable characters without / \\ ;")
			continue
		}
		if !slices.Contains(good, g) {
			good = append(good, g)
		}
	}
	return good
}

// readFile reads a file whole, or what of it is not too large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: want at most %d bytes", path, maxFile)
	}
	return text, err
}

// certificates reads what certificates a PEM file holds, in either form.
func certificates(path string) (all []*x509.Certificate) {
	text, err := readFile(path)
	if err != nil {
		return nil
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all
		}
		if c, err := x509.ParseCertificate(block.Bytes); block.Type == "CERTIFICATE" && err == nil {
			all = append(all, c)
		}
	}
}

// authorities takes those of first, and of the PEM files in dir those that they
// are signed by, or that they signed. Others that lie there, of federated
// servers say, are not trusted with clients.
func (p *Plan) authorities(dir string, first ...string) {
	var all, found []*x509.Certificate
	names, _ := filepath.Glob(filepath.Join(dir, "*.pem"))
	for _, name := range names {
		for _, c := range certificates(name) {
			if c.IsCA && !slices.ContainsFunc(all, c.Equal) {
				all = append(all, c)
				if slices.Contains(first, filepath.Base(name)) {
					found = append(found, c)
				}
			}
		}
	}
	for grown := true; grown; {
		grown = false
		for _, c := range all {
			related := func(o *x509.Certificate) bool {
				return c.CheckSignatureFrom(o) == nil || o.CheckSignatureFrom(c) == nil
			}
			if !slices.ContainsFunc(found, c.Equal) && slices.ContainsFunc(found, related) {
				found, grown = append(found, c), true
			}
		}
	}
	for _, c := range found {
		if time.Now().After(c.NotAfter) {
			p.leave("authority "+c.Subject.String(), "it expired on %s", c.NotAfter.Format(time.DateOnly))
			continue
		}
		p.CAs = append(p.CAs, c)
	}
	for _, c := range all {
		if !slices.ContainsFunc(found, c.Equal) {
			p.leave("authority "+c.Subject.String(), "the server's own authority has nothing to do with it; if its clients are to be let in: takd cert import-ca FILE")
		}
	}
	if len(p.CAs) == 0 {
		p.leave("authority", "none was found in %s: phones have to enroll anew", dir)
	}
	p.revoked(dir)
}

// revoked reads the lists that the authorities signed.
func (p *Plan) revoked(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, "*.crl"))
	for _, name := range names {
		text, err := readFile(name)
		if err != nil {
			continue
		}
		if block, _ := pem.Decode(text); block != nil {
			text = block.Bytes
		}
		l, err := x509.ParseRevocationList(text)
		if err != nil {
			p.leave("revocation list "+filepath.Base(name), "%v", err)
			continue
		}
		if slices.ContainsFunc(p.CAs, func(c *x509.Certificate) bool { return l.CheckSignatureFrom(c) == nil }) {
			p.Revoked = append(p.Revoked, l)
		} else {
			p.leave("revocation list "+filepath.Base(name), "no authority that comes over has signed it")
		}
	}
}

// server takes the server's certificate from the first PKCS#12 file that opens.
func (p *Plan) server(passwords []string, files ...string) {
	why := "no PKCS#12 file of it was found: takd shows its own, and phones have to be given takd's truststore"
	for _, name := range files {
		data, err := readFile(name)
		if err != nil {
			continue
		}
		for _, word := range append(passwords, "atakatak") {
			key, leaf, _, err := pkcs12.DecodeChain(data, word)
			if err != nil {
				why = fmt.Sprintf("%s: %v", filepath.Base(name), err)
				continue
			}
			if time.Now().After(leaf.NotAfter) {
				why = "it expired on " + leaf.NotAfter.Format(time.DateOnly)
				continue
			}
			if !slices.ContainsFunc(p.CAs, func(c *x509.Certificate) bool { return leaf.CheckSignatureFrom(c) == nil }) {
				why = filepath.Base(name) + ": no authority that comes over has signed it"
				continue
			}
			p.Server = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
			return
		}
	}
	p.leave("server certificate", "%s", why)
}

// Roles of takd.
const (
	roleAdmin    = auth.RoleAdmin
	roleUser     = auth.RoleUser
	roleReadonly = auth.RoleReadonly
)
