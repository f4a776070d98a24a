// Package live is the feed of the map: what moves, over one WebSocket for each
// page, in binary columns.
//
// A Hub keeps the newest of every track. Each page has a session, which looks at
// its own pace for what has changed since it looked last: so a track that moves
// ten times between two looks is sent once, a slow page costs no memory, and
// nobody who delivers events waits for a page. What a session may see is decided
// by its user's groups, for each track, before anything is encoded.
package live

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits on what others can make the hub keep.
const (
	maxTracks   = 1 << 17       // in all
	maxOfUser   = maxTracks / 4 // of one user
	maxSessions = 512           // pages
	maxPages    = 16            // of one user
	minLife     = 5 * time.Second
	maxLife     = 7 * 24 * time.Hour
)

// Event is one thing that was sent into groups. Its bytes are valid during the
// call alone.
type Event struct {
	UID, Callsign, Type, How, Team, Role, Battery, Alarm []byte

	Icon []byte // iconset path of an image that this server has; nil: it has its type's symbol

	User   string
	Groups []string // that it was sent into, sorted; not changed after the call

	Lat, Lon, HAE, Speed, Course float64 // degrees, metres, m/s; NaN: unknown

	Received int64         // Unix milliseconds
	Life     time.Duration // until it is stale

	Shape *Shape // of a drawing or a route; nil: it is a point
}

// Access tells what a user may see now.
type Access interface {
	// Out are the groups that user receives from. An error means that he, or the
	// certificate with this serial, is let in no more; serial may be "".
	Out(ctx context.Context, user, serial string) ([]string, error)
	// All are the groups that there are, for an administrator. An error means that
	// user, or the certificate, is none's.
	All(ctx context.Context, user, serial string) ([]string, error)
	// Record notes for good what an administrator does.
	Record(ctx context.Context, user, action, detail string) error
}

// spot is what looks read of a track at each move: one line of the processor's cache.
type spot struct {
	born         uint64 // another number for each track that has this place; 0: none has
	aud          uint64 // another number whenever its groups are others
	moved, named uint64 // clock of the hub at the last change of place, and of meta
	at, until    int64  // Unix milliseconds

	lat, lon      int32 // 1e-7 degrees
	alt           int16 // metres
	course, speed uint16
}

// track is the newest of one uid, but for its spot.
type track struct {
	uid, user, callsign, typ, how, team, role, battery, alarm, icon string

	groups []string
	shape  []byte // JSON; nil: it is a point
	drawn  string // the user whose shape it is
	meta   []byte // JSON of what seldom changes, without its braces; immutable
}

// block is how many places share a clock: looks pass by blocks in which nothing
// has happened.
const block = 64

// Hub keeps the tracks and knows the sessions.
type Hub struct {
	access Access
	log    *slog.Logger
	epoch  uint32
	most   int // tracks

	mu     sync.RWMutex
	clock  uint64
	tracks []track
	spots  []spot   // of the tracks, by the same places
	blocks []uint64 // clock at the last change in each block of places
	free   []int32
	byUID  map[string][]int32
	ofUser map[string]int

	shapes   int            // bytes
	shapesOf map[string]int // of each user

	pages  sync.Mutex
	open   map[*session]struct{}
	parked map[string]*parked

	rows sync.Pool // of *[]move

	full, refused, frames, sent, resumed atomic.Uint64
}

// NewHub returns an empty hub.
func NewHub(access Access, log *slog.Logger) *Hub {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Hub{
		access: access, log: log, epoch: uint32(time.Now().UnixNano()>>20) | 1, most: maxTracks,
		byUID: map[string][]int32{}, ofUser: map[string]int{}, shapesOf: map[string]int{}, open: map[*session]struct{}{}, parked: map[string]*parked{},
	}
}

// Move notes where something is. Something else with the same uid, of another
// user and for groups of its own, is a track of its own.
func (h *Hub) Move(e *Event) {
	if len(e.Groups) == 0 || math.IsNaN(e.Lat) || math.IsNaN(e.Lon) || math.Abs(e.Lat) > 90 || math.Abs(e.Lon) > 180 {
		return
	}
	shape := e.Shape.encode()
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.find(e)
	if i < 0 {
		if i = h.add(e); i < 0 {
			h.full.Add(1)
			return
		}
	}
	t, k := &h.tracks[i], &h.spots[i]
	h.touch(i)
	k.moved = h.clock
	k.lat, k.lon = int32(math.Round(e.Lat*1e7)), int32(math.Round(e.Lon*1e7))
	k.alt, k.course, k.speed = meters(e.HAE), centi(e.Course), deci(e.Speed)
	k.at, k.until = e.Received, e.Received+min(max(e.Life, minLife), maxLife).Milliseconds()
	if !slices.Equal(t.groups, e.Groups) {
		t.groups, k.aud, k.named = e.Groups, h.clock, h.clock
	}
	if t.user != e.User {
		h.leave(t.user)
		t.user = e.User
		h.ofUser[t.user]++
		t.meta = nil
	}
	if !bytes.Equal(t.shape, shape) {
		h.draw(t, e.User, shape)
		t.meta = nil
	}
	if t.meta == nil || t.differs(e) {
		t.name(e)
		k.named = h.clock
	}
}

// touch moves the clock, because of the track at i.
func (h *Hub) touch(i int32) {
	h.clock++
	h.blocks[i/block] = h.clock
}

