package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// soakCmd runs a server for a long time under everything that happens to one:
// load, clients that come and go, users whose groups change, certificates that
// are revoked. It fails when anything was lost or is left over.
type soakCmd struct {
	target
	Takd      string        `help:"The takd program: groups, certificates and the list of clients go through its command line." default:"./bin/takd" type:"path"`
	Data      string        `help:"Data directory of the server." required:"" type:"path" placeholder:"DIR"`
	ServerPID int           `name:"server-pid" help:"Process of the server." required:"" placeholder:"PID"`
	Clients   int           `help:"Clients that stay, every fifth of which sends." default:"100"`
	Rate      float64       `help:"Events per second of each that sends: positions, chat, direct messages, drawings." default:"2"`
	Duration  time.Duration `help:"How long." default:"30m"`
	Every     time.Duration `help:"Pause between two changes of groups and between two revocations." default:"5s"`

	left      atomic.Int64 // clients that came and went
	regrouped atomic.Int64
	revoked   atomic.Int64
}

var errSoak = errors.New("soak")

// What may be left over at the end.
const (
	sparePart   = 10      // memory: a tenth
	spareBytes  = 8 << 20 // and so much
	spareThings = 10      // descriptors and goroutines
	answerTime  = 20 * time.Second
)

// Validate is called by kong.
func (s *soakCmd) Validate() error {
	switch {
	case s.Clients < 10 || s.Clients > 10_000:
		return fmt.Errorf("--clients %d: want 10 to 10000", s.Clients)
	case s.Duration < 5*time.Second || s.Every <= 0:
		return errors.New("--duration and --every: want at least 5s, and more than 0")
	}
	return s.target.Validate()
}

// Run is called by kong.
func (s *soakCmd) Run(ctx context.Context, out io.Writer) error {
	before, err := s.sample(ctx)
	if err != nil {
		return err
	}
	load := &runCmd{
		target: s.target, Mode: "steady", Mix: "mixed", Clients: s.Clients, Publishers: s.Clients / 5, Rate: s.Rate, Size: 700,
		Warmup: time.Second, Duration: s.Duration, Drain: 20 * time.Second, ServerPID: s.ServerPID, Exact: true, MinRatio: 1,
	}
	var samples []holding
	var churned []error
	load.beside = func(ctx context.Context, clients []*client) { samples, churned = s.churn(ctx, clients) }
	rep, err := load.measure(ctx)
	if err != nil {
		return err
	}
	rep.print(out)
	after, err := s.empty(ctx)
	err = errors.Join(errors.Join(churned...), err, rep.judge(load), grown(samples), before.leaks(after))
	_, _ = fmt.Fprintf(out, "soak       %d clients came and went, groups changed %d times, %d certificates revoked\n", s.left.Load(), s.regrouped.Load(), s.revoked.Load())
	_, _ = fmt.Fprintf(out, "           before %v; after %v\n", before, after)
	return err
}

// churn lets clients come and go, and watches, for the time of the load. Then it
// compares the server's list of clients with those that must be left.
func (s *soakCmd) churn(ctx context.Context, stay []*client) (samples []holding, faults []error) {
	ctx, cancel := context.WithTimeout(ctx, s.Duration)
	defer cancel()
	var mu sync.Mutex
	fault := func(err error) {
		if err != nil && ctx.Err() == nil {
			mu.Lock()
			defer mu.Unlock()
			if faults = append(faults, fmt.Errorf("%w: %w", errSoak, err)); len(faults) > 10 {
				cancel()
			}
		}
	}
	dir, err := os.MkdirTemp("", "takload-")
	if err != nil {
		return nil, []error{err}
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				fault(s.visit(ctx, s.Clients+10*i+n%10, time.Duration(n%7)*100*time.Millisecond))
			}
		})
	}
	wait.Go(func() { fault(s.regroup(ctx, dir)) })
	wait.Go(func() {
		for n := 0; pass(ctx, s.Every); n++ {
			fault(s.revoke(ctx, filepath.Join(dir, strconv.Itoa(n)), "soak-"+strconv.Itoa(n)))
		}
	})
	for pass(ctx, s.Duration/100) {
		now, err := s.sample(ctx)
		fault(err)
		samples = append(samples, now)
	}
	wait.Wait()
	want := make([]string, 0, len(stay))
	for _, c := range stay {
		want = append(want, c.uid)
	}
	slices.Sort(want)
	if err := s.listed(context.WithoutCancel(ctx), want); err != nil {
		faults = append(faults, err)
	}
	return samples, faults
}

