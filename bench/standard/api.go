package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// apiCmd measures the HTTP API of one server, row after row.
type apiCmd struct {
	place
	Quick bool   `help:"Shorter and smaller: a first look, not a measurement."`
	Out   string `help:"File to write the results into; BENCHMARKS.md when left out, and none with --quick." placeholder:"FILE"`
}

// apiResult is what is needed of a report of takload api.
type apiResult struct {
	Requests  int64   `json:"requests"`
	PerSecond float64 `json:"requests_per_second"`
	P50       float64 `json:"p50"` // ms
	Bytes     float64 `json:"body_bytes"`
	Seconds   float64 `json:"seconds"`
	Grew      int64   `json:"server_rss_growth_bytes"`
}

// speed is bytes/s.
func (r *apiResult) speed() float64 { return r.Bytes / r.Seconds }

// apiBench is a server and what came of the rows so far.
type apiBench struct {
	sheet

	server *process
}

// Run is called by kong.
func (c *apiCmd) Run(ctx context.Context, s streams) error {
	b, err := openBench(ctx, c.place, s.progress)
	if err != nil {
		return err
	}
	defer b.close()
	a := &apiBench{sheet: sheet{bench: b, quick: c.Quick}}
	began := time.Now()
	if err := a.measureAll(ctx); err != nil {
		return err
	}
	return a.publish(ctx, s.out, apiPart, c.Out, "HTTP API", "make bench-api", began, "One server without history does it all, in this order.")
}

func (a *apiBench) measureAll(ctx context.Context) (err error) {
	a.server, err = a.startTakd(ctx, "run-api", []string{
		"files.max_upload=2GiB", "messaging.handshakes_per_ip=100000",
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.server.stop()) }()
	time.Sleep(2 * time.Second) // until it has settled
	memory := residentMB(a.server.cmd.Process.Pid)
	a.add("memory at start, without history", "< 60 MB", fmt.Sprintf("%.0f MB", memory), memory < 60)
	for _, step := range []func(context.Context) error{a.contacts, a.enroll, a.largeFile, a.packages, a.beside} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rate adds a row of requests per second.
func (a *apiBench) rate(about string, must float64, r *apiResult) {
	a.add(about, fmt.Sprintf("≥ %.0f/s", must), fmt.Sprintf("%.0f/s", r.PerSecond), r.PerSecond >= must)
}

// call is takload api against takd.
func (a *apiBench) call(ctx context.Context, kind, face string, flags ...string) (*apiResult, error) {
	r := new(apiResult)
	return r, a.report(ctx, r, slices.Concat([]string{"api", kind, "--addr=" + a.server.faces[face], "--server-pid=" + strconv.Itoa(a.server.cmd.Process.Pid)}, flags)...)
}

// while runs a load on the stream as long as f takes.
func (a *apiBench) while(ctx context.Context, f func() error, flags ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, a.program("takload"), slices.Concat([]string{"run", "--addr=" + a.server.addr, "--certs=" + a.path("load")}, flags)...)
	if err := cmd.Start(); err != nil {
		cancel()
		return err
	}
	wait(ctx, 5*time.Second) // until all are there
	err := f()
	cancel()
	_ = cmd.Wait() // it was killed
	return err
}

// contacts asks who is there, while 1,000 are.
func (a *apiBench) contacts(ctx context.Context) error {
	clients := []string{"--mode=steady", "--clients=1000", "--publishers=1", "--rate=0.1", "--mix=sa", "--connect-rate=500", "--duration=10m"}
	return a.while(ctx, func() error {
		r, err := a.call(ctx, "contacts", "https", "--duration="+a.long(10*time.Second))
		if err != nil {
			return err
		}
		a.rate("contacts/all of 1,000 clients, 16 kept connections", 10_000, r)
		if r, err = a.call(ctx, "fresh", "https", "--duration="+a.long(10*time.Second)); err == nil {
			a.rate("the same with a full mTLS handshake each", 500, r)
		}
		return err
	}, clients...)
}

func (a *apiBench) enroll(ctx context.Context) error {
	r, err := a.call(ctx, "enroll", "enroll", "--duration="+a.long(10*time.Second))
	if err == nil {
		a.rate("enrollments by password (signClient/v2)", 200, r)
	}
	return err
}

