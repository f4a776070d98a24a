package cli

import (
	"cmp"
	"strings"

	"takd/cmd/takd/internal/control"
)

type emergencyCmd struct {
	List   emergencyListCmd   `cmd:"" help:"List the emergencies that are repeated."`
	Cancel emergencyCancelCmd `cmd:"" help:"Cancel an emergency for everybody."`
}

type emergencyListCmd struct{}

func (emergencyListCmd) Run(a *app) error {
	all, err := askServer(a, control.EmergencyList, control.None{})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(all))
	for _, e := range all {
		rows = append(rows, []string{e.UID, e.Type, cmp.Or(e.Callsign, "-"), cmp.Or(e.User, "-"), age(e.Since)})
	}
	return a.table(all, "UID TYPE CALLSIGN USER SINCE", rows)
}

type emergencyCancelCmd struct {
	UID string `arg:"" name:"uid" help:"Uid, as the list shows it."`
}

func (c *emergencyCancelCmd) Run(a *app) error {
	if _, err := askServer(a, control.EmergencyCancelOp, control.EmergencyCancel{UID: c.UID}); err != nil {
		return err
	}
	return a.say(map[string]string{"uid": c.UID}, "emergency %s cancelled\n", c.UID)
}

type reachCmd struct {
	A string `arg:"" name:"a" help:"Callsign, uid or user of who is seen."`
	B string `arg:"" name:"b" help:"Callsign, uid or user of who sees."`
}

func (c *reachCmd) Run(a *app) error {
	r, err := askServer(a, control.ReachOp, control.Reach{A: c.A, B: c.B})
	if err != nil {
		return err
	}
	if r.Visible {
		return a.say(r, "%s can be seen by %s%s\n", c.A, c.B, because(r.Reasons))
	}
	return a.say(r, "%s cannot be seen by %s%s\n", c.A, c.B, because(r.Reasons))
}

func because(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return ": " + strings.Join(reasons, "; ")
}
