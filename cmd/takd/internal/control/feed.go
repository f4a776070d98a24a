package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Feed is an operation that takes a Q and answers with lines, as they come, and as
// many as there are.
type Feed[Q any] string

const (
	feedPrefix = "feed/"
	feedWait   = 2 * time.Minute // for the next line
	maxLine    = 16 << 20        // of a feed
	feedError  = http.TrailerPrefix + "Takd-Error"
)

// feeder is a Doer that has feeds as well.
type feeder interface {
	feed(ctx context.Context, op string, request []byte) (func(io.Writer) error, error)
}

// HandleFeed has m carry out f with fn, which writes lines.
func HandleFeed[Q any](m Mux, f Feed[Q], fn func(context.Context, Q, io.Writer) error) {
	op := feedPrefix + string(f)
	m[op] = func(ctx context.Context, request []byte) (any, error) {
		var q Q
		if err := json.Unmarshal(request, &q); err != nil {
			return nil, Errorf(ErrBad, "%s: cannot read the request: %v", string(f), err)
		}
		return func(w io.Writer) error { return fn(ctx, q, w) }, nil
	}
}

func (m Mux) feed(ctx context.Context, op string, request []byte) (func(io.Writer) error, error) {
	f := m[op]
	if f == nil {
		return nil, Errorf(ErrBad, "the server does not know %q: is it another version of takd?", op)
	}
	answer, err := f(ctx, request)
	if err != nil {
		return nil, err
	}
	return answer.(func(io.Writer) error), nil
}

// serveFeed answers with lines. An error before the first is a refusal, and one
// after it is in the trailer.
func serveFeed(w http.ResponseWriter, r *http.Request, d feeder, op string, request []byte) {
	run, err := d.feed(r.Context(), op, request)
	if err != nil {
		refuse(w, err)
		return
	}
	out := &counted{w: w}
	lines := bufio.NewWriterSize(out, 64<<10)
	if err = errors.Join(run(lines), lines.Flush()); err == nil {
		return
	}
	if out.n == 0 {
		refuse(w, err)
		return
	}
	w.Header().Set(feedError, strings.ReplaceAll(err.Error(), "\n", "; "))
}

type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Call has the running server carry out the feed, and hands each line to fn, without
// its end; an error of fn ends it and is returned.
func (f Feed[Q]) Call(ctx context.Context, c *Client, q Q, fn func(line []byte) error) error {
	request, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("%s: %w", string(f), err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(feedWait, func() { cancel(errSilent) })
	defer timer.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://takd/"+feedPrefix+string(f), bytes.NewReader(request))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running server: %w", errors.Join(context.Cause(ctx), err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxLine))
		return refusal(resp.StatusCode, body)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		timer.Reset(feedWait)
		if err := fn(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("ask the running server: %w", errors.Join(context.Cause(ctx), err))
	}
	if text := resp.Trailer.Get("Takd-Error"); text != "" {
		return errors.New(text)
	}
	return nil
}
