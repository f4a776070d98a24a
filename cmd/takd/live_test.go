package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"takd/cmd/takd/internal/control"
	"takd/cmd/takd/internal/server"
	"takd/netcore"
)

func TestClientsSeeEachOther(t *testing.T) {
	t.Parallel()
	w := start(t)
	alice := w.connect("alice", w.certificate("alice"))
	bob := w.connect("bob", w.certificate("bob"))
	alice.receives("UID-bob")
	bob.receives("UID-alice") // sent before bob came

	var got []string
	for _, c := range ask[[]netcore.ClientInfo](w, "clients") {
		got = append(got, c.Callsign+" "+c.User+" "+c.Input+" "+c.Protocol+" "+strings.Join(c.Out, ","))
	}
	want := []string{"CS-alice alice tls xml __ANON__", "CS-bob bob tls xml __ANON__"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("takd clients (-want +got):\n%s", diff)
	}
	if n := ask[control.Status](w, "status").Clients; n != 2 {
		t.Errorf("takd status: clients = %d, want 2", n)
	}
	_ = bob.conn.Close()
	alice.seesLeave("bob")
}

// A callsign with escape sequences does nothing to the terminal of the operator.
func TestCallsignsDoNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	w := start(t)
	conn, err := w.dial(w.certificate("alice"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	_, err = io.WriteString(conn, `<event version="2.0" uid="UID-alice" type="a-f-G-U-C" how="m-g" time="`+now+`" start="`+now+
		`" stale="`+time.Now().UTC().Add(time.Minute).Format("2006-01-02T15:04:05.000Z")+
		"\"><point lat=\"1\" lon=\"1\" hae=\"0\" ce=\"5\" le=\"5\"/><detail><contact endpoint=\"*:-1:stcp\" callsign=\"red \u009b31m\u202e\"/></detail></event>")
	if err != nil {
		t.Fatal(err)
	}
	var out string
	w.until("the callsign is there", func() bool { out = w.takd("clients"); return strings.Contains(out, `red `) })
	if strings.ContainsAny(out, "\u009b\u202e") || !strings.Contains(out, `red \u009b31m\u202e`) {
		t.Errorf("takd clients prints %q", out)
	}
}

// What an operator does acts on connections that are open, and on no others.
func TestEndsLiveConnections(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		command []string
		refused bool // and does not let them come back
	}{
		"revoked":  {command: []string{"cert", "revoke", "revoked"}, refused: true},
		"disabled": {command: []string{"user", "disable", "disabled"}, refused: true},
		"removed":  {command: []string{"user", "remove", "removed"}, refused: true},
		"user":     {command: []string{"kick", "user"}},
		"callsign": {command: []string{"kick", "CS-callsign"}},
		"uid":      {command: []string{"kick", "UID-uid"}},
	}
	w := start(t)
	alice := w.connect("alice", w.certificate("alice"))
	certs, clients := map[string]tls.Certificate{}, map[string]*client{}
	for name := range tests {
		w.takd("user", "add", name)
		certs[name] = w.certificate(name)
		clients[name] = w.connect(name, certs[name])
		alice.receives("UID-" + name)
	}
	for name, tc := range tests {
		w.takd(tc.command...)
		clients[name].ends()
		alice.seesLeave(name)
		if err := w.refused(certs[name]); (err != nil) != tc.refused {
			t.Errorf("%q comes back after takd %q: %v, want refused = %t", name, tc.command, err, tc.refused)
		}
	}
	select {
	case <-alice.done:
		t.Error("alice was disconnected, too")
	default:
	}
	w.stop()
	alice.ends()
}

func TestGroupChangeActsOnLiveConnections(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, name := range []string{"alice", "bob", "carol"} {
		w.takd("user", "add", name, "--group", map[string]string{"carol": "Red"}[name])
	}
	w.takd("user", "set", "alice", "--group", "Blue")
	w.takd("user", "set", "bob", "--group", "Blue")
	alice := w.connect("alice", w.certificate("alice"))
	carol := w.connect("carol", w.certificate("carol"))
	bob := w.connect("bob", w.certificate("bob"))
	alice.receives("UID-bob")
	if strings.Contains(carol.in.String(), "UID-bob") {
		t.Error("carol sees bob, who is in another group")
	}

	w.takd("user", "set", "bob", "--group", "Red")
	bob.receives("t-x-g-c")
	bob.receives("UID-carol")
	carol.receives("UID-bob")
	alice.seesLeave("bob")

	w.takd("group", "remove", "Red")
	w.until("bob is in __ANON__", func() bool {
		return slices.ContainsFunc(ask[[]netcore.ClientInfo](w, "clients"), func(c netcore.ClientInfo) bool {
			return c.User == "bob" && slices.Equal(c.Out, []string{"__ANON__"})
		})
	})
}

