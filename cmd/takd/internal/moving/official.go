package moving

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"takd/netcore"
)

// What is read of CoreConfig.xml. Names are matched without their namespace.
type coreConfig struct {
	Network struct {
		SizeLimit  string          `xml:"enterpriseSyncSizeLimitMB,attr"`
		Inputs     []coreInput     `xml:"input"`
		Feeds      []coreInput     `xml:"datafeed"`
		Connectors []coreConnector `xml:"connector"`
	} `xml:"network"`
	Auth struct {
		File struct {
			Location string `xml:"location,attr"`
		} `xml:"File"`
		LDAP  *struct{} `xml:"ldap"`
		OAuth *struct{} `xml:"oauth"`
	} `xml:"auth"`
	Subscription struct {
		Static []coreNamed `xml:"static"`
	} `xml:"subscription"`
	Filter struct {
		Children []coreElement `xml:",any"`
	} `xml:"filter"`
	Security struct {
		TLS struct {
			Keystore string `xml:"keystoreFile,attr"`
			Password string `xml:"keystorePass,attr"`
		} `xml:"tls"`
	} `xml:"security"`
	Federation struct {
		Federates []coreNamed `xml:"federate"`
		Outgoing  []coreNamed `xml:"federation-outgoing"`
	} `xml:"federation"`
}

type coreInput struct {
	Name      string    `xml:"_name,attr"`
	Protocol  string    `xml:"protocol,attr"`
	Port      string    `xml:"port,attr"`
	Auth      string    `xml:"auth,attr"`
	Interface string    `xml:"iface,attr"`
	Archive   string    `xml:"archive,attr"`
	Groups    []string  `xml:"filtergroup"`
	Filter    *struct{} `xml:"filter"`
}

type coreConnector struct {
	Port       string `xml:"port,attr"`
	ClientAuth string `xml:"clientAuth,attr"`
	Federation string `xml:"useFederationTruststore,attr"`
}

type coreNamed struct {
	Name    string `xml:"_name,attr"`
	Display string `xml:"displayName,attr"`
	Label   string `xml:"name,attr"`
}

type coreElement struct {
	XMLName xml.Name
	Enable  string `xml:"enable,attr"`
}

type userFile struct {
	Users []struct {
		Name        string   `xml:"identifier,attr"`
		Fingerprint string   `xml:"fingerprint,attr"`
		Password    string   `xml:"password,attr"`
		Hashed      string   `xml:"passwordHashed,attr"`
		Role        string   `xml:"role,attr"`
		Both        []string `xml:"groupList"`
		In          []string `xml:"groupListIN"`
		Out         []string `xml:"groupListOUT"`
	} `xml:"User"`
}

