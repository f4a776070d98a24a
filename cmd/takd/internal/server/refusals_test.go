package server

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestRefusalsAreBounded(t *testing.T) {
	var l refusals
	quiet, loud := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")
	l.note("tls", quiet, "ann", "revoked")
	for i := range 10 * refusalsKept {
		l.note("tls", loud, fmt.Sprint(i), strings.Repeat("ä", 1000))
	}
	all := l.list()
	if len(all) != refusalsFrom+1 || all[refusalsFrom].User != "ann" || all[0].User != fmt.Sprint(10*refusalsKept-1) || len(all[0].Reason) > longestRefusal {
		t.Fatalf("%d kept, the newest %+v", len(all), all[0])
	}
	for i := range 2 * refusalsKept {
		l.note("tls", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "", "x")
	}
	if n := len(l.list()); n != refusalsKept {
		t.Errorf("%d kept, want %d", n, refusalsKept)
	}
}