// A client without certificate says who it is with its first message.
func TestPasswordOnLiveConnections(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("correct & horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := start(t,
		[]string{"config", "set", "messaging.inputs=[{name: tls, protocol: tls, address: ':0'}, {name: clear, protocol: tcp, address: '127.0.0.1:0', auth: password}]"},
		[]string{"user", "add", "bob", "--password-file", file, "--group", "Blue"},
	)
	login := func(word string) net.Conn {
		conn, err := net.Dial("tcp", w.srv.Status().Listeners["clear"])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, `<auth><cot username="bob" password="`+word+`" uid="UID-bob"/></auth>`); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	wrong := login("battery")
	_ = wrong.SetReadDeadline(time.Now().Add(patience))
	if text, err := io.ReadAll(wrong); len(text) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("with a wrong password: %q, %v; want the connection closed", text, err)
	}
	_ = wrong.Close()

	bob := w.bind("bob", login("correct &amp; horse"))
	got := ask[[]netcore.ClientInfo](w, "clients")
	if len(got) != 1 || got[0].User != "bob" || !slices.Equal(got[0].In, []string{"Blue"}) {
		t.Errorf("takd clients = %+v, want bob in Blue", got)
	}
	w.takd("user", "disable", "bob")
	bob.ends()
}

func TestImportedCALetsClientsIn(t *testing.T) {
	t.Parallel()
	w := start(t)
	ca, cert := foreign(t, "dave")
	if err := w.refused(cert); err == nil {
		t.Fatal("a certificate of an unknown CA was let in")
	}
	file := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	w.takd("cert", "import-ca", file)
	if err := w.refused(cert); err != nil {
		t.Errorf("after import-ca: %v", err)
	}
}

// foreign makes a CA and a client certificate that it signed.
func foreign(t *testing.T, name string) (ca []byte, cert tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Other CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	rootDER, err1 := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	leafDER, err2 := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), key)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}),
		tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key}
}

