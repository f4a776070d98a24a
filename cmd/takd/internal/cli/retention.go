package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/store/blob"
	"takd/store/retain"
)

type retentionCmd struct {
	Show retentionShowCmd `cmd:"" help:"Show what is kept for how long, and the last runs."`
	Set  retentionSetCmd  `cmd:"" help:"Say how long a class of data is kept, when runs are due, or how much of the disk is kept free."`
	Run  retentionRunCmd  `cmd:"" help:"Remove what is too old now."`
}

type retentionShowCmd struct{}

func (retentionShowCmd) Run(a *app) error {
	o, err := ask(a, control.RetentionShow, control.None{})
	if err != nil {
		return err
	}
	return a.retention(o)
}

func (a *app) retention(o retain.Overview) error {
	if a.json {
		return a.printJSON(o)
	}
	next := "never"
	if o.NextRun != nil {
		next = stamp(*o.NextRun)
	}
	_, _ = io.WriteString(a.Out, text("schedule %s, next run %s, disk kept free %s\n", o.Schedule, next, blob.Size(o.KeepFree).String()))
	if o.Error != "" {
		_, _ = io.WriteString(a.Out, text("nothing is removed: %s\n", o.Error))
	}
	_, _ = fmt.Fprintln(a.Out)
	rows := make([][]string, 0, len(retain.Classes))
	for _, class := range retain.Classes {
		p := o.Policies[class]
		rows = append(rows, []string{class, ttlText(p.TTL), p.Unavailable})
	}
	if err := writeTable(a.Out, "CLASS KEPT NOTE", rows); err != nil || len(o.LastRuns) == 0 {
		return err
	}
	_, _ = fmt.Fprintln(a.Out)
	rows = rows[:0]
	for _, r := range o.LastRuns {
		rows = append(rows, []string{stamp(r.At), r.By, strconv.Itoa(len(r.Dropped)), strconv.FormatUint(r.Rows, 10), strconv.Itoa(r.Files), size(int(r.Bytes)), r.Error})
	}
	return writeTable(a.Out, "RUN BY PARTITIONS ROWS FILES SIZE ERROR", rows)
}

func ttlText(seconds *int64) string {
	switch {
	case seconds == nil:
		return "for ever"
	case *seconds%86400 == 0:
		return strconv.FormatInt(*seconds/86400, 10) + "d"
	}
	return (time.Duration(*seconds) * time.Second).String()
}

type retentionSetCmd struct {
	Class    string `arg:"" optional:"" help:"cot, chat, files or endpoint_events."`
	TTL      string `arg:"" optional:"" name:"ttl" help:"How long it is kept: 30d, 12h, 4w, a number of seconds; off for ever."`
	Schedule string `help:"When runs are due: cron with seconds, such as '0 0 3 * * *' for three at night, or - for never." placeholder:"CRON"`
	KeepFree string `help:"Drop the oldest history while less than this is free on the disk, such as 20GiB; 0 for no limit." placeholder:"SIZE"`
}

func (c *retentionSetCmd) Run(a *app) error {
	q := control.RetentionChange{Class: c.Class}
	if (c.Class == "") != (c.TTL == "") {
		return usage("want a class and how long it is kept, such as: retention set cot 30d")
	}
	if c.Class == "" && c.Schedule == "" && c.KeepFree == "" {
		return usage("want a class with its time, --schedule or --keep-free")
	}
	var err error
	if q.TTL, err = parseTTL(c.TTL); err != nil {
		return err
	}
	if c.Schedule != "" {
		q.Schedule = &c.Schedule
	}
	if c.KeepFree != "" {
		n, err := blob.ParseSize(c.KeepFree)
		if err != nil {
			return usage("--keep-free %q: want a size such as 20GiB", c.KeepFree)
		}
		q.KeepFree = &n
	}
	o, err := ask(a, control.RetentionSet, q)
	if err != nil {
		return err
	}
	return a.retention(o)
}

// parseTTL reads seconds, or a number with s, m, h, d, w or y; nil for off and "".
func parseTTL(text string) (*int64, error) {
	if text == "" || text == "off" {
		return nil, nil
	}
	unit, digits := int64(1), text
	for name, seconds := range map[string]int64{"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400} {
		if rest, ok := strings.CutSuffix(text, name); ok {
			unit, digits = seconds, rest
		}
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 1 {
		return nil, usage("%q: want a time such as 30d, 12h or 3600, or off", text)
	}
	n *= unit
	return &n, nil
}

type retentionRunCmd struct {
	DryRun bool `help:"Only tell what would be removed."`
}

func (c *retentionRunCmd) Run(a *app) error {
	r, err := askServer(a, control.RetentionRun, control.RetentionRunNow{DryRun: c.DryRun})
	if err != nil {
		return err
	}
	if r.Error != "" {
		err = errors.New(r.Error)
	}
	if a.json {
		return errors.Join(a.printJSON(r), err)
	}
	rows := make([][]string, 0, len(r.Dropped))
	for _, d := range r.Dropped {
		rows = append(rows, []string{d.Table, d.Partition, strconv.FormatUint(d.Rows, 10), size(int(d.Bytes))})
	}
	if len(rows) > 0 {
		_ = writeTable(a.Out, "TABLE PARTITION ROWS SIZE", rows)
	}
	verb := "removed"
	if r.DryRun {
		verb = "would be removed"
	}
	_, _ = io.WriteString(a.Out, text("%s: %d partitions, %d rows, %d files, %s\n", verb, len(r.Dropped), r.Rows, r.Files, size(int(r.Bytes))))
	for class, why := range r.Unavailable {
		_, _ = io.WriteString(a.Out, text("%s: not removed: %s\n", class, why))
	}
	return err
}
