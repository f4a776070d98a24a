// Package connpack writes connection data packages: one zip file that a TAK
// client imports to know a server, its truststore and the user's certificate.
package connpack

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"software.sslmate.com/src/go-pkcs12"

	"takd/store/meta"
)

// Package describes a connection package.
type Package struct {
	Name        string // of the user, and so of its certificate file
	Host        string // name or address of the server
	Port        int    // of the stream; 0 means 8089
	Description string // what the client shows; the host if empty

	UserP12       []byte // nil: the client enrolls with user and password
	TruststoreP12 []byte
	Password      string // of both; "atakatak" if empty
	For           string // "atak" (or empty), "wintak" or "itak"
}

// Write writes the package as zip. Errors wrap meta.ErrInvalid where a field is wrong.
func Write(w io.Writer, p Package) error {
	if err := p.prepare(); err != nil {
		return err
	}
	trust, user, err := p.certNames()
	if err != nil {
		return err
	}
	pref := p.pref(trust, user)
	files := []file{{trust, p.TruststoreP12}}
	if len(p.UserP12) > 0 {
		files = append(files, file{user, p.UserP12})
	}
	// iTAK looks for its files at the top and for a pref of this name; it knows no manifest.
	if p.For == "itak" {
		return writeZip(w, append(files, file{"config.pref", pref}))
	}
	files = append(files, file{"server.pref", pref})
	for i := range files {
		files[i].name = "certs/" + files[i].name
	}
	manifest := p.manifest(files)
	return writeZip(w, append([]file{{"MANIFEST/manifest.xml", manifest}}, files...))
}

type file struct {
	name string
	data []byte
}

func (p *Package) prepare() error {
	if err := meta.ValidName("package name", p.Name); err != nil {
		return err
	}
	if p.Port == 0 {
		p.Port = 8089
	}
	if p.Port < 1 || p.Port > 65535 {
		return fmt.Errorf("%w: port %d: want 1 to 65535", meta.ErrInvalid, p.Port)
	}
	if p.Host == "" || len(p.Host) > 253 || strings.ContainsFunc(p.Host, badHostRune) {
		return fmt.Errorf("%w: host %q: want a host name or an IP address", meta.ErrInvalid, p.Host)
	}
	if strings.Contains(p.Host, ":") && net.ParseIP(p.Host) == nil {
		return fmt.Errorf("%w: host %q: want it without a port", meta.ErrInvalid, p.Host)
	}
	if p.Description == "" {
		p.Description = p.Host
	}
	if p.Password == "" {
		p.Password = "atakatak"
	}
	switch p.For {
	case "", "atak", "wintak", "itak":
		return nil
	}
	return fmt.Errorf("%w: client %q: want atak, itak or wintak", meta.ErrInvalid, p.For)
}

func badHostRune(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.', r == ':':
		return false
	}
	return true
}

// certNames checks both stores and names their files. The names hold the host and
// the authority: clients keep one certificate folder for all servers, and a
// second server must not overwrite the first (WinTAK breaks on it).
func (p *Package) certNames() (trust, user string, err error) {
	certs, err := pkcs12.DecodeTrustStore(p.TruststoreP12, p.Password)
	if err == nil && len(certs) == 0 {
		err = errors.New("no certificate")
	}
	if err != nil {
		return "", "", fmt.Errorf("%w: truststore: %w", meta.ErrInvalid, err)
	}
	if len(p.UserP12) > 0 {
		if _, _, _, err := pkcs12.DecodeChain(p.UserP12, p.Password); err != nil {
			return "", "", fmt.Errorf("%w: certificate of %q: %w", meta.ErrInvalid, p.Name, err)
		}
	}
	sum := sha256.Sum256(certs[0].Raw)
	suffix := "-" + fileName(p.Host) + "-" + hex.EncodeToString(sum[:4]) + ".p12"
	trust, user = "truststore"+suffix, fileName(p.Name)+suffix
	if strings.EqualFold(user, trust) {
		user = "user-" + user
	}
	return trust, user, nil
}

// fileName keeps letters, digits and a few marks that every client's file system takes.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, s)
}

func (p *Package) manifest(files []file) []byte {
	var b bytes.Buffer
	b.WriteString(`<MissionPackageManifest version="2"><Configuration>`)
	for _, kv := range [][2]string{{"uid", uuid.NewString()}, {"name", fileName(p.Name) + ".zip"}, {"onReceiveDelete", "true"}} {
		fmt.Fprintf(&b, `<Parameter name="%s" value="%s"/>`, kv[0], escape(kv[1]))
	}
	b.WriteString(`</Configuration><Contents>`)
	for _, f := range files {
		fmt.Fprintf(&b, `<Content ignore="false" zipEntry="%s"/>`, escape(f.name))
	}
	b.WriteString(`</Contents></MissionPackageManifest>`)
	return b.Bytes()
}

func (p *Package) pref(trust, user string) []byte {
	var b bytes.Buffer
	entry := func(key, class, value string) {
		fmt.Fprintf(&b, "  <entry key=\"%s\" class=\"class java.lang.%s\">%s</entry>\n", key, class, escape(value))
	}
	folder := "cert/"
	host := p.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	b.WriteString("<?xml version='1.0' standalone='yes'?>\n<preferences>\n <preference version=\"1\" name=\"cot_streams\">\n")
	entry("count", "Integer", "1")
	entry("description0", "String", p.Description)
	entry("enabled0", "Boolean", "true")
	entry("connectString0", "String", host+":"+strconv.Itoa(p.Port)+":ssl")
	entry("caLocation0", "String", folder+trust)
	entry("caPassword0", "String", p.Password)
	if len(p.UserP12) > 0 {
		entry("certificateLocation0", "String", folder+user)
		entry("clientPassword0", "String", p.Password)
	} else {
		entry("enrollForCertificateWithTrust0", "Boolean", "true")
		entry("useAuth0", "Boolean", "true")
		entry("cacheCreds0", "String", "Cache credentials")
	}
	b.WriteString(" </preference>\n <preference version=\"1\" name=\"com.atakmap.app_preferences\">\n")
	entry("deviceProfileEnableOnConnect", "Boolean", "true")
	b.WriteString(" </preference>\n</preferences>\n")
	return b.Bytes()
}

func writeZip(w io.Writer, files []file) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: time.Now()}
		h.SetMode(0o600)
		e, err := z.CreateHeader(h)
		if err != nil {
			return fmt.Errorf("write package: %w", err)
		}
		if _, err := e.Write(f.data); err != nil {
			return fmt.Errorf("write package: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write package: %w", err)
	}
	return nil
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}
