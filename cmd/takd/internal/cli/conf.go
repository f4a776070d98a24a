package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"takd/cmd/takd/internal/control"
)

type configCmd struct {
	Get      configGetCmd      `cmd:"" help:"Show the configuration with its defaults, or one key."`
	Set      configSetCmd      `cmd:"" help:"Change keys; checked, kept and applied at once."`
	History  configHistoryCmd  `cmd:"" help:"List the old versions."`
	Rollback configRollbackCmd `cmd:"" help:"Go back to an old version."`
	Reload   configReloadCmd   `cmd:"" help:"Have the running server read the file again."`
}

type configGetCmd struct {
	Key string `arg:"" optional:"" help:"Key, such as messaging.max_clients."`
}

func (c *configGetCmd) Run(a *app) error {
	r, err := ask(a, control.ConfigGet, control.Key{Key: c.Key})
	if err != nil {
		return err
	}
	if a.json {
		text, err := yaml.YAMLToJSON([]byte(r.Text))
		if err != nil {
			return err
		}
		r.Text = string(text)
	}
	_, err = fmt.Fprintln(a.Out, strings.TrimSpace(r.Text))
	return err
}

type configSetCmd struct {
	Pairs []string `arg:"" name:"key=value" help:"Key and value; the value is YAML."`
}

func (c *configSetCmd) Run(a *app) error {
	pairs := make(map[string]string)
	if len(c.Pairs) == 2 && !strings.Contains(c.Pairs[0], "=") {
		pairs[c.Pairs[0]] = c.Pairs[1] // config set KEY VALUE
	} else {
		for _, p := range c.Pairs {
			key, value, ok := strings.Cut(p, "=")
			if !ok {
				return usage("%q: want KEY=VALUE", p)
			}
			pairs[key] = value
		}
	}
	return changed(a, control.ConfigSet, pairs, "configuration changed")
}

// changed carries out a change of the configuration and tells what is left to do.
func changed[Q any](a *app, op control.Op[Q, control.Changed], q Q, done string) error {
	r, err := ask(a, op, q)
	if err != nil {
		return err
	}
	if r.RestartNeeded == nil {
		r.RestartNeeded = []string{}
	}
	if len(r.RestartNeeded) > 0 {
		done += "; restart needed for: " + strings.Join(r.RestartNeeded, ", ")
	}
	return a.say(r, "%s\n", done)
}

type configHistoryCmd struct{}

func (configHistoryCmd) Run(a *app) error {
	versions, err := ask(a, control.ConfigHistory, control.None{})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(versions))
	for _, v := range versions {
		rows = append(rows, []string{fmt.Sprint(v.N), v.Time.Local().Format(time.DateTime), fmt.Sprint(v.Size)})
	}
	return a.table(versions, "VERSION REPLACED BYTES", rows)
}

type configRollbackCmd struct {
	N int `arg:"" help:"Version, as config history lists it."`
}

func (c *configRollbackCmd) Run(a *app) error {
	return changed(a, control.ConfigRollback, control.Number{N: c.N}, fmt.Sprintf("back to version %d", c.N))
}

type configReloadCmd struct{}

func (configReloadCmd) Run(a *app) error {
	r, err := askServer(a, control.ConfigReload, control.None{})
	if err != nil {
		return err
	}
	return a.say(r, "configuration reloaded%s\n", map[bool]string{true: "; restart needed for: " + strings.Join(r.RestartNeeded, ", ")}[len(r.RestartNeeded) > 0])
}
