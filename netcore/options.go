// Package netcore is the messaging engine: clients connect, and every event
// goes to those who may see it.
//
// Listeners accept and shake hands off the event loops; each gnet loop then
// owns its share of the clients, without locks, and talks to the other loops
// through mailboxes. An event is copied once when it arrives, gathered with
// others into batches that many receivers share, and sealed and written once
// per receiver and flush. Nothing on that way blocks, logs or allocates.
package netcore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"time"

	"takd/cot"
	"takd/netcore/group"
	"takd/netcore/session"
)

// ErrOptions wraps everything that Validate finds.
var ErrOptions = errors.New("messaging")

// Protocols and ways to authenticate of an Input, and values of UIDPolicy.
const (
	TLS = "tls"
	TCP = "tcp"
	UDP = "udp"

	AuthCert      = "cert"      // the TLS client certificate says who it is
	AuthPassword  = "password"  // the <auth> preamble does
	AuthAnonymous = "anonymous" // nobody asks

	UIDRefuse = "refuse" // a live client's uid is its user's alone
	UIDAllow  = "allow"  // anybody may send as anybody
)

// Input is one way in for CoT.
type Input struct {
	Name      string   `yaml:"name"               help:"Unique name of the input."`
	Protocol  string   `yaml:"protocol"           help:"tls, tcp or udp."`
	Address   string   `yaml:"address"            help:"Address to listen on, host:port or :port."`
	Auth      string   `yaml:"auth,omitempty"     help:"cert (tls), password (<auth> preamble; over tls a certificate is needed too) or anonymous (tcp, udp)."`
	Groups    []string `yaml:"groups,omitempty"   help:"Groups of anonymous clients; __ANON__ when empty."`
	Archive   *bool    `yaml:"archive,omitempty"  help:"Keep its events in the history." default:"true"`
	Flood     string   `yaml:"flood,omitempty"    help:"What happens to what a client sends beyond its share: slow lets it wait (wait_limit bytes, then oldest positions are dropped), close closes the client when that is full, drop does not let positions wait." default:"slow"`
	Gateway   *bool    `yaml:"gateway,omitempty"  help:"Its clients may carry others: chat to a uid that came over a connection goes there, newcomers get its position while it is fresh, and it leaves with the connection." default:"true"`
	Federated *bool    `yaml:"federated,omitempty" help:"Pass its events to federated servers." default:"true"`
}

// DefaultInputs is TLS on 8089, and nothing in clear text.
func DefaultInputs() []Input {
	return []Input{{Name: "tls", Protocol: TLS, Address: ":8089", Auth: AuthCert}}
}

// withDefaults fills in what the protocol implies.
func (in Input) withDefaults() Input {
	if in.Auth == "" {
		in.Auth = AuthAnonymous
		if in.Protocol == TLS {
			in.Auth = AuthCert
		}
	}
	if len(in.Groups) == 0 {
		in.Groups = []string{group.Anon}
	}
	yes := true
	def(&in.Archive, &yes)
	def(&in.Federated, &yes)
	def(&in.Gateway, &yes)
	def(&in.Flood, FloodSlow)
	if in.Name == "" {
		_, port, _ := net.SplitHostPort(in.Address)
		in.Name = in.Protocol + port
	}
	return in
}

func (in Input) validate() error {
	var errs []error
	bad := func(field, value, want string) {
		errs = append(errs, fmt.Errorf("%w: inputs[%s].%s %q: want %s", ErrOptions, in.Name, field, value, want))
	}
	switch {
	case in.Protocol != TLS && in.Protocol != TCP && in.Protocol != UDP:
		bad("protocol", in.Protocol, "tls, tcp or udp")
	case in.Auth == AuthCert && in.Protocol != TLS:
		bad("auth", in.Auth, "password or anonymous: only tls has certificates")
	case in.Auth == AuthAnonymous && in.Protocol == TLS:
		bad("auth", in.Auth, "cert or password")
	case in.Auth != AuthAnonymous && in.Protocol == UDP:
		bad("auth", in.Auth, "anonymous: a datagram carries no credentials")
	case in.Auth != AuthCert && in.Auth != AuthPassword && in.Auth != AuthAnonymous:
		bad("auth", in.Auth, "cert, password or anonymous")
	}
	if in.Flood != FloodDrop && in.Flood != FloodSlow && in.Flood != FloodClose {
		bad("flood", in.Flood, "drop, slow or close")
	}
	if _, _, err := net.SplitHostPort(in.Address); err != nil {
		bad("address", in.Address, "host:port or :port")
	}
	return errors.Join(errs...)
}

// Principal is who a client is and what it may send to (In) and receive from
// (Out). It is immutable.
type Principal struct {
	User    string
	Role    string
	In, Out []string // group names
	Serial  string   // of the certificate, lower-case hex without leading zeros; "" without one
}