// pass waits, and reports whether there is more to do.
func pass(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// visit is a client that comes, stays a little and goes.
func (s *soakCmd) visit(ctx context.Context, i int, stay time.Duration) error {
	g, _, err := s.guest(ctx, s.Certs, i)
	if err != nil {
		return err
	}
	pass(ctx, stay)
	g.leave()
	s.left.Add(1)
	return nil
}

// guest connects one client with a certificate of a folder; got has what it receives.
func (s *soakCmd) guest(ctx context.Context, certs string, i int) (g *crowd, got *inboxText, err error) {
	t := s.target
	t.Certs = certs
	got = &inboxText{news: make(chan struct{}, 1)}
	c := &client{index: i, proto: t.protobuf(i), person: loadPerson(1, i), got: got.put}
	g, err = gather(context.WithoutCancel(ctx), &t, []*client{c})
	return g, got, err
}

// inboxText keeps the types of events that a test waits for.
type inboxText struct {
	mu      sync.Mutex
	changes int // t-x-g-c
	news    chan struct{}
}

func (b *inboxText) put(event []byte) {
	if !bytes.Contains(event, []byte("t-x-g-c")) {
		return
	}
	b.mu.Lock()
	b.changes++
	b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// regroup changes the groups of a user, who is told so each time.
func (s *soakCmd) regroup(ctx context.Context, dir string) error {
	const name = "soak-groups"
	dir = filepath.Join(dir, name)
	if _, err := s.takd(ctx, "user", "add", name, "--group", "__ANON__"); err != nil {
		return err
	}
	if _, err := s.takd(ctx, "cert", "issue", name, "--ecdsa", "--out", dir); err != nil {
		return err
	}
	g, got, err := s.guest(ctx, dir, s.Clients+100)
	if err != nil {
		return err
	}
	defer g.leave()
	for n := 0; pass(ctx, s.Every); n++ {
		if _, err := s.takd(ctx, "user", "set", name, "--group", []string{"SOAK", "__ANON__"}[n%2]); err != nil {
			return err
		}
		select {
		case <-got.news:
			s.regrouped.Add(1)
		case <-ctx.Done():
		case <-time.After(answerTime):
			return fmt.Errorf("%s was not told that its groups changed", name)
		}
	}
	return nil
}

// revoke takes a certificate away from a client that uses it, which must end.
func (s *soakCmd) revoke(ctx context.Context, dir, name string) error {
	if _, err := s.takd(ctx, "cert", "issue", name, "--ecdsa", "--out", dir); err != nil {
		return err
	}
	g, _, err := s.guest(ctx, dir, s.Clients+101)
	if err != nil {
		return err
	}
	defer g.leave()
	if _, err := s.takd(ctx, "cert", "revoke", name); err != nil {
		return err
	}
	select {
	case err := <-g.lost:
		if err != nil {
			s.revoked.Add(1)
		}
	case <-ctx.Done():
	case <-time.After(answerTime):
		return fmt.Errorf("the certificate of %s was revoked, but it is still connected", name)
	}
	return nil
}

// listed waits until the server lists exactly the clients with these uids.
func (s *soakCmd) listed(ctx context.Context, want []string) error {
	var got []string
	for end := time.Now().Add(answerTime); ; {
		b, err := s.takd(ctx, "clients", "--json")
		if err != nil {
			return err
		}
		var clients []struct {
			UID string `json:"uid"`
		}
		if err := json.Unmarshal(b, &clients); err != nil {
			return fmt.Errorf("takd clients: %w", err)
		}
		got = got[:0]
		for _, c := range clients {
			got = append(got, c.UID)
		}
		slices.Sort(got)
		if slices.Equal(got, want) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: the server lists %d clients, not the %d that are there", errSoak, len(got), len(want))
		}
		pass(ctx, 100*time.Millisecond)
	}
}

// empty waits until nobody is left, and a little for what ends with them.
func (s *soakCmd) empty(ctx context.Context) (holding, error) {
	if err := s.listed(ctx, nil); err != nil {
		return holding{}, err
	}
	pass(ctx, 4*time.Second)
	return s.sample(ctx)
}

// takd runs one command of takd and returns what it printed.
func (s *soakCmd) takd(ctx context.Context, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, s.Takd, append(args, "--data", s.Data)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("takd %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), nil
}

// holding is what the server holds.
type holding struct {
	rss        int64
	files      int
	goroutines int
}

func (h holding) String() string {
	return fmt.Sprintf("%.1f MB, %d descriptors, %d goroutines", float64(h.rss)/1e6, h.files, h.goroutines)
}

func (s *soakCmd) sample(ctx context.Context) (now holding, err error) {
	if now.rss, _, err = memory(s.ServerPID); err != nil {
		return now, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.ServerPID))
	if err != nil {
		return now, err
	}
	now.files = len(files)
	now.goroutines, err = s.goroutines(ctx)
	return now, err
}

// goroutines asks the metrics of the server.
func (s *soakCmd) goroutines(ctx context.Context) (int, error) {
	b, err := s.takd(ctx, "status", "--json")
	if err != nil {
		return 0, err
	}
	var status struct {
		Listeners map[string]string `json:"listeners"`
	}
	if err := json.Unmarshal(b, &status); err != nil {
		return 0, fmt.Errorf("takd status: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+status.Listeners["ops"]+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte("\ngo_goroutines "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return strconv.Atoi(string(line))
}

// leaks compares what the server held before all clients with what it holds after.
func (h holding) leaks(after holding) error {
	if after.files > h.files+spareThings || after.goroutines > h.goroutines+spareThings {
		return fmt.Errorf("%w: something is left over: before %v, after %v", errSoak, h, after)
	}
	return nil
}

// grown compares the memory in the second quarter of the time with the last.
func grown(samples []holding) error {
	n := len(samples)
	if n < 8 {
		return nil
	}
	middle := func(part []holding) int64 {
		part = slices.SortedFunc(slices.Values(part), func(a, b holding) int { return int(a.rss - b.rss) })
		return part[len(part)/2].rss
	}
	early, late := middle(samples[n/4:n/2]), middle(samples[n*3/4:])
	if late > early+early/sparePart+spareBytes {
		return fmt.Errorf("%w: memory grows: %d bytes in the second quarter, %d in the last", errSoak, early, late)
	}
	return nil
}
