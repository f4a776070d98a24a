package main

import (
	"fmt"
	"slices"
	"strings"
)

// group is scenarios of one load that differ in the encoding only. They share
// the runs of the hub, which speaks nothing but XML.
type group struct {
	load      load
	hub       bool
	rounds    int      // of takd for each scenario, and the hub, in turn
	config    []string // what takd config set gets before the start
	scenarios []scenario
}

// load is flags of takload run, each --name=value.
type load struct {
	full  []string
	quick []string // instead of those of full with the same name, or more
}

// scenario is one row of the table.
type scenario struct {
	name     string
	about    string
	protocol string
	goals    []goal
}

// flags are those of one run.
func (l load) flags(quick bool, more ...string) []string {
	all := slices.Concat(common, l.full)
	if quick {
		all = override(all, l.quick)
	}
	return override(all, more)
}

var common = []string{"--tls=1.3", "--size=700"}

// override returns flags with those of more in place of their namesakes.
func override(flags, more []string) []string {
	flags = slices.Clone(flags)
	for _, m := range more {
		name, _, _ := strings.Cut(m, "=")
		i := slices.IndexFunc(flags, func(f string) bool { return f == name || strings.HasPrefix(f, name+"=") })
		if i < 0 {
			flags = append(flags, m)
		} else {
			flags[i] = m
		}
	}
	return flags
}

