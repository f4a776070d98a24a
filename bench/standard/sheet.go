package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// sheet is what was measured one after the other, with what must come of it.
type sheet struct {
	*bench

	quick bool
	rows  []line
	raw   strings.Builder // of the load tool
}

// line is one of the table.
type line struct {
	about, must, got string
	met              bool
}

func (s *sheet) add(about, must, got string, met bool) {
	s.rows = append(s.rows, line{about, must, got, met})
	_, _ = fmt.Fprintf(s.progress, "%-60s %s\n", about, got)
}

// long is d, or a third of it in a quick run.
func (s *sheet) long(d time.Duration) string {
	if s.quick {
		d /= 3
	}
	return d.String()
}

// report runs takload, reads the report that it writes to a file, and keeps what it printed.
func (s *sheet) report(ctx context.Context, into any, args ...string) error {
	file := s.path("report.json")
	cmd := exec.CommandContext(ctx, s.program("takload"), append(args, "--certs="+s.path("load"), "--out="+file)...)
	cmd.Env = append(os.Environ(), "TAKLOAD_PASSWORD="+benchPassword)
	out, err := cmd.CombinedOutput()
	_, _ = fmt.Fprintf(&s.raw, "$ takload %s\n%s", strings.Join(args, " "), out)
	if err != nil {
		return fmt.Errorf("takload %s: %w: %s", args[0], err, lastLine(string(out)))
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// publish prints the table, and writes it with the raw output into the part of a
// file: BENCHMARKS.md where file is empty, none in a quick run. What was missed is an error.
func (s *sheet) publish(ctx context.Context, out io.Writer, p part, file, title, command string, began time.Time, about string) error {
	var t strings.Builder
	t.WriteString("| what | must | takd | result |\n| --- | --- | --- | --- |\n")
	var missed []string
	for _, r := range s.rows {
		verdict := "met"
		if !r.met {
			verdict = "**missed**"
			missed = append(missed, r.about)
		}
		_, _ = fmt.Fprintf(&t, "| %s | %s | %s | %s |\n", r.about, r.must, r.got, verdict)
	}
	_, _ = fmt.Fprint(out, t.String())
	if file == "" && !s.quick {
		file = "BENCHMARKS.md"
	}
	if file != "" {
		head := fmt.Sprintf("## %s\n\nMachine: %s; the load tool runs beside the server. Commit %s, %s, in %.1f minutes, `%s`.\n%s\n\n",
			title, thisMachine(), commit(ctx), began.Format(time.DateOnly), time.Since(began).Minutes(), command, about)
		text := head + t.String() + "\n```\n" + strings.ReplaceAll(s.raw.String(), "```", "'''") + "```"
		if err := p.write(file, text); err != nil {
			return err
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("%w: %s", errMissed, strings.Join(missed, ", "))
	}
	return nil
}
