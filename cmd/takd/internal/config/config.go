// Package config is the Config service: it loads the one configuration file,
// composes the Options of every other package, validates, publishes, reloads
// and rolls back.
//
// A Config is a snapshot: it is never changed after it was published, so every
// service sees the same one. Nothing here starts goroutines.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"github.com/goccy/go-yaml"
	"golang.org/x/crypto/acme"

	"takd/http/enroll"
	"takd/http/httpd"
	"takd/netcore"
	"takd/store/backup"
	"takd/store/blob"
	"takd/store/history"
	"takd/store/meta"
	"takd/store/tiles"
)

// Errors that the package wraps what it finds in.
var (
	ErrInvalid = errors.New("configuration")                      // a bad file or value: the operator corrects it
	ErrNoKey   = errors.New("no such key")                        // get or set of what does not exist
	ErrMissing = errors.New("there is no configuration file")     // the data directory was never initialised
	ErrVersion = errors.New("there is no such version to go to")  // rollback
	ErrApply   = errors.New("the running server refused to take") // kept the old configuration
)

// Config is the whole configuration file.
type Config struct {
	Server    Server          `yaml:"server"`
	Messaging netcore.Options `yaml:"messaging"`
	API       API             `yaml:"api"`
	Files     blob.Options    `yaml:"files"`
	Tiles     tiles.Options   `yaml:"tiles"`
	History   history.Options `yaml:"history"`
	Backup    backup.Options  `yaml:"backup"`
	Log       Log             `yaml:"log"`
	Ops       Ops             `yaml:"ops"`
}

// Server says how the world reaches this server.
type Server struct {
	Host string `yaml:"host" help:"Name or address that clients connect to: it goes into connection packages."`
}

// API configures the HTTP faces.
type API struct {
	Address    string   `yaml:"address"     help:"Address of the API, for clients with a certificate. off for none." default:":8443"`
	Enroll     string   `yaml:"enroll"      help:"Address of enrollment and login, without a certificate. off for none." default:":8446"`
	Federation string   `yaml:"federation"  help:"Address of file exchange with other servers. off for none." default:":8444"`
	Federates  []string `yaml:"federation_groups" help:"Groups in which files are exchanged with other servers: theirs come to these, and they find what is in these. Without any, none are exchanged."`
	ClientAuth string   `yaml:"client_auth" help:"required: who calls the API has a certificate. optional: a token, a session or a password will do." default:"required"`

	Certificate Files `yaml:"certificate"`
	ACME        ACME  `yaml:"acme"`

	Limits     httpd.Limits   `yaml:"limits"`
	Enrollment enroll.Options `yaml:"enrollment"`
}

// Files are a certificate that somebody else renews. Enrollment and login show it;
// everything else shows the server's own.
type Files struct {
	Cert string `yaml:"cert" help:"File with the certificate of enrollment and its chain, in PEM, where it is not the server's own."`
	Key  string `yaml:"key"  help:"File with its key."`
}

// ACME has enrollment and login get a certificate from a public authority.
type ACME struct {
	Host      string `yaml:"host"      help:"Public name to get a certificate for, for enrollment. By giving it you agree to the authority's terms."`
	Email     string `yaml:"email"     help:"Address for the authority's warnings."`
	Directory string `yaml:"directory" help:"Address of the authority." default:"https://acme-v02.api.letsencrypt.org/directory"`
	HTTP      string `yaml:"http"      help:"Address for challenges, which come to port 80. off where port 443 leads to enrollment." default:":80"`
}

// Public tells whether enrollment shows another certificate than the server's own.
func (a API) Public() bool { return a.Certificate.Cert != "" || a.ACME.Host != "" }

// validate reports every bad field at once.
func (a API) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	for _, name := range a.Federates {
		if err := meta.ValidName("group name", name); err != nil {
			bad("api.federation_groups: %v", err)
		}
	}
	if (a.Certificate.Cert == "") != (a.Certificate.Key == "") {
		bad("api.certificate: want cert and key, or neither")
	}
	if a.ACME.Host == "" {
		return errors.Join(errs...)
	}
	if a.Certificate.Cert != "" {
		bad("api.acme.host and api.certificate: want one of them")
	}
	if !strings.Contains(a.ACME.Host, ".") || strings.ContainsAny(a.ACME.Host, " /:*\t\n") || net.ParseIP(a.ACME.Host) != nil {
		bad("api.acme.host %q: want a public name", a.ACME.Host)
	}
	if !strings.HasPrefix(a.ACME.Directory, "https://") {
		bad("api.acme.directory %q: want an https address", a.ACME.Directory)
	}
	if _, _, err := net.SplitHostPort(a.ACME.HTTP); a.ACME.HTTP != Off && err != nil {
		bad("api.acme.http %q: want host:port, :port or off", a.ACME.HTTP)
	}
	return errors.Join(errs...)
}

