package live

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"
)

// A picture whose connection broke is kept for a while, so that a page that
// returns gets only what it has missed.
const (
	parkTime  = time.Minute
	maxParked = 64
)

type parked struct {
	*picture

	until time.Time
}

// park keeps a picture under the key that its page was told.
func (h *Hub) park(key string, p *picture, now time.Time) {
	h.pages.Lock()
	defer h.pages.Unlock()
	for k, old := range h.parked {
		if now.After(old.until) {
			delete(h.parked, k)
		}
	}
	if len(h.parked) < maxParked {
		h.parked[key] = &parked{p, now.Add(parkTime)}
	}
}

// unpark gives back the picture that a page says it has: it is that user's, and
// he may see what he might, and the page has its last messages or those before.
// nil: it starts anew.
func (h *Hub) unpark(key, user string, out []string, epoch, seq uint32, now time.Time) (p *picture, again bool) {
	h.pages.Lock()
	defer h.pages.Unlock()
	old := h.parked[key]
	if old == nil || old.user != user {
		return nil, false
	}
	delete(h.parked, key)
	if now.After(old.until) || epoch != h.epoch || !slices.Equal(out, old.out) || seq != old.seq && seq+1 != old.seq {
		return nil, false
	}
	h.resumed.Add(1)
	return old.picture, seq != old.seq
}

func newKey() string { return rand.Text() }

func appendJSON(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return append(dst, `""`...) // texts do not fail
	}
	return append(dst, b...)
}
