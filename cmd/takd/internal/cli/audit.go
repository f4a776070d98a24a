package cli

import (
	"time"

	"takd/cmd/takd/internal/control"
)

type auditCmd struct {
	Limit int `help:"How many entries, the newest first." default:"100" placeholder:"N"`
}

func (c *auditCmd) Run(a *app) error {
	all, err := ask(a, control.AuditOp, control.Number{N: c.Limit})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(all))
	for _, e := range all {
		rows = append(rows, []string{time.UnixMilli(e.At).Local().Format(time.DateTime), e.Actor, e.Action, e.Detail})
	}
	return a.table(all, "TIME BY ACTION DETAIL", rows)
}
