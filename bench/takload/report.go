package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// errLimit is a run that did not keep a limit, such as --min-ratio.
var errLimit = errors.New("limit not kept")

// report is the result of a run. Times are milliseconds where not said otherwise.
type report struct {
	Addr            string  `json:"addr"`
	Mode            string  `json:"mode"`
	Clients         int     `json:"clients"`
	Publishers      int     `json:"publishers"`
	Rate            float64 `json:"rate"`
	Mix             string  `json:"mix"`
	Protocol        string  `json:"protocol"`
	ConnectSeconds  float64 `json:"connect_seconds"`
	MeasuredSeconds float64 `json:"measured_seconds"`

	Due          int64   `json:"events_due"`  // on schedule in the measured time
	Sent         int64   `json:"events_sent"` // of them, written
	Expected     int64   `json:"deliveries_expected"`
	Delivered    int64   `json:"deliveries"` // distinct
	Ratio        float64 `json:"ratio"`
	WorstRatio   float64 `json:"worst_client_ratio"`
	MedianRatio  float64 `json:"median_client_ratio"`
	Incomplete   int     `json:"incomplete_clients"` // clients that missed something
	PerSecond    float64 `json:"deliveries_per_second"`
	Messages     float64 `json:"messages_per_second,omitempty"` // that everybody got; mode max
	BytesPerSec  float64 `json:"bytes_per_second"`
	Duplicates   int64   `json:"duplicates"`
	Disorder     int64   `json:"out_of_order"`
	Strays       int64   `json:"misdelivered"` // direct messages that somebody else got
	Disconnected int     `json:"disconnected"`
	FirstLoss    string  `json:"first_disconnect,omitempty"`

	Latency       latency `json:"latency_ms"` // from when an event was due to when it was read
	SendBehindMax float64 `json:"send_behind_max_ms"`

	Storm *stormReport `json:"storm,omitempty"`
	Stuck *stuckReport `json:"stuck,omitempty"`
	Flood *floodReport `json:"flood,omitempty"`
	Shots *shotsReport `json:"shots,omitempty"`

	Server       *serverUse `json:"server,omitempty"`
	RSSPerClient float64    `json:"rss_per_client_bytes,omitempty"` // what the server grew by, from before they came
	Cores        float64    `json:"load_tool_cores"`                // what the load tool itself used
	Other        float64    `json:"other_cores"`                    // what everybody else on the machine used
	Steal        float64    `json:"steal_cores"`                    // what other machines on the same host took

	measured int64     // deliveries in the measured time
	ratios   []float64 // of each client that was due something
}

type latency struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

type serverUse struct {
	CPUSeconds       float64 `json:"cpu_seconds"`
	Cores            float64 `json:"cores"`
	MicrosPerDeliver float64 `json:"cpu_us_per_delivery"`
	RSS              int64   `json:"rss_bytes"`
	PeakRSS          int64   `json:"peak_rss_bytes"`
}

// report counts up. Every client must have left.
func (l *load) report(seen observation) *report {
	r := &report{
		Addr: l.Addr, Mode: l.Mode, Clients: l.Clients, Publishers: l.Publishers, Rate: l.Rate, Mix: l.Mix, Protocol: l.Protocol,
		MeasuredSeconds: l.Duration.Seconds(), Disconnected: l.crowd.losses, WorstRatio: 1, MedianRatio: 1, Ratio: 1,
	}
	select {
	case err := <-l.crowd.lost:
		r.FirstLoss = err.Error()
	default:
	}
	if l.flow != nil {
		l.flow.report(r, seen.from, seen.to)
	} else {
		l.count(r)
	}
	if len(r.ratios) > 0 {
		slices.Sort(r.ratios)
		r.WorstRatio, r.MedianRatio = r.ratios[0], r.ratios[len(r.ratios)/2]
	}
	if r.Expected > 0 {
		r.Ratio = float64(r.Delivered) / float64(r.Expected)
	}
	r.PerSecond = float64(r.measured) / r.MeasuredSeconds
	switch {
	case l.stuck != nil:
		l.stuck.report(r)
	case l.storm != nil:
		r.Storm = &l.storm.rep
	case l.flood != nil:
		l.flood.report(r)
	}
	if l.shots != nil {
		l.shots.report(r)
	}
	r.use(l.ServerPID != 0, seen)
	return r
}

// count adds what publishers on schedule sent, and what became of it.
func (l *load) count(r *report) {
	var everybody int64
	for i := range l.senders {
		s := &l.senders[i]
		everybody += s.due
		r.Due += s.due + s.direct
		r.Sent += s.sent
		r.SendBehindMax = max(r.SendBehindMax, float64(s.behind)/1e6)
	}
	all := newHistogram()
	var size int64
	for i, t := range l.tallies {
		expected := everybody
		if i < len(l.senders) {
			expected -= l.senders[i].due
		}
		if before := (i - 1 + len(l.tallies)) % len(l.tallies); before < len(l.senders) {
			expected += l.senders[before].direct
		}
		r.Expected += expected
		r.client(t.events, expected)
		r.Duplicates += t.duplicates
		r.Disorder += t.disorder
		r.Strays += t.strays
		size += t.bytes
		_ = t.hist.into(all) // add keeps the values within the range
	}
	r.measured = r.Delivered
	r.BytesPerSec = float64(size) / r.MeasuredSeconds
	r.Latency = latencies(all)
}

// client adds what one client got of what it should have got.
func (r *report) client(got, expected int64) {
	r.Delivered += got
	if got < expected {
		r.Incomplete++
	}
	if expected > 0 {
		r.ratios = append(r.ratios, float64(got)/float64(expected))
	}
}

