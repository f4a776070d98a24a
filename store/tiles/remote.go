package tiles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	readTime = 2 * time.Minute // for one read over the network
	maxHops  = 5
)

// Remote is a Source behind an http or https address that answers Range requests.
type Remote struct {
	URL string

	tag string // of the file as it was at the first read
}

var client = &http.Client{CheckRedirect: func(_ *http.Request, via []*http.Request) error {
	if len(via) >= maxHops {
		return errors.New("too many redirects")
	}
	return nil
}}

// ReadAt implements Source.
func (r *Remote) ReadAt(ctx context.Context, b []byte, off int64) error {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, http.NoBody)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+int64(len(b))-1))
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("%s: %s; want an answer to a Range request (206)", r.URL, resp.Status)
	}
	if tag := resp.Header.Get("ETag"); r.tag == "" {
		r.tag = tag
	} else if tag != r.tag {
		return fmt.Errorf("%s: the file has changed while it was read", r.URL)
	}
	_, err = io.ReadFull(resp.Body, b)
	return err
}
