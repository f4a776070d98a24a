package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// runs makes runs of one server from reports.
func runs(t *testing.T, server string, reports ...string) []run {
	t.Helper()
	var all []run
	for i, text := range reports {
		r := run{server: server, n: i + 1, command: "takload run --mode=steady", text: "delivered everything\n"}
		if text == "" {
			r.err = errors.New("broken")
		} else {
			var err error
			if r.result, err = parse([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, r)
	}
	return all
}

func TestMedian(t *testing.T) {
	tests := map[string]struct {
		in   []float64
		want float64
	}{
		"one":   {[]float64{3}, 3},
		"two":   {[]float64{5, 2}, 3.5},
		"three": {[]float64{9, 1, 4}, 4},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := median(tc.in); got != tc.want {
				t.Errorf("median(%v) = %v, want %v", tc.in, got, tc.want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	const (
		good  = `{"ratio": 1, "deliveries_per_second": 1800, "latency_ms": {"p99": 9}, "server": {"cpu_us_per_delivery": 10}}`
		worse = `{"ratio": 0.9, "deliveries_per_second": 1200, "latency_ms": {"p99": 12}, "server": {"cpu_us_per_delivery": 12}}`
		hub   = `{"ratio": 1, "deliveries_per_second": 1000, "latency_ms": {"p99": 5}, "server": {"cpu_us_per_delivery": 10}}`
	)
	tests := map[string]struct {
		goal      goal
		takd, hub []string
		want      outcome
	}{
		"median of two":            {goal: p99(11), takd: []string{good, worse}, want: outcome{known: true, met: true, aimed: true}},
		"median too high":          {goal: p99(10), takd: []string{good, worse}, want: outcome{known: true, aimed: true}},
		"exactly at the bound":     {goal: p99(10.5), takd: []string{good, worse}, want: outcome{known: true, met: true, aimed: true}},
		"every run counts":         {goal: all, takd: []string{good, worse, good}, want: outcome{known: true, aimed: true}},
		"times the hub":            {goal: cpu(1.1, 0), takd: []string{good, worse}, hub: []string{hub, hub}, want: outcome{known: true, met: true, aimed: true, ratio: 1.1}},
		"too much for the hub":     {goal: cpu(1.1, 0), takd: []string{worse}, hub: []string{hub}, want: outcome{known: true, aimed: true, ratio: 1.2}},
		"must and aim":             {goal: deliveries(1.2, 1.8), takd: []string{good}, hub: []string{hub}, want: outcome{known: true, met: true, aimed: true, ratio: 1.8}},
		"must but not the aim":     {goal: deliveries(1.2, 1.8), takd: []string{worse}, hub: []string{hub}, want: outcome{known: true, met: true, ratio: 1.2}},
		"no hub":                   {goal: cpu(1.1, 0), takd: []string{good}},
		"a run of the hub failed":  {goal: cpu(1.1, 0), takd: []string{good}, hub: []string{hub, ""}},
		"a run of takd failed":     {goal: all, takd: []string{good, ""}},
		"never ran":                {goal: all},
		"a figure that is missing": {goal: stormTime(15), takd: []string{good}},
		"no fault is a figure":     {goal: exact, takd: []string{good}, want: outcome{known: true, met: true, aimed: true}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := tc.goal.judge(runs(t, "takd", tc.takd...), runs(t, "hub", tc.hub...))
			if got != tc.want {
				t.Errorf("judge = %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	r, err := parse([]byte(`{"ratio": 0.5, "messages_per_second": 7, "rss_per_client_bytes": 9000, "other_cores": 0.1, "steal_cores": 0.2,
		"storm": {"clients": 5, "served": 3, "failed": 2, "seconds": 4.5}, "stuck": {"clients": 20, "closed": 1, "pictures": 19, "seconds_max": 1.5},
		"server": {"cores": 0.01, "rss_bytes": 5, "peak_rss_bytes": 64000000}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"delivered": 0.5, "messages/s": 7, "memory per client": 9, "CPU": 1, "peak memory": 64,
		"all served after": 4.5, "not served": 2, "current after": 1.5, "never current": 1,
	}
	for _, m := range []metric{delivered, messageRate, memoryPerClient, corePercent, peak, stormSeconds, notServed, catchUpSeconds, notCaughtUp} {
		if v, ok := m.of(r); !ok || v != want[m.name] {
			t.Errorf("%s = %v, %v; want %v", m.name, v, ok, want[m.name])
		}
	}
	if d := r.disturbance(); d < 0.29 || d > 0.31 {
		t.Errorf("disturbance = %v, want 0.3", d)
	}
	if _, err := parse([]byte("nothing")); err == nil {
		t.Error("parse of no JSON: no error")
	}
}

func TestTable(t *testing.T) {
	takd := runs(t, "takd",
		`{"ratio": 1, "latency_ms": {"p99": 4}, "server": {"cpu_us_per_delivery": 9}}`,
		`{"ratio": 1, "latency_ms": {"p99": 5}, "server": {"cpu_us_per_delivery": 10}, "other_cores": 0.3}`)
	hub := runs(t, "hub", `{"ratio": 1, "latency_ms": {"p99": 6}, "server": {"cpu_us_per_delivery": 10}}`)
	lost := runs(t, "takd", `{"ratio": 0.999999, "duplicates": 3, "latency_ms": {"p99": 4}}`)
	p := page{Rows: []row{
		{scenario: scenario{name: "a", goals: []goal{all, p99(10), cpu(1.1, 0), exact}}, compared: true, takd: takd, hub: hub},
		{scenario: scenario{name: "b", goals: []goal{all, exact}}, takd: lost},
		{scenario: scenario{name: "c", goals: []goal{all}}, takd: runs(t, "takd", "")},
	}}
	want := `| scenario | must | takd | hub | takd / hub | result |
| --- | --- | --- | --- | --- | --- |
| a | delivered ≥ 1<br>p99 ≤ 10 ms<br>CPU per delivery ≤ 1.1 × hub | 1.000000 (1.000000, 1.000000)<br>4.50 ms (4.00, 5.00)<br>9.50 µs (9.00, 10.00) | 1.000000<br>6.00 ms<br>10.00 µs | <br><br>0.950 | met (takd 2 disturbed) |
| b | delivered ≥ 1 | 0.999999 |  |  | **missed**: delivered, 3 twice, out of order or to the wrong client |
| c | delivered ≥ 1 | ? |  |  | **missed**: takd 1 failed, delivered unknown |
`
	if diff := cmp.Diff(want, p.table()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestPage(t *testing.T) {
	p := page{
		Machine: "a machine", Commit: "abc-dirty", Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Took: 90 * time.Second, Command: "standard --bin bin",
		Rows: []row{
			{scenario: scenario{name: "a", about: "about a", goals: []goal{all}}, config: []string{"x=1"}, compared: true, takd: runs(t, "takd", `{"ratio": 1}`), hub: runs(t, "hub", `{"ratio": 1, "steal_cores": 0.02}`)},
		},
	}
	text := p.String()
	for _, want := range []string{
		"a machine", "abc-dirty, 2026-01-02, in 1.5 minutes", "    standard --bin bin\n", "- **a**: about a. takd config set `x=1`.\n",
		"# a, takd 1; others used 0.00 cores, 0.00 were stolen\n$ takload run --mode=steady\ndelivered everything\n",
		"# a, hub 1; others used 0.00 cores, 0.02 were stolen",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("page has no %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "quick run") {
		t.Error("page says that this was a quick run")
	}
	p.Quick = true
	if !strings.Contains(p.String(), "quick run") {
		t.Error("page does not say that this was a quick run")
	}
}

// Rows of one load share the runs of the hub: they are printed once.
func TestPagePrintsRunsOnce(t *testing.T) {
	hub := runs(t, "hub", `{"ratio": 1}`, `{"ratio": 1}`)
	for i := range hub {
		hub[i].command += " --hub"
	}
	p := page{Rows: []row{
		{scenario: scenario{name: "a"}, takd: runs(t, "takd", `{"ratio": 1}`, `{"ratio": 1}`), hub: hub},
		{scenario: scenario{name: "b"}, takd: runs(t, "takd", `{"ratio": 1}`, `{"ratio": 1}`), hub: hub},
	}}
	var got []string
	for line := range strings.Lines(p.String()) {
		if name, ok := strings.CutPrefix(line, "# "); ok {
			name, _, _ = strings.Cut(name, ";")
			got = append(got, name)
		}
	}
	want := []string{"a, takd 1", "a, hub 1", "a, takd 2", "a, hub 2", "b, takd 1", "b, takd 2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

func TestReplace(t *testing.T) {
	beginMark, endMark := standardPart.begin(), standardPart.end()
	part := beginMark + "\nnew\n" + endMark
	tests := map[string]struct {
		in, want string
		err      error
	}{
		"no file":     {want: part + "\n"},
		"no marks":    {in: "# Benchmarks\n\ntext\n", want: "# Benchmarks\n\ntext\n\n" + part + "\n"},
		"replaced":    {in: "before\n" + beginMark + "\nold\n" + endMark + "\nafter\n", want: "before\n" + part + "\nafter\n"},
		"only begin":  {in: beginMark + "\nold\n", err: errMarks},
		"only end":    {in: endMark, err: errMarks},
		"wrong order": {in: endMark + beginMark, err: errMarks},
		"twice":       {in: beginMark + endMark + beginMark + endMark, err: errMarks},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := standardPart.replace([]byte(tc.in), "new\n")
			if string(got) != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("replace(%q) = %q, %v; want %q, %v", tc.in, got, err, tc.want, tc.err)
			}
			if err != nil {
				return
			}
			if again, err := standardPart.replace(got, "new\n"); err != nil || !bytes.Equal(again, got) {
				t.Errorf("replaced again: %q, %v; want the same", again, err)
			}
		})
	}
}

func TestWriteTo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "B.md")
	if err := os.WriteFile(file, []byte("# Mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, machine := range []string{"first machine", "second machine"} {
		p := page{Machine: machine}
		if err := standardPart.write(file, p.String()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(text), "# Mine\n\n"+standardPart.begin()) || strings.Contains(string(text), "first") || !strings.Contains(string(text), "second") {
		t.Errorf("file is %q, %v", text, err)
	}
}

func TestFlags(t *testing.T) {
	l := load{full: []string{"--clients=200", "--duration=12s"}, quick: []string{"--duration=3s", "--connect-rate=400"}}
	tests := map[string]struct {
		quick bool
		more  []string
		want  []string
	}{
		"full":  {more: []string{"--protocol=xml"}, want: []string{"--clients=200", "--duration=12s", "--protocol=xml"}},
		"quick": {quick: true, more: []string{"--hub"}, want: []string{"--clients=200", "--duration=3s", "--connect-rate=400", "--hub"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(slices.Concat(common, tc.want), l.flags(tc.quick, tc.more...)); diff != "" {
				t.Errorf("flags (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSet(t *testing.T) {
	want := []string{
		"small-xml", "small-proto", "large-xml", "large-proto", "fanout", "fanout-10", "fanout-10-proto", "burst", "ingest", "shots", "idle", "storm", "handshakes",
		"stuck", "stuck-8000", "flood", "mixed",
	}
	if diff := cmp.Diff(want, names(set)); diff != "" {
		t.Errorf("scenarios (-want +got):\n%s", diff)
	}
	picked := pick(set, []string{"large-proto", "mixed"})
	if got := names(picked); !slices.Equal(got, []string{"large-proto", "mixed"}) || !picked[0].hub {
		t.Errorf("picked %v, with hub %v", got, picked[0].hub)
	}
	if !slices.Equal(names(set), want) {
		t.Error("pick changed the set")
	}
	for _, g := range set {
		for _, s := range g.scenarios {
			for _, goal := range s.goals {
				if goal.hub && !g.hub {
					t.Errorf("%s: a goal about the hub, which does not run", s.name)
				}
			}
		}
	}
}

func TestFile(t *testing.T) {
	tests := map[string]struct {
		cmd  runCmd
		want string
	}{
		"full":           {want: "BENCHMARKS.md"},
		"quick":          {cmd: runCmd{Quick: true}},
		"only some":      {cmd: runCmd{Only: []string{"idle"}}},
		"quick, written": {cmd: runCmd{Quick: true, Out: "q.md"}, want: "q.md"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.cmd.file(); got != tc.want {
				t.Errorf("file of %+v = %q, want %q", tc.cmd, got, tc.want)
			}
		})
	}
	cmd := runCmd{place: place{Bin: "bin"}, Only: []string{"idle"}, Quick: true}
	if got, want := cmd.command(), "standard --quick --only idle --bin bin"; got != want {
		t.Errorf("command = %q, want %q", got, want)
	}
	if err := (&runCmd{Only: []string{"nosuch"}}).Validate(); err == nil || !strings.Contains(err.Error(), "small-xml") {
		t.Errorf("Validate = %v, want the names there are", err)
	}
}

// programs builds what the set runs.
func programs(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "takd/cmd/takd", "takd/bench/takload", "takd/bench/hub").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// A soak of seconds: clients come and go, groups change, certificates are revoked.
func TestSoak(t *testing.T) {
	var out strings.Builder
	soak := soakCmd{place: place{Bin: programs(t)}, Duration: 6 * time.Second, Flags: []string{"--", "--clients=20", "--every=500ms"}}
	if err := soak.Run(t.Context(), streams{out: &out, progress: t.Output()}); err != nil {
		t.Errorf("soak: %v\n%s", err, out.String())
	}
	if text := out.String(); !strings.Contains(text, "came and went") || strings.Contains(text, " 0 clients came") || strings.Contains(text, "changed 0 times") {
		t.Errorf("soak printed %s; want that clients came and groups changed", text)
	}
}

// A load so small that it takes seconds, with the real programs.
func TestMeasure(t *testing.T) {
	b, err := openBench(t.Context(), place{Bin: programs(t)}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	rows, err := b.measure(t.Context(), group{
		load: load{full: []string{"--mode=steady", "--clients=6", "--publishers=2", "--rate=5", "--mix=sa", "--warmup=200ms", "--duration=1s"}},
		hub:  true, rounds: 1, config: []string{"messaging.flush_max=20ms"},
		scenarios: []scenario{{name: "tiny", protocol: "protobuf", goals: []goal{all, exact, nobodyLost}}},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if v := rows[i].verdict(); !v.met || rows[i].hub[0].result == nil {
			t.Errorf("%s: %s", rows[i].name, v.text)
		}
		for _, r := range slices.Concat(rows[i].takd, rows[i].hub) {
			if r.err != nil {
				t.Errorf("%s: %v\n%s", r.name("tiny"), r.err, r.text)
			}
		}
	}
}

// Programs that are not there, or end at once, are told apart from bad figures.
func TestBrokenPrograms(t *testing.T) {
	if _, err := openBench(t.Context(), place{Bin: t.TempDir()}, io.Discard); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("openBench = %v, want %v", err, os.ErrNotExist)
	}
	bin := t.TempDir()
	for name, text := range map[string]string{
		"takd": "#!/bin/sh\ntest \"$1\" = run && exit 3\nmkdir -p \"$3\"\n", "hub": "#!/bin/sh\necho no\n", "takload": "#!/bin/sh\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := openBench(t.Context(), place{Bin: bin, Work: t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := b.measure(t.Context(), group{hub: true, rounds: 1, scenarios: []scenario{{name: "tiny", goals: []goal{all}}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if v := rows[0].verdict(); v.met || !strings.Contains(v.text, "takd 1 failed, hub 1 failed") {
		t.Errorf("verdict = %q, want that both failed", v.text)
	}
	if err := rows[0].takd[0].err; err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("takd: %v, want its exit status", err)
	}
	if err := rows[0].hub[0].err; err == nil || !strings.Contains(err.Error(), `"no\n"`) {
		t.Errorf("hub: %v, want what it said", err)
	}
}
