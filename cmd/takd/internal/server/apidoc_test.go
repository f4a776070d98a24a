package server

import (
	"bytes"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"takd/http/httpd"
	"takd/http/setup"
	"takd/store"
)

var update = flag.Bool("update", false, "write docs/API.md")

// docs/API.md says what the table of routes says: go generate writes it.
func TestAPIDocument(t *testing.T) {
	s := &Server{store: &store.Store{}, log: slog.New(slog.DiscardHandler)} // no handler is called
	server, err := httpd.New(httpd.Options{Title: "takd", Routes: append(s.routes(nil, nil), setup.Routes(setup.Deps{})...)})
	if err != nil {
		t.Fatal(err)
	}
	path, want := filepath.Join("..", "..", "..", "..", "docs", "API.md"), server.Markdown()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/API.md is not what the table says: go generate ./cmd/takd/internal/server (%v)", err)
	}
}