// readXML reads a file. Entities that it declares are not known, so it cannot grow.
func readXML(path string, v any) error {
	text, err := readFile(path)
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

// Official reads the directory of the official server, /opt/tak.
func Official(dir string) (*Plan, error) {
	p := &Plan{Settings: map[string]string{}, Copies: map[string]string{}}
	var core coreConfig
	errCore := readXML(filepath.Join(dir, "CoreConfig.xml"), &core)
	users := core.Auth.File.Location
	if users == "" {
		users = "UserAuthenticationFile.xml"
	}
	if !filepath.IsAbs(users) {
		users = filepath.Join(dir, users)
	}
	if _, err := os.Stat(users); err != nil {
		users = filepath.Join(dir, filepath.Base(users)) // a copy of the directory, made elsewhere
	}
	var file userFile
	errUsers := readXML(users, &file)
	if errCore != nil && errUsers != nil {
		return nil, fmt.Errorf("%w in %s: neither CoreConfig.xml nor UserAuthenticationFile.xml can be read: %w", ErrNothing, dir, errors.Join(errCore, errUsers))
	}
	if errCore != nil {
		p.leave("CoreConfig.xml", "%v", errCore)
	}
	if errUsers != nil {
		p.leave("users", "%v", errUsers)
	}
	p.officialUsers(&file)
	certs := filepath.Join(dir, "certs", "files")
	p.authorities(certs, "ca.pem", "root-ca.pem")
	store := core.Security.TLS.Keystore
	base := strings.TrimSuffix(filepath.Base(store), filepath.Ext(store))
	p.server([]string{core.Security.TLS.Password}, filepath.Join(certs, base+".p12"), filepath.Join(certs, "takserver.p12"))
	p.inputs(&core)
	p.connectors(&core)
	p.rest(dir, &core)
	return p, nil
}

func (p *Plan) officialUsers(file *userFile) {
	for _, u := range file.Users {
		one := User{Name: strings.TrimSpace(u.Name), Role: roleUser, In: append(u.In, u.Both...), Out: append(u.Out, u.Both...)}
		switch u.Role {
		case "ROLE_ADMIN":
			one.Role = roleAdmin
		case "ROLE_READONLY":
			one.Role = roleReadonly
		case "", "ROLE_ANONYMOUS":
		default:
			p.leave("role "+u.Role+" of "+one.Name, "takd has admin, user and readonly: it becomes user")
		}
		if u.Hashed == "true" {
			one.Hash = u.Password
		} else {
			one.Password = u.Password
		}
		p.addUser(one)
	}
}

// inputs become messaging.inputs.
func (p *Plan) inputs(core *coreConfig) {
	var all []netcore.Input
	for _, in := range append(core.Network.Inputs, core.Network.Feeds...) {
		what := "input " + in.Name
		port, err := strconv.Atoi(in.Port)
		if err != nil || port < 1 || port > 65535 {
			p.leave(what, "port %q", in.Port)
			continue
		}
		one := netcore.Input{Name: in.Name, Address: ":" + in.Port, Groups: p.groups(what, in.Groups)}
		switch in.Protocol {
		case "tls", "ssl", "prototls", "cottls":
			one.Protocol, one.Auth = netcore.TLS, netcore.AuthCert
		case "tcp", "stcp":
			one.Protocol, one.Auth = netcore.TCP, netcore.AuthAnonymous
		case "udp":
			one.Protocol, one.Auth = netcore.UDP, netcore.AuthAnonymous
		default:
			p.leave(what, "takd has no protocol %q: it has tls, tcp and udp", in.Protocol)
			continue
		}
		if auth := strings.ToLower(in.Auth); (auth == "file" || auth == "ldap") && one.Protocol != netcore.UDP {
			one.Auth = netcore.AuthPassword
		}
		if one.Auth != netcore.AuthAnonymous {
			one.Groups = nil
		}
		if in.Archive == "false" {
			no := false
			one.Archive = &no
		}
		if in.Filter != nil {
			p.leave("filter of "+what, "takd's inputs have none")
		}
		if in.Interface != "" {
			p.leave("interface of "+what, "takd listens on all: set messaging.inputs address to HOST:PORT")
		}
		if slices.ContainsFunc(all, func(o netcore.Input) bool {
			return o.Name == one.Name || o.Address == one.Address && o.Protocol == one.Protocol
		}) {
			p.leave(what, "its name or port is there twice")
			continue
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return
	}
	text, err := yaml.Marshal(all)
	if err == nil {
		err = netcore.Options{Inputs: all}.Validate()
	}
	if err != nil {
		p.leave("inputs", "%v", err)
		return
	}
	p.Settings["messaging.inputs"] = string(text)
}

// connectors become the faces of the API, where their ports are others.
func (p *Plan) connectors(core *coreConfig) {
	for _, c := range core.Network.Connectors {
		key, usual := "api.address", "8443"
		switch {
		case c.Federation == "true":
			key, usual = "api.federation", "8444"
		case c.ClientAuth == "false" || c.ClientAuth == "want":
			key, usual = "api.enroll", "8446"
		}
		port, err := strconv.Atoi(c.Port)
		switch {
		case err != nil || port < 1 || port > 65535 || c.Port == "8080":
			p.leave("connector "+c.Port, "takd has no HTTP in clear")
		case p.Settings[key] != "":
			p.leave("connector "+c.Port, "takd has one of each kind, and %s is %s", key, p.Settings[key])
		case c.Port != usual:
			p.Settings[key] = `":` + c.Port + `"`
		}
	}
	if n, err := strconv.Atoi(core.Network.SizeLimit); err == nil && n > 0 && n != 400 {
		p.Settings["files.max_upload"] = core.Network.SizeLimit + "MiB"
	}
}

// rest says what else there is.
func (p *Plan) rest(dir string, core *coreConfig) {
	for _, name := range []string{"retention-policy.yml", "retention-service.yml", "mission-archiving-config.yml"} {
		path := filepath.Join(dir, "conf", "retention", name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() < maxFile {
			p.Copies["retention/"+name] = path
		}
	}
	for _, f := range core.Filter.Children {
		if f.Enable != "false" {
			p.leave("filter "+f.XMLName.Local, "takd has no such filter")
		}
	}
	for _, s := range core.Subscription.Static {
		p.leave("static subscription "+s.Name, "takd pushes to nobody who does not connect")
	}
	for _, f := range append(core.Federation.Federates, core.Federation.Outgoing...) {
		p.leave("federate "+f.Name+f.Display+f.Label, "federation is set up anew; put the other server's authority into pki/federates.pem")
	}
	if core.Auth.LDAP != nil {
		p.leave("LDAP", "takd keeps its users itself: export them and use takd user import")
	}
	if core.Auth.OAuth != nil {
		p.leave("OAuth", "takd asks no other server who users are")
	}
	stores, _ := filepath.Glob(filepath.Join(dir, "certs", "files", "*.jks"))
	if len(stores) > 0 {
		p.leave(fmt.Sprintf("%d Java keystores (.jks)", len(stores)), "takd reads the PEM and PKCS#12 files that lie beside them")
	}
	p.leave("files, missions, history", "they are in the PostgreSQL of the official server, which takd does not read")
}
