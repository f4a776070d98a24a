package session_test

import (
	"strconv"
	"testing"
	"time"

	"takd/netcore/msg"
	"takd/netcore/session"
)

func TestMeter(t *testing.T) {
	const second = int64(time.Second)
	tests := map[string]struct {
		rate  session.Rate
		size  int
		every int64 // nanoseconds between events
		n     int
		want  int // of them that fit
	}{
		"no limit":            {session.Rate{}, 1 << 20, 0, 1000, 1000},
		"in time":             {session.Rate{Events: 10}, 100, second / 10, 1000, 1000},
		"a burst":             {session.Rate{Events: 10}, 100, 0, 1000, 30},
		"twice too fast":      {session.Rate{Events: 10}, 100, second / 20, 1000, 529},
		"bytes":               {session.Rate{Bytes: 1000}, 100, 0, 1000, 30},
		"new uids":            {session.Rate{UIDs: 10}, 100, 0, 1000, 30},
		"larger than a burst": {session.Rate{Bytes: 10}, 1000, 200 * second, 3, 3},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var m session.Meter
			fit := 0
			for i := range tc.n {
				if m.Take(tc.rate, second*1000+int64(i)*tc.every, tc.size, true) {
					fit++
				}
			}
			if fit < tc.want-1 || fit > tc.want+1 {
				t.Errorf("%d of %d fit, want %d", fit, tc.n, tc.want)
			}
		})
	}
}

// What an event costs for each receiver is paid for before the next may come.
func TestMeterDeliveries(t *testing.T) {
	var meter session.Meter
	rate := session.Rate{Deliveries: 1000}
	fit, now := 0, int64(time.Hour)
	for range 10_000 { // 1 ms between events
		if meter.Take(rate, now, 100, false) {
			fit++
			m := msg.Get()
			m.SetXML(make([]byte, 1500))
			m.Bills[0] = meter.Bill(rate)
			m.Charge(10)
			m.Release()
		}
		now += int64(time.Millisecond)
	}
	if fit < 500 || fit > 505 { // 20 deliveries each, for 10 s
		t.Errorf("%d events fit, want 500 and a burst", fit)
	}
}

// However many uids a sender uses, what it used lately is not new.
func TestKnown(t *testing.T) {
	var k session.Known
	fresh := 0
	for round := range 3 {
		for i := range 10_000 {
			if uid := []byte("uid-" + strconv.Itoa(i)); !k.Has(uid) {
				fresh++
				k.Learn(uid)
			}
		}
		if fresh != 10_000 {
			t.Fatalf("round %d: %d uids were new, want 10000 in the first and none later", round, fresh)
		}
	}
	for i := range 100_000 {
		k.Learn([]byte("other-" + strconv.Itoa(i)))
	}
	if k.Has([]byte("uid-2")) {
		t.Error("a uid is known after 100000 others: memory is not bounded")
	}
}
