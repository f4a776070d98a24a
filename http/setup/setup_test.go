package setup

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"takd/http/httpd"
)

func status(err error) int {
	var e *httpd.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// A link works once: not beside itself, not again, but again after a failure.
func TestGateOpensOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g, token := NewGate(func() time.Time { return now })
	if _, err := g.Token(t.Context(), token); err != nil {
		t.Errorf("Token = %v", err)
	}
	for _, wrong := range []string{"", token[1:], token + "A", token[:25] + "1"} {
		if _, err := g.Token(t.Context(), wrong); !errors.Is(err, httpd.ErrUnknown) {
			t.Errorf("Token(%q) = %v", wrong, err)
		}
	}
	failed := errors.New("disk full")
	err := g.once(func() error {
		if err := g.once(func() error { return nil }); status(err) != http.StatusConflict {
			t.Errorf("a second one at the same time: %v", err)
		}
		return failed
	})
	if !errors.Is(err, failed) || g.open() != nil {
		t.Errorf("once = %v, then open = %v", err, g.open())
	}
	if err := g.once(func() error { return nil }); err != nil {
		t.Errorf("once = %v", err)
	}
	if err := g.once(func() error { t.Error("made twice"); return nil }); status(err) != http.StatusGone {
		t.Errorf("once more = %v", err)
	}
	if status(g.open()) != http.StatusGone {
		t.Errorf("open = %v", g.open())
	}
}

func TestGateCloses(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g, _ := NewGate(func() time.Time { return now })
	now = now.Add(Life - time.Second)
	if err := g.open(); err != nil {
		t.Errorf("open = %v", err)
	}
	now = now.Add(time.Second)
	if err := g.once(func() error { t.Error("made too late"); return nil }); status(err) != http.StatusGone {
		t.Errorf("once = %v", err)
	}
}
