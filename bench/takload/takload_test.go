package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"takd/cot"
	"takd/cot/frame"
)

func shortRun(h *hub, protocol string) *runCmd {
	return &runCmd{
		target:  target{Addr: h.addr, Certs: h.certs, Plain: h.plain, Protocol: protocol, ConnectRate: 1000, Timeout: 20 * time.Second},
		Clients: 6, Publishers: 4, Rate: 100, Mix: "mixed", Warmup: 100 * time.Millisecond, Duration: 500 * time.Millisecond,
		Drain: 10 * time.Second, ServerPID: os.Getpid(),
	}
}

// Every event that falls due is delivered to everybody but its sender, in each encoding.
func TestRunCountsDeliveries(t *testing.T) {
	for _, protocol := range []string{"xml", "protobuf", "mixed"} {
		t.Run(protocol, func(t *testing.T) {
			rep, err := shortRun(startHub(t, &hub{}), protocol).measure(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			type counts struct{ Due, Sent, Expected, Delivered, Duplicates, Disorder int64 }
			got := counts{rep.Due, rep.Sent, rep.Expected, rep.Delivered, rep.Duplicates, rep.Disorder}
			want := counts{Due: 200, Sent: 200, Expected: 984, Delivered: 984} // 4 of them go to one client, not to 5
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			if rep.Ratio != 1 || rep.WorstRatio != 1 || rep.Incomplete != 0 || rep.Disconnected != 0 {
				t.Errorf("report = %+v; want all delivered, nobody lost", rep)
			}
			if l := rep.Latency; l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
				t.Errorf("latency = %+v; want it to rise from above 0", l)
			}
			if rep.Server == nil || rep.Server.RSS <= 0 {
				t.Errorf("server = %+v; want memory of this process", rep.Server)
			}
		})
	}
}

// Without TLS it is the same.
func TestRunPlain(t *testing.T) {
	rep, err := shortRun(startHub(t, &hub{plain: true}), "mixed").measure(t.Context())
	if err != nil || rep.Ratio != 1 || rep.Delivered == 0 {
		t.Errorf("measure = %+v, %v; want everything delivered", rep, err)
	}
}

func TestRunSeesFaults(t *testing.T) {
	tests := map[string]struct {
		hub   *hub
		check func(*report) bool
	}{
		"loss":          {&hub{dropEvery: 10}, func(r *report) bool { return r.Ratio < 0.95 && r.Ratio > 0.8 && r.Incomplete > 0 }},
		"direct to all": {&hub{broadcast: true}, func(r *report) bool { return r.Ratio == 1 && r.Strays == 16 && r.Duplicates == 0 }},
		"disorder":      {&hub{swap: true}, func(r *report) bool { return r.Disorder > 300 && r.Duplicates == 0 }},
		"duplicates":    {&hub{twice: true}, func(r *report) bool { return r.Ratio == 1 && r.Duplicates == r.Delivered }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := shortRun(startHub(t, tc.hub), "xml")
			rep, err := r.measure(t.Context())
			if err != nil || !tc.check(rep) {
				t.Errorf("measure = %+v, %v", rep, err)
			}
		})
	}
}

func TestConnectFails(t *testing.T) {
	tests := map[string]struct {
		hub  *hub
		with func(*runCmd)
		want error
	}{
		"protobuf refused":     {hub: &hub{refuse: true}, want: errProtocol},
		"no certificates":      {hub: &hub{}, with: func(r *runCmd) { r.Certs = t.TempDir() }, want: os.ErrNotExist},
		"context ends at once": {hub: &hub{}, want: context.Canceled},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := shortRun(startHub(t, tc.hub), "protobuf")
			if tc.with != nil {
				tc.with(r)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if errors.Is(tc.want, context.Canceled) {
				cancel()
			}
			if _, err := r.measure(ctx); !errors.Is(err, tc.want) {
				t.Errorf("measure = %v; want %v", err, tc.want)
			}
		})
	}
}

