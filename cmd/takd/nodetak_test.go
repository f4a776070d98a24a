package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// node-tak, the library of CloudTAK, logs in, enrolls, and uses stream and API.
func TestNodeTak(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "http", "clienttest")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@tak-ps", "node-tak")); err != nil {
		install := exec.CommandContext(t.Context(), "make", "-C", filepath.Join("..", ".."), "node-tak")
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("node-tak cannot be installed; Node and npm are needed: %v\n%s", err, out)
		}
	}
	w := record(t)
	w.takd("user", "add", "cloud", "--group", "Blue", "--password-file", w.secretFile("cloud's password"))
	w.takd("user", "add", "root", "--role", "admin", "--password-file", w.secretFile("root's password"))
	w.takd("user", "add", "alice", "--group", "Blue")
	w.connect("alice", w.certificate("alice"))
	addr := func(scheme, name string) string {
		_, port, err := net.SplitHostPort(w.srv.Status().Listeners[name])
		if err != nil {
			t.Fatal(err)
		}
		return scheme + "://localhost:" + port
	}
	site, err := json.Marshal(map[string]string{
		"enroll": addr("https", "enroll"), "api": addr("https", "https"), "stream": addr("ssl", "tls"), "user": "cloud", "password": "cloud's password",
		"admin": "root", "adminPassword": "root's password", "other": "UID-alice", "callsign": "CS-alice",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "run.mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TAKD="+string(site), "NODE_EXTRA_CA_CERTS="+w.caFile())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), " steps\n") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// caFile holds the authority of the server's certificate.
func (w *world) caFile() string {
	w.Helper()
	dir := w.TempDir()
	w.takd("cert", "issue", "for-its-ca", "--out", dir)
	return filepath.Join(dir, "ca.pem")
}
