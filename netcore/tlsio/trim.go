package tlsio

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"reflect"
	"sync"
	"unsafe"
)

// A tls.Conn keeps for life what only its handshake needed: the client's parsed
// certificate, the buffer of handshake messages, and a read buffer of its own.
// That is half of what an idle client costs. And it allocates whenever it finds
// less than a record to read. The fields that mend both are not exported; they
// are found by name and type when the program starts. Where a later Go renames
// one, everything works as before but costs more, and a test says so.
var fields = struct{ rawInput, input, hand, certificates, chains uintptr }{
	rawInput:     offset[bytes.Buffer]("rawInput"),
	input:        offset[bytes.Reader]("input"),
	hand:         offset[bytes.Buffer]("hand"),
	certificates: offset[[]*x509.Certificate]("peerCertificates"),
	chains:       offset[[][]*x509.Certificate]("verifiedChains"),
}

// offset is where tls.Conn has the field name of type T; 0, where it has its
// socket, if there is none.
func offset[T any](name string) uintptr {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[T]() {
		return 0
	}
	return f.Offset
}

// field is the field of c at off, or nil.
func field[T any](c *tls.Conn, off uintptr) *T {
	if off == 0 {
		return nil
	}
	return (*T)(unsafe.Add(unsafe.Pointer(c), off))
}

// trim gives back what c's handshake has left behind. What ConnectionState
// tells of certificates is gone afterwards.
func trim(c *tls.Conn) {
	for _, off := range []uintptr{fields.rawInput, fields.hand} {
		if b := field[bytes.Buffer](c, off); b != nil && b.Len() == 0 {
			*b = bytes.Buffer{}
		}
	}
	if p := field[[]*x509.Certificate](c, fields.certificates); p != nil {
		*p = nil
	}
	if p := field[[][]*x509.Certificate](c, fields.chains); p != nil {
		*p = nil
	}
}

// readBuffers are lent to connections while they have something to read.
var readBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keepRead is the largest buffer that goes back to readBuffers.
const keepRead = 128 << 10

// reader is the reading end of a tls.Conn: its buffer of sealed records and
// what is left of the last one opened. Both are nil where they were not found.
type reader struct {
	sealed *bytes.Buffer
	opened *bytes.Reader
	lent   *bytes.Buffer // whose memory sealed has, from readBuffers
}

func readerOf(c *tls.Conn) reader {
	r := reader{sealed: field[bytes.Buffer](c, fields.rawInput), opened: field[bytes.Reader](c, fields.input)}
	if r.opened == nil {
		r.sealed = nil
	}
	return r
}

// feed appends in to the sealed records, and reports whether it could.
func (r *reader) feed(in []byte) bool {
	if r.sealed == nil {
		return false
	}
	if r.sealed.Cap() == 0 {
		r.lent = readBuffers.Get().(*bytes.Buffer)
		*r.sealed = *r.lent
	}
	r.sealed.Write(in)
	return true
}

// dry reports whether there is neither plaintext nor a whole record, and gives
// the buffer back if nothing is in it.
func (r *reader) dry() bool {
	if r.sealed == nil || r.opened.Len() > 0 || whole(r.sealed.Bytes()) {
		return false
	}
	if r.sealed.Len() == 0 && r.sealed.Cap() > 0 {
		if r.lent != nil && r.sealed.Cap() <= keepRead {
			r.sealed.Reset()
			*r.lent = *r.sealed
			readBuffers.Put(r.lent)
		}
		r.lent = nil
		*r.sealed = bytes.Buffer{}
	}
	return true
}

// whole reports whether b begins with a record that can be opened or refused.
func whole(b []byte) bool {
	const header, longest = 5, 16384 + 2048
	if len(b) < header {
		return false
	}
	n := int(b[3])<<8 | int(b[4])
	return len(b) >= header+n || n > longest
}
