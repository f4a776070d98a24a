package control

import (
	"time"

	"takd/cmd/takd/internal/config"
	"takd/netcore"
	"takd/store/history"
)

// The operations.
const (
	StatusOp  Op[None, Status]               = "status"
	ClientsOp Op[None, []netcore.ClientInfo] = "clients"
	KickOp    Op[Kick, Closed]               = "kick"

	UserList    Op[None, []User]     = "user/list"
	UserAdd     Op[NewUser, User]    = "user/add"
	UserSet     Op[UserChange, User] = "user/set"
	UserPasswd  Op[Password, None]   = "user/passwd"
	UserDisable Op[Disable, None]    = "user/disable"
	UserRemove  Op[Name, None]       = "user/remove"
	UserImport  Op[Import, Imported] = "user/import"
	GroupList   Op[None, []Group]    = "group/list"
	GroupAdd    Op[Name, None]       = "group/add"
	GroupRemove Op[Name, None]       = "group/remove"

	CertIssue  Op[Issue, []Issued]     = "cert/issue"
	CertList   Op[None, []Certificate] = "cert/list"
	CertRevoke Op[Revoke, Revoked]     = "cert/revoke"
	CertRenew  Op[Renew, Certificate]  = "cert/renew"
	CertImport Op[PEM, Certificate]    = "cert/import-ca"
	CertCheck  Op[PEM, Check]          = "cert/check"
	PackageOp  Op[Package, File]       = "package"

	ConfigGet      Op[Key, Text]                  = "config/get"
	ConfigSet      Op[map[string]string, Changed] = "config/set"
	ConfigHistory  Op[None, []config.Version]     = "config/history"
	ConfigRollback Op[Number, Changed]            = "config/rollback"
	ConfigReload   Op[None, Changed]              = "config/reload"
)

// Status is what a running server says of itself.
type Status struct {
	Version       string            `json:"version"`
	ServerID      string            `json:"server_id"`
	PID           int               `json:"pid"`
	Since         time.Time         `json:"since"`
	Data          string            `json:"data"`
	Services      []Service         `json:"services"`
	Listeners     map[string]string `json:"listeners"` // name -> address as bound
	Clients       int               `json:"clients"`
	History       *history.Stats    `json:"history,omitempty"` // without its tables; nil when it is off
	RestartNeeded []string          `json:"restart_needed"`    // changed keys that hold only after a restart
}

// Service is one part of the server.
type Service struct {
	Name  string    `json:"name"`
	State string    `json:"state"` // starting, running, degraded, stopping
	Since time.Time `json:"since"`

	Reason string `json:"reason,omitempty"` // why it is degraded
}

// Kick names clients by uid, callsign, user or certificate serial.
type Kick struct {
	Who    string `json:"who"`
	Reason string `json:"reason"`
}

// Closed says how many connections were closed.
type Closed struct {
	Closed int `json:"closed"`
}

// User is a user as operators see it.
type User struct {
	Name     string    `json:"name"`
	Role     string    `json:"role"`
	In       []string  `json:"in"`  // may send to
	Out      []string  `json:"out"` // may receive from
	Disabled bool      `json:"disabled"`
	Password bool      `json:"password"` // has one
	Created  time.Time `json:"created"`
}

// NewUser is a user to add.
type NewUser struct {
	Name     string   `json:"name"`
	Role     string   `json:"role"`
	Password string   `json:"password"` // "" for none
	In       []string `json:"in"`
	Out      []string `json:"out"`
}

// UserChange changes what is not nil.
type UserChange struct {
	Name string   `json:"name"`
	Role string   `json:"role,omitempty"` // "" keeps it
	Set  bool     `json:"set"`            // In and Out replace the groups
	In   []string `json:"in"`
	Out  []string `json:"out"`
}

// Password is a new password of a user.
type Password struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

// Disable disables or enables a user.
type Disable struct {
	Name     string `json:"name"`
	Disabled bool   `json:"disabled"`
}

// Name names a user or group.
type Name struct {
	Name string `json:"name"`
}

// Import holds the text of a CSV file with users.
type Import struct {
	CSV []byte `json:"csv"`
}

// Imported says what became of a CSV file.
type Imported struct {
	Users int `json:"users"`
}

// Group is a group and its members.
type Group struct {
	Name  string   `json:"name"`
	Users []string `json:"users"`
}

// Issue asks for certificates, one for each name.
type Issue struct {
	Names    []string      `json:"names"`
	Server   bool          `json:"server"`
	Hosts    []string      `json:"hosts"` // of a server certificate
	ECDSA    bool          `json:"ecdsa"`
	Validity time.Duration `json:"validity"` // 0 is the default
	Password string        `json:"password"` // of the .p12 files
}

// Issued is one certificate with its key, as files ready to be written.
type Issued struct {
	Name     string            `json:"name"`
	Serial   string            `json:"serial"`
	NotAfter time.Time         `json:"not_after"`
	Files    map[string][]byte `json:"files"` // by file name
}

// Certificate is a certificate that this server issued or trusts.
type Certificate struct {
	Serial   string     `json:"serial"`
	Name     string     `json:"name"`
	Kind     string     `json:"kind"`
	NotAfter time.Time  `json:"not_after"`
	Revoked  *time.Time `json:"revoked,omitempty"`
}

// State says whether c may be used at the time now.
func (c Certificate) State(now time.Time) string {
	switch {
	case c.Revoked != nil:
		return "revoked " + c.Revoked.Format(time.DateOnly)
	case now.After(c.NotAfter):
		return "expired"
	}
	return "valid"
}

// Check says what the server makes of a client certificate.
type Check struct {
	Serial  string   `json:"serial"`
	Usage   string   `json:"usage"`   // client, server, ca
	Refused string   `json:"refused"` // why; "" when it is taken
	User    string   `json:"user"`
	Role    string   `json:"role"`
	In      []string `json:"in"`
	Out     []string `json:"out"`
}

// Revoke names certificates by serial or by user.
type Revoke struct {
	Who    string `json:"who"`
	Reason string `json:"reason"`
}

// Revoked says which certificates were revoked.
type Revoked struct {
	Serials []string `json:"serials"`
}

// Renew replaces the server certificate; without hosts it keeps its names.
type Renew struct {
	Hosts []string `json:"hosts"`
}

// PEM holds certificates in PEM.
type PEM struct {
	PEM []byte `json:"pem"`
}

// Package asks for a connection data package.
type Package struct {
	Name string `json:"name"`
	For  string `json:"for"`  // atak, itak or wintak
	Host string `json:"host"` // "" is server.host
}

// File is one file.
type File struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// Key is a key of the configuration; "" is all of it.
type Key struct {
	Key string `json:"key"`
}

// Text is YAML.
type Text struct {
	Text string `json:"text"`
}

// Changed names the changed keys that hold only after a restart.
type Changed struct {
	RestartNeeded []string `json:"restart_needed"`
}

// Number is a version of the configuration.
type Number struct {
	N int `json:"n"`
}
