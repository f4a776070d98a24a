package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
)

// The load tool's clients, in both encodings, get everything that is due to
// them exactly once and in order.
func TestLoad(t *testing.T) {
	w := start(t)
	takload := filepath.Join(t.TempDir(), "takload")
	if out, err := exec.Command("go", "build", "-o", takload, "takd/bench/takload").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	certs := t.TempDir()
	w.takd("cert", "issue", "load", "--ecdsa", "--count", "10", "--out", certs)
	var out, errs bytes.Buffer
	cmd := exec.Command(takload, "run", "--addr", w.srv.Status().Listeners["tls"], "--certs", certs, "--protocol", "mixed",
		"--clients", "40", "--rate", "2", "--warmup", "1s", "--duration", "3s", "--min-ratio", "1", "--exact", "--json")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("takload: %v\n%s%s", err, out.String(), errs.String())
	}
	if !json.Valid(out.Bytes()) {
		t.Errorf("takload --json printed %s", out.String())
	}
	w.until("everybody has left", func() bool { return ask[status](w, "status").Clients == 0 })
}

type status struct {
	Clients int `json:"clients"`
}
