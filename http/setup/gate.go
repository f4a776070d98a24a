package setup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"takd/http/httpd"
)

// Life is how long a link is good for.
const Life = 30 * time.Minute

// Gate knows the one link that opens the first start. It keeps a hash of its token
// alone. It is the httpd.Authenticator of a server that has nobody else yet: httpd
// counts wrong tokens and refuses an address that shows too many.
type Gate struct {
	hash  [sha256.Size]byte
	until time.Time
	now   func() time.Time

	mu   sync.Mutex
	busy bool // somebody finishes
	done bool
}

// NewGate returns a gate and the token that opens it: 130 random bits. now is the
// clock; nil is time.Now.
func NewGate(now func() time.Time) (g *Gate, token string) {
	if now == nil {
		now = time.Now
	}
	token = rand.Text()
	return &Gate{hash: sha256.Sum256([]byte(token)), until: now().Add(Life), now: now}, token
}

// Until is when the link ends.
func (g *Gate) Until() time.Time { return g.until }

// Token implements httpd.Authenticator. Who has the token is let in even when it is
// of no use any more, so that he can be told why.
func (g *Gate) Token(_ context.Context, token string) (httpd.Principal, error) {
	hash := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(hash[:], g.hash[:]) != 1 {
		return httpd.Principal{}, fmt.Errorf("%w: this is not the link that takd printed last", httpd.ErrUnknown)
	}
	return httpd.Principal{User: "setup", Role: httpd.Admin, Via: "setup"}, nil
}

// Certificate implements httpd.Authenticator: there are none yet.
func (g *Gate) Certificate(context.Context, []*x509.Certificate) (httpd.Principal, error) {
	return httpd.Principal{}, fmt.Errorf("%w: there are no certificates yet", httpd.ErrUnknown)
}

// Password implements httpd.Authenticator: there are none yet.
func (g *Gate) Password(context.Context, string, string, netip.Addr) (httpd.Principal, error) {
	return httpd.Principal{}, fmt.Errorf("%w: there are no users yet", httpd.ErrUnknown)
}

// open is the reason why a link is of no use any more; nil while it is.
func (g *Gate) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state()
}

func (g *Gate) state() error {
	switch {
	case g.done:
		return httpd.Gone("The server is set up: this link is closed for good")
	case !g.now().Before(g.until):
		return httpd.Gone("The link has expired. For a new one stop takd in its terminal (Ctrl-C) and start it again: takd run")
	}
	return nil
}

// once runs f unless the link is of no use or somebody else runs one. The gate
// closes for good when f succeeds.
func (g *Gate) once(f func() error) error {
	g.mu.Lock()
	err := g.state()
	if err == nil && g.busy {
		err = httpd.Conflict("The server is being set up already")
	}
	if err != nil {
		g.mu.Unlock()
		return err
	}
	g.busy = true
	g.mu.Unlock()
	err = f()
	g.mu.Lock()
	g.busy, g.done = false, err == nil
	g.mu.Unlock()
	return err
}
