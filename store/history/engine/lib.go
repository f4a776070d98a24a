package engine

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// lib is the engine's library, loaded into this process. It can be loaded once
// and never unloaded.
type lib struct {
	connect    func(argc int32, argv *uintptr) *uintptr
	disconnect func(conn *uintptr)
	query      func(conn uintptr, sql *byte, n uintptr, format *byte, fn uintptr) uintptr
	stream     func(conn uintptr, sql *byte, n uintptr, format *byte, fn uintptr) uintptr
	fetch      func(conn, result uintptr) uintptr
	cancel     func(conn, result uintptr)
	destroy    func(result uintptr)
	buffer     func(result uintptr) *byte
	length     func(result uintptr) uintptr
	error      func(result uintptr) *byte
	signals    func(enabled int32)
}

// open loads the library at path.
func open(path string) (l *lib, err error) {
	defer func() {
		if r := recover(); r != nil { // purego panics where a function is missing
			l, err = nil, fmt.Errorf("load %s: %v", path, r)
		}
	}()
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load engine: %w", err)
	}
	l = new(lib)
	for name, fn := range map[string]any{
		"chdb_connect":                     &l.connect,
		"chdb_close_conn":                  &l.disconnect,
		"chdb_query_n":                     &l.query,
		"chdb_stream_query_n":              &l.stream,
		"chdb_stream_fetch_result":         &l.fetch,
		"chdb_stream_cancel_query":         &l.cancel,
		"chdb_destroy_query_result":        &l.destroy,
		"chdb_result_buffer":               &l.buffer,
		"chdb_result_length":               &l.length,
		"chdb_result_error":                &l.error,
		"chdb_set_signal_handlers_enabled": &l.signals,
	} {
		purego.RegisterLibFunc(fn, handle, name)
	}
	l.signals(0) // Go owns the signals
	return l, nil
}

// conn is one connection to the data. It carries out one query at a time.
type conn struct {
	lib *lib
	ptr *uintptr
}

// dial opens a connection; args are the arguments of the engine.
func (l *lib) dial(args ...string) (*conn, error) {
	argv := make([]uintptr, len(args)+1)
	keep := make([][]byte, len(args))
	for i, a := range args {
		keep[i] = append([]byte(a), 0)
		argv[i] = uintptr(unsafe.Pointer(&keep[i][0]))
	}
	// The engine reads the arguments before it returns; the heap does not move.
	ptr := l.connect(int32(len(args)), &argv[0])
	runtime.KeepAlive(keep)
	if ptr == nil || *ptr == 0 {
		return nil, errors.New("engine does not open its data")
	}
	return &conn{lib: l, ptr: ptr}, nil
}

// Close closes the connection; the last one closes the data.
func (c *conn) Close() { c.lib.disconnect(c.ptr) }

// format is how results are written.
var format = []byte("Native")

// exec carries out sql and returns its whole result.
func (c *conn) exec(sql string) ([]byte, error) {
	b := []byte(sql)
	r := c.lib.query(*c.ptr, unsafe.SliceData(b), uintptr(len(b)), &format[0], uintptr(len(format)))
	if r == 0 {
		return nil, errors.New("engine gave no result")
	}
	defer c.lib.destroy(r)
	if err := c.lib.failure(r); err != nil {
		return nil, err
	}
	return c.lib.bytes(r), nil
}

// each carries out sql and calls fn with each piece of the result. Where fn
// fails the query is given up.
func (c *conn) each(sql string, fn func([]byte) error) error {
	b := []byte(sql)
	r := c.lib.stream(*c.ptr, unsafe.SliceData(b), uintptr(len(b)), &format[0], uintptr(len(format)))
	if r == 0 {
		return errors.New("engine gave no result")
	}
	defer c.lib.destroy(r)
	if err := c.lib.failure(r); err != nil {
		return err
	}
	for {
		more, err := c.next(r, fn)
		if err != nil {
			c.lib.cancel(*c.ptr, r)
		}
		if err != nil || !more {
			return err
		}
	}
}

func (c *conn) next(r uintptr, fn func([]byte) error) (more bool, err error) {
	piece := c.lib.fetch(*c.ptr, r)
	if piece == 0 {
		return false, nil
	}
	defer c.lib.destroy(piece)
	if err := c.lib.failure(piece); err != nil {
		return false, err
	}
	out := c.lib.bytes(piece)
	if len(out) == 0 {
		return false, nil
	}
	return true, fn(out)
}

// bytes copies a result out of the engine's memory.
func (l *lib) bytes(r uintptr) []byte {
	n, p := l.length(r), l.buffer(r)
	if n == 0 || p == nil {
		return nil
	}
	return append([]byte(nil), unsafe.Slice(p, n)...)
}

// failure returns the error in a result.
func (l *lib) failure(r uintptr) error {
	p := l.error(r)
	if p == nil || *p == 0 {
		return nil
	}
	var n uintptr
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return errors.New(strings.TrimSpace(strings.Clone(unsafe.String(p, n))))
}
