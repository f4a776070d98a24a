package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"takd/cot"
	"takd/cot/frame"
	"takd/http/httpd"
	"takd/http/live"
)

const (
	chatInput   = "chat"      // of those who chat on a page
	presence    = time.Minute // between two reports that somebody is there
	chatStale   = 24 * time.Hour
	maxChatText = 16 << 10 // bytes of a message that a page gets
	maxArrived  = 64
)

// talks are those who chat on a page. Each is one client of the engine, so that what
// reaches him, and whom he reaches, is decided where it is for everybody, and what
// comes while he is away is kept. His uid is always the same.
type talks struct {
	people *people
	s      *Server

	mu   sync.Mutex
	open map[string]*talker // by user
}

func newTalks(s *Server, p *people) *talks {
	return &talks{people: p, s: s, open: map[string]*talker{}}
}

// talker is one of them: a connection that the engine reads from and writes to.
type talker struct {
	t         *talks
	user, uid string
	frames    *io.PipeReader // for the engine
	to        *io.PipeWriter
	arrived   chan *live.Said // to be confirmed to who said it
	done      chan struct{}
	ended     sync.Once

	mu    sync.Mutex // orders frames
	pages map[int]func(*live.Said)
	next  int

	dec  frame.Decoder // the engine's writes alone touch these
	rest []byte
	ev   cot.Event
}

// chatUID is the uid of a user who chats on a page.
func chatUID(user string) string {
	sum := sha256.Sum256([]byte(user))
	return "WEB-" + hex.EncodeToString(sum[:12])
}

// Join implements live.Talk.
func (t *talks) Join(who httpd.Principal, fn func(*live.Said)) (uid, callsign string, leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.open[who.User]
	if k == nil {
		k = &talker{t: t, user: who.User, uid: chatUID(who.User), arrived: make(chan *live.Said, maxArrived), done: make(chan struct{}), pages: map[int]func(*live.Said){}}
		k.dec.ProtoOnly = true
		k.frames, k.to = io.Pipe()
		t.open[who.User] = k
		go k.live(who)
		go k.present()
	}
	n := k.next
	k.next++
	k.mu.Lock()
	k.pages[n] = fn
	k.mu.Unlock()
	return k.uid, k.user, func() { t.leave(k, n) }, nil
}

// leave ends k with its last page.
func (t *talks) leave(k *talker, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k.mu.Lock()
	delete(k.pages, n)
	last := len(k.pages) == 0
	k.mu.Unlock()
	if last {
		t.forget(k)
	}
}

// forget is called with t.mu held.
func (t *talks) forget(k *talker) {
	if t.open[k.user] == k {
		delete(t.open, k.user)
	}
	_ = k.Close()
}

// live has k a client, until it or its connection ends; then its pages are told.
func (k *talker) live(who httpd.Principal) {
	err := k.t.people.attach(context.Background(), who, netip.AddrPort{}, k, chatInput)
	k.t.s.log.Debug("chat on a page ended", "user", k.user, "reason", err)
	k.t.mu.Lock()
	k.t.forget(k)
	k.t.mu.Unlock()
	k.tell(nil)
}

// present reports that the user is there, at no place, and confirms what was said to him.
func (k *talker) present() {
	tick := time.NewTicker(presence)
	defer tick.Stop()
	name := httpd.EscapeXML(k.user)
	for {
		detail := `<takv os="0" version="` + httpd.EscapeXML(k.t.s.opts.Version) + `" device="browser" platform="takd"/><contact callsign="` + name + `" endpoint="*:-1:stcp"/><uid Droid="` + name +
			`"/><__group name="White" role="Team Member"/><marti archive="false"/>`
		if k.send(k.uid, "a-f-G-U-C", "h-e", 3*presence, detail) != nil {
			return
		}
		for waits := true; waits; {
			select {
			case m := <-k.arrived:
				k.confirm(m)
			case <-tick.C:
				waits = false
			case <-k.done:
				return
			}
		}
	}
}

// Read, Write and Close are the engine's end.

// Read gives the engine frames.
func (k *talker) Read(b []byte) (int, error) { return k.frames.Read(b) }

// Close ends both directions.
func (k *talker) Close() error {
	k.ended.Do(func() { close(k.done) })
	return errors.Join(k.to.Close(), k.frames.Close())
}

// Write takes what the engine sends to the user; of it chat is for his pages.
func (k *talker) Write(b []byte) (int, error) {
	k.rest = append(k.rest, b...)
	buf := k.rest
	for {
		kind, n, err := k.dec.Next(buf, &k.ev)
		if errors.Is(err, frame.ErrTooBig) {
			return 0, err
		}
		if kind == frame.More {
			buf = buf[n:]
			break
		}
		if kind == frame.Event && err == nil && strings.HasPrefix(string(k.ev.Type), "b-t-f") {
			k.hear(&k.ev)
		}
		buf = buf[n:]
	}
	k.rest = append(k.rest[:0], buf...)
	return len(b), nil
}

