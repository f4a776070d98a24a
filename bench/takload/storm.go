package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"
)

// dialing is how many clients of a storm connect at the same time: beyond it the
// tool would only measure its own scheduler.
const dialing = 512

// stormReport is what became of the clients that connected all at once.
type stormReport struct {
	Clients int     `json:"clients"`
	Served  int     `json:"served"` // connected, and got the answer to a ping
	Failed  int     `json:"failed"`
	Seconds float64 `json:"seconds"` // until the last was served
	P50     float64 `json:"p50_s"`   // of one client, from when it began to dial
	P99     float64 `json:"p99_s"`
	First   string  `json:"first_failure,omitempty"`
	CPU     float64 `json:"server_cpu_seconds,omitempty"` // of the server, until the last was served
}

// stormCmd is the storm: a process of its own, which run starts, so that its
// handshakes take no time from the clients whose latency is measured. It
// connects when it reads a line, prints a stormReport, and stays connected
// until its input ends.
type stormCmd struct {
	target
	Clients int    `help:"Clients that connect all at once." default:"1000"`
	First   int    `help:"Index of the first." default:"0"`
	RunID   uint64 `help:"Of the run that they belong to."`

	mu   sync.Mutex
	took []time.Duration
	last time.Duration // until the last was served
	err  error
}

// Run is called by kong.
func (s *stormCmd) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return lines.Err()
	}
	crowd, err := gather(ctx, &s.target, nil)
	if err != nil {
		return err
	}
	defer crowd.leave()
	s.connect(ctx, crowd)
	if err := json.NewEncoder(out).Encode(s.report()); err != nil {
		return err
	}
	for lines.Scan() {
	}
	return lines.Err()
}

func (s *stormCmd) connect(ctx context.Context, crowd *crowd) {
	began := time.Now()
	tokens := make(chan struct{}, dialing)
	var wait sync.WaitGroup
	for i := range s.Clients {
		tokens <- struct{}{}
		wait.Go(func() {
			dialed := time.Now()
			err := s.client(ctx, crowd, s.First+i)
			<-tokens
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil {
				s.err = cmp.Or(s.err, err)
				return
			}
			s.took = append(s.took, time.Since(dialed))
			s.last = max(s.last, time.Since(began))
		})
	}
	wait.Wait()
}

// client connects and waits for the answer to a ping.
func (s *stormCmd) client(ctx context.Context, crowd *crowd, i int) error {
	pong := make(chan struct{})
	once := sync.OnceFunc(func() { close(pong) })
	c := &client{index: i, proto: s.protobuf(i), person: loadPerson(s.RunID, i), silent: true, got: func(event []byte) {
		if bytes.Contains(event, []byte("t-x-c-t-r")) {
			once()
		}
	}}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if err := crowd.join(ctx, c); err != nil {
		return err
	}
	if err := c.send(appendPing(nil, c.uid, time.Now())); err != nil {
		return err
	}
	select {
	case <-pong:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("client %d: no answer to its ping: %w", i, ctx.Err())
	}
}

func (s *stormCmd) report() *stormReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	rep := &stormReport{Clients: s.Clients, Served: len(s.took), Failed: s.Clients - len(s.took), Seconds: s.last.Seconds()}
	if s.err != nil {
		rep.First = s.err.Error()
	}
	if n := len(s.took); n > 0 {
		slices.Sort(s.took)
		rep.P50, rep.P99 = s.took[n/2].Seconds(), s.took[n*99/100].Seconds()
	}
	return rep
}

// storm is the process of a storm, as run sees it.
type storm struct {
	l     *load
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	watch *watcher
	rep   stormReport
	err   error
}

// prepare starts the process.
func (s *storm) prepare(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	t := &s.l.target
	args := []string{
		"storm", "--addr=" + t.Addr, "--certs=" + t.Certs, "--tls=" + t.TLS, "--protocol=" + t.Protocol, "--timeout=" + t.Timeout.String(),
		"--clients=" + strconv.Itoa(s.l.Storm), "--first=" + strconv.Itoa(s.l.Clients), "--run-id=" + strconv.FormatUint(s.l.id, 10),
	}
	if t.Plain {
		args = append(args, "--plain")
	}
	s.cmd = exec.CommandContext(ctx, self, args...)
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	s.out = bufio.NewReader(out)
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.watch = watch(s.cmd.Process.Pid)
	return nil
}

// play lets it begin, and waits until it is done.
func (s *storm) play(context.Context) {
	s.watch.start()
	server := watch(s.l.ServerPID)
	server.start()
	if _, s.err = io.WriteString(s.in, "go\n"); s.err != nil {
		return
	}
	line, err := s.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s.rep)
	}
	used, err2 := server.stop()
	s.rep.CPU = used.CPU.Seconds()
	if err = errors.Join(err, err2); err != nil {
		s.err = fmt.Errorf("storm: %w", err)
	}
}

// leave ends it.
func (s *storm) leave() error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	return errors.Join(s.err, s.in.Close(), s.cmd.Wait())
}
