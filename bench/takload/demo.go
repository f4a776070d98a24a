package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// demoCmd shows a small exercise: who opens the map sees teams walk and chat.
type demoCmd struct {
	target
	Clients  int           `help:"How many walk around." default:"20"`
	Every    time.Duration `help:"Time between the positions of one client." default:"2s"`
	Lat      float64       `help:"Where they are: latitude." default:"48.1372"`
	Lon      float64       `help:"Where they are: longitude." default:"11.5755"`
	Duration time.Duration `help:"How long; 0 means until interrupted." default:"0s"`
}

// Validate is called by kong.
func (d *demoCmd) Validate() error {
	if d.Clients < 1 || d.Every < 100*time.Millisecond {
		return fmt.Errorf("--clients %d --every %v: want 1 or more, and 100ms or more", d.Clients, d.Every)
	}
	return d.target.Validate()
}

var (
	teams = [...]string{"Cyan", "Green", "Blue", "Yellow", "Red", "Orange", "Purple", "White"}
	words = [...]string{"FALCON", "OTTER", "BADGER", "HERON", "LYNX", "RAVEN", "VIPER", "BISON"}
	lines = [...]string{
		"Radio check.", "Loud and clear.", "Moving to the next checkpoint.", "On station.", "Eyes on the bridge, nothing moves.",
		"Two vehicles northbound.", "Copy, holding here.", "Need water at our position.", "Route is clear.", "Back at base in ten.",
	}
)

// walker is the n-th of the demo: five to a team, the first of them leads.
func (d *demoCmd) walker(n int) person {
	squad, member := n/5, n%5
	p := person{
		uid:      "TAKLOAD-DEMO-" + strconv.Itoa(n+1),
		callsign: words[squad%len(words)] + "-" + strconv.Itoa(squad/len(words)*5+member+1),
		team:     teams[squad%len(teams)], role: "Team Member", battery: 60 + n%40, speed: 1.4,
		course: float64(squad * 67 % 360),
	}
	if member == 0 {
		p.role = "Team Lead"
	}
	sin, cos := math.Sincos(float64(squad))
	p.lat = d.Lat + 0.004*float64(squad%4+1)*cos + 0.0002*float64(member)
	p.lon = d.Lon + 0.006*float64(squad%4+1)*sin + 0.0002*float64(member)
	return p
}

// walk moves p by what it makes in so much time, now and then around a corner,
// and back when it has gone two kilometres or so.
func (d *demoCmd) walk(p *person, took time.Duration) {
	if math.Hypot(p.lat-d.Lat, p.lon-d.Lon) > 0.03 {
		p.course = math.Mod(math.Atan2(d.Lon-p.lon, d.Lat-p.lat)*180/math.Pi+360, 360)
	}
	p.course = math.Mod(p.course+rand.Float64()*30-15+360, 360)
	p.speed = 1 + rand.Float64()
	const perDegree = 111_320 // metres
	sin, cos := math.Sincos(p.course * math.Pi / 180)
	way := p.speed * took.Seconds() / perDegree
	p.lat += way * cos
	p.lon += way * sin / math.Cos(p.lat*math.Pi/180)
}

// Run is called by kong.
func (d *demoCmd) Run(ctx context.Context, out io.Writer) error {
	if d.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Duration)
		defer cancel()
	}
	clients := make([]*client, d.Clients)
	for i := range clients {
		clients[i] = &client{index: i, proto: d.protobuf(i), person: d.walker(i), got: func([]byte) {}}
	}
	crowd, err := gather(ctx, &d.target, clients)
	if err != nil {
		return err
	}
	defer crowd.leave()
	_, _ = fmt.Fprintf(out, "%d clients are on %s around %.4f, %.4f; Ctrl-C ends it\n", d.Clients, d.Addr, d.Lat, d.Lon)
	tick := time.NewTicker(d.Every / time.Duration(d.Clients))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case err := <-crowd.lost:
			return fmt.Errorf("the server closed a connection: %w", err)
		case <-tick.C:
		}
		if err := d.step(clients, n, out); err != nil {
			return err
		}
	}
}

// step moves one client, and now and then lets it talk.
func (d *demoCmd) step(clients []*client, n int, out io.Writer) error {
	c := clients[n%len(clients)]
	d.walk(&c.person, d.Every)
	now := time.Now()
	if err := c.send(c.appendSA(nil, now, 0, nil)); err != nil {
		return err
	}
	if n%17 != 16 {
		return nil
	}
	text := lines[rand.IntN(len(lines))]
	_, _ = fmt.Fprintf(out, "%s %s: %s\n", now.Format(time.TimeOnly), c.callsign, text)
	id := strconv.FormatInt(now.UnixNano(), 36)
	return c.send(c.appendChat(nil, now, id, text, nil, nil))
}
