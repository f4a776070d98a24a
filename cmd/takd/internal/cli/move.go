package cli

import (
	"path/filepath"
	"strings"

	"takd/cmd/takd/internal/control"
	"takd/cmd/takd/internal/moving"
)

type importCmd struct {
	Official moveOfficialCmd `cmd:"" help:"From the official server: its directory, such as /opt/tak."`
	OTS      moveOTSCmd      `cmd:"" name:"ots" help:"From OpenTAKServer: its data folder, such as ~/ots, or its SQLite file."`
}

type moveOfficialCmd struct {
	Dir    string `arg:"" type:"existingdir" help:"The directory with CoreConfig.xml."`
	DryRun bool   `help:"Only list what comes over, what does not, and why."`
}

// Run moves in.
func (c *moveOfficialCmd) Run(a *app) error { return a.move("official", c.Dir, c.DryRun) }

type moveOTSCmd struct {
	Dir    string `arg:"" help:"The folder with ots.db and ca."`
	DryRun bool   `help:"Only list what comes over, what does not, and why."`
}

// Run moves in.
func (c *moveOTSCmd) Run(a *app) error {
	dir := c.Dir
	if !strings.Contains(dir, "://") {
		var err error
		if dir, err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	return a.move("ots", dir, c.DryRun)
}

func (a *app) move(from, dir string, dry bool) error {
	r, err := ask(a, control.MoveOp, control.Move{From: from, Dir: dir, DryRun: dry})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	rows := func(items []moving.Item) [][]string {
		all := make([][]string, 0, len(items))
		for _, i := range items {
			all = append(all, []string{"  " + i.What, i.Detail})
		}
		return all
	}
	title := "Came over:"
	if dry {
		title = "Comes over (nothing was changed):"
	}
	if err := writeTable(a.Out, title, rows(r.Comes)); err != nil {
		return err
	}
	if err := writeTable(a.Out, "\nDoes not, and why:", rows(r.Left)); err != nil {
		return err
	}
	if len(r.RestartNeeded) > 0 {
		return a.say(nil, "\nRestart needed for: %s\n", strings.Join(r.RestartNeeded, ", "))
	}
	return nil
}
