package netcore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"takd/netcore"
)

func inputs(in ...netcore.Input) func(*netcore.Options) {
	return func(o *netcore.Options) { o.Inputs = append(o.Inputs, in...) }
}

func (s *server) dial(t *testing.T, network, input string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, s.Listeners()[input].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestPlainTCP(t *testing.T) {
	s := start(t, map[string]string{"ann": "field", "bob": "other"}, inputs(
		netcore.Input{Name: "plain", Protocol: netcore.TCP, Address: "127.0.0.1:0", Groups: []string{"field"}}))
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	sensor := newPhone(t, "sensor", s.dial(t, "tcp", "plain"))
	sensor.expect("t-x-takp-v")
	sensor.send(sa("sensor", ""))
	ann.expect(`uid="uid-sensor"`)
	ann.send(sa("ann", "<remarks>to the sensor</remarks>"))
	sensor.expect("to the sensor")
	bob.ping()
	bob.never("uid-sensor")
}

func TestUDP(t *testing.T) {
	s := start(t, nil, inputs(netcore.Input{Name: "udp", Protocol: netcore.UDP, Address: "127.0.0.1:0"}))
	ann := s.bound(t, "ann")
	conn := s.dial(t, "udp", "udp")
	message := protobuf(t, event("mesh", "a-f-G", ""))
	_, body, _ := strings.Cut(string(message), string(message[:2])) // one-byte length
	if message[1] >= 0x80 {
		body = string(message[3:])
	}
	for _, datagram := range []string{
		"junk", "", "\xbf\x01\xbf", event("xml", "a-f-G", "<remarks>datagram</remarks>"), "\xbf\x01\xbf" + body,
		event("direct", "a-f-G", dest("ann")),
	} {
		if _, err := conn.Write([]byte(datagram)); err != nil {
			t.Fatal(err)
		}
	}
	ann.expect(`uid="xml"`, "datagram", "TAK-Server-")
	ann.expect(`uid="mesh"`)
	ann.expect(`uid="direct"`)
}

func TestAuthPreamble(t *testing.T) {
	s := start(t, map[string]string{"ann": "field", "bob": "field"}, inputs(
		netcore.Input{Name: "pw", Protocol: netcore.TCP, Address: "127.0.0.1:0", Auth: netcore.AuthPassword}),
		func(o *netcore.Options) { o.HandshakeDeadline = time.Second })
	ann := s.bound(t, "ann")
	login := func(first string) *phone {
		p := newPhone(t, "bob", s.dial(t, "tcp", "pw"))
		if _, err := p.conn.Write([]byte(first)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	auth := `<?xml version="1.0"?>` + "\n" + `<auth><cot username="bob" password="secret bob" uid="u"/></auth>`
	bob := login(auth + sa("bob", "")) // the event follows at once
	ann.expect(`uid="uid-bob"`)
	bob.expect("t-x-takp-v")
	for _, c := range s.Clients() {
		if c.Callsign == "bob" && (c.User != "bob" || c.Input != "pw" || c.Out[0] != "field") {
			t.Errorf("bob is %+v", c)
		}
	}
	login(strings.Replace(auth, "secret bob", "wrong", 1)).gone()
	login(sa("eve", "")).gone()               // no <auth>
	login("").gone()                          // says nothing: the deadline
	login(strings.Repeat("x", 70<<10)).gone() // says too much
	ann.ping()
	ann.never("uid-eve")
	until(t, "a refusal is counted", func() bool { return s.metric("takd_auth_refused_total") == 1 })
}

func TestIPv6(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.Inputs[0].Address = "[::]:0" })
	_, port, _ := net.SplitHostPort(s.addr)
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := tls.Dial("tcp", net.JoinHostPort(host, port), clientTLS("ann", tls.VersionTLS13))
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		newPhone(t, host, conn).expect("t-x-takp-v")
	}
}

func TestNewRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	tests := map[string]struct {
		change func(*netcore.Options)
		want   []string
	}{
		"taken port": {func(o *netcore.Options) { o.Inputs[0].Address = busy.Addr().String() }, []string{"input tls", "taken by another program"}},
		"two bad fields": {
			func(o *netcore.Options) { o.MaxEvent, o.HardLimit = 10, 5 },
			[]string{"max_event 10: want 1024 to", "hard_limit 5: want"},
		},
		"bad input": {
			func(o *netcore.Options) {
				o.Inputs[0] = netcore.Input{Name: "x", Protocol: "quic", Address: "nonsense"}
			},
			[]string{`inputs[x].protocol "quic": want tls, tcp or udp`, "inputs[x].address"},
		},
		"certificates over UDP": {
			inputs(netcore.Input{Name: "u", Protocol: netcore.UDP, Address: ":0", Auth: netcore.AuthCert}),
			[]string{"inputs[u].auth"},
		},
		"same name": {inputs(netcore.Input{Name: "TLS", Protocol: netcore.TCP, Address: ":0"}), []string{"inputs[TLS].name"}},
		"no id":     {func(o *netcore.Options) { o.ServerID = "" }, []string{"ServerID"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o, _ := options(nil)
			tc.change(&o)
			e, err := netcore.New(o)
			if err == nil {
				_ = e.Stop(context.Background())
				t.Fatal("New succeeded")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("New: %v; want it to say %q", err, want)
				}
			}
		})
	}
}

