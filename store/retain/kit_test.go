package retain_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"takd/store/blob"
	"takd/store/contact"
	"takd/store/history"
	"takd/store/history/engine"
	"takd/store/history/engine/enginetest"
	"takd/store/meta"
	"takd/store/retain"
)

func TestMain(m *testing.M) {
	enginetest.Child()
	os.Exit(m.Run())
}

// site is a service with everything real.
type site struct {
	testing.TB

	*retain.Service
	dir     string // of the files
	db      *meta.DB
	history *history.Store
	blobs   *blob.Store
	held    map[string]bool
	free    []int64 // what the disk says, one after the other; the last stays
}

func newSite(t testing.TB) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	log := slog.New(slog.DiscardHandler)
	s := &site{TB: t, dir: filepath.Join(t.TempDir(), "retention"), held: map[string]bool{}}
	var err error
	if s.db, err = meta.Open(ctx, filepath.Join(t.TempDir(), "meta.db"), log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	if s.blobs, err = blob.Open(ctx, s.db, filepath.Join(t.TempDir(), "blob"), func() blob.Options { return blob.Options{MinFree: 1} }, log); err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("", "takd") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	s.history, err = history.Open(history.Options{
		Command: []string{os.Args[0], engine.Command}, Dir: t.TempDir(), Socket: filepath.Join(run, "history.sock"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.history.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := s.history.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	s.Service, err = retain.Open(retain.Options{
		Dir: s.dir, DB: s.db, History: s.history, Blobs: s.blobs, Contacts: contact.New(s.db), Audit: s.db.Audit,
		Held: func(context.Context) (map[string]bool, error) { return s.held, nil },
		Free: func() (int64, error) {
			n := s.free[0]
			if len(s.free) > 1 {
				s.free = s.free[1:]
			}
			return n, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill puts an event of each age in days into a table.
func (s *site) fill(table string, days ...int) {
	s.Helper()
	var events []*history.Event
	for i, d := range days {
		at := time.Now().AddDate(0, 0, -d)
		events = append(events, &history.Event{
			Table: table, Received: at, Time: at, Start: at, Stale: at, UID: fmt.Sprintf("%s-%d", table, i), Type: "a-f-G", Raw: []byte("<event/>"), Mission: "m",
		})
	}
	if _, err := s.history.Import(s.Context(), events); err != nil {
		s.Fatal(err)
	}
}

// days tells how many partitions each table has.
func (s *site) days() map[string]int {
	s.Helper()
	st, err := s.history.Stats(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	out := map[string]int{}
	for _, t := range st.Tables {
		if n := len(t.Partitions); n > 0 {
			out[t.Name] = n
		}
	}
	return out
}

func seconds(n int64) *int64 { return &n }
