package history

import (
	"fmt"
	"slices"
	"time"
)

// Row is an event as JSON: what queries print, and import takes back.
type Row struct {
	ServerTime time.Time `json:"server_time"`
	Time       time.Time `json:"time"`
	Start      time.Time `json:"start"`
	Stale      time.Time `json:"stale"`
	UID        string    `json:"uid"`
	Callsign   string    `json:"callsign"`
	Type       string    `json:"type"`
	How        string    `json:"how"`
	Lat        float64   `json:"lat"`
	Lon        float64   `json:"lon"`
	HAE        *float64  `json:"hae"` // null: nobody told; so with those below
	CE         *float64  `json:"ce"`
	LE         *float64  `json:"le"`
	Speed      *float64  `json:"speed"`
	Course     *float64  `json:"course"`
	Team       string    `json:"team,omitempty"`
	Role       string    `json:"role,omitempty"`
	User       string    `json:"user"`
	Groups     []string  `json:"groups"`
	Sender     string    `json:"sender,omitempty"`
	Source     string    `json:"source,omitempty"`
	Dests      []string  `json:"dests,omitempty"`
	Flow       []string  `json:"flow,omitempty"`
	Mission    string    `json:"mission,omitempty"`
	Room       string    `json:"room,omitempty"`
	Text       string    `json:"text,omitempty"`
	Table      string    `json:"table"`
	Event      string    `json:"event"` // XML
}

// Row returns e as a row.
func (e *Event) Row() Row {
	return Row{
		ServerTime: e.Received.UTC(), Time: e.Time.UTC(), Start: e.Start.UTC(), Stale: e.Stale.UTC(),
		UID: e.UID, Callsign: e.Callsign, Type: e.Type, How: e.How, Lat: e.Lat, Lon: e.Lon,
		HAE: told(e.HAE), CE: told(e.CE), LE: told(e.LE), Speed: told(e.Speed), Course: told(e.Course),
		Team: e.Team, Role: e.Role, User: e.User, Groups: append([]string{}, e.Groups...), Sender: e.Sender, Source: e.Source,
		Dests: e.Dests, Flow: e.Flow, Mission: e.Mission, Room: e.Room, Text: e.Text, Table: e.Table, Event: string(e.Raw),
	}
}

// Fill completes e, which was read from the row's event, with what the row says
// itself: what only the server that recorded it knew.
func (r *Row) Fill(e *Event) error {
	if r.ServerTime.IsZero() {
		return fmt.Errorf("%w: server_time: want it", ErrInvalid)
	}
	if r.Table != "" && !slices.Contains(Tables, r.Table) {
		return fmt.Errorf("%w: table %q", ErrInvalid, r.Table)
	}
	e.Received = r.ServerTime
	if r.Table != "" {
		e.Table = r.Table
	}
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&e.User, r.User},
		{&e.Sender, r.Sender},
		{&e.Source, r.Source},
		{&e.Mission, r.Mission},
		{&e.Text, r.Text},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	e.Groups, e.Dests = r.Groups, r.Dests
	if len(r.Flow) > 0 {
		e.Flow = r.Flow
	}
	return nil
}

func told(v float64) *float64 {
	// What is as large was too large to store, and so means the same.
	if v >= Unknown/2 {
		return nil
	}
	return &v
}
