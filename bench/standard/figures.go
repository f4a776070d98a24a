package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// result is what the set needs of a report of takload.
type result struct {
	Ratio        float64  `json:"ratio"`
	PerSecond    float64  `json:"deliveries_per_second"`
	Messages     *float64 `json:"messages_per_second"`
	Duplicates   int64    `json:"duplicates"`
	Disorder     int64    `json:"out_of_order"`
	Strays       int64    `json:"misdelivered"`
	Disconnected int64    `json:"disconnected"`
	Latency      struct {
		P99 float64 `json:"p99"`
		Max float64 `json:"max"`
	} `json:"latency_ms"`
	Server *struct {
		Seconds float64 `json:"cpu_seconds"`
		Cores   float64 `json:"cores"`
		Micros  float64 `json:"cpu_us_per_delivery"`
		RSS     int64   `json:"rss_bytes"`
		PeakRSS int64   `json:"peak_rss_bytes"`
	} `json:"server"`
	RSSPerClient *float64 `json:"rss_per_client_bytes"`
	Storm        *struct {
		Failed  int     `json:"failed"`
		Clients int     `json:"clients"`
		Served  int     `json:"served"`
		CPU     float64 `json:"server_cpu_seconds"`
		Seconds float64 `json:"seconds"`
	} `json:"storm"`
	Stuck *struct {
		Clients  int     `json:"clients"`
		Closed   int     `json:"closed"`
		Pictures int     `json:"pictures"`
		Seconds  float64 `json:"seconds_max"`
	} `json:"stuck"`
	Shots *struct {
		Sent  int     `json:"sent"`
		Ratio float64 `json:"ratio"`
	} `json:"shots"`
	Tool  float64 `json:"load_tool_cores"`
	Other float64 `json:"other_cores"`
	Steal float64 `json:"steal_cores"`
}

func parse(b []byte) (*result, error) {
	r := new(result)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("report of takload: %w", err)
	}
	return r, nil
}

// metric is one figure of a result.
type metric struct {
	name, unit string
	digits     int
	of         func(*result) (float64, bool)
}

// The figures that goals are about.
var (
	delivered = metric{"delivered", "", 6, func(r *result) (float64, bool) { return r.Ratio, true }}
	latency99 = metric{"p99", "ms", 2, func(r *result) (float64, bool) { return r.Latency.P99, r.Latency.P99 > 0 }}
	slowest   = metric{"the last after", "s", 2, func(r *result) (float64, bool) { return r.Latency.Max / 1000, r.Latency.Max > 0 }}
	shotRatio = metric{"one-shot events delivered", "", 4, func(r *result) (float64, bool) {
		if r.Shots == nil || r.Shots.Sent == 0 {
			return 0, false
		}
		return r.Shots.Ratio, true
	}}
	cpuStorm = metric{"CPU per client", "ms", 2, func(r *result) (float64, bool) {
		if r.Storm == nil || r.Storm.CPU == 0 || r.Storm.Served == 0 {
			return 0, false
		}
		return r.Storm.CPU * 1000 / float64(r.Storm.Served), true
	}}
	cpuEach = metric{"CPU per delivery", "µs", 2, func(r *result) (float64, bool) {
		if r.Server == nil || r.Server.Micros == 0 {
			return 0, false
		}
		return r.Server.Micros, true
	}}
	deliveryRate = metric{"deliveries/s", "", 0, func(r *result) (float64, bool) { return r.PerSecond, r.PerSecond > 0 }}
	messageRate  = metric{"messages/s", "", 0, func(r *result) (float64, bool) { return value(r.Messages, 1) }}
	corePercent  = metric{"CPU", "% of a core", 2, func(r *result) (float64, bool) {
		if r.Server == nil {
			return 0, false
		}
		return r.Server.Cores * 100, true
	}}
	memoryPerClient = metric{"memory per client", "kB", 1, func(r *result) (float64, bool) { return value(r.RSSPerClient, 1e-3) }}
	peak            = metric{"peak memory", "MB", 0, func(r *result) (float64, bool) {
		if r.Server == nil {
			return 0, false
		}
		return float64(r.Server.PeakRSS) / 1e6, true
	}}
	stormSeconds = metric{"all served after", "s", 1, func(r *result) (float64, bool) {
		if r.Storm == nil {
			return 0, false
		}
		return r.Storm.Seconds, true
	}}
	notServed = metric{"not served", "clients", 0, func(r *result) (float64, bool) {
		if r.Storm == nil {
			return 0, false
		}
		return float64(r.Storm.Clients - r.Storm.Served), true
	}}
	catchUpSeconds = metric{"current after", "s", 2, func(r *result) (float64, bool) {
		if r.Stuck == nil {
			return 0, false
		}
		return r.Stuck.Seconds, true
	}}
	notCaughtUp = metric{"never current", "clients", 0, func(r *result) (float64, bool) {
		if r.Stuck == nil {
			return 0, false
		}
		return float64(r.Stuck.Clients - r.Stuck.Pictures), true
	}}
	faults       = metric{"twice, out of order or to the wrong client", "", 0, func(r *result) (float64, bool) { return float64(r.Duplicates + r.Disorder + r.Strays), true }}
	disconnected = metric{"disconnected", "clients", 0, func(r *result) (float64, bool) { return float64(r.Disconnected), true }}
)

// value is *p times factor, if there is one.
func value(p *float64, factor float64) (float64, bool) {
	if p == nil || *p == 0 {
		return 0, false
	}
	return *p * factor, true
}

// text is v with the digits of m and its unit.
func (m metric) text(v float64) string {
	s := strconv.FormatFloat(v, 'f', m.digits, 64)
	if m.unit != "" {
		s += " " + m.unit
	}
	return s
}

// number is a goal: no more digits than it has.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// goal is a bound of a metric.
type goal struct {
	metric
	most  bool    // the bound is the most that may be; else the least
	must  float64 // below it the row is missed
	aim   float64 // what we want beyond; 0 for nothing
	hub   bool    // both are multiples of the hub's figure
	every bool    // holds for each run; else for the median of the runs
	quiet bool    // shown only when it is missed
}

// figure is the one value of several runs that counts, false unless each run
// has it.
func (g goal) figure(runs []run) (float64, bool) {
	var values []float64
	for _, r := range runs {
		if r.result == nil {
			return 0, false
		}
		v, ok := g.of(r.result)
		if !ok {
			return 0, false
		}
		values = append(values, v)
	}
	switch {
	case len(values) == 0:
		return 0, false
	case g.every && g.most:
		return slices.Max(values), true
	case g.every:
		return slices.Min(values), true
	}
	return median(values), true
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	if n%2 == 1 {
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}

// outcome is what became of a goal.
type outcome struct {
	known      bool
	met, aimed bool
	ratio      float64 // to the hub's figure, where the goal is about it
}

// judge compares takd's runs, and the hub's where the goal is about them.
func (g goal) judge(takd, hub []run) outcome {
	v, known := g.figure(takd)
	if g.hub {
		base, ok := g.figure(hub)
		known = known && ok && base > 0
		if known {
			v /= base
		}
	}
	if !known {
		return outcome{}
	}
	o := outcome{known: true, met: g.within(v, g.must), aimed: g.aim == 0 || g.within(v, g.aim)}
	if g.hub {
		o.ratio = v
	}
	return o
}

func (g goal) within(v, bound float64) bool {
	if g.most {
		return v <= bound
	}
	return v >= bound
}
