package netcore_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"takd/cot"
	"takd/cot/frame"
	"takd/cot/takpb"
	"takd/netcore"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// people is an Authenticator: user name -> groups "a,b" or "in:a,out:b".
type people struct {
	mu     sync.Mutex
	groups map[string]string
	banned map[string]bool
	asked  func(user string) // after a password was found right, before the answer
}

func (p *people) lookup(user string) (netcore.Principal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.banned[user] {
		return netcore.Principal{}, errors.New("certificate of " + user + " is revoked")
	}
	spec, ok := p.groups[user]
	if !ok {
		spec = "__ANON__"
	}
	pr := netcore.Principal{User: user}
	for g := range strings.SplitSeq(spec, ",") {
		if name, ok := strings.CutPrefix(g, "in:"); ok {
			pr.In = append(pr.In, name)
		} else if name, ok := strings.CutPrefix(g, "out:"); ok {
			pr.Out = append(pr.Out, name)
		} else {
			pr.In, pr.Out = append(pr.In, g), append(pr.Out, g)
		}
	}
	return pr, nil
}

func (p *people) set(user, groups string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.groups[user] = groups
}

// SetGroups is the engine's, after the change of the store that it tells of.
func (s *server) SetGroups(user string, in, out []string) int {
	var spec []string
	for _, g := range in {
		spec = append(spec, "in:"+g)
	}
	for _, g := range out {
		spec = append(spec, "out:"+g)
	}
	s.people.set(user, strings.Join(spec, ","))
	return s.Engine.SetGroups(user, in, out)
}

func (p *people) ban(user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.banned[user] = true
}

func (p *people) Certificate(_ context.Context, leaf *x509.Certificate) (netcore.Principal, error) {
	pr, err := p.lookup(leaf.Subject.CommonName)
	pr.Serial = leaf.SerialNumber.Text(16)
	return pr, err
}

func (p *people) Password(_ context.Context, user, password string) (netcore.Principal, error) {
	if password != "secret "+user {
		return netcore.Principal{}, errors.New("wrong password")
	}
	pr, err := p.lookup(user)
	p.mu.Lock()
	asked := p.asked
	p.mu.Unlock()
	if asked != nil {
		asked(user)
	}
	return pr, err
}

// authority is a CA for one test run.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

var ca = sync.OnceValue(func() *authority {
	a := &authority{pool: x509.NewCertPool()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		panic(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
})

func (a *authority) issue(name string) tls.Certificate {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

const serverID = "0123456789abcdef0123456789abcdef"

// server is an engine under test.
type server struct {
	*netcore.Engine
	people *people
	addr   string // of the first input
}

func quiet() *slog.Logger {
	if os.Getenv("TAKD_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

// options are those of start; a test changes what it is about.
func options(groups map[string]string) (netcore.Options, *people) {
	p := &people{groups: groups, banned: make(map[string]bool)}
	cert := ca().issue("server")
	return netcore.Options{
		Inputs:   []netcore.Input{{Name: "tls", Protocol: netcore.TLS, Address: "127.0.0.1:0"}},
		ServerID: serverID, Version: "test", Loops: 2, Auth: p, Log: quiet(),
		TLS: func() *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: ca().pool, MinVersion: tls.VersionTLS12}
		},
	}, p
}

func start(t testing.TB, groups map[string]string, change ...func(*netcore.Options)) *server {
	t.Helper()
	o, p := options(groups)
	for _, f := range change {
		f(&o)
	}
	e, err := netcore.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = e.Stop(ctx)
	})
	return &server{Engine: e, people: p, addr: e.Listeners()[o.Inputs[0].Name].String()}
}

// phone is a TAK client.
type phone struct {
	t        testing.TB
	name     string
	conn     net.Conn
	events   chan string // XML of what it received
	closed   chan struct{}
	mu       sync.Mutex
	protobuf bool
	seen     []string
}

func clientTLS(name string, version uint16) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{ca().issue(name)}, RootCAs: ca().pool, ServerName: "127.0.0.1",
		MinVersion: tls.VersionTLS12, MaxVersion: version,
	}
}

// connect brings a phone to the server with a certificate for name.
func (s *server) connect(t testing.TB, name string) *phone {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addr, clientTLS(name, tls.VersionTLS13))
	if err != nil {
		t.Fatalf("connect %s: %v", name, err)
	}
	return newPhone(t, name, conn)
}

func newPhone(t testing.TB, name string, conn net.Conn) *phone {
	return newClient(t, name, conn, false)
}

func newClient(t testing.TB, name string, conn net.Conn, protobuf bool) *phone {
	p := &phone{t: t, name: name, conn: conn, protobuf: protobuf, events: make(chan string, 100_000), closed: make(chan struct{})}
	go p.read()
	t.Cleanup(func() { _ = conn.Close() })
	return p
}

// online connects and waits until the server serves it: the offer has come.
func (s *server) online(t testing.TB, name string) *phone {
	t.Helper()
	p := s.connect(t, name)
	p.expect("t-x-takp-v")
	return p
}

// bound is online with a first position.
func (s *server) bound(t testing.TB, name string) *phone {
	t.Helper()
	p := s.online(t, name)
	p.send(sa(name, ""))
	p.ping()
	return p
}

