package server

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"takd/cmd/takd/internal/control"
)

type fakeEngine struct{ alarms []Alarm }

func (f *fakeEngine) Alarms() []Alarm { return f.alarms }

func (f *fakeEngine) CancelAlarm(uid string) bool {
	for i, a := range f.alarms {
		if a.UID == uid {
			f.alarms = append(f.alarms[:i], f.alarms[i+1:]...)
			return true
		}
	}
	return false
}

func (f *fakeEngine) Reach(a, b string) (bool, []string) {
	if a == b {
		return true, nil
	}
	return false, []string{a + " and " + b + " share no group"}
}

func TestAsk(t *testing.T) {
	ctx := t.Context()
	since := time.Unix(1e9, 0).UTC()
	audited := ""
	q := asker{
		engine: &fakeEngine{alarms: []Alarm{{UID: "u-9-1-1", Type: "b-a-o-tbl", Callsign: "EVE", User: "eve", Since: since}}},
		audit:  func(_ context.Context, action, detail string) { audited += action + " " + detail },
	}
	got, err := q.emergencyList(ctx, control.None{})
	want := []control.Emergency{{UID: "u-9-1-1", Type: "b-a-o-tbl", Callsign: "EVE", User: "eve", Since: since}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("list: %v (-want +got):\n%s", err, diff)
	}
	for uid, want := range map[string]error{"": control.ErrNotFound, "nobody": control.ErrNotFound, "u-9-1-1": nil} {
		if _, err := q.emergencyCancel(ctx, control.EmergencyCancel{UID: uid}); !errors.Is(err, want) {
			t.Errorf("cancel %q = %v, want %v", uid, err, want)
		}
	}
	if got, err := q.emergencyList(ctx, control.None{}); got == nil || len(got) != 0 || err != nil || audited != "emergency cancel u-9-1-1" {
		t.Errorf("after cancel: %v, %v, audit log %q; want an empty list", got, err, audited)
	}
	no, err1 := q.reach(ctx, control.Reach{A: "a", B: "b"})
	yes, err2 := q.reach(ctx, control.Reach{A: "a", B: "a"})
	if err := errors.Join(err1, err2); err != nil || no.Visible || len(no.Reasons) != 1 || !yes.Visible || yes.Reasons == nil {
		t.Errorf("reach = %v and %v, %v", no, yes, err)
	}
	if _, err := (asker{}).reach(ctx, control.Reach{}); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("without a server: %v", err)
	}
	if _, err := (asker{engine: 1}).emergencyList(ctx, control.None{}); err == nil {
		t.Error("an engine that has no alarms gives no error")
	}
}
