package main

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"takd/cot"
)

// mark is what takload hides in the detail of an event to know it again. It
// must come through the server unchanged, as any unknown element must.
type mark struct {
	run    uint64 // of one takload run
	sender int    // index of the client
	seq    uint32 // 1, 2, 3, … of this sender
	due    int64  // Unix nanoseconds at which the event should have been sent
	to     int    // index of the only client that should get it, plus one; 0: everybody
}

// A mark has a fixed form, so that it is cheap to read and can be written over:
// <__takload m="…"/> with the fields as hexadecimal digits.
const (
	markTag  = `<__takload m="`
	markSize = len(markTag) + 16 + 16 + 8 + 8 + 8 + len(`"/>`)
)

func (m mark) append(dst []byte) []byte {
	dst = append(dst, markTag...)
	dst = appendHex(dst, m.run, 16)
	dst = appendHex(dst, uint64(m.due), 16)
	dst = appendHex(dst, uint64(m.sender), 8)
	dst = appendHex(dst, uint64(m.seq), 8)
	dst = appendHex(dst, uint64(m.to), 8)
	return append(dst, `"/>`...)
}

// appendHex appends the last digits of v.
func appendHex(dst []byte, v uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[v>>shift&15])
	}
	return dst
}

// findMark reads the mark in an event, XML or protobuf: the element is text in
// both, and as a rule near the end.
func findMark(event []byte) (mark, bool) { return readMark(event, markAt(event)) }

// readMark reads the mark at i, -1 for none.
func readMark(event []byte, i int) (m mark, ok bool) {
	if i < 0 || len(event) < i+markSize {
		return m, false
	}
	b := event[i+len(markTag):]
	run, ok1 := hex(b[:16])
	due, ok2 := hex(b[16:32])
	sender, ok3 := hex(b[32:40])
	seq, ok4 := hex(b[40:48])
	to, ok5 := hex(b[48:56])
	if due > math.MaxInt64 || sender > math.MaxInt32 || to > math.MaxInt32 {
		return m, false
	}
	return mark{run: run, due: int64(due), sender: int(sender), seq: uint32(seq), to: int(to)}, ok1 && ok2 && ok3 && ok4 && ok5
}

// markAt is where the mark in an event begins, -1 without one.
func markAt(event []byte) int {
	if near := len(event) - markSize - 32; near > 0 {
		if i := bytes.Index(event[near:], []byte(markTag)); i >= 0 {
			return near + i
		}
	}
	return bytes.Index(event, []byte(markTag))
}

