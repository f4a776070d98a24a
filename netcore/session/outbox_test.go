package session_test

import (
	"testing"

	"takd/netcore/session"
)

func TestCompose(t *testing.T) {
	const batch = "aabbccdd"
	tests := map[string]struct {
		edit  func(*session.Outbox)
		want  string
		delta int
	}{
		"as it is":       {func(*session.Outbox) {}, "aabbccdd", 0},
		"joined late":    {func(o *session.Outbox) { o.Reset(4, 2) }, "ccdd", -2},
		"joined at end":  {func(o *session.Outbox) { o.Reset(8, 4) }, "", -4},
		"own in between": {func(o *session.Outbox) { o.Skip(2, 4) }, "aaccdd", -1},
		"own in a row":   {func(o *session.Outbox) { o.Skip(2, 4); o.Skip(4, 6) }, "aadd", -2},
		"all its own":    {func(o *session.Outbox) { o.Skip(0, 8) }, "", -1},
		"direct first":   {func(o *session.Outbox) { o.Insert(0, []byte("X")) }, "Xaabbccdd", 1},
		"direct last":    {func(o *session.Outbox) { o.Insert(8, []byte("X")) }, "aabbccddX", 1},
		"two directs":    {func(o *session.Outbox) { o.Insert(2, []byte("X")); o.Insert(2, []byte("Y")) }, "aaXYbbccdd", 2},
		"direct, own":    {func(o *session.Outbox) { o.Insert(2, []byte("X")); o.Skip(2, 4) }, "aaXccdd", 0},
		"own, direct":    {func(o *session.Outbox) { o.Skip(2, 4); o.Insert(4, []byte("X")) }, "aaXccdd", 0},
		"late, direct, own": {
			func(o *session.Outbox) {
				o.Reset(2, 1)
				o.Insert(4, []byte("X"))
				o.Skip(6, 8)
				o.Insert(8, []byte("Y"))
			},
			"bbXccY", 0,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var o session.Outbox
			tc.edit(&o)
			if got, _ := o.Compose([]byte(batch), nil); string(got) != tc.want || o.Delta() != tc.delta {
				t.Errorf("Compose = %q, delta %d; want %q, %d", got, o.Delta(), tc.want, tc.delta)
			}
			o.Reset(0, 0)
			if got, _ := o.Compose([]byte(batch), nil); string(got) != batch || o.Len() != 0 {
				t.Errorf("after Reset: %q", got)
			}
		})
	}
}