// ATAK loses a connection that has XML or white space where protobuf must begin.
func TestNoiseAfterReplyIsAFault(t *testing.T) {
	rep, err := shortRun(startHub(t, &hub{noise: true}), "protobuf").measure(t.Context())
	if err != nil {
		if !errors.Is(err, errProtocol) {
			t.Fatalf("measure = %v; want %v", err, errProtocol)
		}
		return
	}
	if rep.Disconnected != 6 || !strings.Contains(rep.FirstLoss, errProtocol.Error()) {
		t.Errorf("report = %+v; want everybody gone by %v", rep, errProtocol)
	}
}

func TestCommandLine(t *testing.T) {
	h := startHub(t, &hub{})
	at := []string{"--addr", h.addr, "--certs", h.certs, "--connect-rate", "1000"}
	small := append([]string{"--clients", "3", "--rate", "50", "--warmup", "0s", "--duration", "300ms", "--json"}, at...)
	tests := map[string]struct {
		args []string
		code int
	}{
		"passes":        {append([]string{"--min-ratio", "1", "--max-p99", "1m"}, small...), exitOK},
		"p99 too high":  {append([]string{"--max-p99", "1ns"}, small...), exitFailed},
		"exact":         {append([]string{"--exact"}, small...), exitOK},
		"idle":          {append([]string{"--mode", "idle", "--exact", "--min-ratio", "1", "--max-p99", "1ms"}, small...), exitOK},
		"TLS 1.2":       {append([]string{"--tls", "1.2", "--min-ratio", "1"}, small...), exitOK},
		"idle publish":  {append([]string{"--mode", "idle", "--publishers", "1"}, at...), exitUsage},
		"TLS 1.1":       {append([]string{"--tls", "1.1"}, at...), exitUsage},
		"no folder":     {[]string{"--certs", "nowhere"}, exitFailed},
		"no --certs":    {nil, exitUsage},
		"bad clients":   {append([]string{"--clients", "1"}, at...), exitUsage},
		"unknown flag":  {[]string{"--nope"}, exitUsage},
		"help":          {[]string{"--help"}, exitOK},
		"demo ends":     {append([]string{"demo", "--clients", "4", "--every", "100ms", "--duration", "1s"}, at...), exitOK},
		"demo nobody":   {append([]string{"demo", "--clients", "0"}, at...), exitUsage},
		"nobody serves": {append(append([]string{}, at...), "--addr", "127.0.0.1:1"), exitFailed},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if code := run(t.Context(), tc.args, &out, &errOut); code != tc.code {
				t.Fatalf("run(%q) = %d; want %d; %s%s", tc.args, code, tc.code, out.String(), errOut.String())
			}
			if name == "passes" {
				var rep report
				if err := json.Unmarshal(out.Bytes(), &rep); err != nil || rep.Delivered != rep.Expected || rep.Delivered == 0 {
					t.Errorf("report = %s, %v", out.String(), err)
				}
			}
		})
	}
}

// What is built is whole, has the size of what ATAK sends, and keeps its mark in both encodings.
func TestEvents(t *testing.T) {
	p, other := loadPerson(7, 3), loadPerson(7, 4)
	now := time.Unix(1_760_000_000, 0)
	m := mark{run: 7, sender: 3, seq: 9, due: now.UnixNano(), to: 5}
	extra := m.append(nil)
	tests := map[string]struct {
		xml []byte
		typ string
	}{
		"position":    {p.appendSA(nil, now, 700, extra), "a-f-G-U-C"},
		"chat to all": {p.appendChat(nil, now, "1", "hello", nil, extra), "b-t-f"},
		"chat to one": {p.appendChat(nil, now, "1", "hello", &other, extra), "b-t-f"},
		"drawing":     {p.appendDrawing(nil, now, "1", extra), "u-d-f"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if n := len(tc.xml); n < 600 || n > 1500 {
				t.Errorf("%d bytes; want 600 to 1500", n)
			}
			var ev cot.Event
			body := tc.xml[len(declaration):]
			if n, err := cot.Scan(body, &ev); n != len(body) || err != nil || string(ev.Type) != tc.typ {
				t.Fatalf("Scan(%s) = %d, %v, type %q; want %d, type %q", body, n, err, ev.Type, len(body), tc.typ)
			}
			for _, proto := range []bool{false, true} {
				wire, err := toWire(nil, tc.xml, proto, &ev)
				var d frame.Decoder
				var back cot.Event
				if kind, _, err := d.Next(wire, &back); kind != frame.Event || (len(back.Dests) == 1) != (name == "chat to one") {
					t.Errorf("Next, protobuf %v: kind %v, %v, destinations %q", proto, kind, err, back.Dests)
				}
				if got, ok := findMark(wire); err != nil || !ok || got != m {
					t.Errorf("findMark, protobuf %v = %+v, %v, %v; want %+v", proto, got, ok, err, m)
				}
			}
		})
	}
}

