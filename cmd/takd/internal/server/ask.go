package server

import (
	"context"
	"time"

	"takd/cmd/takd/internal/control"
)

// Alarm is an emergency under way, as the messaging engine tells it.
type Alarm struct {
	UID, Type, Callsign, User string
	Since                     time.Time
}

// What the messaging engine has to offer for these operations.
type (
	emergencies interface {
		Alarms() []Alarm
		CancelAlarm(uid string) bool
	}
	reacher interface {
		Reach(a, b string) (visible bool, reasons []string)
	}
)

// asker answers questions about what is under way.
type asker struct {
	engine any // nil where no server runs
	audit  func(ctx context.Context, action, detail string)
}

// handleAsk has m answer with what the engine of l can.
func (l *local) handleAsk(m control.Mux) {
	q := asker{audit: l.audit}
	if l.engine != nil {
		q.engine = l.engine
	}
	control.Handle(m, control.EmergencyList, q.emergencyList)
	control.Handle(m, control.EmergencyCancelOp, q.emergencyCancel)
	control.Handle(m, control.ReachOp, q.reach)
}

// of is the part T of the engine.
func of[T any](q asker) (T, error) {
	t, ok := q.engine.(T)
	switch {
	case q.engine == nil:
		return t, errNoEngine
	case !ok:
		return t, control.Errorf(nil, "the messaging engine of this build cannot tell")
	}
	return t, nil
}

func (q asker) emergencyList(context.Context, control.None) ([]control.Emergency, error) {
	e, err := of[emergencies](q)
	if err != nil {
		return nil, err
	}
	all := []control.Emergency{}
	for _, a := range e.Alarms() {
		all = append(all, control.Emergency(a))
	}
	return all, nil
}

func (q asker) emergencyCancel(ctx context.Context, c control.EmergencyCancel) (control.None, error) {
	e, err := of[emergencies](q)
	if err != nil {
		return control.None{}, err
	}
	if c.UID == "" || !e.CancelAlarm(c.UID) {
		return control.None{}, control.Errorf(control.ErrNotFound, "no emergency %q; see: takd emergency list", c.UID)
	}
	q.audit(ctx, "emergency cancel", c.UID)
	return control.None{}, nil
}

func (q asker) reach(_ context.Context, r control.Reach) (control.Reached, error) {
	e, err := of[reacher](q)
	if err != nil {
		return control.Reached{}, err
	}
	visible, reasons := e.Reach(r.A, r.B)
	return control.Reached{Visible: visible, Reasons: append([]string{}, reasons...)}, nil
}
