package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// soakCmd runs takload soak against a server of its own.
type soakCmd struct {
	place
	Duration time.Duration `help:"How long." default:"30m"`
	Flags    []string      `arg:"" optional:"" passthrough:"" help:"More flags for takload soak, behind --."`
}

// Run is called by kong.
func (c *soakCmd) Run(ctx context.Context, s streams) error {
	b, err := openBench(ctx, c.place, s.progress)
	if err != nil {
		return err
	}
	defer b.close()
	server, err := b.startTakd(ctx, "run-soak", nil)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(s.progress, "takd at %s, pid %d, data %s, for %v\n", server.addr, server.cmd.Process.Pid, b.path("run-soak"), c.Duration)
	flags := c.Flags
	if len(flags) > 0 && flags[0] == "--" {
		flags = flags[1:]
	}
	args := slices.Concat([]string{
		"soak", "--addr=" + server.addr, "--certs=" + b.path("load"), "--server-pid=" + strconv.Itoa(server.cmd.Process.Pid),
		"--takd=" + b.program("takd"), "--data=" + b.path("run-soak"), "--duration=" + c.Duration.String(),
	}, flags)
	cmd := exec.CommandContext(ctx, b.program("takload"), args...)
	cmd.Stdout, cmd.Stderr = s.out, s.progress
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("takload soak: %w", err)
	}
	return errors.Join(err, server.stop())
}
