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
	BytesPerSec  float64 `json:"bytes_per_second"`
	Duplicates   int64   `json:"duplicates"`
	Disorder     int64   `json:"out_of_order"`
	Strays       int64   `json:"misdelivered"` // direct messages that somebody else got
	Disconnected int     `json:"disconnected"`
	FirstLoss    string  `json:"first_disconnect,omitempty"`

	Latency       latency `json:"latency_ms"` // from when an event was due to when it was read
	SendBehindMax float64 `json:"send_behind_max_ms"`

	Server *serverUse `json:"server,omitempty"`
	Cores  float64    `json:"load_tool_cores"` // what the load tool itself used
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
func (l *load) report(use, own usage) *report {
	r := &report{
		Addr: l.Addr, Mode: l.Mode, Clients: l.Clients, Publishers: l.Publishers, Rate: l.Rate, Mix: l.Mix, Protocol: l.Protocol,
		MeasuredSeconds: l.Duration.Seconds(), Disconnected: len(l.crowd.lost), WorstRatio: 1, MedianRatio: 1,
	}
	if r.Disconnected > 0 {
		r.FirstLoss = (<-l.crowd.lost).Error()
	}
	var everybody int64
	for i := range l.senders {
		s := &l.senders[i]
		everybody += s.due
		r.Due += s.due + s.direct
		r.Sent += s.sent
		r.SendBehindMax = max(r.SendBehindMax, float64(s.behind)/1e6)
	}
	all := hdrhistogram.New(lowest, highest, digits)
	ratios := make([]float64, 0, len(l.tallies))
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
		r.Delivered += t.events
		r.Duplicates += t.duplicates
		r.Disorder += t.disorder
		r.Strays += t.strays
		size += t.bytes
		if t.events < expected {
			r.Incomplete++
		}
		if expected > 0 {
			ratios = append(ratios, float64(t.events)/float64(expected))
		}
		_ = t.hist.into(all) // add keeps the values within the range
	}
	if len(ratios) > 0 {
		slices.Sort(ratios)
		r.WorstRatio, r.MedianRatio = ratios[0], ratios[len(ratios)/2]
	}
	r.Ratio = 1
	if r.Expected > 0 {
		r.Ratio = float64(r.Delivered) / float64(r.Expected)
	}
	r.PerSecond = float64(r.Delivered) / r.MeasuredSeconds
	r.BytesPerSec = float64(size) / r.MeasuredSeconds
	r.Latency = latencies(all)
	if own.Wall > 0 {
		r.Cores = own.CPU.Seconds() / own.Wall.Seconds()
	}
	if l.ServerPID != 0 {
		r.Server = &serverUse{CPUSeconds: use.CPU.Seconds(), Cores: use.CPU.Seconds() / use.Wall.Seconds(), RSS: use.RSS, PeakRSS: use.PeakRSS}
		if r.Delivered > 0 {
			r.Server.MicrosPerDeliver = use.CPU.Seconds() * 1e6 / float64(r.Delivered)
		}
	}
	return r
}

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
	line("latency    p50 %.2f  p90 %.2f  p99 %.2f  p99.9 %.2f  max %.2f ms", r.Latency.P50, r.Latency.P90, r.Latency.P99, r.Latency.P999, r.Latency.Max)
	line("faults     %d duplicates, %d out of order, %d to the wrong client, %d disconnected", r.Duplicates, r.Disorder, r.Strays, r.Disconnected)
	if r.FirstLoss != "" {
		line("           first: %s", r.FirstLoss)
	}
	if s := r.Server; s != nil {
		line("server     %.2f cores, %.2f µs CPU per delivery, %d MB resident (peak %d MB)", s.Cores, s.MicrosPerDeliver, s.RSS>>20, s.PeakRSS>>20)
	}
	line("load tool  %.2f cores", r.Cores)
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
	if (cmd.Exact || cmd.Mode == "idle") && r.Disconnected > 0 {
		errs = append(errs, fmt.Errorf("%w: %d clients were disconnected", errLimit, r.Disconnected))
	}
	return errors.Join(errs...)
}
