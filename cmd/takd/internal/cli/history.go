package cli

import "takd/store/history/engine"

// historyEngineCmd is the child process of takd run that holds the database.
type historyEngineCmd struct {
	engine.ServeOptions `embed:""`
}

// Run serves until the parent is gone.
func (c *historyEngineCmd) Run(a *app) error {
	return engine.Serve(c.ServeOptions, a.In, a.Out)
}