// set is the standard set. The goals were written down before the first run.
var set = []group{
	{
		load: load{
			full:  []string{"--mode=steady", "--clients=200", "--publishers=10", "--rate=10", "--mix=sa", "--warmup=3s", "--duration=12s"},
			quick: []string{"--warmup=1s", "--duration=3s"},
		},
		hub: true, rounds: 2,
		scenarios: []scenario{
			{"small-xml", "200 clients, 10 of them send 10 positions/s, XML", "xml", []goal{all, p99(5), cpu(0.85, 0.7), exact, nobodyLost}},
			{"small-proto", "the same in protobuf", "protobuf", []goal{all, p99(5), cpu(0.85, 0.7), exact, nobodyLost}},
		},
	},
	{
		load: load{
			full:  []string{"--mode=steady", "--clients=500", "--publishers=50", "--rate=2", "--mix=sa", "--warmup=3s", "--duration=12s"},
			quick: []string{"--warmup=1s", "--duration=3s", "--connect-rate=400"},
		},
		hub: true, rounds: 2,
		scenarios: []scenario{
			{"large-xml", "500 clients, 50 of them send 2 positions/s, XML", "xml", []goal{all, p99(8), cpu(0.85, 0.7), exact, nobodyLost}},
			{"large-proto", "the same in protobuf", "protobuf", []goal{all, p99(8), cpu(0.85, 0.7), exact, nobodyLost}},
		},
	},
	{
		load: load{
			full:  []string{"--mode=max", "--clients=100", "--publishers=4", "--window=64", "--warmup=3s", "--duration=12s"},
			quick: []string{"--warmup=1s", "--duration=3s"},
		},
		hub: true, rounds: 2,
		scenarios: []scenario{
			{"fanout", "100 clients, 4 of them send as fast as all get it, 64 events each under way, XML", "xml", []goal{deliveries(1.5, 2), exact, nobodyLost}},
		},
	},
	{
		load: load{
			full:  []string{"--mode=max", "--clients=100", "--publishers=10", "--window=256", "--warmup=3s", "--duration=12s"},
			quick: []string{"--warmup=1s", "--duration=3s"},
		},
		hub: true, rounds: 2,
		scenarios: []scenario{
			{"fanout-10", "100 clients, 10 of them send as fast as all get it, 256 events each under way, XML", "xml", []goal{deliveries(1.2, 1.5), exact, nobodyLost}},
			{"fanout-10-proto", "the same in protobuf", "protobuf", []goal{{metric: deliveryRate, must: 3e6}, exact, nobodyLost}},
		},
	},
	{
		load: load{
			full: []string{
				"--mode=steady", "--clients=300", "--publishers=1", "--rate=1000", "--burst=1000", "--uids=1000", "--mix=sa", "--warmup=3s", "--duration=12s",
			},
			quick: []string{"--warmup=1s", "--duration=4s"},
		},
		hub: true, rounds: 2,
		scenarios: []scenario{
			{"burst", "1,000 uids at once to 300 clients, each second, XML", "xml", []goal{all, {metric: slowest, most: true, must: 0.2, aim: 0.12}, exact, nobodyLost}},
		},
	},
	{
		load: load{
			full:  []string{"--mode=max", "--clients=2", "--publishers=1", "--window=64", "--warmup=3s", "--duration=12s"},
			quick: []string{"--warmup=1s", "--duration=3s"},
		},
		hub: true, rounds: 2,
		scenarios: []scenario{
			{"ingest", "one client sends to one as fast as it gets it, XML", "xml", []goal{messages(1, 1.3), exact, nobodyLost}},
		},
	},
	{
		load: load{
			full:  []string{"--mode=shots", "--shots=500", "--clients=50", "--publishers=10", "--rate=1", "--mix=sa", "--warmup=2s", "--duration=12s"},
			quick: []string{"--shots=100", "--warmup=1s", "--duration=4s"},
		},
		rounds: 1,
		scenarios: []scenario{
			{"shots", "500 senders connect, send one event and close, while 50 clients have positions, half XML, half protobuf", "mixed", []goal{{metric: shotRatio, must: 1}, all, exact, nobodyLost}},
		},
	},
	{
		load: load{
			full:  []string{"--mode=idle", "--clients=10000", "--connect-rate=1000", "--timeout=60s", "--warmup=5s", "--duration=20s"},
			quick: []string{"--clients=1000", "--warmup=2s", "--duration=4s"},
		},
		hub: true, rounds: 1,
		scenarios: []scenario{
			{"idle", "10,000 clients that send nothing but pings", "mixed", []goal{memoryEach(10, 6), idleCPU(2), nobodyLost}},
		},
	},
	{
		load: load{
			full: []string{
				"--mode=storm", "--storm=5000", "--clients=200", "--publishers=10", "--rate=1", "--mix=sa", "--warmup=3s", "--duration=25s", "--timeout=30s",
			},
			quick: []string{"--storm=1000", "--warmup=1s", "--duration=6s"},
		},
		// A storm from one address: in the field it comes from as many as there are clients.
		rounds: 1, config: []string{"messaging.handshakes_per_ip=100000"},
		scenarios: []scenario{
			{"storm", "5,000 clients connect at once, and stay, while 200 carry 10 positions/s, which at the end all 5,200 get, XML", "xml", []goal{stormTime(15), stormFailed, p99(100), all, exact}},
		},
	},
	{
		load: load{
			full:  []string{"--mode=storm", "--storm=4000", "--clients=2", "--publishers=1", "--rate=1", "--mix=sa", "--warmup=1s", "--duration=12s", "--timeout=30s"},
			quick: []string{"--storm=500", "--warmup=1s", "--duration=4s"},
		},
		rounds: 1, config: []string{"messaging.handshakes_per_ip=100000"},
		scenarios: []scenario{
			{"handshakes", "4,000 clients connect at once, full handshakes with client certificates, until each has the answer to a ping", "xml", []goal{stormFailed, {metric: cpuStorm, most: true, must: 0.55, aim: 0.4}, exact}},
		},
	},
	{
		load: load{
			full: []string{
				"--mode=stuck", "--clients=300", "--publishers=50", "--rate=50", "--mix=sa", "--stuck=20", "--stuck-for=60s", "--warmup=4s", "--duration=66s",
			},
			quick: []string{"--stuck-for=6s", "--warmup=1s", "--duration=10s"},
		},
		rounds: 1,
		scenarios: []scenario{
			{"stuck", "300 clients, 50 of them send 50 positions/s, 20 stop reading for 60 s; who is closed meanwhile connects again when it reads again, XML", "xml", []goal{all, p99(30), peakMemory(128), catchUp(2), stuckLost, exact}},
		},
	},
	{
		load: load{
			full: []string{
				"--mode=stuck", "--clients=100", "--publishers=20", "--rate=200", "--uids=400", "--mix=sa", "--stuck=20", "--stuck-for=30s", "--warmup=4s", "--duration=36s",
			},
			quick: []string{"--stuck-for=6s", "--warmup=1s", "--duration=10s"},
		},
		rounds: 1,
		scenarios: []scenario{
			{"stuck-8000", "100 clients, 20 of them carry 400 uids each, 4,000 positions/s in all, 20 stop reading for 30 s; nobody is closed, XML", "xml", []goal{all, p99(30), peakMemory(256), exact, nobodyLost}},
		},
	},
	{
		load: load{
			full: []string{
				"--mode=flood", "--clients=200", "--publishers=10", "--rate=10", "--mix=sa", "--flooders=1", "--warmup=3s", "--duration=15s",
			},
			quick: []string{"--warmup=1s", "--duration=4s"},
		},
		rounds: 1,
		scenarios: []scenario{
			{"flood", "200 clients, 10 of them send 10 positions/s, one more sends as fast as it can, XML", "xml", []goal{all, p99(50), exact, nobodyLost}},
		},
	},
	{
		load: load{
			full:  []string{"--mode=steady", "--clients=200", "--publishers=10", "--rate=10", "--mix=mixed", "--warmup=3s", "--duration=15s"},
			quick: []string{"--warmup=1s", "--duration=4s"},
		},
		rounds: 1,
		scenarios: []scenario{
			{"mixed", "200 clients, half XML, half protobuf; positions, chat, direct messages, drawings", "mixed", []goal{all, exact, nobodyLost}},
		},
	},
}