func (p *phone) read() {
	defer close(p.closed)
	d := frame.Decoder{ProtoOnly: p.protobuf}
	var ev cot.Event
	buf, tmp := []byte(nil), make([]byte, 64<<10)
	for {
		n, err := p.conn.Read(tmp)
		buf = append(buf, tmp[:n]...)
		for {
			kind, used, bad := d.Next(buf, &ev)
			if kind == frame.Bad {
				p.t.Errorf("%s received what is not an event: %v in %.200q", p.name, bad, buf)
			}
			if kind == frame.Event {
				xml, err := ev.AppendXML(nil, nil)
				if err != nil {
					p.t.Errorf("%s: %v", p.name, err)
				}
				if string(ev.Type) == "t-x-takp-r" && strings.Contains(string(xml), `status="true"`) {
					d.ProtoOnly = true
				}
				if ev.Format == cot.Proto && !d.ProtoOnly {
					p.t.Errorf("%s received protobuf without having asked", p.name)
				}
				p.events <- string(xml)
			}
			buf = buf[used:]
			if kind == frame.More {
				break
			}
		}
		if err != nil {
			return
		}
	}
}

// send writes one event, in the encoding that was negotiated.
func (p *phone) send(xml string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []byte(xml)
	if p.protobuf {
		out = protobuf(p.t, xml)
	}
	if _, err := p.conn.Write(out); err != nil {
		p.t.Errorf("%s: send: %v", p.name, err)
	}
}

// protobuf is xml as a client would send it: all of its detail, marti too, as text.
func protobuf(t testing.TB, xml string) []byte {
	t.Helper()
	var ev cot.Event
	if _, err := cot.Scan([]byte(xml), &ev); err != nil {
		t.Fatalf("%v in %s", err, xml)
	}
	_, inner, _ := strings.Cut(xml, "<detail>")
	inner, _, _ = strings.Cut(inner, "</detail>")
	ms := func(i cot.Instant) uint64 { v, _ := i.UnixMilli(); return uint64(v) }
	of := func(n cot.Number) float64 { v, _ := n.Float(); return v }
	b, err := proto.Marshal(&takpb.TakMessage{CotEvent: &takpb.CotEvent{
		Type: string(ev.Type), Uid: string(ev.UID), How: string(ev.How),
		SendTime: ms(ev.Time), StartTime: ms(ev.Start), StaleTime: ms(ev.Stale),
		Lat: of(ev.Point.Lat), Lon: of(ev.Point.Lon), Hae: of(ev.Point.HAE), Ce: of(ev.Point.CE), Le: of(ev.Point.LE),
		Detail: &takpb.Detail{XmlDetail: inner},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.AppendUvarint([]byte{0xBF}, uint64(len(b))), b...)
}

// expect waits for an event that contains every part and returns it.
func (p *phone) expect(parts ...string) string {
	p.t.Helper()
	late := time.After(patience)
	for {
		select {
		case xml := <-p.events:
			p.seen = append(p.seen, xml)
			if containsAll(xml, parts) {
				return xml
			}
		case <-late:
			last := p.seen[max(0, len(p.seen)-3):]
			p.t.Fatalf("%s: nothing with %q came in %d events, the last of them %.600q", p.name, parts, len(p.seen), last)
		}
	}
}

func containsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// ping waits until the server has handled everything sent before.
func (p *phone) ping() {
	p.t.Helper()
	p.send(event("ping-"+p.name, "t-x-c-t", ""))
	p.expect("t-x-c-t-r")
}

// burst writes n numbered events, each of its own uid, at once.
func (p *phone) burst(n int, typ string) {
	p.t.Helper()
	var all strings.Builder
	for i := range n {
		all.WriteString(event(fmt.Sprintf("f%d", i), typ, fmt.Sprintf("<remarks>flood %d</remarks>", i)))
	}
	if _, err := p.conn.Write([]byte(all.String())); err != nil {
		p.t.Logf("%s: the burst was cut short: %v", p.name, err)
	}
}

// never checks that no event with these parts has come. Whoever calls it has
// waited for a later event first.
func (p *phone) never(parts ...string) {
	p.t.Helper()
	for {
		select {
		case xml := <-p.events:
			p.seen = append(p.seen, xml)
			continue
		default:
		}
		break
	}
	for _, xml := range p.seen {
		if containsAll(xml, parts) {
			p.t.Errorf("%s received %s, which is not for it", p.name, xml)
		}
	}
}

// gone waits until the server has closed the connection.
func (p *phone) gone() {
	p.t.Helper()
	select {
	case <-p.closed:
	case <-time.After(patience):
		p.t.Fatalf("%s is still connected", p.name)
	}
}

// negotiate switches to protobuf as ATAK does.
func (p *phone) negotiate() {
	p.t.Helper()
	p.send(event("neg-"+p.name, "t-x-takp-q", `<TakControl><TakRequest version="1"/></TakControl>`))
	p.expect("t-x-takp-r", `status="true"`)
	p.mu.Lock()
	p.protobuf = true
	p.mu.Unlock()
}

// event is an XML event with a point; detail is without its tags.
func event(uid, typ, detail string) string {
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	return fmt.Sprintf(`<event version="2.0" uid="%s" type="%s" how="m-g" time="%s" start="%s" stale="%s">`+
		`<point lat="1" lon="2" hae="3" ce="4" le="5"/><detail>%s</detail></event>`, uid, typ, now, now, now, detail)
}

// sa is a position of the client name, with more detail.
func sa(name, more string) string {
	return event("uid-"+name, "a-f-G-U-C", `<contact callsign="`+name+`" endpoint="*:-1:stcp"/><__group name="Cyan" role="HQ"/>`+more)
}

func dest(names ...string) string {
	s := "<marti>"
	for _, n := range names {
		s += `<dest callsign="` + n + `"/>`
	}
	return s + "</marti>"
}

// until polls for what has no event to wait for.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

// metric reads one counter or gauge.
func (s *server) metric(name string) int {
	var b strings.Builder
	s.WriteMetrics(&b)
	for line := range strings.Lines(b.String()) {
		var v int
		if n, _ := fmt.Sscanf(line, name+" %d", &v); n == 1 {
			return v
		}
	}
	return -1
}