// Values of API.ClientAuth.
const (
	Required = "required"
	Optional = "optional"
)

// Log configures the log.
type Log struct {
	Level   string `yaml:"level"    help:"debug, info, warn or error." default:"info"`
	MaxSize int    `yaml:"max_size" help:"A log file is rotated at so many MiB." default:"100"`
	Keep    int    `yaml:"keep"     help:"Rotated files that are kept." default:"5"`
}

// Ops configures the operations listener: metrics, health and profiles.
type Ops struct {
	Address string `yaml:"address" help:"Address of metrics, health and profiles; it asks nobody who they are. off for none." default:"127.0.0.1:8090"`
}

// Off is the address of a listener that is not wanted.
const Off = "off"

// WithDefaults returns c with every zero field set to its default.
func (c Config) WithDefaults() Config {
	c.Messaging = c.Messaging.WithDefaults()
	c.API.Address, c.API.Enroll = cmp.Or(c.API.Address, ":8443"), cmp.Or(c.API.Enroll, ":8446")
	c.API.Federation = cmp.Or(c.API.Federation, ":8444")
	if c.API.ACME.Host != "" {
		c.API.ACME.Directory = cmp.Or(c.API.ACME.Directory, acme.LetsEncryptURL)
		c.API.ACME.HTTP = cmp.Or(c.API.ACME.HTTP, ":80")
	}
	c.API.ClientAuth = cmp.Or(c.API.ClientAuth, Required)
	c.API.Limits, c.API.Enrollment = c.API.Limits.WithDefaults(), c.API.Enrollment.WithDefaults()
	c.Files, c.Tiles = c.Files.WithDefaults(), c.Tiles.WithDefaults()
	c.History, c.Backup = c.History.WithDefaults(), c.Backup.WithDefaults()
	if c.Log.Level == "" {
		c.Log.Level = "info"
	}
	if c.Log.MaxSize == 0 {
		c.Log.MaxSize = 100
	}
	if c.Log.Keep == 0 {
		c.Log.Keep = 5
	}
	if c.Ops.Address == "" {
		c.Ops.Address = "127.0.0.1:8090"
	}
	return c
}

// Validate reports every bad field at once. It looks at c with its defaults.
func (c Config) Validate() error {
	c = c.WithDefaults()
	errs := []error{c.Messaging.Validate(), c.API.Limits.Validate(), c.API.Enrollment.Validate(), c.API.validate(), c.Files.Validate(), c.Tiles.Validate(), c.History.Validate(), c.Backup.Validate()}
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("%w: %s %v: want %s", ErrInvalid, field, value, want))
	}
	if _, err := ParseLevel(c.Log.Level); err != nil {
		bad("log.level", fmt.Sprintf("%q", c.Log.Level), "debug, info, warn or error")
	}
	if c.Log.MaxSize < 1 || c.Log.MaxSize > 10_000 {
		bad("log.max_size", c.Log.MaxSize, "1 to 10000")
	}
	if c.Log.Keep < 1 || c.Log.Keep > 1000 {
		bad("log.keep", c.Log.Keep, "1 to 1000")
	}
	for field, addr := range map[string]string{"ops.address": c.Ops.Address, "api.address": c.API.Address, "api.enroll": c.API.Enroll, "api.federation": c.API.Federation} {
		if _, _, err := net.SplitHostPort(addr); addr != Off && err != nil {
			bad(field, fmt.Sprintf("%q", addr), "host:port, :port or off")
		}
	}
	if c.API.ClientAuth != Required && c.API.ClientAuth != Optional {
		bad("api.client_auth", fmt.Sprintf("%q", c.API.ClientAuth), "required or optional")
	}
	if strings.ContainsAny(c.Server.Host, " /:\t\n") && net.ParseIP(c.Server.Host) == nil {
		bad("server.host", fmt.Sprintf("%q", c.Server.Host), "a name or an IP address, without port")
	}
	return errors.Join(errs...)
}