func TestFindMarkRefuses(t *testing.T) {
	for _, in := range []string{"", "<event/>", "<__takload", `<__takload r="1" s="2" n="3"/>`, `<__takload r="x" s="2" n="3" t="4"/>`, `<__takload r="1" s="99999999999" n="3" t="4" d="0"/>`, `<__takload r="1" s="2" n="3" t="4"/>`} {
		if m, ok := findMark([]byte(in)); ok {
			t.Errorf("findMark(%q) = %+v, true; want false", in, m)
		}
	}
}

func TestWindow(t *testing.T) {
	tests := map[string]struct {
		seq         []uint32
		again, late int
	}{
		"in order":          {seq: []uint32{1, 2, 3}},
		"a gap":             {seq: []uint32{1, 5, 200}},
		"twice":             {seq: []uint32{1, 1, 2, 1}, again: 2, late: 2},
		"swapped":           {seq: []uint32{2, 1, 3}, late: 1},
		"swapped and twice": {seq: []uint32{2, 1, 1}, again: 1, late: 2},
		"long ago":          {seq: []uint32{1, 100, 36}, late: 1},
		"just remembered":   {seq: []uint32{37, 100, 37}, again: 1, late: 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var w window
			var again, late int
			for _, s := range tc.seq {
				a, l := w.add(s)
				if a {
					again++
				}
				if l {
					late++
				}
			}
			if again != tc.again || late != tc.late {
				t.Errorf("%v: %d again, %d late; want %d, %d", tc.seq, again, late, tc.again, tc.late)
			}
		})
	}
}

func TestLatencyIsFromWhenItWasDue(t *testing.T) {
	l := &load{tallies: []*tally{newTally(0, 1)}, runCmd: &runCmd{Duration: time.Second}, crowd: &crowd{}}
	l.tallies[0].open(1000, 2_000_000_000)
	for i := range 1000 {
		due := int64(1000 + i)
		l.tallies[0].add(mark{seq: uint32(i + 1), due: due}, due+int64(i+1)*1_000_000, 700)
	}
	l.tallies[0].add(mark{seq: 2000, due: 999}, 5_000_000_000, 700)           // warm-up
	l.tallies[0].add(mark{seq: 2001, due: 2_000_000_000}, 5_000_000_000, 700) // too late
	rep := l.report(observation{})
	for name, v := range map[string][2]float64{
		"p50": {rep.Latency.P50, 500}, "p99": {rep.Latency.P99, 990}, "max": {rep.Latency.Max, 1000}, "min": {rep.Latency.Min, 1},
	} {
		if v[0] < v[1]*0.99 || v[0] > v[1]*1.01 {
			t.Errorf("%s = %v ms; want %v, give or take 1%%", name, v[0], v[1])
		}
	}
	if rep.Delivered != 1000 {
		t.Errorf("delivered = %d; want 1000", rep.Delivered)
	}
}

// Who walks stays within a few kilometres.
func TestWalk(t *testing.T) {
	d := &demoCmd{Lat: 48, Lon: 11}
	names := map[string]bool{}
	for i := range 60 {
		p := d.walker(i)
		names[p.callsign] = true
		for range 5000 {
			d.walk(&p, 2*time.Second)
			if p.lat < 47.9 || p.lat > 48.1 || p.lon < 10.9 || p.lon > 11.1 {
				t.Fatalf("walker %d is at %v, %v", i, p.lat, p.lon)
			}
		}
	}
	if len(names) != 60 {
		t.Errorf("%d callsigns for 60 walkers: %v", len(names), strconv.Quote("each its own"))
	}
}