// Authenticator says who a client is. It is called off the event loops, by many
// goroutines at once, once or twice for each connection.
type Authenticator interface {
	// Certificate resolves a client certificate that chains to a trusted CA. An
	// error refuses the client; its text is logged as the reason.
	Certificate(ctx context.Context, leaf *x509.Certificate) (Principal, error)
	// Password resolves the credentials of an <auth> preamble. Peer(ctx) is the
	// address that they came from.
	Password(ctx context.Context, user, password string) (Principal, error)
}

// Options configures an Engine. The zero value of a field means its default.
type Options struct {
	Inputs     []Input `yaml:"inputs"      help:"Ways in for CoT. TLS on 8089 when empty."`
	MaxEvent   int     `yaml:"max_event"   help:"Largest event sent to a client, in bytes. ATAK cannot receive more than 65536." default:"65536"`
	MaxClients int     `yaml:"max_clients" help:"Most connections at one time; less where the limit on open files is lower." default:"16000"`
	Loops      int     `yaml:"loops"       help:"Event loops; 0 is one for each core." default:"0"`
	FlowTags   *bool   `yaml:"flow_tags"   help:"Mark events that passed this server, and drop those that come back." default:"true"`

	UIDPolicy string `yaml:"uid_policy"  help:"What happens to a client that claims the uid of another user's live client: refuse drops what it sends under that uid, allow passes it on." default:"refuse"`

	LimitClient  session.Rate `yaml:"limit_client"  help:"What one connection, or one input of datagrams, may send for longer than three seconds. What is more waits."`
	LimitUser    session.Rate `yaml:"limit_user"    help:"What all connections of one user may send."`
	LimitAddress session.Rate `yaml:"limit_address" help:"What all connections from one IP address may send; a NAT may hide many clients."`

	WaitLimit int `yaml:"wait_limit" help:"Bytes of one client that may wait because they are more than its share." default:"16777216"`

	PostQuantum bool `yaml:"post_quantum" help:"Offer the key exchanges X25519MLKEM768 and X25519 too: what is recorded today stays secret from computers of tomorrow, and a handshake costs half as much again." default:"false"`

	HandshakeDeadline time.Duration `yaml:"handshake_deadline"  help:"A client that has not finished its TLS handshake or <auth> by then is closed." default:"10s"`
	Handshakes        int           `yaml:"handshakes"          help:"Handshakes under way at one time." default:"8192"`
	HandshakesPerIP   int           `yaml:"handshakes_per_ip"   help:"Handshakes under way from one IP address." default:"4096"`

	SendBuffer  int           `yaml:"send_buffer"  help:"Kernel send buffer of one client, in bytes: what it may be behind before takd notices." default:"262144"`
	SoftLimit   int           `yaml:"soft_limit"   help:"A client with more bytes than this waiting for it, for longer than a moment, gets only the newest position of each uid until it has caught up." default:"131072"`
	HardLimit   int           `yaml:"hard_limit"   help:"A client with more bytes than this waiting for it is closed." default:"4194304"`
	StallLimit  time.Duration `yaml:"stall_limit"  help:"A client that takes nothing for so long while bytes wait for it is closed." default:"30s"`
	MailboxSize int           `yaml:"mailbox_size" help:"Bytes that may wait between two event loops. Positions beyond are dropped and counted, and everything beyond four times as much." default:"67108864"`
	FlushMin    time.Duration `yaml:"flush_min"    help:"Shortest time between two flushes under load. Nothing is held while idle." default:"2ms"`
	FlushMax    time.Duration `yaml:"flush_max"    help:"Longest time between two flushes under load." default:"10ms"`

	AbsentTTL     time.Duration `yaml:"absent_ttl"       help:"How long chat is kept for a client that is away; negative: not at all." default:"24h"`
	AbsentPerUser int           `yaml:"absent_per_user"  help:"Chat messages kept for one absent client." default:"100"`
	AbsentBytes   int           `yaml:"absent_bytes"     help:"Bytes kept for all absent clients." default:"16777216"`

	EmergencyPeriod time.Duration `yaml:"emergency_period" help:"Emergencies are sent again this often until cancelled; negative: never." default:"10s"`
	EmergencyLife   time.Duration `yaml:"emergency_life"   help:"An emergency that nobody has cancelled or renewed ends by itself so long after its stale time." default:"24h"`
	Emergencies     int           `yaml:"emergencies"      help:"Emergencies repeated at one time; one user can raise an eighth of them." default:"1024"`

	ServerID string             `yaml:"-" kong:"-"` // required: 32 hex digits
	Version  string             `yaml:"-" kong:"-"` // shown to clients
	Letters  Letterbox          `yaml:"-" kong:"-"` // keeps the mail of absent clients over a restart; nil: nothing does
	Auth     Authenticator      `yaml:"-" kong:"-"` // required with tls or password inputs
	Refused  func(Refusal)      `yaml:"-" kong:"-"` // is told of everybody who was not let in; it must not block; nil: nobody is
	Passed   func(Passage)      `yaml:"-" kong:"-"` // is told, on an event loop, of everybody who says who he is, and when he goes; it must not block; nil: nobody is
	TLS      func() *tls.Config `yaml:"-" kong:"-"` // certificate and client CAs, asked again by ReloadTLS
	Log      *slog.Logger       `yaml:"-" kong:"-"` // required
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// cores is how many the machine, or the container, has: taken before anybody
// gives the Go scheduler more.
var cores = runtime.GOMAXPROCS(0)

// WithDefaults returns o with every zero field set to its default.
func (o Options) WithDefaults() Options {
	if len(o.Inputs) == 0 {
		o.Inputs = DefaultInputs()
	}
	inputs := make([]Input, len(o.Inputs))
	for i, in := range o.Inputs {
		inputs[i] = in.withDefaults()
	}
	o.Inputs = inputs
	yes := true
	def(&o.FlowTags, &yes)
	def(&o.MaxEvent, cot.ClientSize)
	def(&o.UIDPolicy, UIDRefuse)
	def(&o.LimitClient.Events, 200_000)
	def(&o.LimitClient.Bytes, 256<<20)
	def(&o.LimitClient.UIDs, 2000)
	def(&o.WaitLimit, 16<<20)
	def(&o.MaxClients, 16000)
	def(&o.Loops, cores)
	def(&o.HandshakeDeadline, 10*time.Second)
	def(&o.Handshakes, 8192)
	def(&o.HandshakesPerIP, 4096)
	def(&o.SendBuffer, 256<<10)
	def(&o.SoftLimit, 128<<10)
	def(&o.HardLimit, 4<<20)
	def(&o.StallLimit, 30*time.Second)
	def(&o.MailboxSize, 64<<20)
	def(&o.FlushMin, 2*time.Millisecond)
	def(&o.FlushMax, 10*time.Millisecond)
	def(&o.AbsentTTL, 24*time.Hour)
	def(&o.AbsentPerUser, 100)
	def(&o.AbsentBytes, 16<<20)
	def(&o.EmergencyPeriod, 10*time.Second)
	def(&o.EmergencyLife, 24*time.Hour)
	def(&o.Emergencies, 1024)
	return o
}

// Validate reports every bad field at once. It looks at o with its defaults.
func (o Options) Validate() error {
	o = o.WithDefaults()
	var errs []error
	between := func(field string, v, low, high int) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%w: %s %d: want %d to %d", ErrOptions, field, v, low, high))
		}
	}
	lasting := func(field string, v, low, high time.Duration) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%w: %s %s: want %s to %s", ErrOptions, field, v, low, high))
		}
	}
	between("max_event", o.MaxEvent, 1024, cot.MaxSize)
	between("max_clients", o.MaxClients, 1, 1_000_000)
	between("wait_limit", o.WaitLimit, 64<<10, 1<<30)
	between("loops", o.Loops, 1, 256)
	between("handshakes", o.Handshakes, 1, 1_000_000)
	between("handshakes_per_ip", o.HandshakesPerIP, 1, 1_000_000)
	between("send_buffer", o.SendBuffer, 16<<10, 64<<20)
	between("soft_limit", o.SoftLimit, 16<<10, o.HardLimit)
	between("hard_limit", o.HardLimit, 256<<10, 1<<30)
	between("mailbox_size", o.MailboxSize, 1<<20, 4<<30)
	between("absent_per_user", o.AbsentPerUser, 1, 100_000)
	between("absent_bytes", o.AbsentBytes, 1<<10, 1<<30)
	between("emergencies", o.Emergencies, 1, 100_000)
	lasting("handshake_deadline", o.HandshakeDeadline, 100*time.Millisecond, 5*time.Minute)
	lasting("stall_limit", o.StallLimit, time.Second, time.Hour)
	lasting("flush_min", o.FlushMin, 100*time.Microsecond, time.Second)
	lasting("flush_max", o.FlushMax, o.FlushMin, time.Second)
	lasting("emergency_life", o.EmergencyLife, 10*time.Second, 30*24*time.Hour)
	if o.EmergencyPeriod > 0 {
		lasting("emergency_period", o.EmergencyPeriod, time.Second, time.Hour)
	}
	if o.UIDPolicy != UIDRefuse && o.UIDPolicy != UIDAllow {
		errs = append(errs, fmt.Errorf("%w: uid_policy %q: want refuse or allow", ErrOptions, o.UIDPolicy))
	}
	seen := make(map[string]bool)
	for _, in := range o.Inputs {
		if err := in.validate(); err != nil {
			errs = append(errs, err)
		}
		if name := strings.ToLower(in.Name); seen[name] {
			errs = append(errs, fmt.Errorf("%w: inputs[%s].name: want a name that no other input has", ErrOptions, in.Name))
		} else {
			seen[name] = true
		}
	}
	return errors.Join(errs...)
}
