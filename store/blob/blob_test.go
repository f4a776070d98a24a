package blob_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"takd/store/blob"
	"takd/store/meta"
)

type place struct {
	testing.TB

	dir    string
	db     *meta.DB
	limits blob.Options
	*blob.Store
}

func open(t testing.TB, dir string) *place {
	t.Helper()
	p := &place{TB: t, dir: dir, limits: blob.Options{MinFree: 1}}
	var err error
	if p.db, err = meta.Open(t.Context(), filepath.Join(dir, "meta.db"), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.db.Close() })
	if p.Store, err = blob.Open(t.Context(), p.db, filepath.Join(dir, "blob"), func() blob.Options { return p.limits }, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) put(user, text string, f blob.File) (blob.File, error) {
	p.Helper()
	if f.Expires == 0 {
		f.Expires = blob.Never
	}
	u, err := p.Begin(user, int64(len(text)))
	if err != nil {
		return blob.File{}, err
	}
	defer u.Close()
	if _, err := io.Copy(u, strings.NewReader(text)); err != nil {
		return blob.File{}, err
	}
	return u.Keep(p.Context(), f)
}

func (p *place) must(user, text string, f blob.File) blob.File {
	p.Helper()
	got, err := p.put(user, text, f)
	if err != nil {
		p.Fatal(err)
	}
	return got
}

