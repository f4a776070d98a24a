// Package control is how the commands of takd reach the data of a server: an
// operation has a name, a request and a response, and a Doer carries it out,
// be it the running server behind its socket or the store opened on the spot.
//
// So each command is written once, and each operation is implemented once.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Doer carries out operations. Request and response are JSON.
type Doer interface {
	Do(ctx context.Context, op string, request []byte) (response []byte, err error)
}

// Errors that survive the way through the socket.
var (
	ErrBad      = errors.New("bad request")       // the operator's input is wrong
	ErrNotFound = errors.New("not found")         // what it names does not exist
	ErrExists   = errors.New("exists already")    // what it adds is there
	ErrNoServer = errors.New("no server running") // only a running server can do it
)

var kinds = []struct {
	err    error
	status int
}{
	{ErrBad, http.StatusBadRequest},
	{ErrNotFound, http.StatusNotFound},
	{ErrExists, http.StatusConflict},
	{ErrNoServer, http.StatusServiceUnavailable},
}

// Error is an error of one of the kinds above, with the text for the operator.
type Error struct {
	Kind error // nil for anything else that failed
	Text string
}

func (e *Error) Error() string { return e.Text }
func (e *Error) Unwrap() error { return e.Kind }

// Errorf makes an error of a kind.
func Errorf(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// As gives err a kind and keeps its text.
func As(kind, err error) error { return &Error{Kind: kind, Text: err.Error()} }

// None is a request or response without content.
type None struct{}

// Op is an operation: it takes a Q and gives an R.
type Op[Q, R any] string

// Call has d carry out the operation.
func (o Op[Q, R]) Call(ctx context.Context, d Doer, q Q) (R, error) {
	var r R
	request, err := json.Marshal(q)
	if err != nil {
		return r, fmt.Errorf("%s: %w", string(o), err)
	}
	response, err := d.Do(ctx, string(o), request)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(response, &r); err != nil {
		return r, fmt.Errorf("%s: cannot read the answer: %w", string(o), err)
	}
	return r, nil
}

// Mux is a Doer made of functions, by operation. Handle fills it.
type Mux map[string]func(ctx context.Context, request []byte) (any, error)

// Handle has m carry out o with f.
func Handle[Q, R any](m Mux, o Op[Q, R], f func(context.Context, Q) (R, error)) {
	m[string(o)] = func(ctx context.Context, request []byte) (any, error) {
		var q Q
		if err := json.Unmarshal(request, &q); err != nil {
			return nil, Errorf(ErrBad, "%s: cannot read the request: %v", string(o), err)
		}
		return f(ctx, q)
	}
}

// Do implements Doer.
func (m Mux) Do(ctx context.Context, op string, request []byte) ([]byte, error) {
	f := m[op]
	if f == nil {
		return nil, Errorf(ErrBad, "the server does not know %q: is it another version of takd?", op)
	}
	r, err := f(ctx, request)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}
