package main

import (
	"math"
	"os"
	"testing"
	"time"
)

// The mode storm starts this program again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "storm" {
		main()
		return
	}
	os.Exit(m.Run())
}

// modeRun is a short run of a mode against the hub.
func modeRun(t *testing.T, h *hub, mode string, with func(*runCmd)) *report {
	r := shortRun(startHub(t, h), "xml")
	r.Mode, r.Mix, r.TLS, r.Window = mode, "sa", "any", 8
	if with != nil {
		with(r)
	}
	rep, err := r.measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// As fast as all get it: everything comes, once and in order, in each encoding.
func TestMax(t *testing.T) {
	for _, protocol := range []string{"xml", "protobuf"} {
		rep := modeRun(t, &hub{}, "max", func(r *runCmd) { r.Protocol = protocol })
		if rep.Ratio != 1 || rep.Delivered == 0 || rep.Messages <= 0 || rep.PerSecond <= 0 || rep.Incomplete != 0 {
			t.Errorf("%s: report = %+v; want everything delivered", protocol, rep)
		}
		if rep.Duplicates+rep.Disorder != 0 || rep.Latency.P99 <= 0 {
			t.Errorf("%s: report = %+v; want no fault, and a latency", protocol, rep)
		}
	}
}

func TestMaxSeesFaults(t *testing.T) {
	if rep := modeRun(t, &hub{dropEvery: 10}, "max", func(r *runCmd) { r.Drain = time.Second }); rep.Ratio >= 1 || rep.Disorder == 0 {
		t.Errorf("loss: report = %+v; want it seen", rep)
	}
	if rep := modeRun(t, &hub{twice: true}, "max", nil); rep.Duplicates == 0 {
		t.Errorf("twice: report = %+v; want it seen", rep)
	}
}

// A storm is served while the others go on.
func TestStorm(t *testing.T) {
	rep := modeRun(t, &hub{}, "storm", func(r *runCmd) { r.Storm, r.Rate, r.Duration = 30, 20, 2*time.Second })
	if s := rep.Storm; s == nil || s.Served != 30 || s.Failed != 0 || s.Seconds <= 0 || s.P50 > s.P99 {
		t.Errorf("storm = %+v; want 30 served", s)
	}
	if rep.Ratio != 1 || rep.Disconnected != 0 {
		t.Errorf("report = %+v; want everything delivered to the others", rep)
	}
	rep = modeRun(t, &hub{mute: true}, "storm", func(r *runCmd) { r.Storm, r.Timeout = 2, 500*time.Millisecond })
	if s := rep.Storm; s.Failed != 2 || s.First == "" {
		t.Errorf("nobody answers pings: storm = %+v; want 2 failed, and why", s)
	}
	if err := rep.judge(&runCmd{}); err == nil {
		t.Error("judge = nil; want that a storm that is not served fails")
	}
}

// Who did not read gets the picture when it reads again; it does not count in the ratio.
func TestStuck(t *testing.T) {
	rep := modeRun(t, &hub{}, "stuck", func(r *runCmd) {
		r.Stuck, r.StuckFor, r.Duration = 2, 300*time.Millisecond, 2*time.Second
	})
	if s := rep.Stuck; s == nil || s.Clients != 2 || s.Pictures != 2 || s.Closed != 0 || s.Longest <= 0 || math.IsInf(s.Longest, 1) {
		t.Errorf("stuck = %+v; want that both have the picture", s)
	}
	if want := int64(4*100*2*3 + 0); rep.Ratio != 1 || rep.Expected != want {
		t.Errorf("ratio %v of %d; want 1 of %d", rep.Ratio, rep.Expected, want)
	}
}

func TestFlood(t *testing.T) {
	rep := modeRun(t, &hub{}, "flood", func(r *runCmd) { r.Flooders = 2 })
	if f := rep.Flood; f == nil || f.Clients != 2 || f.Sent == 0 || f.Closed != 0 {
		t.Errorf("flood = %+v; want that two sent", f)
	}
	if rep.Ratio != 1 {
		t.Errorf("ratio = %v; want 1", rep.Ratio)
	}
}

// A position has the size that was asked for.
func TestSize(t *testing.T) {
	p := loadPerson(7, 3)
	mark := mark{run: 7}.append(nil)
	for _, size := range []int{700, 1000, 5000} {
		if n := len(p.appendSA(nil, time.Unix(1_760_000_000, 0), size, mark)); n != size {
			t.Errorf("appendSA of size %d has %d bytes", size, n)
		}
	}
	if n := len(p.appendSA(nil, time.Unix(1_760_000_000, 0), 0, mark)); n < 500 || n >= 720 {
		t.Errorf("appendSA of size 0 has %d bytes; want as many as it needs", n)
	}
}