func TestApply(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	o, _ := options(nil)
	o.Inputs[0].Address = s.addr
	o.MaxEvent, o.Loops = 2000, 1
	restart, err := s.Apply(o)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(restart, " "); got != "inputs loops" {
		t.Errorf("Apply = %q, want inputs and loops", got)
	}
	ann.send(event("long", "a-f-G", "<remarks>"+strings.Repeat("x", 3000)+"</remarks>"))
	ann.send(event("short", "a-f-G", ""))
	bob.expect(`uid="short"`)
	bob.never(`uid="long"`)
	o.MaxEvent = 1
	if _, err := s.Apply(o); err == nil {
		t.Error("Apply took max_event 1")
	}
}

// A silent stranger never keeps others out, and does not stay.
func TestSilentHandshake(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.HandshakeDeadline = time.Second; o.HandshakesPerIP = 20 })
	var silent []*phone
	for range 15 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, newPhone(t, "silent", conn))
	}
	half, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = half.Write([]byte{22, 3, 1, 2, 0, 1}) // the beginning of a ClientHello
	silent = append(silent, newPhone(t, "half", half))
	s.online(t, "ann").ping()
	for _, p := range silent {
		p.gone()
	}
	until(t, "every place is free again", func() bool { return s.metric("takd_handshakes") == 0 })
	if n := s.metric("takd_handshakes_refused_total"); n != 16 {
		t.Errorf("refused = %d, want 16", n)
	}
}

func TestHandshakeLimits(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.HandshakesPerIP = 2 })
	for range 2 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	until(t, "both hold a place", func() bool { return s.metric("takd_handshakes") == 2 })
	third, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	newPhone(t, "third", third).gone()
}

func TestMaxClients(t *testing.T) {
	s := start(t, nil, func(o *netcore.Options) { o.MaxClients = 2 })
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	newPhone(t, "third", conn).gone()
	_ = bob.conn.Close()
	ann.expect("t-x-d-d")
	s.online(t, "third").ping()
}

// Garbage, plain HTTP and a flood of bytes instead of TLS only cost a place.
func TestGarbageInsteadOfTLS(t *testing.T) {
	s := start(t, nil)
	for _, junk := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x16\x03\x01\x40\x00", 1000), "\x00", strings.Repeat("\xff", 1<<16)} {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(junk))
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		for err == nil {
			_, err = conn.Read(make([]byte, 100))
		}
		if ne, ok := err.(net.Error); ok && ne.Timeout() { //nolint:errorlint // straight from the socket
			t.Errorf("%.20q: not closed", junk)
		}
		_ = conn.Close()
	}
	s.online(t, "ann").ping()
}

// Without descriptors nobody can come in; those who are in stay, and others
// come when there are some again.
func TestNoDescriptors(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.bound(t, "ann"), s.bound(t, "bob")
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	late, err := net.Dial("tcp", s.addr) // gets its descriptor while there are some
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	low := old
	low.Cur = 8
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	_, dialErr := net.Dial("tcp", s.addr)
	ann.send(sa("ann", "<remarks>without descriptors</remarks>"))
	bob.expect("without descriptors")
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if dialErr == nil {
		t.Error("the limit did not hold")
	}
	s.bound(t, "cid").ping()
	ann.expect("uid-cid")
}

// Every refused handshake leaves one line with the reason.
func TestRefusalIsLogged(t *testing.T) {
	var log lines
	s := start(t, nil, func(o *netcore.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	s.people.ban("mallory")
	tests := map[string]struct {
		cfg  *tls.Config
		want string
	}{
		"no certificate": {&tls.Config{RootCAs: ca().pool, ServerName: "127.0.0.1"}, "client didn't provide a certificate"},
		"revoked":        {clientTLS("mallory", tls.VersionTLS13), "certificate of mallory is revoked"},
		"old TLS": {
			&tls.Config{RootCAs: ca().pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
			"unsupported versions",
		},
		"untrusting client": {&tls.Config{ServerName: "127.0.0.1"}, "the client refused this server"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if conn, err := tls.Dial("tcp", s.addr, tc.cfg); err == nil {
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				_, _ = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}
			until(t, "a line with "+tc.want, func() bool { return strings.Count(log.text(), tc.want) == 1 })
		})
	}
	if n := strings.Count(log.text(), `msg="client refused"`); n != len(tests) {
		t.Errorf("%d lines for %d refusals:\n%s", n, len(tests), log.text())
	}
}

// lines is a log that a test reads while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
