package blob_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"takd/store/blob"
	"takd/store/meta"
)

const killDir = "TAKD_TEST_KILL_DIR"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		busy(dir)
		return
	}
	os.Exit(m.Run())
}

// busy uploads and deletes until it is killed. It prints the id of what it was
// told is kept, and of what it is about to delete.
func busy(dir string) {
	ctx := context.Background()
	db, err := meta.Open(ctx, filepath.Join(dir, "meta.db"), nil)
	if err != nil {
		panic(err)
	}
	s, err := blob.Open(ctx, db, filepath.Join(dir, "blob"), func() blob.Options { return blob.Options{MinFree: 1} }, nil)
	if err != nil {
		panic(err)
	}
	_, _ = fmt.Fprintln(os.Stdout, "open")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				text := bytes.Repeat(fmt.Append(nil, rand.Int()), 1+rand.IntN(20_000))
				u, err := s.Begin("ann", int64(len(text)))
				if err != nil {
					panic(err)
				}
				for part := range bytes.SplitAfterSeq(text, []byte("9")) {
					if _, err := u.Write(part); err != nil {
						panic(err)
					}
				}
				f, err := u.Keep(ctx, blob.File{Expires: blob.Never})
				if err != nil {
					panic(err)
				}
				_, _ = fmt.Fprintf(os.Stdout, "kept %d\n", f.ID)
				if i%3 == 0 {
					_, _ = fmt.Fprintf(os.Stdout, "gone %d\n", f.ID)
					if err := s.Delete(ctx, f.ID); err != nil {
						panic(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// runAndKill runs busy for a moment, which begins when it has opened the store,
// or even before, and returns what it said.
func runAndKill(t *testing.T, dir string, opened bool) []byte {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env, c.Stderr = append(os.Environ(), killDir+"="+dir), os.Stderr
	pipe, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	if opened {
		if _, err := out.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	kill := time.AfterFunc(time.Duration(rand.IntN(150))*time.Millisecond, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	said, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	return said
}

// A kill at any moment leaves neither half a file nor a file or a row without
// the other, and what was said to be kept is there.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).db.Close()
	kept, seen := map[int64]bool{}, 0
	for round := range 50 {
		for line := range bytes.Lines(runAndKill(t, dir, round%5 != 0)) {
			var what string
			var id int64
			if n, _ := fmt.Sscanf(string(line), "%s %d\n", &what, &id); n == 2 {
				kept[id] = what == "kept"
				seen++
			}
		}
		p := open(t, dir)
		rows, err := p.Find(t.Context(), blob.Viewer{Admin: true}, blob.Query{})
		if err != nil {
			t.Fatal(err)
		}
		hashes, ids := map[string]bool{}, map[int64]bool{}
		for i := range rows {
			f := &rows[i]
			ids[f.ID] = true
			if hashes[f.Hash] {
				continue
			}
			hashes[f.Hash] = true
			text := p.read(f.Hash)
			if h := sha256.Sum256([]byte(text)); hex.EncodeToString(h[:]) != f.Hash || int64(len(text)) != f.Size {
				t.Errorf("round %d: the file of row %d is not whole", round, f.ID)
			}
		}
		for id, there := range kept {
			if there && !ids[id] {
				t.Errorf("round %d: %d was kept, and is not there", round, id)
			}
		}
		if n := len(p.files()); n != len(hashes) {
			t.Errorf("round %d: %d files for %d hashes", round, n, len(hashes))
		}
		if round%10 == 9 { // or reading it all takes ever longer
			all := make([]int64, 0, len(ids))
			for id := range ids {
				all = append(all, id)
			}
			if err := p.Delete(t.Context(), all...); err != nil {
				t.Fatal(err)
			}
			clear(kept)
		}
		p.db.Close()
		if t.Failed() {
			return
		}
	}
	if seen < 10 { // a busy disk takes a tenth of a second for each
		t.Errorf("only %d uploads and deletes in all: nothing was tested", seen)
	}
}
