package history

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"hash/crc32"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// spooled is a group with all there can be in rows.
func spooled() *group {
	a, b := position(usual), position("no event \x01\xff")
	a.Table, a.Received, a.Groups, a.Dests, a.Flow = Cot, shaped.Add(40*time.Millisecond), []string{"Blue", ""}, []string{"x", Private}, []string{"s1"}
	a.Type, a.How, a.Team, a.Role, a.User, a.Sender, a.Source, a.Mission, a.Room, a.Text = "a-f", "m-g", "Cyan", "HQ", "u", "s", "tls", "m", "r", "text"
	b.Table, b.Received, b.Time, b.Speed = Chat, shaped, time.Time{}, Unknown
	c := position(usual)
	c.Table, c.Received = Cot, shaped
	g := newGroup(1<<20, []*Event{c, a, b}, 2000)
	s := newShaper()
	for _, b := range g.Batches {
		b.split(s)
	}
	return g
}

func insertable(g *group) (out [][]any) {
	for _, b := range g.Batches {
		out = append(out, append(b.columnar(), b.Table))
	}
	return out
}

// What is inserted from a segment is what would have been inserted at once.
func TestSegment(t *testing.T) {
	g := spooled()
	if g.Batches[0].shapes[1] == "" {
		t.Fatal("no shape in the sample")
	}
	plain := g.pack()
	got, err := unpack(plain)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(insertable(g), insertable(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := range plain {
		if _, err := unpack(plain[:i]); err == nil {
			t.Errorf("cut at %d: no error", i)
		}
	}
}

func FuzzSegment(f *testing.F) {
	f.Add(spooled().pack())
	f.Fuzz(func(_ *testing.T, plain []byte) {
		if g, err := unpack(plain); err == nil {
			insertable(g)
		}
	})
}

// What a takd before this one has left on disk is read.
func TestFirstKindOfSegments(t *testing.T) {
	g := spooled()
	var plain bytes.Buffer
	if err := gob.NewEncoder(&plain).Encode(g); err != nil {
		t.Fatal(err)
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	body := enc.EncodeAll(plain.Bytes(), nil)
	head := append([]byte(firstKind), make([]byte, headSize-len(firstKind))...)
	binary.BigEndian.PutUint32(head[8:], 3)
	binary.BigEndian.PutUint32(head[12:], crc32.Checksum(body, castagnoli))
	binary.BigEndian.PutUint64(head[16:], uint64(len(body)))
	s, err := openSpool(t.TempDir(), 1<<30, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := os.WriteFile(s.path(g.ID), append(head, body...), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := s.load(g.ID)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range got.Batches {
		for j, e := range b.Rows {
			if want := g.Batches[i].Rows[j]; string(e.Raw) != string(want.Raw) || e.UID != want.UID || !e.Time.Equal(want.Time) {
				t.Errorf("%+v; want %+v", e, want)
			}
		}
	}
}
