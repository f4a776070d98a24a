// Command standard runs the standard set of load scenarios: takd and, beside
// it, the bare hub of bench/hub, in turn, on this machine and with the same
// load tool. It writes what came out, with the goals, into BENCHMARKS.md.
//
// Goals are data of this program. No result changes them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// root is the command line.
type root struct {
	Run     runCmd     `cmd:"" default:"withargs" help:"Run the standard set (the default)."`
	API     apiCmd     `cmd:"" name:"api" help:"Measure the HTTP API."`
	History historyCmd `cmd:"" help:"Measure what recording events costs their delivery."`
	Soak    soakCmd    `cmd:"" help:"Run one server under a mixed load for a long time."`
}

// place is where programs and files lie.
type place struct {
	Bin  string `help:"Folder with takd, takload and hub." default:"./bin" type:"path" placeholder:"DIR"`
	Work string `help:"Folder for data directories and logs, kept afterwards; a temporary one when left out." type:"path" placeholder:"DIR"`
}

// runCmd is the standard set.
type runCmd struct {
	place
	Quick bool     `help:"Shorter and with fewer clients, in about two minutes: a first look, not a measurement."`
	Only  []string `help:"Only these scenarios." placeholder:"NAME"`
	Out   string   `help:"File to write the results into; BENCHMARKS.md when left out, and none with --quick or --only." placeholder:"FILE"`
}

// streams are where a command prints: results, and progress.
type streams struct{ out, progress io.Writer }

// errMissed is a result below what it must be.
var errMissed = errors.New("missed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var cmd root
	parsed := kong.Parse(&cmd, kong.Name("standard"), kong.Description("The standard benchmarks of takd."),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(streams{out: os.Stdout, progress: os.Stderr}))
	err := parsed.Run()
	stop()
	parsed.FatalIfErrorf(err)
}

// Validate is called by kong.
func (c *runCmd) Validate() error {
	for _, name := range c.Only {
		if len(pick(set, []string{name})) == 0 {
			return fmt.Errorf("--only %s: want %s", name, strings.Join(names(set), ", "))
		}
	}
	return nil
}

// Run is called by kong.
func (c *runCmd) Run(ctx context.Context, s streams) error {
	groups := set
	if len(c.Only) > 0 {
		groups = pick(set, c.Only)
	}
	b, err := openBench(ctx, c.place, s.progress)
	if err != nil {
		return err
	}
	defer b.close()
	began := time.Now()
	var rows []row
	for _, g := range groups {
		some, err := b.measure(ctx, g, c.Quick)
		if err != nil {
			return err
		}
		rows = append(rows, some...)
	}
	p := page{
		Machine: thisMachine(), Commit: commit(ctx), Date: began, Took: time.Since(began), Command: c.command(),
		Quick: c.Quick, Rows: rows,
	}
	_, _ = fmt.Fprint(s.out, p.table())
	if out := c.file(); out != "" {
		if err := standardPart.write(out, p.String()); err != nil {
			return err
		}
	}
	var missed []string
	for _, r := range rows {
		if v := r.verdict(); !v.met {
			missed = append(missed, r.name)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("%w: %s", errMissed, strings.Join(missed, ", "))
	}
	return nil
}

// file is where the results go, "" for nowhere.
func (c *runCmd) file() string {
	if c.Out == "" && !c.Quick && len(c.Only) == 0 {
		return "BENCHMARKS.md"
	}
	return c.Out
}

// command is what repeats this run.
func (c *runCmd) command() string {
	words := []string{"standard"}
	if c.Quick {
		words = append(words, "--quick")
	}
	if len(c.Only) > 0 {
		words = append(words, "--only", strings.Join(c.Only, ","))
	}
	words = append(words, "--bin", relative(c.Bin))
	if out := c.file(); out != "" {
		words = append(words, "--out", relative(out))
	}
	return strings.Join(words, " ")
}

// relative is path as seen from here, where that is possible.
func relative(path string) string {
	wd, err1 := os.Getwd()
	full, err2 := filepath.Abs(path)
	rel, err3 := filepath.Rel(wd, full)
	if errors.Join(err1, err2, err3) != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}

// pick returns the groups with the named scenarios only.
func pick(groups []group, only []string) []group {
	var picked []group
	for _, g := range groups {
		g.scenarios = slices.DeleteFunc(slices.Clone(g.scenarios), func(s scenario) bool { return !slices.Contains(only, s.name) })
		if len(g.scenarios) > 0 {
			picked = append(picked, g)
		}
	}
	return picked
}

func names(groups []group) []string {
	var all []string
	for _, g := range groups {
		for _, s := range g.scenarios {
			all = append(all, s.name)
		}
	}
	return all
}
