// Package enginetest lets a test binary be the history engine that its own tests start.
package enginetest

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"takd/store/history/engine"
)

// Child serves, and ends the process, if this is the child that a test has
// started: the first thing of a TestMain.
func Child() {
	if len(os.Args) < 2 || os.Args[1] != engine.Command {
		return
	}
	var o engine.ServeOptions
	p, err := kong.New(&o)
	if err == nil {
		_, err = p.Parse(os.Args[2:])
	}
	if err == nil {
		err = engine.Serve(o, os.Stdin, os.Stdout)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
