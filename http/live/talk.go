package live

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"takd/http/httpd"
)

// AllRooms is the room of everybody.
const AllRooms = "All Chat Rooms"

// Limits on chat.
const (
	maxSaid   = 4096 // bytes of a message
	maxRoom   = 256  // bytes of a room's name
	maxTo     = 200  // uids that a message is for
	saidQueue = 64   // messages that a page may owe an answer for
)

// Talk has users chat.
type Talk interface {
	// Join makes a user a contact of those who may see him, until every page of his
	// has left. fn gets what is said to him, and by him on another page, and nil when
	// he is a contact no more; it must not block. uid and callsign are what others
	// see of him.
	Join(who httpd.Principal, fn func(*Said)) (uid, callsign string, leave func(), err error)
	// Say sends what a user says, who has joined: ErrNotJoined. It returns the id of
	// the message.
	Say(who httpd.Principal, s *Said) (id string, err error)
}

// ErrNotJoined is about who has no page with chat open.
var ErrNotJoined = errors.New("the chat is not open on any page of yours")

// Said is one message, or with State alone what became of the one with that id.
type Said struct {
	Type     string   `json:"t"` // "said"
	ID       string   `json:"id"`
	Room     string   `json:"room,omitempty"` // AllRooms, the id of a group of people, or the uid of a contact: the other one
	Name     string   `json:"name,omitempty"` // of the room
	UID      string   `json:"uid,omitempty"`  // of who says it
	Callsign string   `json:"callsign,omitempty"`
	Text     string   `json:"text,omitempty"`
	At       int64    `json:"at,omitempty"` // Unix milliseconds
	Mine     bool     `json:"mine,omitempty"`
	State    string   `json:"state,omitempty"` // of one's own: "delivered", "read", "failed"
	To       []string `json:"-"`               // uids; none: everybody in the groups
	Groups   []string `json:"-"`               // none: all that the user may send to
}

// chatting is what a page is told when it has joined, with an uid, or when that ended.
type chatting struct {
	Type     string `json:"t"` // "chat"
	UID      string `json:"uid"`
	Callsign string `json:"callsign"`
}

// join has the page hear what is said to its user.
func (l *line) join() error {
	if l.talk == nil || l.leave != nil {
		return nil
	}
	said := make(chan *Said, saidQueue)
	uid, callsign, leave, err := l.talk.Join(l.who, func(m *Said) {
		select {
		case said <- m:
		default: // the page is given up by then: it does not read
			l.lost.Store(true)
		}
	})
	if err != nil {
		return l.say(chatting{Type: "chat"})
	}
	l.said, l.leave = said, leave
	return l.say(chatting{"chat", uid, callsign})
}

// hear tells the page what was said. A page that has missed something joins and asks
// the history again.
func (l *line) hear(m *Said) error {
	if m != nil && !l.lost.Load() {
		return l.say(m)
	}
	l.quit()
	return l.say(chatting{Type: "chat"})
}

func (l *line) quit() {
	if l.leave != nil {
		l.leave()
	}
	l.said, l.leave = nil, nil
	l.lost.Store(false)
}

// words is the body of what is said.
type words struct {
	Room   string   `json:"room"`
	Name   string   `json:"name"`
	To     []string `json:"to"`
	Groups []string `json:"groups"`
	Text   string   `json:"text"`
}

func (w *words) check(who httpd.Principal) error {
	w.Text = strings.TrimSpace(w.Text)
	switch {
	case w.Text == "" || len(w.Text) > maxSaid || !utf8.ValidString(w.Text):
		return httpd.Bad("text: want 1 to %d bytes", maxSaid)
	case w.Room == "" || len(w.Room) > maxRoom || len(w.Name) > maxRoom:
		return httpd.Bad("room, name: want 1 to %d bytes", maxRoom)
	case len(w.To) > maxTo || slices.ContainsFunc(w.To, func(u string) bool { return u == "" || len(u) > maxUID }):
		return httpd.Bad("to: want at most %d uids of 1 to %d bytes", maxTo, maxUID)
	case len(w.To) == 0 && w.Room != AllRooms:
		return httpd.Bad("to: want uids for any room but %s", AllRooms)
	case len(w.Groups) > 0 && len(w.To) > 0:
		return httpd.Bad("groups, to: want one of them")
	}
	for _, g := range w.Groups {
		if !slices.Contains(who.In, g) {
			return httpd.Forbidden("groups: you may not send to %.80q", g)
		}
	}
	return nil
}

func serveTalk(talk Talk) httpd.Handler {
	return func(r *httpd.Request) error {
		var w words
		if err := r.ReadExactJSON(&w); err != nil {
			return err
		}
		if err := w.check(r.Who); err != nil {
			return err
		}
		if talk == nil {
			return &httpd.Error{Status: http.StatusServiceUnavailable, Code: 7, Message: "there is no chat here"}
		}
		id, err := talk.Say(r.Who, &Said{Room: w.Room, Name: w.Name, To: w.To, Groups: w.Groups, Text: w.Text})
		if errors.Is(err, ErrNotJoined) {
			return httpd.Conflict("%v", err)
		} else if err != nil {
			return err
		}
		return r.JSON(http.StatusOK, map[string]string{"id": id})
	}
}
