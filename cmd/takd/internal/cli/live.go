package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/netcore"
)

type statusCmd struct{}

func (statusCmd) Run(a *app) error {
	s, err := askServer(a, control.StatusOp, control.None{})
	if err != nil || a.json {
		return errors.Join(err, a.jsonUnless(err, s))
	}
	_, _ = io.WriteString(a.Out, text("takd %s, pid %d, up %s, data %s\n%d clients\n\n", s.Version, s.PID, age(s.Since), s.Data, s.Clients))
	rows := make([][]string, 0, len(s.Services))
	for _, one := range s.Services {
		rows = append(rows, []string{one.Name, one.State, age(one.Since), one.Reason})
	}
	if h := s.History; h != nil {
		_, _ = io.WriteString(a.Out, text("history %s: %d rows/s, %d written, %d failed writes, %d dropped, spool %d rows\n\n",
			h.Engine, h.Rate, h.Written, h.Errors, h.Dropped+h.Spool.Dropped, h.Spool.Rows))
	}
	if err := writeTable(a.Out, "SERVICE STATE SINCE REASON", rows); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(a.Out)
	rows = nil
	for _, name := range slices.Sorted(maps.Keys(s.Listeners)) {
		rows = append(rows, []string{name, s.Listeners[name]})
	}
	if err := writeTable(a.Out, "LISTENER ADDRESS", rows); err != nil {
		return err
	}
	if len(s.RestartNeeded) > 0 {
		_, _ = io.WriteString(a.Out, text("\nrestart needed for: %s\n", strings.Join(s.RestartNeeded, ", ")))
	}
	return nil
}

func (a *app) jsonUnless(err error, v any) error {
	if err != nil {
		return nil
	}
	return a.printJSON(v)
}

// age is the time since t, in whole seconds.
func age(t time.Time) string { return time.Since(t).Truncate(time.Second).String() }

type clientsCmd struct {
	Watch    bool          `help:"Show it again and again, until interrupted."`
	Interval time.Duration `help:"How often, with --watch." default:"1s"`
}

func (c *clientsCmd) Run(a *app) (err error) {
	d, err := a.server()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for {
		clients, err := control.ClientsOp.Call(a.ctx, d, control.None{})
		if a.ctx.Err() != nil && c.Watch {
			return nil
		} else if err != nil {
			return err
		}
		if c.Watch && !a.json {
			_, _ = fmt.Fprintf(a.Out, "\x1b[H\x1b[2J%s  %d clients\n", time.Now().Format(time.TimeOnly), len(clients))
		}
		if err := a.table(clients, "CALLSIGN USER ADDRESS INPUT PROTOCOL GROUPS IN/S OUT/S QUEUE BEHIND MERGED DROPS SINCE", clientRows(clients)); err != nil || !c.Watch {
			return err
		}
		select {
		case <-a.ctx.Done():
			return nil
		case <-time.After(max(c.Interval, 100*time.Millisecond)):
		}
	}
}

func clientRows(clients []netcore.ClientInfo) [][]string {
	slices.SortFunc(clients, func(x, y netcore.ClientInfo) int {
		return cmp.Or(cmp.Compare(x.Callsign, y.Callsign), cmp.Compare(x.ID, y.ID))
	})
	rows := make([][]string, 0, len(clients))
	for _, c := range clients {
		rows = append(rows, []string{
			cmp.Or(c.Callsign, c.UID, "-"), cmp.Or(c.User, "-"), c.Address, c.Input, c.Protocol, groupText(c.In, c.Out),
			fmt.Sprintf("%.1f", c.RateIn), fmt.Sprintf("%.1f", c.RateOut), size(c.Queue), yes(c.Behind), fmt.Sprint(c.Conflated), drops(c), age(c.Since),
		})
	}
	return rows
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// size shows bytes in as few letters as possible.
func size(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1fM", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1fK", float64(n)/(1<<10))
	}
	return fmt.Sprint(n)
}

type kickCmd struct {
	Who    string `arg:"" name:"uid|callsign|user" help:"Uid, callsign or user of the clients."`
	Reason string `help:"Why; it goes into the log." default:"kicked by operator"`
}

func (c *kickCmd) Run(a *app) error {
	r, err := askServer(a, control.KickOp, control.Kick{Who: c.Who, Reason: c.Reason})
	if err != nil {
		return err
	}
	return a.say(r, "%d connections closed\n", r.Closed)
}

type logsCmd struct {
	Follow bool `short:"f" help:"Wait for more, until interrupted."`
	Lines  int  `short:"n" help:"Lines from the end." default:"100"`
}

// Run reads the log file, so it works when the server does not.
func (c *logsCmd) Run(a *app) error {
	name := filepath.Join(a.data, "log", "takd.log")
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return control.Errorf(control.ErrNotFound, "no log in %s: no server has run there yet", a.data)
	} else if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := tail(f, c.Lines)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	out := visibleWriter{a.Out}
	if _, err := out.Write(text); err != nil || !c.Follow {
		return err
	}
	for {
		select {
		case <-a.ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
		if _, err := io.Copy(out, f); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if next, ok := rotated(f, name); ok {
			_, err := io.Copy(out, f) // what came between
			_ = f.Close()
			f = next
			if err != nil {
				return fmt.Errorf("read log: %w", err)
			}
		}
	}
}

// rotated opens name when it is another file than f by now.
func rotated(f *os.File, name string) (*os.File, bool) {
	next, err := os.Open(name)
	if err != nil {
		return nil, false
	}
	was, err1 := f.Stat()
	is, err2 := next.Stat()
	if err1 != nil || err2 != nil || os.SameFile(was, is) {
		_ = next.Close()
		return nil, false
	}
	return next, true
}

// tail returns the last n lines of f and leaves f at its end.
func tail(f io.ReadSeeker, n int) ([]byte, error) {
	if n <= 0 {
		_, err := f.Seek(0, io.SeekEnd)
		return nil, err
	}
	lines := make([][]byte, 0, n)
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			if len(lines) == n {
				lines = slices.Delete(lines, 0, 1)
			}
			lines = append(lines, line)
		}
		if errors.Is(err, io.EOF) {
			return bytes.Join(lines, nil), nil
		} else if err != nil {
			return nil, err
		}
	}
}

// drops is how many events of a client were not passed on, and why.
func drops(c netcore.ClientInfo) string {
	if c.Drops == 0 {
		return "0"
	}
	var why []string
	for _, reason := range slices.Sorted(maps.Keys(c.DropReasons)) {
		why = append(why, fmt.Sprintf("%s %d", reason, c.DropReasons[reason]))
	}
	return fmt.Sprintf("%d (%s)", c.Drops, strings.Join(why, ", "))
}
