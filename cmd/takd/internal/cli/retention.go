package cli

import (
	"fmt"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/store/retain"
)

type retentionCmd struct {
	Show retentionShowCmd `cmd:"" help:"Show what is kept for how long, and the last runs."`
	Set  retentionSetCmd  `cmd:"" help:"Set for how long a class is kept, or when runs are."`
	Run  retentionRunCmd  `cmd:"" help:"Remove what is too old now."`
}

type retentionShowCmd struct{}

func (retentionShowCmd) Run(a *app) error {
	r, err := askServer(a, control.RetentionShow, control.None{})
	if err != nil {
		return err
	}
	return a.retention(r)
}

func (a *app) retention(r retain.View) error {
	if a.json {
		return a.say(r, "")
	}
	rows := [][]string{}
	for _, class := range retain.Classes {
		p := r.Policies[class]
		ttl := "for ever"
		if p.TTL != nil {
			ttl = forHowLong(time.Duration(*p.TTL) * time.Second)
		}
		rows = append(rows, []string{string(class), ttl, p.Unavailable})
	}
	if err := writeTable(a.Out, "CLASS KEPT REMARK", rows); err != nil {
		return err
	}
	next := "never"
	if r.NextRun != nil {
		next = r.NextRun.Local().Format(time.DateTime)
	}
	_, err := fmt.Fprintf(a.Out, "schedule %s, next run %s\n", r.Schedule, next)
	if err == nil && r.KeepFree > 0 {
		_, err = fmt.Fprintf(a.Out, "the oldest history goes while less than %d bytes are free\n", r.KeepFree)
	}
	if err == nil && r.Error != "" {
		_, err = fmt.Fprintf(a.Out, "the files in conf/retention are not used: %s\n", r.Error)
	}
	for _, run := range r.LastRuns[:min(5, len(r.LastRuns))] {
		if err == nil {
			err = a.retained(run)
		}
	}
	return err
}

func forHowLong(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}

func (a *app) retained(r retain.Run) error {
	verb := "removed"
	if r.DryRun {
		verb = "would remove"
	}
	_, err := fmt.Fprintf(a.Out, "%s by %s: %s %d partitions, %d rows, %d files, %d bytes in %.0f ms %s\n",
		r.Began.Local().Format(time.DateTime), r.By, verb, len(r.Dropped), r.Rows, r.Files, r.Bytes, r.TookMS, r.Error)
	return err
}

type retentionSetCmd struct {
	Class    string   `arg:"" optional:"" enum:"cot,chat,geochat,files,missionpackages,missions,endpoint_events," help:"cot, chat, files, missionpackages, missions or endpoint_events." default:""`
	TTL      string   `arg:"" optional:"" name:"ttl" help:"36h, 30d, 12w, 6m, 1y, seconds, or off for ever."`
	Schedule string   `help:"When runs are: second minute hour day month weekday, such as '0 0 3 * * *', or - for never."`
	KeepFree *int64   `help:"Bytes of the disk to keep free: below, the oldest history goes first. 0 is off." placeholder:"BYTES"`
	Exempt   []string `help:"Keywords of files that always stay." placeholder:"WORD,..."`
}

func (c *retentionSetCmd) Run(a *app) error {
	q := retain.Change{KeepFree: c.KeepFree, Exempt: c.Exempt}
	switch {
	case c.Class != "" && c.TTL == "":
		return usage("retention set %s: want a time to live too, such as 30d, or off", c.Class)
	case c.Class == "" && c.Schedule == "" && c.KeepFree == nil && c.Exempt == nil:
		return usage("retention set: want a class and a time to live, --schedule, --keep-free or --exempt")
	}
	if c.TTL != "" {
		q.TTL = map[string]*string{c.Class: &c.TTL}
	}
	if c.Schedule != "" {
		q.Schedule = &c.Schedule
	}
	r, err := askServer(a, control.RetentionSet, q)
	if err != nil {
		return err
	}
	return a.retention(r)
}

type retentionRunCmd struct {
	DryRun bool `help:"Only tell what would go."`
}

func (c *retentionRunCmd) Run(a *app) error {
	r, err := askServer(a, control.RetentionRunOp, control.RetentionRun{DryRun: c.DryRun})
	if err != nil {
		return err
	}
	if a.json {
		return a.say(r, "")
	}
	rows := [][]string{}
	for _, d := range r.Dropped {
		rows = append(rows, []string{d.Table, d.Partition, fmt.Sprint(d.Rows), fmt.Sprint(d.Bytes)})
	}
	if err := writeTable(a.Out, "TABLE PARTITION ROWS BYTES", rows); err != nil {
		return err
	}
	for _, class := range retain.Classes {
		if why := r.Skipped[class]; why != "" {
			if _, err := fmt.Fprintf(a.Out, "%s: %s\n", class, why); err != nil {
				return err
			}
		}
	}
	return a.retained(r)
}
