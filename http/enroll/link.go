package enroll

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/skip2/go-qrcode"
)

// Site is how clients reach this server.
type Site struct {
	Host       string // name or address
	StreamPort int    // of the TLS stream; 0 is 8089
	EnrollPort int    // 0 is 8446
	APIPort    int    // 0 is 8443
	Name       string // what clients show; Host if empty
	Public     bool   // enrollment shows a certificate of somebody else, which phones may know
}

const (
	streamPort = 8089
	enrollPort = 8446
)

// Links are the texts that carry an invitation to a device.
type Links struct {
	ATAK         string `json:"atak"`         // of the QR code that ATAK and WinTAK enroll from
	ITAK         string `json:"itak"`         // of the QR code that iTAK adds the server from; it asks for user and token
	Registration string `json:"registration"` // of the QR code of TAK Tracker and others
	Package      string `json:"package_url"`  // where a browser gets a connection package
	Import       string `json:"import_uri"`   // has ATAK fetch that package
}

// Links makes them. The token is in all but ITAK.
func (s Site) Links(user, token string) Links {
	host := s.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	stream := s.StreamPort
	if stream == 0 {
		stream = streamPort
	}
	enroll := s.EnrollPort
	if enroll == 0 {
		enroll = enrollPort
	}
	address := host
	if stream != streamPort { // older ATAK take no port
		address += ":" + strconv.Itoa(stream)
	}
	name := s.Name
	if name == "" {
		name = s.Host
	}
	l := Links{
		ATAK: "tak://com.atakmap.app/enroll?host=" + address + "&username=" + escape(user) + "&token=" + escape(token),
		ITAK: fmt.Sprintf("%s,%s,%d,SSL", strings.ReplaceAll(name, ",", " "), host, stream),
		Package: (&url.URL{
			Scheme: "https", Host: net.JoinHostPort(s.Host, strconv.Itoa(enroll)), Path: packagePath, RawQuery: "token=" + escape(token),
		}).String(),
	}
	l.Registration = registration(net.JoinHostPort(s.Host, strconv.Itoa(stream))+":ssl", user, token)
	l.Import = "tak://com.atakmap.app/import?url=" + escape(l.Package)
	return l
}

// registration is the text of a TAK Registration code.
func registration(connect, user, token string) string {
	type server struct {
		Connect string `json:"connectionString"`
	}
	type credentials struct {
		User     string `json:"username"`
		Password string `json:"password"`
		ID       string `json:"registrationId"`
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(struct { // texts do not fail
		Type        string      `json:"type"`
		Passphrase  string      `json:"passphrase"`
		Server      server      `json:"serverCredentials"`
		Credentials credentials `json:"userCredentials"`
	}{"registration", "false", server{connect}, credentials{user, token, ""}})
	return strings.TrimSpace(b.String())
}

const packagePath = "/invite/package.zip"

// escape leaves no plus sign, which some readers take for a space and others do not.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// PNG is the QR code of a text as an image.
func PNG(text string) ([]byte, error) {
	const pixels = 512
	png, err := qrcode.Encode(text, qrcode.Medium, pixels)
	if err != nil {
		return nil, fmt.Errorf("make QR code: %w", err)
	}
	return png, nil
}

// Terminal is the QR code of a text in block characters, for dark terminals and
// light ones.
func Terminal(text string) (string, error) {
	code, err := qrcode.New(text, qrcode.Low)
	if err != nil {
		return "", fmt.Errorf("make QR code: %w", err)
	}
	return code.ToSmallString(false), nil
}
