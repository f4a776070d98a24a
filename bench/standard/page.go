package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// page is what goes into BENCHMARKS.md.
type page struct {
	Machine string
	Commit  string
	Date    time.Time
	Took    time.Duration
	Command string
	Quick   bool
	Rows    []row
}

// part is one of the file that belongs to this program, between marks.
type part string

const (
	standardPart part = "standard"
	apiPart      part = "api"
	besidePart   part = "beside-history"
)

func (p part) begin() string { return "<!-- " + string(p) + " begin -->" }
func (p part) end() string   { return "<!-- " + string(p) + " end -->" }

var errMarks = errors.New("marks of a part")

// verdict is what a row comes to.
type verdict struct {
	met  bool
	text string
}

// verdict judges every goal of the row.
func (r *row) verdict() verdict {
	var missed, notes []string
	for _, runs := range [][]run{r.takd, r.hub} {
		for _, one := range runs {
			if one.err != nil {
				missed = append(missed, fmt.Sprintf("%s %d failed", one.server, one.n))
			}
			if one.result != nil && one.result.disturbance() > quietMachine {
				notes = append(notes, fmt.Sprintf("%s %d disturbed", one.server, one.n))
			}
		}
	}
	for _, g := range r.goals {
		o := g.judge(r.takd, r.hub)
		switch {
		case !o.known:
			missed = append(missed, g.name+" unknown")
		case !o.met && g.quiet:
			v, _ := g.figure(r.takd)
			missed = append(missed, g.text(v)+" "+g.name)
		case !o.met:
			missed = append(missed, g.name)
		case !o.aimed:
			notes = append(notes, "aim missed")
		}
	}
	v := verdict{met: len(missed) == 0, text: "met"}
	if !v.met {
		v.text = "**missed**: " + strings.Join(missed, ", ")
	}
	if len(notes) > 0 {
		v.text += " (" + strings.Join(notes, ", ") + ")"
	}
	return v
}

// cells are the row of the table.
func (r *row) cells() []string {
	var goals, takd, hub, ratios []string
	for _, g := range r.goals {
		if g.quiet {
			continue
		}
		goals = append(goals, g.String())
		takd = append(takd, g.cell(r.takd))
		ratio := ""
		if r.compared {
			hub = append(hub, g.cell(r.hub))
			if o := g.judge(r.takd, r.hub); g.hub && o.known {
				ratio = fmt.Sprintf("%.3f", o.ratio)
			}
		}
		ratios = append(ratios, ratio)
	}
	join := func(parts []string) string { return strings.TrimSuffix(strings.Join(parts, "<br>"), "<br>") }
	return []string{r.name, join(goals), join(takd), join(hub), join(ratios), r.verdict().text}
}

// cell is the figure that counts, and each run's where there are several.
func (g goal) cell(runs []run) string {
	v, ok := g.figure(runs)
	if !ok {
		return "?"
	}
	text := g.text(v)
	if len(runs) < 2 {
		return text
	}
	var each []string
	for _, r := range runs {
		v, _ := g.of(r.result)
		each = append(each, fmt.Sprintf("%.*f", g.digits, v))
	}
	return text + " (" + strings.Join(each, ", ") + ")"
}

// table is the figures alone.
func (p *page) table() string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line([]string{"scenario", "must", "takd", "hub", "takd / hub", "result"})
	line([]string{"---", "---", "---", "---", "---", "---"})
	for i := range p.Rows {
		line(p.Rows[i].cells())
	}
	return b.String()
}

// String is the whole part, between the marks.
func (p *page) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	line("## Standard set\n")
	if p.Quick {
		line("**A quick run: shorter, with fewer clients, one run each. A first look, not a measurement.**\n")
	}
	line("Machine: %s; the load tool runs beside the server. Commit %s, %s, in %.1f minutes:\n\n    %s\n",
		p.Machine, p.Commit, p.Date.Format(time.DateOnly), p.Took.Minutes(), p.Command)
	line("%s", how)
	line("%s", p.table())
	for _, r := range p.Rows {
		about := fmt.Sprintf("- **%s**: %s.", r.name, r.about)
		if len(r.config) > 0 {
			about += fmt.Sprintf(" takd config set `%s`.", strings.Join(r.config, "`, `"))
		}
		line("%s", about)
	}
	line("\nEvery run as it came, in the order of the table; rows of one load share the runs of the hub. Each server was fresh;\n" +
		"`--addr`, `--certs`, `--server-pid` and `--out` are left out.\n\n```")
	shown := make(map[*run]bool) // rows of one load have the same runs of the hub
	for i := range p.Rows {
		r := &p.Rows[i]
		for n := range max(len(r.takd), len(r.hub)) {
			for _, runs := range [][]run{r.takd, r.hub} {
				if n < len(runs) && !shown[&runs[n]] {
					shown[&runs[n]] = true
					line("%s", runs[n].raw(r.name))
				}
			}
		}
	}
	line("```")
	return b.String()
}

// how tells how to read the table.
const how = `takd and the hub run in turn; with several runs a figure is their median, and every run stands behind it. What was
delivered, and what must not happen at all, counts in each run. The hub (bench/hub) is the simplest server with the same
TLS: it parses nothing, knows no groups and speaks only XML. In every row nothing may come twice, out of order or to the
wrong client, and nobody may be disconnected. A run is disturbed when others used more than 0.15 cores of the machine.
`

// raw is a run as takload printed it.
func (r *run) raw(scenario string) string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "# %s", r.name(scenario))
	if r.result != nil {
		_, _ = fmt.Fprintf(&b, "; others used %.2f cores, %.2f were stolen", r.result.Other, r.result.Steal)
	}
	_, _ = fmt.Fprintf(&b, "\n$ %s\n%s", r.command, strings.TrimRight(strings.ReplaceAll(r.text, "```", "'''"), "\n"))
	if r.err != nil {
		_, _ = fmt.Fprintf(&b, "\nFAILED: %s", strings.ReplaceAll(r.err.Error(), "\n", "; "))
	}
	b.WriteString("\n")
	return b.String()
}

// write replaces the part in the file, or adds it.
func (p part) write(file, content string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := p.replace(old, content)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	temp := file + ".new"
	if err := os.WriteFile(temp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, file)
}

// replace puts content between the marks in text, and both at its end if there are
// none.
func (p part) replace(text []byte, content string) ([]byte, error) {
	begin, end := p.begin(), p.end()
	content = begin + "\n" + strings.TrimRight(content, "\n") + "\n" + end
	begins, ends := bytes.Count(text, []byte(begin)), bytes.Count(text, []byte(end))
	if begins == 0 && ends == 0 {
		text = bytes.TrimRight(text, "\n")
		if len(text) > 0 {
			text = append(text, "\n\n"...)
		}
		return append(append(text, content...), '\n'), nil
	}
	from, to := bytes.Index(text, []byte(begin)), bytes.Index(text, []byte(end))
	if begins != 1 || ends != 1 || to < from {
		return nil, fmt.Errorf("%w: want one %s and one %s behind it", errMarks, begin, end)
	}
	return append(append(bytes.Clone(text[:from]), content...), text[to+len(end):]...), nil
}
