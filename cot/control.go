package cot

import "bytes"

// The control events that a server itself makes. Times are Unix milliseconds;
// f is the receiver's encoding (Proto appends whole stream frames). Shapes are
// those of the official server, which clients were built against; every one has
// a complete point, because some clients drop events without.

const (
	pongLife   = 20_000
	offerLife  = 60_000
	noPoint    = `<point lat="0" lon="0" hae="0" ce="9999999" le="9999999"/>`
	serverHow  = "h-g-i-g-o"
	controlHow = "m-g"
)

// ServerOnly reports whether events of this type are for servers to say and for
// clients to hear: groups changed, the protocol's offer and answer, and news of
// missions. From a client they reach nobody.
func ServerOnly(typ []byte) bool {
	switch string(typ) {
	case "t-x-g-c", "t-x-takp-v", "t-x-takp-r":
		return true
	}
	return bytes.HasPrefix(typ, []byte("t-x-m-"))
}

// head appends the start of an event, up to and with its point. Times have no
// milliseconds, as everywhere on the official server.
func head(dst []byte, uid, typ, how string, now, life int64) []byte {
	now -= now % 1000
	dst = append(dst, `<event version="2.0"`...)
	dst = appendAttr(dst, "uid", []byte(uid))
	dst = appendAttr(dst, "type", []byte(typ))
	dst = appendAttr(dst, "how", []byte(how))
	dst = AppendTime(append(dst, ` time="`...), now)
	dst = AppendTime(append(dst, `" start="`...), now)
	dst = AppendTime(append(dst, `" stale="`...), now+life)
	return append(dst, `">`+noPoint...)
}

// finish ends the event that begins at dst[from] and converts it if need be.
func finish(dst []byte, from int, f Format) []byte {
	dst = append(dst, "</event>"...)
	if f == XML {
		return dst
	}
	var ev Event
	xml := append([]byte(nil), dst[from:]...)
	if _, err := Scan(xml, &ev); err != nil {
		return dst[:from]
	}
	out, err := ev.AppendProto(dst[:from], nil)
	if err != nil {
		return dst[:from]
	}
	return out
}

// AppendPong appends the answer to a ping (t-x-c-t): t-x-c-t-r, uid takPong.
func AppendPong(dst []byte, f Format, now int64) []byte {
	if f == Proto {
		return appendPongProto(dst, now-now%1000)
	}
	return append(head(dst, "takPong", "t-x-c-t-r", serverHow, now, pongLife), "</event>"...)
}

// appendPongProto is written out: pings come every few seconds from everybody.
func appendPongProto(dst []byte, now int64) []byte {
	var buf [160]byte
	b := append(appendHead(buf[:0], 1, len("t-x-c-t-r")), "t-x-c-t-r"...)
	b = append(appendHead(b, 5, len("takPong")), "takPong"...)
	b = appendVarint(b, 6, uint64(now))
	b = appendVarint(b, 7, uint64(now))
	b = appendVarint(b, 8, uint64(now+pongLife))
	b = append(appendHead(b, 9, len(serverHow)), serverHow...)
	b = appendDouble(appendDouble(b, 13, unknown), 14, unknown)
	dst = appendFrame(dst, 1+uvarintLen(len(b))+len(b))
	return append(appendHead(dst, 2, len(b)), b...)
}

// AppendProtocolOffer appends t-x-takp-v: TAK protocol version 1 is spoken
// here. It is always XML. CloudTAK reads serverVersion from it.
func AppendProtocolOffer(dst []byte, uid, serverVersion string, now int64) []byte {
	dst = head(dst, uid, "t-x-takp-v", controlHow, now, offerLife)
	dst = append(dst, `<detail><TakControl><TakProtocolSupport version="1"/><TakServerVersionInfo`...)
	dst = appendAttr(dst, "serverVersion", []byte(serverVersion))
	return append(dst, ` apiVersion="3"/></TakControl></detail></event>`...)
}

// AppendProtocolReply appends t-x-takp-r, the answer to a t-x-takp-q with this
// uid. It is always XML; with ok, every byte after it is protobuf.
func AppendProtocolReply(dst []byte, uid string, ok bool, now int64) []byte {
	answer := "false"
	if ok {
		answer = "true"
	}
	dst = head(dst, uid, "t-x-takp-r", controlHow, now, offerLife)
	dst = append(dst, `<detail><TakControl><TakResponse`...)
	dst = appendAttr(dst, "status", []byte(answer))
	return append(dst, `/></TakControl></detail></event>`...)
}

// AppendDisconnect appends t-x-d-d: the client uid, last seen with typ, has left.
func AppendDisconnect(dst []byte, f Format, eventUID, uid, typ string, now int64) []byte {
	from := len(dst)
	dst = head(dst, eventUID, "t-x-d-d", serverHow, now, pongLife)
	dst = append(dst, `<detail><link relation="p-p"`...)
	dst = appendAttr(dst, "uid", []byte(uid))
	dst = appendAttr(dst, "type", []byte(typ))
	return finish(append(dst, `/></detail>`...), from, f)
}

// AppendCancel appends b-a-o-can, as XML: the emergency of callsign with this uid is over.
func AppendCancel(dst []byte, uid, callsign string, now int64) []byte {
	dst = head(dst, uid, "b-a-o-can", controlHow, now, pongLife)
	dst = append(dst, `<detail><emergency cancel="true">`...)
	dst = appendEscaped(dst, []byte(callsign))
	return append(dst, `</emergency></detail></event>`...)
}

// AppendGroupsChanged appends t-x-g-c: the receiver's groups have changed. ATAK
// ignores it if eventUID contains the receiver's own uid.
func AppendGroupsChanged(dst []byte, f Format, eventUID string, now int64) []byte {
	from := len(dst)
	return finish(head(dst, eventUID, "t-x-g-c", serverHow, now, pongLife), from, f)
}