// largeFile goes up and down, beside a server that does nothing else.
func (a *apiBench) largeFile(ctx context.Context) error {
	const mib = 1 << 20
	size := int64(1024 * mib)
	if a.quick {
		size /= 8
	}
	folder := a.path("plain")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	plain, err := a.startHub(ctx, a.path("plain.log"), "--files", folder)
	if err != nil {
		return err
	}
	var base [2]float64
	flag := "--size=" + strconv.FormatInt(size, 10)
	for i, kind := range []string{"upload", "download"} {
		r := new(apiResult)
		if err := a.report(ctx, r, "api", kind, "--addr="+plain.addr, flag, "--path=/"); err != nil {
			return errors.Join(err, plain.stop())
		}
		base[i] = r.speed()
	}
	if err := plain.stop(); err != nil {
		return err
	}
	path := "--path=/Marti/sync/content?uid=takload-large"
	for i, one := range []struct{ kind, path string }{{"upload", "--path=/Marti/sync/upload?name=large.bin&uid=takload-large"}, {"download", path}} {
		r, err := a.call(ctx, one.kind, "https", flag, one.path)
		if err != nil {
			return err
		}
		ratio := r.speed() / base[i]
		a.add(fmt.Sprintf("%s of %d MiB, of what a plain fasthttp copy does", one.kind, size/mib), "≥ 0.60",
			fmt.Sprintf("%.2f (%.0f of %.0f MB/s)", ratio, r.speed()/1e6, base[i]/1e6), ratio >= 0.6)
		a.add("  memory that it takes", "< 32 MiB", fmt.Sprintf("%.1f MiB", float64(r.Grew)/mib), r.Grew < 32*mib)
	}
	return nil
}

// packages puts many small ones there and then looks for some.
func (a *apiBench) packages(ctx context.Context) error {
	count := 100_000
	if a.quick {
		count = 3000
	}
	r, err := a.call(ctx, "package", "https", "--conns=50", "--duration=10m", "--count="+strconv.Itoa(count))
	if err != nil {
		return err
	}
	a.rate("small data packages uploaded by 50 clients", 1000, r)
	if r, err = a.call(ctx, "search", "https", "--conns=1", "--duration="+a.long(5*time.Second)); err == nil {
		a.add(fmt.Sprintf("search among %d packages by a part of the name, median", count), "< 50 ms", fmt.Sprintf("%.1f ms", r.P50), r.P50 < 50)
	}
	return err
}

// beside measures the stream while the API has as much to do as it can.
func (a *apiBench) beside(ctx context.Context) error {
	stream := []string{
		"run", "--mode=steady", "--clients=500", "--publishers=50", "--rate=2", "--mix=sa", "--protocol=xml", "--warmup=3s",
		"--duration=" + a.long(12*time.Second), "--addr=" + a.server.addr,
	}
	alone := new(result)
	if err := a.report(ctx, alone, stream...); err != nil {
		return err
	}
	for _, one := range []struct{ about, kind string }{{"contacts are asked for at full speed", "contacts"}, {"packages are uploaded at full speed", "package"}} {
		busy, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		other := &apiBench{sheet: sheet{bench: a.bench}, server: a.server}
		go func() {
			defer close(done)
			_, _ = other.call(busy, one.kind, "https", "--duration=10m") // it is killed
		}()
		with := new(result)
		err := a.report(ctx, with, stream...)
		cancel()
		<-done
		if err != nil {
			return err
		}
		ratio := with.Latency.P99 / alone.Latency.P99
		a.add("p99 of the stream at 50,000 deliveries/s while "+one.about, "≤ 2 × alone",
			fmt.Sprintf("%.1f × (%.1f, alone %.1f ms)", ratio, with.Latency.P99, alone.Latency.P99), ratio <= 2)
	}
	return nil
}

// residentMB is the memory of a process.
func residentMB(pid int) float64 {
	kib, _ := strconv.ParseFloat(strings.TrimSuffix(procField(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"), " kB"), 64)
	return kib / 1024 * 1.048576
}