// find returns the place of the track that e continues, or -1.
func (h *Hub) find(e *Event) int32 {
	for _, i := range h.byUID[string(e.UID)] {
		if t := &h.tracks[i]; t.user == e.User || within(t.groups, e.Groups) {
			return i
		}
	}
	return -1
}

// within reports whether all of a is in b.
func within(a, b []string) bool {
	return !slices.ContainsFunc(a, func(g string) bool { return !slices.Contains(b, g) })
}

func (h *Hub) add(e *Event) int32 {
	if h.ofUser[e.User] >= maxOfUser {
		return -1
	}
	var i int32
	switch n := len(h.free); {
	case n > 0:
		i = h.free[n-1]
		h.free = h.free[:n-1]
	case len(h.tracks) < h.most:
		i = int32(len(h.tracks))
		h.tracks, h.spots = append(h.tracks, track{}), append(h.spots, spot{})
		if i%block == 0 {
			h.blocks = append(h.blocks, 0)
		}
	default:
		return -1
	}
	h.touch(i)
	h.tracks[i], h.spots[i] = track{uid: string(e.UID), user: e.User}, spot{born: h.clock}
	uid := h.tracks[i].uid
	h.byUID[uid] = append(h.byUID[uid], i)
	h.ofUser[e.User]++
	return i
}

func (h *Hub) leave(user string) {
	if h.ofUser[user]--; h.ofUser[user] <= 0 {
		delete(h.ofUser, user)
	}
}

// drop forgets the track at i.
func (h *Hub) drop(i int32) {
	t := &h.tracks[i]
	list := slices.DeleteFunc(h.byUID[t.uid], func(j int32) bool { return j == i })
	if len(list) == 0 {
		delete(h.byUID, t.uid)
	} else {
		h.byUID[t.uid] = list
	}
	h.leave(t.user)
	h.erase(t)
	h.touch(i)
	*t, h.spots[i] = track{}, spot{}
	h.free = append(h.free, i)
}

// Gone takes uid off the maps of those in groups, but for who is in one of still.
func (h *Hub) Gone(uid []byte, groups, still []string) {
	h.mu.Lock()
	changed := false
	for _, i := range slices.Clone(h.byUID[string(uid)]) {
		t := &h.tracks[i]
		left := slices.DeleteFunc(slices.Clone(t.groups), func(g string) bool {
			return slices.Contains(groups, g) && !slices.Contains(still, g)
		})
		switch {
		case len(left) == len(t.groups):
			continue
		case len(left) == 0:
			h.drop(i)
		default:
			h.touch(i)
			t.groups = left
			h.spots[i].aud, h.spots[i].named = h.clock, h.clock
		}
		changed = true
	}
	h.mu.Unlock()
	if changed {
		h.wake(func(*session) bool { return true })
	}
}

// Sweep takes off what is stale.
func (h *Hub) Sweep(now time.Time) {
	ms, changed := now.UnixMilli(), false
	h.mu.Lock()
	for i := range h.spots {
		if k := &h.spots[i]; k.born != 0 && k.until <= ms {
			h.drop(int32(i))
			changed = true
		}
	}
	h.mu.Unlock()
	if changed {
		h.wake(func(*session) bool { return true })
	}
}

// Changed has the sessions of a user ask again what he may see: "" is everybody.
func (h *Hub) Changed(user string) {
	h.wake(func(s *session) bool {
		if user != "" && s.user != user {
			return false
		}
		s.ask.Store(true)
		return true
	})
}

// wake has sessions look at once.
func (h *Hub) wake(which func(*session) bool) {
	h.pages.Lock()
	defer h.pages.Unlock()
	for s := range h.open {
		if which(s) {
			select {
			case s.woken <- struct{}{}:
			default:
			}
		}
	}
}

// WriteMetrics writes the hub's counters as Prometheus text.
func (h *Hub) WriteMetrics(w io.Writer) {
	h.mu.RLock()
	tracks := len(h.tracks) - len(h.free)
	h.mu.RUnlock()
	h.pages.Lock()
	sessions := len(h.open)
	h.pages.Unlock()
	_, _ = fmt.Fprintf(w, "takd_live_sessions %d\ntakd_live_tracks %d\ntakd_live_tracks_refused_total %d\ntakd_live_sessions_refused_total %d\n"+
		"takd_live_sessions_resumed_total %d\ntakd_live_frames_total %d\ntakd_live_sent_bytes_total %d\n",
		sessions, tracks, h.full.Load(), h.refused.Load(), h.resumed.Load(), h.frames.Load(), h.sent.Load())
}

func (t *track) differs(e *Event) bool {
	return !(same(t.callsign, e.Callsign) && same(t.typ, e.Type) && same(t.how, e.How) && same(t.team, e.Team) &&
		same(t.role, e.Role) && same(t.battery, e.Battery) && same(t.alarm, e.Alarm) && same(t.icon, e.Icon))
}

func same(s string, b []byte) bool { return s == string(b) }

func (t *track) name(e *Event) {
	t.callsign, t.typ, t.how = clip(e.Callsign), clip(e.Type), clip(e.How)
	t.team, t.role, t.battery, t.alarm = clip(e.Team), clip(e.Role), clip(e.Battery), clip(e.Alarm)
	t.icon = clip(e.Icon)
	t.meta = t.encode()
}

// maxText bounds each text of a track; longer ones are cut.
const maxText = 256

func clip(b []byte) string { return string(bytes.ToValidUTF8(b[:min(len(b), maxText)], nil)) }
