package netcore

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"takd/netcore/session"
)

// What is asked of the kernel directly, past gnet.

// descriptor returns conn's socket, if it has one. It is gnet's to close.
func descriptor(conn session.Conn) (fd int, ok bool) {
	s, ok := conn.(interface{ Fd() int })
	if !ok {
		return -1, false
	}
	return s.Fd(), true
}

// put writes b to conn. Where nothing waits before it, it goes to the kernel
// straight: send costs less than the write that gnet would make, and as it never
// waits, the scheduler need not know of it. What the kernel does not take now,
// and its errors, are gnet's: it keeps the one, and closes for the other.
func put(conn session.Conn, b []byte) {
	if fd, ok := descriptor(conn); ok && len(b) > 0 && conn.OutboundBuffered() == 0 {
		n, _, err := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if err == 0 {
			b = b[n:]
		}
	}
	if len(b) > 0 {
		_, _ = conn.Write(b)
	}
}

// outstanding is how many bytes that conn was given have not arrived.
func outstanding(conn session.Conn) int {
	n := conn.OutboundBuffered()
	if fd, ok := descriptor(conn); ok {
		if q, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ); err == nil { // SIOCOUTQ: not acknowledged
			n += q
		}
	}
	return n
}

// abandon makes closing conn throw away what its kernel holds and tell the peer so.
// Else the kernel goes on trying for a minute to get rid of megabytes, gives up without
// a word, and the peer, when it reads again, waits for a server that has long gone.
func abandon(conn session.Conn) {
	if fd, ok := descriptor(conn); ok {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // it is closed either way
	}
}

// mostRest bounds what is read of a connection that has ended: more than any
// kernel keeps by default.
const mostRest = 8 << 20

// remains reads what the kernel still holds of what conn's peer has sent. Linux
// gives it out even after writing has failed.
func remains(conn session.Conn) (rest []byte) {
	fd, ok := descriptor(conn)
	if !ok {
		return nil
	}
	buf := make([]byte, 64<<10)
	for failed := 0; failed < 2 && len(rest) < mostRest; {
		n, err := unix.Read(fd, buf)
		switch {
		case n > 0:
			rest = append(rest, buf[:n]...)
		case err == nil || err == unix.EAGAIN:
			return rest
		default: // the first error may be that of an earlier write
			failed++
		}
	}
	return rest
}
