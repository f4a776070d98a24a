package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"takd/cmd/takd/internal/cli"
	"takd/cmd/takd/internal/control"
	"takd/cmd/takd/internal/server"
	"takd/store/history/engine"
)

// patience bounds every wait of these tests.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == engine.Command {
		main()
	}
	testscript.Main(m, map[string]func(){"takd": main})
}

// The commands, as an operator types them.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("TAKD_HISTORY", "off")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else every command takes a second more with -race
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await,
		},
	})
}

// await DIR waits until a server runs on that data directory; ! await until
// none does any more.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: await DIR")
	}
	dir := ts.MkAbs(args[0])
	for end := time.Now().Add(patience); ; {
		c, err := control.Dial(context.Background(), dir)
		if err == nil {
			_ = c.Close()
		}
		if (err == nil) != neg {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("server on %s: still %v", dir, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// world is a running server and what a test needs around it.
type world struct {
	*testing.T

	data string
	srv  *server.Server
	log  *syncBuffer

	history string // "" is off
	without []string
}

// start makes a data directory, has commands carried out on it, and runs a
// server on it until the test ends.
func start(t *testing.T, commands ...[]string) *world {
	t.Helper()
	return begin(t, "", commands...)
}

// record is start with the embedded history, which answers.
func record(t *testing.T, commands ...[]string) *world {
	t.Helper()
	return begin(t, "embedded", commands...)
}

func begin(t *testing.T, history string, commands ...[]string) *world {
	t.Helper()
	w := &world{history: history, T: t, data: filepath.Join(t.TempDir(), "d"), log: &syncBuffer{}}
	w.fill()
	for _, c := range commands {
		w.takd(c...)
	}
	w.run()
	t.Cleanup(func() {
		w.stop()
		if t.Failed() {
			t.Logf("log of the server:\n%s", w.log)
		}
	})
	return w
}

// fresh is what takd init makes. Its RSA keys take long, so it is made once.
var fresh struct {
	sync.Mutex
	files map[string][]byte // by path in the data directory
}

// fill makes the data directory.
func (w *world) fill() {
	w.Helper()
	fresh.Lock()
	defer fresh.Unlock()
	if fresh.files != nil {
		for name, data := range fresh.files {
			name = filepath.Join(w.data, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, data, 0o600)); err != nil {
				w.Fatal(err)
			}
		}
		return
	}
	w.takd("init", "--host", "localhost")
	files := map[string][]byte{}
	all := os.DirFS(w.data)
	err := fs.WalkDir(all, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = fs.ReadFile(all, path)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	fresh.files = files
}

func (w *world) run() {
	w.Helper()
	srv, err := server.Start(context.Background(), server.Options{
		Data: w.data, Stderr: w.log, CotAddr: "127.0.0.1:0", OpsAddr: "127.0.0.1:0",
		HTTPSAddr: "127.0.0.1:0", EnrollAddr: "127.0.0.1:0", FederationAddr: "127.0.0.1:0",
		Without: w.without, History: cmp.Or(w.history, "off"), HistoryCommand: []string{os.Args[0], engine.Command},
	})
	if err != nil {
		w.Fatalf("Start: %v", err)
	}
	w.srv = srv
	if w.history == "embedded" { // else a question to it may come before it is there
		w.until("the history", func() bool { return srv.Status().History.State != engine.Starting })
	}
}

func (w *world) stop() {
	w.Helper()
	if w.srv == nil {
		return
	}
	if err := w.srv.Stop(context.Background()); err != nil {
		w.Errorf("Stop: %v", err)
	}
	w.srv = nil
}

// takd runs a command that has to go well and returns what it prints.
func (w *world) takd(args ...string) string {
	w.Helper()
	out, code := w.try(args...)
	if code != 0 {
		w.Fatalf("takd %s: exit code %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

func (w *world) try(args ...string) (string, int) {
	var out, errs bytes.Buffer
	code := cli.Main(context.Background(), append(args, "--data", w.data), cli.IO{In: strings.NewReader(""), Out: &out, Err: &errs})
	return out.String() + errs.String(), code
}

// ask runs a command with --json and decodes what it prints.
func ask[V any](w *world, args ...string) V {
	w.Helper()
	var v V
	if err := json.Unmarshal([]byte(w.takd(append(args, "--json")...)), &v); err != nil {
		w.Fatalf("takd %s --json: %v", strings.Join(args, " "), err)
	}
	return v
}

// until polls ok.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			w.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// client is a TAK client in clear XML.
type client struct {
	*world

	name string
	conn net.Conn
	in   syncBuffer
	done chan struct{} // closed when the server has closed the connection
}

// certificate issues a client certificate.
func (w *world) certificate(name string) tls.Certificate {
	w.Helper()
	dir := w.TempDir()
	w.takd("cert", "issue", name, "--ecdsa", "--out", dir)
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	if err != nil {
		w.Fatalf("LoadX509KeyPair: %v", err)
	}
	return cert
}

// dial connects; a TLS 1.3 client learns only from its first read whether the
// server takes its certificate.
func (w *world) dial(cert tls.Certificate) (*tls.Conn, error) {
	w.Helper()
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(filepath.Join(w.data, "admin", "ca.pem"))
	if err != nil || !pool.AppendCertsFromPEM(ca) {
		w.Fatalf("ca.pem: %v", err)
	}
	d := &net.Dialer{Timeout: patience}
	return tls.DialWithDialer(d, "tcp", w.srv.Status().Listeners["tls"], &tls.Config{
		RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12,
	})
}

// connect is a client that is in: it has sent its position.
func (w *world) connect(name string, cert tls.Certificate) *client {
	w.Helper()
	conn, err := w.dial(cert)
	if err != nil {
		w.Fatalf("connect %s: %v", name, err)
	}
	return w.bind(name, conn)
}

// bind makes a client of a connection.
func (w *world) bind(name string, conn net.Conn) *client {
	w.Helper()
	c := &client{world: w, name: name, conn: conn, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		_, _ = io.Copy(&c.in, conn)
	}()
	w.Cleanup(func() {
		_ = conn.Close()
		<-c.done
	})
	c.position()
	w.until(name+" among the clients", func() bool { return strings.Contains(w.takd("clients", "--json"), `"UID-`+name+`"`) })
	return c
}

// position sends where the client is.
func (c *client) position() {
	c.Helper()
	now := time.Now().UTC()
	stamp := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }
	_, err := io.WriteString(c.conn, `<event version="2.0" uid="UID-`+c.name+`" type="a-f-G-U-C" how="m-g" time="`+stamp(now)+
		`" start="`+stamp(now)+`" stale="`+stamp(now.Add(time.Hour))+
		`"><point lat="48.1" lon="11.5" hae="500" ce="5" le="5"/><detail><contact callsign="CS-`+c.name+
		`" endpoint="*:-1:stcp"/><__group name="Cyan" role="Team Member"/></detail></event>`)
	if err != nil {
		c.Fatalf("%s sends: %v", c.name, err)
	}
}

// chat sends text to another client.
func (c *client) chat(to, text string) {
	c.Helper()
	stamp := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	later := time.Now().Add(time.Minute).UTC().Format("2006-01-02T15:04:05.000Z")
	_, err := io.WriteString(c.conn, `<event version="2.0" uid="GeoChat.`+c.name+`" type="b-t-f" how="h-g-i-g-o" time="`+stamp+`" start="`+stamp+`" stale="`+later+
		`"><point lat="0" lon="0" hae="0" ce="9999999" le="9999999"/><detail>`+chat(to, text)+`</detail></event>`)
	if err != nil {
		c.Fatalf("%s sends: %v", c.name, err)
	}
}

// emergency raises an alarm.
func (c *client) emergency() {
	c.Helper()
	stamp := func(d time.Duration) string { return time.Now().Add(d).UTC().Format("2006-01-02T15:04:05.000Z") }
	_, err := io.WriteString(c.conn, `<event version="2.0" uid="UID-`+c.name+`-9-1-1" type="b-a-o-tbl" how="h-e" time="`+stamp(0)+`" start="`+stamp(0)+`" stale="`+stamp(time.Minute)+
		`"><point lat="48" lon="11" hae="0" ce="9" le="9"/><detail><contact callsign="CS-`+c.name+`-Alert"/><emergency type="911 Alert">CS-`+c.name+
		`</emergency><link uid="UID-`+c.name+`" type="a-f-G-U-C" relation="p-p"/></detail></event>`)
	if err != nil {
		c.Fatalf("%s sends: %v", c.name, err)
	}
}

// receives waits for text, and returns the event that it is in.
func (c *client) receives(text string) (event string) {
	c.Helper()
	c.until(c.name+" receives "+text, func() bool {
		before, after, found := strings.Cut(c.in.String(), text)
		end, _, whole := strings.Cut(after, "</event>")
		event = before[strings.LastIndex(before, "<event")+1:] + text + end
		return found && whole
	})
	return event
}

// missed fails if the client has received text. What would bring it must have been
// passed on: the client's own ping comes after it.
func (c *client) missed(text string) {
	c.Helper()
	c.ping()
	if strings.Contains(c.in.String(), text) {
		c.Errorf("%s received %s", c.name, text)
	}
}

// seesLeave waits until the client is told that another one has left.
func (c *client) seesLeave(name string) {
	c.Helper()
	c.until(c.name+" is told that "+name+" left", func() bool {
		for event := range strings.SplitSeq(c.in.String(), "</event>") {
			if strings.Contains(event, `"t-x-d-d"`) && strings.Contains(event, `"UID-`+name+`"`) {
				return true
			}
		}
		return false
	})
}

// ends waits until the server has closed the connection.
func (c *client) ends() {
	c.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		c.Fatalf("%s is still connected", c.name)
	}
}

// refused tells why the server does not let a certificate in; nil when it does.
func (w *world) refused(cert tls.Certificate) error {
	w.Helper()
	conn, err := w.dial(cert)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_, err = conn.Read(make([]byte, 1)) // the offer to speak protobuf
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.Fatalf("neither let in nor refused")
	}
	return err
}

// syncBuffer is a buffer for two goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
