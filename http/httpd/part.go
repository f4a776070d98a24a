package httpd

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// Part is the part of a file that is asked for.
type Part struct {
	From, N int64
	Partial bool // answered with 206
}

// ErrRange is 416.
var ErrRange = &Error{Status: http.StatusRequestedRangeNotSatisfiable, Code: 2, Message: "range: the file is shorter"}

// Range finds out which part of size bytes the Range header asks for: the whole,
// where it is not understood or names several. tag is the file's ETag.
func (r *Request) Range(size int64, tag string) (Part, error) {
	whole := Part{N: size}
	text, found := strings.CutPrefix(string(r.Request.Header.Peek("Range")), "bytes=")
	if cond := string(r.Request.Header.Peek("If-Range")); !found || cond != "" && cond != tag {
		return whole, nil
	}
	first, last, found := strings.Cut(strings.TrimSpace(text), "-")
	if !found {
		return whole, nil
	}
	from, errFrom := strconv.ParseUint(first, 10, 62)
	to, errTo := strconv.ParseUint(last, 10, 62)
	switch {
	case first == "" && errTo == nil: // the last so many
		n := min(int64(to), size)
		if n == 0 {
			return Part{}, ErrRange
		}
		return Part{size - n, n, true}, nil
	case errFrom != nil, errTo != nil && last != "", last != "" && to < from:
		return whole, nil
	case int64(from) >= size:
		return Part{}, ErrRange
	case last == "":
		return Part{int64(from), size - int64(from), true}, nil
	}
	return Part{int64(from), min(int64(to)+1, size) - int64(from), true}, nil
}

// SendFile answers with a part of a file, which it closes.
func (r *Request) SendFile(file *os.File, p Part, size int64) error {
	h := &r.Response.Header
	r.SetStatusCode(http.StatusOK)
	if p.Partial {
		r.SetStatusCode(http.StatusPartialContent)
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", p.From, p.From+p.N-1, size))
	}
	if r.IsHead() {
		r.Response.SkipBody = true
		h.SetContentLength(int(p.N))
		return file.Close()
	}
	if _, err := file.Seek(p.From, io.SeekStart); err != nil {
		_ = file.Close()
		return fmt.Errorf("read file: %w", err)
	}
	r.Response.SetBodyStream(&part{io.LimitedReader{R: file, N: p.N}, file}, int(p.N))
	return nil
}

// part is a part of a file, closed with the answer.
type part struct {
	io.LimitedReader
	file *os.File
}

// Close implements io.Closer.
func (p *part) Close() error { return p.file.Close() }
