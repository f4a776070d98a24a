package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"takd/cot"
	"takd/cot/frame"
)

// hub is the simplest server: it negotiates as takd does and sends every event
// to everybody else, at once and in order. The fields change how well.
type hub struct {
	addr  string
	certs string // folder for takload

	plain     bool // no TLS
	broadcast bool // direct messages go to everybody
	dropEvery int  // every n-th marked event is lost
	twice     bool // everything is sent twice
	swap      bool // every event is held back until the next one of its sender has gone
	refuse    bool // protobuf is refused
	mute      bool // pings get no answer
	noise     bool // a newline precedes the answer's first protobuf frame

	mu    sync.Mutex
	conns map[*hubConn]bool
	count int
}

type hubConn struct {
	net.Conn
	proto    bool
	callsign string
	held     []byte // with swap: an event that waits for the next
}

func startHub(t *testing.T, h *hub) *hub {
	t.Helper()
	h.certs, h.conns = t.TempDir(), map[*hubConn]bool{}
	pool, server := authority(t, h.certs)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if !h.plain {
		listener = tls.NewListener(listener, &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		})
	}
	h.addr = listener.Addr().String()
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { h.serve(&hubConn{Conn: conn}) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		h.mu.Lock()
		for c := range h.conns {
			_ = c.Close()
		}
		h.mu.Unlock()
		wait.Wait()
	})
	return h
}

func (h *hub) serve(c *hubConn) {
	defer func() {
		h.mu.Lock()
		delete(h.conns, c)
		h.mu.Unlock()
		_ = c.Close()
	}()
	h.mu.Lock()
	h.conns[c] = true
	_, err := c.Write(cot.AppendProtocolOffer(nil, "offer-1", "hub", time.Now().UnixMilli()))
	h.mu.Unlock()
	var (
		d    frame.Decoder
		ev   cot.Event
		buf  = make([]byte, 1<<20)
		used int
	)
	for err == nil {
		var n int
		n, err = c.Read(buf[used:])
		used += n
		for at := 0; ; {
			kind, k, _ := d.Next(buf[at:used], &ev)
			at += k
			if kind == frame.More {
				used = copy(buf, buf[at:used])
				break
			}
			if kind == frame.Event {
				h.event(c, &ev)
			}
		}
	}
}

func (h *hub) event(from *hubConn, ev *cot.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now().UnixMilli()
	switch string(ev.Type) {
	case "t-x-takp-q":
		reply := cot.AppendProtocolReply(nil, string(ev.UID), !h.refuse, now)
		if h.noise {
			reply = append(reply, '\n')
		}
		_, _ = from.Write(reply)
		from.proto = !h.refuse
		return
	case "t-x-c-t":
		if h.mute {
			return
		}
		_, _ = from.Write(cot.AppendPong(nil, format(from), now))
		return
	}
	if _, marked := findMark(ev.Raw); marked {
		if h.count++; h.dropEvery > 0 && h.count%h.dropEvery == 0 {
			return
		}
	}
	if string(ev.Type) == "a-f-G-U-C" {
		from.callsign = string(ev.Contact.Callsign)
	}
	if _, marked := findMark(ev.Raw); h.swap && marked {
		if from.held == nil {
			from.held = bytes.Clone(ev.Raw)
			return
		}
		defer func(held []byte) {
			var ev cot.Event
			if _, err := cot.Scan(held, &ev); err == nil {
				h.send(from, &ev)
			}
		}(from.held)
		from.held = nil
	}
	h.send(from, ev)
}

// send passes ev on. The caller holds the lock.
func (h *hub) send(from *hubConn, ev *cot.Event) {
	var xml, proto []byte
	for c := range h.conns {
		if c == from {
			continue
		}
		if len(ev.Dests) > 0 && !h.broadcast && c.callsign != string(ev.Dests[0].Callsign) {
			continue
		}
		if xml == nil {
			xml, _ = ev.AppendXML(nil, nil)
			proto, _ = ev.AppendProto(nil, nil)
		}
		out := xml
		if c.proto {
			out = proto
		}
		if _, _ = c.Write(out); h.twice {
			_, _ = c.Write(out)
		}
	}
}

func format(c *hubConn) cot.Format {
	if c.proto {
		return cot.Proto
	}
	return cot.XML
}

// authority makes a CA and writes a client certificate in the form that takd
// cert issue has.
func authority(t *testing.T, dir string) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(serial int64, name string) (certPEM, keyPEM []byte) {
		leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		leaf := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	}
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	certPEM, keyPEM := issue(2, "load")
	for name, b := range map[string][]byte{"ca.pem": caPEM, "load.pem": append(certPEM, caPEM...), "load.key": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	server, err := tls.X509KeyPair(issue(3, "hub"))
	if err != nil {
		t.Fatal(err)
	}
	return pool, server
}
