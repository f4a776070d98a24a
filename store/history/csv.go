package history

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"
)

// CSV writes rows as a table of text, the names of its columns first.
type CSV struct {
	out    *csv.Writer
	headed bool
}

// NewCSV returns a table that goes to w.
func NewCSV(w io.Writer) *CSV { return &CSV{out: csv.NewWriter(w)} }

const csvColumns = "server_time time start stale uid callsign type how lat lon hae speed course team role groups user source mission room event"

// Write writes one row. Groups are separated by semicolons; a number that nobody
// told is empty.
func (c *CSV) Write(r *Row) error {
	if !c.headed {
		c.headed = true
		if err := c.out.Write(strings.Fields(csvColumns)); err != nil {
			return err
		}
	}
	number := func(v *float64) string {
		if v == nil {
			return ""
		}
		return strconv.FormatFloat(*v, 'f', -1, 64)
	}
	at := func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
	return c.out.Write([]string{
		at(r.ServerTime), at(r.Time), at(r.Start), at(r.Stale), r.UID, r.Callsign, r.Type, r.How, number(&r.Lat), number(&r.Lon),
		number(r.HAE), number(r.Speed), number(r.Course), r.Team, r.Role, strings.Join(r.Groups, ";"), r.User, r.Source, r.Mission, r.Room, r.Event,
	})
}

// Flush writes what is gathered.
func (c *CSV) Flush() error {
	c.out.Flush()
	return c.out.Error()
}