// The goals of the set, over the figures of measure.go.
var (
	all         = goal{metric: delivered, must: 1, every: true}
	exact       = goal{metric: faults, most: true, every: true, quiet: true}
	nobodyLost  = goal{metric: disconnected, most: true, every: true, quiet: true}
	stormFailed = goal{metric: notServed, most: true, every: true, quiet: true}
	stuckLost   = goal{metric: notCaughtUp, most: true, every: true, quiet: true}
)

func p99(ms float64) goal { return goal{metric: latency99, most: true, must: ms} }
func cpu(must, aim float64) goal {
	return goal{metric: cpuEach, most: true, must: must, aim: aim, hub: true}
}

func deliveries(must, aim float64) goal {
	return goal{metric: deliveryRate, must: must, aim: aim, hub: true}
}

func messages(must, aim float64) goal {
	return goal{metric: messageRate, must: must, aim: aim, hub: true}
}

func memoryEach(must, aim float64) goal {
	return goal{metric: memoryPerClient, most: true, must: must, aim: aim}
}
func idleCPU(percent float64) goal   { return goal{metric: corePercent, most: true, must: percent} }
func stormTime(seconds float64) goal { return goal{metric: stormSeconds, most: true, must: seconds} }
func peakMemory(mb float64) goal     { return goal{metric: peak, most: true, must: mb} }
func catchUp(seconds float64) goal {
	return goal{metric: catchUpSeconds, most: true, must: seconds, every: true}
}

// String is the goal as the table shows it.
func (g goal) String() string {
	text := fmt.Sprintf("%s %s %s", g.name, map[bool]string{true: "≤", false: "≥"}[g.most], number(g.must))
	if g.hub {
		text += " × hub"
	} else if g.unit != "" {
		text += " " + g.unit
	}
	if g.aim != 0 {
		text += fmt.Sprintf(" (aim %s)", number(g.aim))
	}
	return text
}