// Many commands at once may write into one folder: each finds whole files there.
func TestCertificatesIntoOneFolder(t *testing.T) {
	t.Parallel()
	w := start(t)
	out := t.TempDir()
	var wg sync.WaitGroup
	for i := range 20 {
		name := fmt.Sprintf("c%d", i)
		wg.Go(func() {
			if text, code := w.try("cert", "issue", name, "--ecdsa", "--out", out); code != 0 {
				t.Errorf("cert issue %s: %s", name, text)
			}
			text, err := os.ReadFile(filepath.Join(out, "ca.pem"))
			if !x509.NewCertPool().AppendCertsFromPEM(text) {
				t.Errorf("ca.pem: %d bytes without a certificate, %v", len(text), err)
			}
			if _, err := tls.LoadX509KeyPair(filepath.Join(out, name+".pem"), filepath.Join(out, name+".key")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
}

func TestRenewedServerCertificateIsLive(t *testing.T) {
	t.Parallel()
	w := start(t)
	cert := w.certificate("alice")
	serial := func() string {
		conn, err := w.dial(cert)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
	}
	before := serial()
	renewed := ask[control.Certificate](w, "cert", "renew")
	if now := serial(); now == before || now != renewed.Serial {
		t.Errorf("serial %s, before the renewal %s, want %s", now, before, renewed.Serial)
	}
}

// A certificate that ends soon is replaced before the first client comes.
func TestServerCertificateIsRenewedInTime(t *testing.T) {
	t.Parallel()
	w := &world{T: t, data: filepath.Join(t.TempDir(), "d"), log: &syncBuffer{}}
	w.fill()
	cert := w.certificate("alice")
	ca, err1 := tls.LoadX509KeyPair(filepath.Join(w.data, "pki", "issuing.pem"), filepath.Join(w.data, "pki", "issuing.key"))
	key, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	old, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "old.example.org"}, DNSNames: []string{"old.example.org", "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(29 * 24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate[0]}))
	if err := os.WriteFile(filepath.Join(w.data, "pki", "server.pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	w.run()
	t.Cleanup(w.stop)
	conn, err := w.dial(cert)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got := conn.ConnectionState().PeerCertificates[0]
	if got.SerialNumber.Int64() == 77 || got.VerifyHostname("old.example.org") != nil || time.Until(got.NotAfter) < 300*24*time.Hour {
		t.Errorf("presented: serial %s for %v until %s; want a new one for old.example.org", got.SerialNumber, got.DNSNames, got.NotAfter)
	}
	if !strings.Contains(w.log.String(), "server certificate renewed") {
		t.Error("the log does not tell")
	}
}

func TestOperationsListener(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.connect("alice", w.certificate("alice"))
	tests := map[string]string{
		"/metrics":             "\ntakd_clients 1\n",
		"/healthz":             "ok\n",
		"/readyz":              "ok\n",
		"/debug/pprof/cmdline": "",
	}
	for path, want := range tests {
		resp, err := http.Get("http://" + w.srv.Status().Listeners["ops"] + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("GET %s = %d %q, %v; want %q", path, resp.StatusCode, body, err, want)
		}
	}
}

func TestConfigurationIsLive(t *testing.T) {
	t.Parallel()
	w := start(t)
	set := func(pair string, want ...string) {
		t.Helper()
		got := ask[control.Changed](w, "config", "set", pair)
		if diff := cmp.Diff(append([]string{}, want...), got.RestartNeeded); diff != "" {
			t.Errorf("config set %s (-want +got):\n%s", pair, diff)
		}
		if diff := cmp.Diff(got.RestartNeeded, ask[control.Status](w, "status").RestartNeeded); diff != "" {
			t.Errorf("status after config set %s (-want +got):\n%s", pair, diff)
		}
	}
	set("log.level=debug")
	set("messaging.hard_limit=8388608")
	set("messaging.max_clients=77", "messaging.max_clients")
	set(fmt.Sprintf("messaging.max_clients=%d", netcore.Options{}.WithDefaults().MaxClients))
	if !strings.Contains(w.log.String(), "log_level=debug") {
		t.Error("the log does not tell the new level")
	}
	if out, code := w.try("config", "set", "messaging.hard_limit=1"); code != 1 || !strings.Contains(out, "hard_limit 1") {
		t.Errorf("bad value: exit code %d, %q", code, out)
	}
	if got := w.takd("config", "get", "messaging.hard_limit"); got != "8388608\n" {
		t.Errorf("after a bad value: hard_limit = %q", got)
	}
}

func TestHangupReloadsTheConfiguration(t *testing.T) {
	t.Parallel()
	w := &world{T: t, data: filepath.Join(t.TempDir(), "d"), log: &syncBuffer{}}
	w.fill()
	done, ended, ready := make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() {
		ended <- server.Run(context.Background(), done, server.Options{
			Data: w.data, Stderr: w.log, CotAddr: "127.0.0.1:0", HTTPSAddr: "off", EnrollAddr: "off", FederationAddr: "off",
			OpsAddr: "off", History: "off", Ready: func(control.Status) { close(ready) },
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run: %v", err)
	}
	file := filepath.Join(w.data, "conf", "takd.yaml")
	for text, want := range map[string]string{"messaging: {loops: 5}": "restart_needed=[messaging.loops]", "loops: 5": "configuration not reloaded"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		w.until("log says "+want, func() bool { return strings.Contains(w.log.String(), want) })
	}
	close(done)
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestOneServerForEachDataDirectory(t *testing.T) {
	t.Parallel()
	w := start(t)
	_, err := server.Start(context.Background(), server.Options{Data: w.data})
	if err == nil || !strings.Contains(err.Error(), "another takd (pid ") {
		t.Errorf("second server: %v", err)
	}
	w.stop()
	w.takd("user", "add", "eve") // without a server
	w.run()
	if out := w.takd("user", "list"); !strings.Contains(out, "eve") {
		t.Errorf("user list = %q, want eve in it", out)
	}
}

func TestTakenPortStopsWhatWasStarted(t *testing.T) {
	t.Parallel()
	w := start(t)
	taken := w.srv.Status().Listeners["tls"]
	other := &world{T: t, data: filepath.Join(t.TempDir(), "d")}
	other.fill()
	_, err := server.Start(context.Background(), server.Options{Data: other.data, CotAddr: taken, HTTPSAddr: "off", EnrollAddr: "off", FederationAddr: "off", OpsAddr: "off", History: "off"})
	if err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("Start on %s: %v", taken, err)
	}
	other.takd("user", "list") // nothing holds the directory any more
}