// hear tells the pages of a message, or of what became of one.
func (k *talker) hear(ev *cot.Event) {
	switch string(ev.Type) {
	case "b-t-f-d", "b-t-f-r":
		state := map[byte]string{'d': "delivered", 'r': "read"}[ev.Type[len(ev.Type)-1]]
		k.tell(&live.Said{Type: "said", ID: clip(ev.UID), State: state})
		return
	case "b-t-f-s":
		k.tell(&live.Said{Type: "said", ID: clip(ev.Chat.MessageID), State: "failed"})
		return
	case "b-t-f":
	default:
		return
	}
	raw, err := ev.AppendXML(nil, nil)
	if err != nil {
		return
	}
	text := remarks(raw)
	text = strings.ToValidUTF8(text[:min(len(text), maxChatText)], "")
	m := &live.Said{
		Type: "said", ID: clip(ev.Chat.MessageID), Room: clip(ev.Chat.ID), Name: clip(ev.Chat.Room), UID: clip(ev.Link), Callsign: clip(ev.Chat.SenderCallsign),
		Text: text, At: instant(ev.Time, time.Now()).UnixMilli(),
	}
	if m.ID == "" {
		m.ID = clip(ev.UID)
	}
	if m.UID == "" && len(ev.Chat.UIDs) > 0 {
		m.UID = clip(ev.Chat.UIDs[0])
	}
	if m.Room == k.uid { // for him alone
		m.Room, m.Name = m.UID, m.Callsign
		if m.UID != "" {
			select {
			case k.arrived <- m: // a Write does not wait for a Read
			default:
			}
		}
	}
	k.tell(m)
}

const maxChatName = 512

func clip(b []byte) string { return strings.ToValidUTF8(string(b[:min(len(b), maxChatName)]), "") }

// confirm tells who said m that it is on a page.
func (k *talker) confirm(m *live.Said) {
	id, uid, name := httpd.EscapeXML(m.ID), httpd.EscapeXML(m.UID), httpd.EscapeXML(k.user)
	_ = k.send(m.ID, "b-t-f-d", "m-g", chatStale, `<__chatreceipt parent="RootContactGroup" groupOwner="false" chatroom="`+name+`" id="`+k.uid+`" messageId="`+id+`" senderCallsign="`+name+`"><chatgrp id="`+k.uid+
		`" uid0="`+uid+`" uid1="`+k.uid+`"/></__chatreceipt><link uid="`+k.uid+`" type="a-f-G-U-C" relation="p-p"/><marti><dest uid="`+uid+`"/></marti>`)
}

func (k *talker) tell(m *live.Said) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, fn := range k.pages {
		fn(m)
	}
}

// Say implements live.Talk.
func (t *talks) Say(who httpd.Principal, said *live.Said) (string, error) {
	t.mu.Lock()
	k := t.open[who.User]
	t.mu.Unlock()
	if k == nil {
		return "", live.ErrNotJoined
	}
	m := *said
	m.Type, m.ID, m.UID, m.Callsign, m.Mine, m.At = "said", strings.ToLower(rand.Text()), k.uid, k.user, true, time.Now().UnixMilli()
	if m.Name == "" {
		m.Name = m.Room
	}
	k.tell(&m) // before what becomes of it
	if err := k.send("GeoChat."+k.uid+"."+m.Room+"."+m.ID, "b-t-f", "h-g-i-g-o", chatStale, geoChat(&m)); err != nil {
		return "", live.ErrNotJoined
	}
	return m.ID, nil
}

// geoChat is the detail of a message as ATAK makes it.
func geoChat(m *live.Said) string {
	room, name, id := httpd.EscapeXML(m.Room), httpd.EscapeXML(m.Name), httpd.EscapeXML(m.ID)
	parent, others := "RootContactGroup", []string{m.Room}
	if len(m.To) > 0 && !slices.Equal(m.To, others) {
		parent, others = "TeamGroups", m.To
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<__chat parent="%s" groupOwner="false" messageId="%s" chatroom="%s" id="%s" senderCallsign="%s"><chatgrp uid0="%s"`, parent, id, name, room, httpd.EscapeXML(m.Callsign), m.UID)
	for i, uid := range others {
		fmt.Fprintf(&b, ` uid%d="%s"`, i+1, httpd.EscapeXML(uid))
	}
	fmt.Fprintf(&b, ` id="%s"/></__chat><link uid="%s" type="a-f-G-U-C" relation="p-p"/><remarks source="BAO.F.ATAK.%s" to="%s" time="%s">%s</remarks>`,
		room, m.UID, m.UID, room, cot.AppendTime(nil, m.At), httpd.EscapeXML(m.Text))
	if len(m.To)+len(m.Groups) > 0 {
		b.WriteString("<marti>")
		for _, uid := range m.To {
			b.WriteString(`<dest uid="` + httpd.EscapeXML(uid) + `"/>`)
		}
		for _, g := range m.Groups {
			b.WriteString(`<dest group="` + httpd.EscapeXML(g) + `"/>`)
		}
		b.WriteString("</marti>")
	}
	return b.String()
}

// send gives the engine an event at no place.
func (k *talker) send(uid, typ, how string, life time.Duration, detail string) error {
	frame, err := encode(&httpd.Event{UID: uid, Type: typ, How: how, Life: life, Detail: detail})
	if err != nil {
		return err
	}
	_, err = k.to.Write(frame)
	return err
}