// bytes are the names of the files on disk, those of uploads included.
func (p *place) files() []string {
	p.Helper()
	names := []string{}
	err := filepath.WalkDir(filepath.Join(p.dir, "blob"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		p.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func (p *place) read(hash string) string {
	p.Helper()
	f, err := p.Open(hash)
	if err != nil {
		p.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		p.Fatal(err)
	}
	return string(b)
}

func hashOf(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

var blue = []string{"Blue"}

func TestKeep(t *testing.T) {
	p := open(t, t.TempDir())
	f := p.must("ann", "hello", blob.File{Name: "a.txt", MIME: "text/plain", Keywords: []string{"b", "a", "b", ""}, Groups: blue, CreatorUID: "U1"})
	if f.Hash != hashOf("hello") || f.ID != 1 || f.Size != 5 || f.UID != f.Hash || f.Submitter != "ann" || fmt.Sprint(f.Keywords) != "[a b]" {
		t.Errorf("Keep = %+v", f)
	}
	if got := p.read(f.Hash); got != "hello" {
		t.Errorf("read back %q", got)
	}
	again := p.must("ann", "hello", blob.File{Name: "a.txt", CreatorUID: "U1", Groups: []string{"Red"}})
	other := p.must("bob", "hello", blob.File{Name: "a.txt", CreatorUID: "U1", Groups: blue})
	if again.ID != 1 || other.ID != 2 || len(p.files()) != 1 {
		t.Errorf("ids %d, %d, files %v; want 1, 2 and one file", again.ID, other.ID, p.files())
	}
	own, total := p.Usage("ann")
	if own != 5 || total != 5 {
		t.Errorf("usage %d, %d; want 5, 5", own, total)
	}
	if err := p.Delete(t.Context(), 1, 1, 99); err != nil || len(p.files()) != 1 {
		t.Errorf("Delete(1) = %v, files %v", err, p.files())
	}
	if err := p.Delete(t.Context(), 2); err != nil || len(p.files()) != 0 {
		t.Errorf("Delete(2) = %v, files %v", err, p.files())
	}
	if own, total := p.Usage("bob"); own != 0 || total != 0 {
		t.Errorf("usage %d, %d; want none", own, total)
	}
	if f := p.must("ann", "x", blob.File{}); f.ID != 3 {
		t.Errorf("id %d after a delete, want 3: ids are never given twice", f.ID)
	}
}

func TestLimits(t *testing.T) {
	tests := map[string]struct {
		limits blob.Options
		field  string
		err    error
	}{
		"file":  {blob.Options{MaxUpload: 9, MinFree: 1}, "files.max_upload", blob.ErrLimit},
		"user":  {blob.Options{QuotaUser: 14, MinFree: 1}, "files.quota_user", blob.ErrLimit},
		"total": {blob.Options{QuotaTotal: 14, MinFree: 1}, "files.quota_total", blob.ErrLimit},
		"disk":  {blob.Options{MinFree: 1000 * blob.TiB}, "files.min_free", blob.ErrFull},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := open(t, t.TempDir())
			p.must("ann", "12345", blob.File{})
			p.limits = tc.limits
			for _, announced := range []int64{10, -1, 3} {
				u, err := p.Begin("ann", announced)
				if err == nil {
					_, err = io.Copy(u, strings.NewReader("0123456789"))
					u.Close()
				}
				var le *blob.LimitError
				if !errors.As(err, &le) || !errors.Is(err, tc.err) || le.Field != tc.field || !strings.Contains(err.Error(), tc.field) {
					t.Errorf("announced %d: %v; want %s", announced, err, tc.field)
				}
			}
			p.limits = blob.Options{MinFree: 1, QuotaUser: 15, QuotaTotal: 15, MaxUpload: 10}
			p.must("ann", "0123456789", blob.File{}) // nothing of the refused ones is still reserved
			if len(p.files()) != 2 {
				t.Errorf("files %v", p.files())
			}
		})
	}
}

// Uploads under way count: together they do not pass a quota that each of them keeps.
func TestQuotaHoldsForUploadsTogether(t *testing.T) {
	p := open(t, t.TempDir())
	p.limits = blob.Options{MinFree: 1, QuotaUser: 100}
	a, err := p.Begin("ann", 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Begin("ann", 60); !errors.Is(err, blob.ErrLimit) {
		t.Errorf("a second one of 60 bytes: %v", err)
	}
	b, err := p.Begin("bob", 60)
	if err != nil {
		t.Errorf("another user's: %v", err)
	}
	a.Close()
	b.Close()
	p.must("ann", strings.Repeat("x", 100), blob.File{})
}

func TestWhoSees(t *testing.T) {
	p := open(t, t.TempDir())
	p.must("ann", "blue", blob.File{Name: "Blue.zip", Groups: blue, Tool: "public", Keywords: []string{"missionpackage"}, UID: "M1"})
	p.must("red", "red", blob.File{Name: "50%_off", Groups: []string{"Red"}, Tool: "private"})
	p.must("red", "blue", blob.File{Name: "same", Groups: []string{"Red"}})
	p.must("ann", "old", blob.File{Name: "old", Groups: blue, Expires: time.Now().Unix() - 1})
	all, annV, redV := blob.Viewer{Admin: true}, blob.Viewer{User: "ann", Groups: blue}, blob.Viewer{User: "eve", Groups: []string{"Red"}}
	tests := map[string]struct {
		who  blob.Viewer
		q    blob.Query
		want string
	}{
		"admin":        {all, blob.Query{}, "same 50%_off Blue.zip"},
		"oldest":       {all, blob.Query{OldestFirst: true, Limit: 2, Offset: 1}, "50%_off same"},
		"ann":          {annV, blob.Query{}, "Blue.zip"},
		"red":          {redV, blob.Query{}, "same 50%_off"},
		"nobody":       {blob.Viewer{User: "eve"}, blob.Query{}, ""},
		"own":          {blob.Viewer{User: "ann"}, blob.Query{}, "Blue.zip"},
		"hash":         {redV, blob.Query{Hash: hashOf("blue")}, "same"},
		"hash or uid":  {annV, blob.Query{HashOrUID: "M1"}, "Blue.zip"},
		"name":         {all, blob.Query{Name: "BLUE"}, "Blue.zip"},
		"wild":         {all, blob.Query{Name: "%_"}, "50%_off"},
		"wilder":       {all, blob.Query{Name: "%b"}, ""},
		"keyword":      {all, blob.Query{Keywords: []string{"x", "missionpackage"}}, "Blue.zip"},
		"tool":         {all, blob.Query{Tool: "private"}, "50%_off"},
		"quotes":       {all, blob.Query{UID: "' OR 1=1 --"}, ""},
		"since":        {all, blob.Query{Since: time.Now().Add(time.Hour)}, ""},
		"until":        {all, blob.Query{Until: time.Now().Add(time.Hour), Submitter: "ann"}, "Blue.zip"},
		"of an id":     {redV, blob.Query{IDs: []int64{1, 2}}, "50%_off"},
		"hostile hash": {redV, blob.Query{Hash: hashOf("old")}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			files, err := p.Find(t.Context(), tc.who, tc.q)
			names := []string{}
			for i := range files {
				names = append(names, files[i].Name)
			}
			if got := strings.Join(names, " "); err != nil || got != tc.want {
				t.Errorf("Find = %q, %v; want %q", got, err, tc.want)
			}
			if tc.q.Limit == 0 {
				if n, err := p.Count(t.Context(), tc.who, tc.q); err != nil || n != len(files) {
					t.Errorf("Count = %d, %v; want %d", n, err, len(files))
				}
			}
		})
	}
	if n, err := p.Expire(t.Context(), time.Now()); n != 1 || err != nil || slices.Contains(p.files(), hashOf("old")) {
		t.Errorf("Expire = %d, %v; files %v", n, err, p.files())
	}
}

// The name of a removed user may be given to somebody else, and his files not.
func TestNameOfARemovedUser(t *testing.T) {
	p := open(t, t.TempDir())
	p.must("ann", "old", blob.File{Name: "old", Submitted: 1000})
	ann := blob.Viewer{User: "ann"}
	for created, want := range map[int]int{500: 1, 2000: 0} {
		if _, err := p.db.Exec("DELETE FROM users; INSERT INTO users (name, role, hash, disabled, created_at, updated_at) VALUES ('ann', 'user', '', FALSE, ?, 0)", created); err != nil {
			t.Fatal(err)
		}
		for _, q := range []blob.Query{{}, {Own: true}} {
			if n, err := p.Count(t.Context(), ann, q); n != want || err != nil {
				t.Errorf("created at %d: %d files, %v; want %d", created, n, err, want)
			}
		}
	}
	if n, _ := p.Count(t.Context(), blob.Viewer{Admin: true}, blob.Query{Own: true}); n != 1 {
		t.Error("an administrator may no longer change it")
	}
}

func TestHostileFields(t *testing.T) {
	p := open(t, t.TempDir())
	p.must("ann", "first", blob.File{Name: "../../x"}) // a name is never a path
	long := strings.Repeat("x", 2000)
	for field, f := range map[string]blob.File{
		"name": {Name: long}, "name: want UTF-8": {Name: "a\xff"}, "uid": {UID: "a\x00b"}, "hash of another": {UID: hashOf("first")},
		"keywords": {Keywords: []string{long}}, "expiration": {Expires: -7}, "latitude": {Lat: ptr(91.0)}, "64 keywords": {Keywords: strings.Split(strings.Repeat("k,", 1)+words(65), ",")},
	} {
		if _, err := p.put("ann", "text", f); !errors.Is(err, blob.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if len(p.files()) != 1 {
		t.Errorf("files %v", p.files())
	}
	for _, hash := range []string{"", "../meta.db", strings.ToUpper(hashOf("first")), hashOf("first")[:63], hashOf("first") + "/..", strings.Repeat("g", 64)} {
		if _, err := p.Open(hash); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Open(%q): %v", hash, err)
		}
	}
}

func words(n int) string {
	w := make([]string, n)
	for i := range w {
		w[i] = fmt.Sprint(i)
	}
	return strings.Join(w, ",")
}

func ptr[T any](v T) *T { return &v }

func TestUpdate(t *testing.T) {
	p := open(t, t.TempDir())
	f := p.must("ann", "x", blob.File{Groups: blue, Keywords: []string{"a"}, Tool: "public"})
	if err := p.Update(t.Context(), []int64{f.ID, 77}, blob.Change{Tool: ptr("private"), Keywords: &[]string{"n", "m"}, Expires: ptr(int64(4e9))}); err != nil {
		t.Fatal(err)
	}
	got, err := p.First(t.Context(), blob.Viewer{User: "bob", Groups: blue}, blob.Query{Keywords: []string{"m"}, Tool: "private"})
	if err != nil || fmt.Sprint(got.Keywords) != "[m n]" || got.Expires != 4e9 {
		t.Errorf("First = %+v, %v", got, err)
	}
	if n, _ := p.Count(t.Context(), blob.Viewer{Admin: true}, blob.Query{Keywords: []string{"a"}}); n != 0 {
		t.Error("the old keyword still finds it")
	}
}

// The same bytes by many at once are one file; it goes with the last row.
func TestManyAtOnce(t *testing.T) {
	p := open(t, t.TempDir())
	var wg sync.WaitGroup
	ids := make([]int64, 16)
	for i := range ids {
		wg.Go(func() {
			for range 5 {
				f, err := p.put(fmt.Sprint("user", i), "the same", blob.File{Groups: blue})
				if err != nil {
					t.Error(err)
					return
				}
				ids[i] = f.ID
				if i%2 == 0 {
					if err := p.Delete(context.Background(), f.ID); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	files, err := p.Find(t.Context(), blob.Viewer{Admin: true}, blob.Query{})
	if err != nil || len(files) != 8 || len(p.files()) != 1 || p.read(hashOf("the same")) != "the same" {
		t.Errorf("%d rows, %v, files %v", len(files), err, p.files())
	}
	if err := p.Delete(t.Context(), ids...); err != nil || len(p.files()) != 0 {
		t.Errorf("Delete = %v, files %v", err, p.files())
	}
}

func TestDeleteWhileReading(t *testing.T) {
	p := open(t, t.TempDir())
	f := p.must("ann", "hello", blob.File{})
	r, err := p.Open(f.Hash)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := p.Delete(t.Context(), f.ID); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "hello" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir)
	whole := p.must("ann", "whole", blob.File{})
	cut := p.must("ann", "cut short", blob.File{})
	u, err := p.Begin("ann", -1)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = u.Write([]byte("half"))
	orphan := hashOf("orphan")
	for path, text := range map[string]string{
		filepath.Join(dir, "blob", orphan[:2], orphan):     "orphan",
		filepath.Join(dir, "blob", cut.Hash[:2], cut.Hash): "cut",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.db.Close()
	p = open(t, dir)
	rows, err := p.Find(t.Context(), blob.Viewer{Admin: true}, blob.Query{})
	if err != nil || len(rows) != 1 || fmt.Sprint(p.files()) != fmt.Sprint([]string{whole.Hash}) {
		t.Errorf("rows %+v, %v, files %v", rows, err, p.files())
	}
	if own, total := p.Usage("ann"); own != 5 || total != 5 {
		t.Errorf("usage %d, %d", own, total)
	}
	p.db.Close()
	if err := os.RemoveAll(filepath.Join(dir, "blob")); err != nil { // a disk that is not mounted
		t.Fatal(err)
	}
	p = open(t, dir)
	if n, _ := p.Count(t.Context(), blob.Viewer{Admin: true}, blob.Query{}); n != 1 {
		t.Errorf("%d rows left of 1", n)
	}
	p.must("ann", "whole", blob.File{Name: "again"})
	if got := p.read(whole.Hash); got != "whole" {
		t.Errorf("uploaded again: %q", got)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]blob.Size{"400MiB": 400 * blob.MiB, "10 GiB": 10 * blob.GiB, "7": 7, "2k": 2 * blob.KiB, "3MB": 3 * blob.MiB, "0": 0} {
		got, err := blob.ParseSize(text)
		if back, err2 := blob.ParseSize(got.String()); got != want || err != nil || back != want || err2 != nil {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "9999999999TiB", "5 apples", "1BB"} {
		if got, err := blob.ParseSize(text); !errors.Is(err, blob.ErrOptions) {
			t.Errorf("ParseSize(%q) = %d, %v", text, got, err)
		}
	}
}

func BenchmarkSmallFiles(b *testing.B) {
	p := open(b, b.TempDir())
	text := make([]byte, 4096)
	var mu sync.Mutex
	b.SetParallelism(25)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			mu.Lock()
			_, _ = rand.Read(text[:32])
			mine := bytes.Clone(text)
			mu.Unlock()
			if _, err := p.put("ann", string(mine), blob.File{Groups: blue}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

func BenchmarkSearch(b *testing.B) {
	p := open(b, b.TempDir())
	const n = 100_000
	for i := 0; i < n; i += 1000 {
		if _, err := p.db.Exec(`WITH RECURSIVE c(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM c WHERE i < ?)
			INSERT INTO files SELECT i + 10, printf('%064x', i), printf('%064x', i), 'name ' || i, 'application/zip', 10, i, 'ann', 'U', '["missionpackage"]', '["Blue"]', 'public', '', -1, NULL, NULL, NULL FROM c`,
			i, i+999); err != nil {
			b.Fatal(err)
		}
	}
	for _, q := range []string{"INSERT INTO file_groups SELECT id, 'Blue' FROM files", "INSERT INTO file_keywords SELECT id, 'missionpackage' FROM files"} {
		if _, err := p.db.Exec(q); err != nil {
			b.Fatal(err)
		}
	}
	v := blob.Viewer{User: "bob", Groups: blue}
	for name, q := range map[string]blob.Query{
		"uid":     {UID: fmt.Sprintf("%064x", n/2)},
		"name":    {Name: "name 55555", Keywords: []string{"missionpackage"}, Tool: "public"},
		"keyword": {Keywords: []string{"missionpackage"}, Limit: 100},
		"none":    {Keywords: []string{"other"}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := p.Find(b.Context(), v, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