// hex reads lower-case digits.
func hex(digits []byte) (v uint64, ok bool) {
	for _, c := range digits {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// person is who a client pretends to be. The text fields hold nothing that XML
// would have to escape.
type person struct {
	uid, callsign string
	team, role    string
	lat, lon      float64
	course, speed float64 // degrees, metres per second
	battery       int
}

const declaration = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"

func appendHead(dst []byte, uid, typ, how string, now time.Time, life time.Duration, lat, lon float64) []byte {
	ms := now.UnixMilli()
	dst = append(append(dst, declaration+`<event version="2.0" uid="`...), uid...)
	dst = append(append(dst, `" type="`...), typ...)
	dst = append(append(dst, `" how="`...), how...)
	dst = cot.AppendTime(append(dst, `" time="`...), ms)
	dst = cot.AppendTime(append(dst, `" start="`...), ms)
	dst = cot.AppendTime(append(dst, `" stale="`...), ms+life.Milliseconds())
	dst = strconv.AppendFloat(append(dst, `"><point lat="`...), lat, 'f', 7, 64)
	dst = strconv.AppendFloat(append(dst, `" lon="`...), lon, 'f', 7, 64)
	return append(dst, `" hae="212.4" ce="4.7" le="9999999.0"/><detail>`...)
}

// appendSA appends a position as ATAK reports its own, of size bytes or as many
// as it needs. extra goes into the detail.
func (p *person) appendSA(dst []byte, now time.Time, size int, extra []byte) []byte {
	const remarks, endRemarks, end = "<remarks>", "</remarks>", "</detail></event>"
	size += len(dst) - len(remarks+endRemarks+end) - len(extra)
	dst = appendHead(dst, p.uid, "a-f-G-U-C", "m-g", now, 75*time.Second, p.lat, p.lon)
	dst = append(dst, `<takv os="34" version="5.5.0-CIV" device="SM-S921B" platform="ATAK-CIV"/><contact endpoint="*:-1:stcp" callsign="`...)
	dst = append(append(dst, p.callsign...), `"/><uid Droid="`...)
	dst = append(append(dst, p.callsign...), `"/><precisionlocation altsrc="GPS" geopointsrc="GPS"/><__group role="`...)
	dst = append(append(dst, p.role...), `" name="`...)
	dst = append(append(dst, p.team...), `"/><status battery="`...)
	dst = strconv.AppendInt(dst, int64(p.battery), 10)
	dst = strconv.AppendFloat(append(dst, `"/><track course="`...), p.course, 'f', 1, 64)
	dst = strconv.AppendFloat(append(dst, `" speed="`...), p.speed, 'f', 1, 64)
	dst = append(dst, `"/>`...)
	if fill := size - len(dst); fill >= 0 {
		dst = append(dst, remarks...)
		for range fill {
			dst = append(dst, '.')
		}
		dst = append(dst, endRemarks...)
	}
	return append(append(dst, extra...), end...)
}

// appendChat appends a message to everybody, or with to to one callsign and uid.
func (p *person) appendChat(dst []byte, now time.Time, id, text string, to *person, extra []byte) []byte {
	room, other := "All Chat Rooms", "All Chat Rooms"
	if to != nil {
		room, other = to.callsign, to.uid
	}
	dst = appendHead(dst, "GeoChat."+p.uid+"."+other+"."+id, "b-t-f", "h-g-i-g-o", now, 24*time.Hour, p.lat, p.lon)
	dst = append(dst, `<__chat parent="RootContactGroup" groupOwner="false" messageId="`+id+`" chatroom="`+room+`" id="`+other+`" senderCallsign="`+p.callsign+`">`...)
	dst = append(dst, `<chatgrp uid0="`+p.uid+`" uid1="`+other+`" id="`+other+`"/></__chat>`...)
	dst = append(dst, `<link uid="`+p.uid+`" type="a-f-G-U-C" relation="p-p"/>`...)
	dst = append(dst, `<__serverdestination destinations="*:-1:stcp:`+p.uid+`"/>`...)
	dst = cot.AppendTime(append(dst, `<remarks source="BAO.F.ATAK.`+p.uid+`" to="`+other+`" time="`...), now.UnixMilli())
	dst = append(append(dst, `">`+text+`</remarks>`...), extra...)
	if to != nil {
		dst = append(dst, `<marti><dest callsign="`+to.callsign+`"/></marti>`...)
	}
	return append(dst, `</detail></event>`...)
}

// appendDrawing appends a closed shape of six corners around p.
func (p *person) appendDrawing(dst []byte, now time.Time, id string, extra []byte) []byte {
	dst = appendHead(dst, "takload-shape-"+p.uid+"-"+id, "u-d-f", "h-e", now, 24*time.Hour, p.lat, p.lon)
	for i := range 6 {
		sin, cos := math.Sincos(float64(i) * math.Pi / 3)
		dst = strconv.AppendFloat(append(dst, `<link point="`...), p.lat+0.001*cos, 'f', 7, 64)
		dst = strconv.AppendFloat(append(dst, ','), p.lon+0.001*sin, 'f', 7, 64)
		dst = append(dst, `"/>`...)
	}
	dst = append(dst, `<strokeColor value="-1"/><strokeWeight value="3.0"/><fillColor value="-1761607681"/><contact callsign="`+p.callsign+` `+id+`"/><remarks/><archive/><labels_on value="true"/><color value="-1"/>`...)
	return append(append(dst, extra...), `</detail></event>`...)
}

// appendRequest appends t-x-takp-q, which asks for protobuf after an offer with this uid.
func appendRequest(dst []byte, uid string, now time.Time) []byte {
	dst = appendHead(dst, uid, "t-x-takp-q", "m-g", now, time.Minute, 0, 0)
	return append(dst, `<TakControl><TakRequest version="1"/></TakControl></detail></event>`...)
}

// appendPing appends t-x-c-t.
func appendPing(dst []byte, uid string, now time.Time) []byte {
	return append(appendHead(dst, uid+"-ping", "t-x-c-t", "m-g", now, 10*time.Second, 0, 0), `</detail></event>`...)
}

// toWire brings an XML document into the encoding of the wire. ev is scratch.
// The codec leaves <marti> out of protobuf, as a server must; a client must not,
// so that it goes through under another name of the same length.
func toWire(dst, xml []byte, proto bool, ev *cot.Event) ([]byte, error) {
	if !proto {
		return append(dst, xml...), nil
	}
	direct := rename(xml, "marti>", "Marti>")
	if _, err := cot.Scan(xml[len(declaration):], ev); err != nil {
		return dst, err
	}
	dst, err := ev.AppendProto(dst, nil)
	if direct {
		rename(dst, "Marti>", "marti>")
		rename(xml, "Marti>", "marti>")
	}
	return dst, err
}

// rename replaces every from in b by to, which has the same length. It tells
// whether there was one.
func rename(b []byte, from, to string) (found bool) {
	for {
		i := bytes.Index(b, []byte(from))
		if i < 0 {
			return found
		}
		copy(b[i:], to)
		b, found = b[i+len(from):], true
	}
}
