package engine

import "time"

// SetPings changes how often a child is asked, until the function it returns is called.
func SetPings(every, limit time.Duration) (restore func()) {
	e, l := pingEvery, pingLimit
	pingEvery, pingLimit = every, limit
	return func() { pingEvery, pingLimit = e, l }
}
