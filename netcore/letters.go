package netcore

import (
	"context"
	"time"

	"takd/cot"
	"takd/netcore/msg"
	"takd/netcore/router"
)

// Letterbox keeps the mail of absent clients over a restart.
type Letterbox interface {
	// Load returns what was saved: letters in the order of their ids.
	Load(ctx context.Context) ([]Absentee, []Letter, error)
	// Save takes over c. After an error it gets the same again, whole.
	Save(ctx context.Context, c LetterChanges) error
}

// Device is a client of a user; User is empty for anonymous ones.
type Device struct{ User, UID string }

// Absentee is a client that is away and for whom chat is kept.
type Absentee struct {
	Device
	Callsign string
	Groups   []string // from which it receives
	Since    time.Time
}

// Letter is chat kept for an absentee.
type Letter struct {
	ID     uint64
	To     Device
	Groups []string // into which it was sent
	XML    []byte
	Kept   time.Time
}

// LetterChanges is what happened since the last time.
type LetterChanges struct {
	New  []Letter
	Gone []uint64 // letters
	Left []Absentee
	Back []Device
}

// saveEvery is how much of the mail a crash may lose.
const saveEvery = 500 * time.Millisecond

// loadLetters brings back what was kept.
func (e *Engine) loadLetters(ctx context.Context) error {
	box := e.opts.Load().Letters
	if box == nil {
		return nil
	}
	away, letters, err := box.Load(ctx)
	if err != nil {
		return err
	}
	gone := make([]router.Away, 0, len(away))
	for _, a := range away {
		gone = append(gone, router.Away{
			Holder: router.Holder(a.Device), Callsign: a.Callsign, Out: e.groups.Set(a.Groups).Bits, Since: a.Since,
		})
	}
	mail := make([]router.Letter, 0, len(letters))
	for _, l := range letters {
		m := msg.Get()
		m.SetXML(l.XML)
		m.Class, m.Direct, m.In, m.Received = msg.Chat, true, e.groups.Set(l.Groups).Bits, l.Kept.UnixMilli()
		mail = append(mail, router.Letter{ID: l.ID, To: router.Holder(l.To), Msg: m, Kept: l.Kept})
	}
	e.absent.Restore(gone, mail, time.Now())
	return nil
}

// saveLetters writes, off the loops, what changes, until the engine stops. What
// could not be written is tried again, and nothing else is taken meanwhile.
func (e *Engine) saveLetters() {
	every := time.NewTicker(saveEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			e.saveChanges(e.ctx)
		case <-e.ctx.Done():
			return // Stop saves the rest
		}
	}
}

// saveChanges writes what has changed. One goroutine at a time.
func (e *Engine) saveChanges(ctx context.Context) {
	box := e.opts.Load().Letters
	if box == nil {
		return
	}
	if e.unsaved == nil {
		c := e.absent.TakeChanges()
		if c.Empty() {
			return
		}
		e.unsaved = e.exportChanges(c)
		c.Forget()
	}
	if err := box.Save(ctx, *e.unsaved); err != nil {
		e.log.Error("mail of absent clients not saved; it will be tried again", "err", err)
		return
	}
	e.unsaved = nil
}

func (e *Engine) exportChanges(c router.Changes) *LetterChanges {
	out := &LetterChanges{Gone: c.Gone}
	for _, l := range c.New {
		xml := append([]byte(nil), l.Msg.Bytes(cot.XML)...)
		out.New = append(out.New, Letter{ID: l.ID, To: Device(l.To), Groups: e.groups.Names(l.Msg.In), XML: xml, Kept: l.Kept})
	}
	for _, a := range c.Left {
		out.Left = append(out.Left, Absentee{Device: Device(a.Holder), Callsign: a.Callsign, Groups: e.groups.Names(a.Out), Since: a.Since})
	}
	for _, h := range c.Removed {
		out.Back = append(out.Back, Device(h))
	}
	return out
}
