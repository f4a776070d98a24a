package server

import (
	"context"

	"takd/cmd/takd/internal/control"
)

// emergencyList, emergencyCancel and reach ask the messaging engine what is
// under way. Without a running server there is nothing to ask.

func (l *local) emergencyList(context.Context, control.None) ([]control.Emergency, error) {
	if l.engine == nil {
		return nil, errNoEngine
	}
	all := []control.Emergency{}
	for _, a := range l.engine.Alarms() {
		all = append(all, control.Emergency(a))
	}
	return all, nil
}

func (l *local) emergencyCancel(ctx context.Context, c control.EmergencyCancel) (control.None, error) {
	switch {
	case l.engine == nil:
		return control.None{}, errNoEngine
	case c.UID == "" || !l.engine.CancelAlarm(c.UID):
		return control.None{}, control.Errorf(control.ErrNotFound, "no emergency %q; see: takd emergency list", c.UID)
	}
	l.audit(ctx, "emergency cancel", c.UID)
	return control.None{}, nil
}

func (l *local) reach(_ context.Context, r control.Reach) (control.Reached, error) {
	if l.engine == nil {
		return control.Reached{}, errNoEngine
	}
	visible, reasons := l.engine.Reach(r.A, r.B)
	return control.Reached{Visible: visible, Reasons: append([]string{}, reasons...)}, nil
}
