package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/cot"
	"takd/store/history"
)

// Bounds of a replay.
const (
	replayPage  = 5000             // events that are read ahead
	replayWrite = 30 * time.Second // for one event
	replayDrain = 5 * time.Second  // for the other side to read the last ones
	minRate     = 0.01
	maxRate     = 100_000
)

type historyReplayCmd struct {
	Since string `required:"" help:"From this time of receipt on: 2006-01-02T15:04:05Z, 2006-01-02, or so long ago, such as 90m." placeholder:"T"`
	Until string `help:"Before this time; now when left out." placeholder:"T"`
	Rate  string `help:"How much faster than it was, 0.01x to 100000x." default:"1x"`
	To    string `required:"" help:"Stream input to send to, host:port: clear text, or TLS with --cert." placeholder:"ADDR"`
	UID   string `name:"uid" help:"Only this uid." placeholder:"U"`
	Group string `help:"Only what was sent into this group." placeholder:"G"`
	Type  string `help:"Only types that begin with this." placeholder:"PREFIX"`
	Table string `help:"cot, chat or mission_cot." default:"cot" enum:"cot,chat,mission_cot"`

	Cert       string `help:"Client certificate, as takd cert issue writes it; NAME.key and ca.pem lie beside it." type:"existingfile" placeholder:"NAME.pem"`
	ServerName string `help:"Name in the server's certificate, where it is not the host of --to." placeholder:"NAME"`
}

// Run sends what was as if it happened now: in order, times moved to now, gaps scaled.
func (c *historyReplayCmd) Run(a *app) (err error) {
	rate, err := strconv.ParseFloat(strings.TrimSuffix(c.Rate, "x"), 64)
	if err != nil || !(rate >= minRate && rate <= maxRate) {
		return usage("--rate %q: want 0.01x to 100000x", c.Rate)
	}
	q := control.Query{Table: c.Table, UID: c.UID, Group: c.Group, Type: c.Type}
	if q.Since, err = when("--since", c.Since); err != nil {
		return err
	}
	if q.Until, err = when("--until", c.Until); err != nil {
		return err
	}
	if q.Until.IsZero() { // what the replay makes is not part of it
		q.Until = time.Now()
	}
	if !q.Since.Before(q.Until) {
		return usage("--since %s: want a time before --until", stamp(q.Since))
	}
	server, err := a.server()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	conn, err := c.dial(a.ctx)
	if err != nil {
		return err
	}
	r := &replay{out: conn, rate: rate}
	defer context.AfterFunc(a.ctx, func() { _ = conn.Close() })()
	gone := make(chan struct{})
	go func() { // what the other side sends must not fill its queue
		defer close(gone)
		_, _ = io.Copy(io.Discard, conn)
	}()
	err = r.run(a.ctx, server, q)
	if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		select {
		case <-gone:
		case <-time.After(replayDrain):
		}
	}
	_ = conn.Close()
	<-gone
	if err != nil {
		return fmt.Errorf("%w; %d events sent", err, r.sent)
	}
	return a.say(map[string]int{"sent": r.sent, "skipped": r.skipped}, "%d events sent, %d skipped\n", r.sent, r.skipped)
}

func (c *historyReplayCmd) dial(ctx context.Context) (net.Conn, error) {
	host, _, err := net.SplitHostPort(c.To)
	if err != nil {
		return nil, usage("--to %q: want host:port", c.To)
	}
	d := &net.Dialer{Timeout: replayDrain}
	if c.Cert == "" {
		return d.DialContext(ctx, "tcp", c.To)
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, strings.TrimSuffix(c.Cert, ".pem")+".key")
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(filepath.Dir(c.Cert), "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.pem: no certificate in it")
	}
	if c.ServerName != "" {
		host = c.ServerName
	}
	t := tls.Dialer{NetDialer: d, Config: &tls.Config{RootCAs: pool, ServerName: host, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
	return t.DialContext(ctx, "tcp", c.To)
}

// replay is one under way.
type replay struct {
	out  net.Conn
	rate float64

	sent, skipped int

	began time.Time // when the first event was sent
	first time.Time // when it was received
	ev    cot.Event
	buf   []byte
}

// run reads page by page: a query must not stay open for as long as a replay takes.
func (r *replay) run(ctx context.Context, server *control.Client, q control.Query) error {
	for had := 0; ; {
		q.Limit = replayPage + had
		var page []history.Row
		err := control.HistoryQuery.Call(ctx, server, q, func(line []byte) error {
			var row history.Row
			err := json.Unmarshal(line, &row)
			page = append(page, row)
			return err
		})
		if err != nil {
			return err
		}
		for i := min(had, len(page)); i < len(page); i++ {
			if err := r.send(ctx, &page[i]); err != nil {
				return err
			}
		}
		if len(page) < q.Limit {
			return nil
		}
		// The next page begins with what was received at the same moment as the last
		// event: that much of it has been sent.
		q.Since, had = page[len(page)-1].ServerTime, 0
		for i := len(page) - 1; i >= 0 && page[i].ServerTime.Equal(q.Since); i-- {
			had++
		}
	}
}

// send waits until an event is due, and sends it with the time of now.
func (r *replay) send(ctx context.Context, row *history.Row) error {
	raw := []byte(row.Event)
	if n, err := cot.Scan(raw, &r.ev); err != nil || n == 0 {
		r.skipped++
		return nil
	}
	if r.began.IsZero() {
		r.began, r.first = time.Now(), row.ServerTime
	}
	due := r.began.Add(time.Duration(float64(row.ServerTime.Sub(r.first)) / r.rate))
	select {
	case <-time.After(time.Until(due)):
	case <-ctx.Done():
		return ctx.Err()
	}
	life := max(row.Stale.Sub(row.Time), 0)
	var err error
	if r.buf, err = r.ev.AppendAt(r.buf[:0], cot.XML, time.Now().UnixMilli(), life.Milliseconds()); err != nil {
		r.skipped++
		return nil
	}
	if err := r.out.SetWriteDeadline(time.Now().Add(replayWrite)); err != nil {
		return err
	}
	if _, err := r.out.Write(r.buf); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	r.sent++
	return nil
}