// use adds what server, tool and machine needed.
func (r *report) use(server bool, seen observation) {
	seconds := func(u usage) float64 {
		if u.Wall == 0 {
			return 0
		}
		return u.CPU.Seconds() / u.Wall.Seconds()
	}
	r.Cores = seconds(seen.self)
	r.Steal = seen.machine.steal
	r.Other = max(0, seen.machine.busy-r.Cores-seconds(seen.server))
	if !server {
		return
	}
	cpu := seen.server.CPU.Seconds()
	r.Server = &serverUse{CPUSeconds: cpu, Cores: seconds(seen.server), RSS: seen.server.RSS, PeakRSS: seen.server.PeakRSS}
	if r.measured > 0 {
		r.Server.MicrosPerDeliver = cpu * 1e6 / float64(r.measured)
	}
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(lowest, highest, digits) }

func latencies(h *hdrhistogram.Histogram) latency {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return latency{
		Min: ms(h.Min()), Mean: h.Mean() / 1000, P50: ms(h.ValueAtQuantile(50)), P90: ms(h.ValueAtQuantile(90)),
		P99: ms(h.ValueAtQuantile(99)), P999: ms(h.ValueAtQuantile(99.9)), Max: ms(h.Max()),
	}
}

func (r *report) json() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	return append(b, '\n'), err
}

func (r *report) print(w io.Writer) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	line("%d clients (%s), %d publish %g events/s each (%s), for %.0f s; connected in %.1f s",
		r.Clients, r.Protocol, r.Publishers, r.Rate, r.Mix, r.MeasuredSeconds, r.ConnectSeconds)
	line("sent       %d of %d due, at most %.1f ms behind", r.Sent, r.Due, r.SendBehindMax)
	line("delivered  %d of %d, ratio %.6f (worst client %.6f, median %.6f, %d incomplete)",
		r.Delivered, r.Expected, r.Ratio, r.WorstRatio, r.MedianRatio, r.Incomplete)
	line("rate       %.0f deliveries/s, %.1f MB/s", r.PerSecond, r.BytesPerSec/1e6)
	if r.Messages > 0 {
		line("messages   %.0f/s reached everybody", r.Messages)
	}
	line("latency    p50 %.2f  p90 %.2f  p99 %.2f  p99.9 %.2f  max %.2f ms", r.Latency.P50, r.Latency.P90, r.Latency.P99, r.Latency.P999, r.Latency.Max)
	line("faults     %d duplicates, %d out of order, %d to the wrong client, %d disconnected", r.Duplicates, r.Disorder, r.Strays, r.Disconnected)
	if r.FirstLoss != "" {
		line("           first: %s", r.FirstLoss)
	}
	if s := r.Storm; s != nil {
		line("storm      %d of %d served in %.2f s; one takes p50 %.2f  p99 %.2f s", s.Served, s.Clients, s.Seconds, s.P50, s.P99)
		if s.First != "" {
			line("           first failure: %s", s.First)
		}
	}
	if s := r.Stuck; s != nil {
		line("stuck      %d did not read, the server closed %d; %d have the current picture p50 %.2f  max %.2f s after they read again",
			s.Clients, s.Closed, s.Pictures, s.Median, s.Longest)
	}
	if f := r.Flood; f != nil {
		line("flood      %d sent %d events, %.0f/s; the server closed %d", f.Clients, f.Sent, f.PerSecond, f.Closed)
	}
	if s := r.Shots; s != nil {
		line("shots      %d of %d events of one-shot senders arrived, ratio %.4f; %d could not send", s.Delivered, s.Sent, s.Ratio, s.Failed)
	}
	if s := r.Server; s != nil {
		line("server     %.2f cores, %.2f µs CPU per delivery, %d MB resident (peak %d MB)", s.Cores, s.MicrosPerDeliver, s.RSS>>20, s.PeakRSS>>20)
	}
	if r.RSSPerClient > 0 {
		line("           %.1f kB for each client", r.RSSPerClient/1000)
	}
	line("load tool  %.2f cores, others %.2f, stolen %.2f", r.Cores, r.Other, r.Steal)
}

// judge returns which limits of cmd were not kept, all at once. Zero is no limit.
func (r *report) judge(cmd *runCmd) error {
	var errs []error
	if r.Ratio < cmd.MinRatio {
		errs = append(errs, fmt.Errorf("%w: ratio %.6f, want at least %v", errLimit, r.Ratio, cmd.MinRatio))
	}
	if p99 := time.Duration(r.Latency.P99 * 1e6); cmd.MaxP99 > 0 && r.Expected > 0 && (p99 > cmd.MaxP99 || r.Delivered == 0) {
		errs = append(errs, fmt.Errorf("%w: p99 %v, want at most %v", errLimit, p99, cmd.MaxP99))
	}
	if wrong := r.Duplicates + r.Disorder + r.Strays; cmd.Exact && wrong > 0 {
		errs = append(errs, fmt.Errorf("%w: %d deliveries twice, out of order or to the wrong client", errLimit, wrong))
	}
	if s := r.Storm; s != nil && s.Failed > 0 {
		errs = append(errs, fmt.Errorf("%w: %d of %d clients of the storm were not served: %s", errLimit, s.Failed, s.Clients, s.First))
	}
	if (cmd.Exact || cmd.Mode == "idle") && r.Disconnected > 0 {
		errs = append(errs, fmt.Errorf("%w: %d clients were disconnected", errLimit, r.Disconnected))
	}
	return errors.Join(errs...)
}
