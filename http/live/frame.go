package live

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strings"
)

// A binary message is a header and columns, all little-endian and aligned to four
// bytes as far as their elements need it, so that a page uses them without a copy:
//
//	u8 version, u8 kind, u16 flags, u32 seq, u64 Unix ms, u32 n, u32 epoch
//	MOVE: tid u32[n] | lon i32[n] | lat i32[n] (1e-7 degrees) | course u16[n] (0.01 degrees)
//	      | speed u16[n] (0.1 m/s) | alt i16[n] (m) | age u16[n] (s)
//	GONE: tid u32[n]
//
// 65535, and -32768 for alt, is unknown.
const (
	frameVersion = 1
	kindMove     = 2
	kindGone     = 3
	headerLen    = 24
	rowLen       = 20

	flagLast = 1 // of this seq: the page answers it

	unknown    = math.MaxUint16
	unknownAlt = math.MinInt16
)

func appendHeader(dst []byte, kind byte, flags uint16, seq uint32, now int64, n int, epoch uint32) []byte {
	dst = append(dst, frameVersion, kind)
	dst = binary.LittleEndian.AppendUint16(dst, flags)
	dst = binary.LittleEndian.AppendUint32(dst, seq)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(now))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	return binary.LittleEndian.AppendUint32(dst, epoch)
}

// move is one row of a MOVE.
type move struct {
	tid                uint32
	lon, lat           int32
	course, speed, age uint16
	alt                int16
}

func appendMoves(dst []byte, rows []move) []byte {
	le, n, at := binary.LittleEndian, len(rows), len(dst)
	dst = slices.Grow(dst, n*rowLen)[:at+n*rowLen]
	rest := dst[at:]
	column := func(width int) []byte {
		c := rest[:n*width]
		rest = rest[n*width:]
		return c
	}
	tid, lon, lat := column(4), column(4), column(4)
	course, speed, alt, age := column(2), column(2), column(2), column(2)
	for i := range rows {
		r := &rows[i]
		le.PutUint32(tid[4*i:], r.tid)
		le.PutUint32(lon[4*i:], uint32(r.lon))
		le.PutUint32(lat[4*i:], uint32(r.lat))
		le.PutUint16(course[2*i:], r.course)
		le.PutUint16(speed[2*i:], r.speed)
		le.PutUint16(alt[2*i:], uint16(r.alt))
		le.PutUint16(age[2*i:], r.age)
	}
	return dst
}

func meters(v float64) int16 {
	if math.IsNaN(v) || v > math.MaxInt16 || v <= math.MinInt16 {
		return unknownAlt
	}
	return int16(v)
}

func centi(course float64) uint16 {
	if math.IsNaN(course) || course < 0 || course > 360 {
		return unknown
	}
	return uint16(math.Round(course * 100))
}

func deci(speed float64) uint16 {
	if math.IsNaN(speed) || speed < 0 || speed*10 >= unknown {
		return unknown
	}
	return uint16(math.Round(speed * 10))
}

// encode is what seldom changes of a track, as JSON without its braces.
func (t *track) encode() []byte {
	b, err := json.Marshal(struct {
		UID      string `json:"uid"`
		Callsign string `json:"callsign"`
		Type     string `json:"type"`
		Symbol   string `json:"sym"`
		Team     string `json:"team,omitempty"`
		Role     string `json:"role,omitempty"`
		How      string `json:"how,omitempty"`
		User     string `json:"user,omitempty"`
		Battery  string `json:"batt,omitempty"`
		Alarm    string `json:"alarm,omitempty"`
		Icon     string `json:"icon,omitempty"`

		Shape json.RawMessage `json:"shape,omitempty"`
	}{t.uid, t.callsign, t.typ, symbol(t.typ, t.team, t.role), t.team, t.role, t.how, t.user, t.battery, t.alarm, t.icon, t.shape})
	if err != nil {
		return nil // texts do not fail
	}
	return b[1 : len(b)-1]
}

// symbol is the key of what a page draws: "team|Cyan|Team Member",
// "sidc|SFGPUCI--------", or "dot|h" with an affiliation.
func symbol(typ, team, role string) string {
	if team != "" {
		return "team|" + strings.ReplaceAll(team, "|", " ") + "|" + strings.ReplaceAll(role, "|", " ")
	}
	parts := strings.Split(typ, "-")
	if parts[0] != "a" || len(parts) < 3 || len(parts[2]) != 1 || strings.Trim(parts[2], "PAGSUFX") != "" {
		return "dot|" + affiliation(parts)
	}
	sidc := "S" + strings.ToUpper(affiliation(parts)) + parts[2] + "P"
	for _, p := range parts[3:min(len(parts), 9)] {
		if len(p) != 1 || (p[0] < 'A' || p[0] > 'Z') && (p[0] < '0' || p[0] > '9') {
			break // what follows is CoT's own
		}
		sidc += p
	}
	sidc += strings.Repeat("-", 15-len(sidc))
	if strings.HasPrefix(typ[min(len(typ), 4):], "G-I") { // an installation
		sidc = sidc[:10] + "H" + sidc[11:]
	}
	return "sidc|" + sidc
}

// affiliation folds a type's into f, h, n or u, as ATAK does.
func affiliation(parts []string) string {
	if len(parts) < 2 || parts[0] != "a" {
		return "u"
	}
	switch parts[1] {
	case "f", "a":
		return "f"
	case "n":
		return "n"
	case "h", "s", "j", "k":
		return "h"
	}
	return "u"
}