// ParseLevel reads the name of a log level.
func ParseLevel(s string) (slog.Level, error) {
	var l slog.Level
	switch strings.ToLower(s) {
	case "debug", "info", "warn", "error":
		return l, l.UnmarshalText([]byte(s))
	}
	return l, fmt.Errorf("%w: log level %q", ErrInvalid, s)
}

// Parse reads a configuration file. A field that does not exist is an error
// that names its line.
func Parse(text []byte) (Config, error) {
	var c Config
	err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&c)
	if err != nil && !errors.Is(err, io.EOF) { // EOF: an empty file, all defaults
		return Config{}, fmt.Errorf("%w: %s", ErrInvalid, oneLine(err, text))
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// oneLine makes "line 3: log.level: ..." of the decoder's error, which shows the source
// over several lines.
func oneLine(err error, source []byte) string {
	text := yaml.FormatError(err, false, false)
	text, _, _ = strings.Cut(text, "\n")
	var line, column int
	if n, _ := fmt.Sscanf(text, "[%d:%d]", &line, &column); n != 2 {
		return text
	}
	_, text, _ = strings.Cut(text, "] ")
	if key := keyAt(source, line); key != "" && !strings.HasPrefix(text, "unknown field") {
		text = key + ": " + text
	}
	return fmt.Sprintf("line %d: %s", line, text)
}

// keyAt is the key that a line of block YAML sets, with those that it is under:
// "messaging.max_clients". "" where the line sets none.
func keyAt(source []byte, line int) string {
	lines := strings.Split(string(source), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	indent := func(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }
	key, depth := "", indent(lines[line-1])+1
	for i := line - 1; i >= 0 && depth > 0; i-- {
		name, _, ok := strings.Cut(strings.TrimSpace(lines[i]), ":")
		if !ok || indent(lines[i]) >= depth || strings.ContainsAny(name, " #-[{\"'") {
			continue
		}
		if key != "" {
			name += "." + key
		}
		key, depth = name, indent(lines[i])
	}
	return key
}

// Addresses are those of the first configuration file: host:port, :port or off; ""
// is the default.
type Addresses struct {
	Cot        string `json:"cot"`        // of the stream; not off
	HTTPS      string `json:"https"`      // of the API
	Enroll     string `json:"enroll"`     // of enrollment and login
	Federation string `json:"federation"` // of file exchange with other servers
	Ops        string `json:"ops"`        // of metrics and health
}

// WithDefaults returns a with every empty field set to its default.
func (a Addresses) WithDefaults() Addresses {
	c := Config{}.WithDefaults()
	return Addresses{
		Cot: cmp.Or(a.Cot, ":8089"), HTTPS: cmp.Or(a.HTTPS, c.API.Address), Enroll: cmp.Or(a.Enroll, c.API.Enroll),
		Federation: cmp.Or(a.Federation, c.API.Federation), Ops: cmp.Or(a.Ops, c.Ops.Address),
	}
}

// First returns the text of a new configuration file for a server that clients
// reach as host.
func First(host string, a Addresses) []byte {
	federation := ""
	if a.Federation != "" {
		federation = fmt.Sprintf("  federation: %q\n", a.Federation)
	}
	a = a.WithDefaults()
	return fmt.Appendf(nil, `# The configuration of takd.
#
# After an edit: takd config reload. Or, checked and applied at once:
#   takd config set messaging.max_clients=5000
# Every key with its value: takd config get. Old versions: takd config history.

server:
  # The name or address that clients connect to; it goes into connection packages.
  host: %q

messaging:
  # Ways in for CoT. A protocol is tls, tcp or udp; tcp and udp are clear text.
  inputs:
    - name: tls
      protocol: tls
      address: %q

api:
  # HTTPS for clients with a certificate, and for enrollment and login without one.
  address: %q
  enroll: %q
%s
log:
  level: info

ops:
  # Metrics, health and profiles. It asks nobody who they are: keep it local.
  address: %q
`, host, a.Cot, a.HTTPS, a.Enroll, federation, a.Ops)
}
