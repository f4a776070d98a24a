package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What was posted is what comes back.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	client := authority(t, dir)
	r := &root{Listen: "127.0.0.1:0", Cert: dir + "/hub.pem", Key: dir + "/hub.key", CA: dir + "/ca.pem", Files: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	out, done := &address{got: make(chan string, 1)}, make(chan error, 1)
	go func() { done <- r.Run(ctx, out) }()
	addr := <-out.got
	web := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: client}}
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	post, err := web.Post("https://"+addr+"/any", "application/octet-stream", bytes.NewReader(body))
	if err != nil || post.StatusCode != http.StatusOK {
		t.Fatalf("POST: %v, %v", post, err)
	}
	_ = post.Body.Close()
	get, err := web.Get("https://" + addr + "/other")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(get.Body)
	_ = get.Body.Close()
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("GET: %d bytes of %d, %v", len(got), len(body), err)
	}
	client.Certificates = nil
	stranger := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: client.Clone()}}
	if resp, err := stranger.Get("https://" + addr + "/"); err == nil {
		_ = resp.Body.Close()
		t.Error("served without a certificate")
	}
	web.CloseIdleConnections()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("does not end")
	}
}

// address is an output whose first line says where the hub listens.
type address struct{ got chan string }

// Write implements io.Writer.
func (a *address) Write(b []byte) (int, error) {
	if addr, ok := strings.CutPrefix(string(b), "listening on "); ok {
		addr = strings.TrimSpace(addr)
		if _, _, err := net.SplitHostPort(addr); err == nil {
			a.got <- addr
		}
	}
	return len(b), nil
}
