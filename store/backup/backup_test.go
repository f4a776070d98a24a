package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"takd/store/backup"
	"takd/store/blob"
	"takd/store/meta"
)

// source is a data directory with files of every kind.
func source(t *testing.T) backup.Source {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	db, err := meta.Open(ctx, filepath.Join(dir, "meta.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := blob.Open(ctx, db, filepath.Join(dir, "blob"), func() blob.Options { return blob.Options{} }, nil); err != nil {
		t.Fatal(err)
	}
	src := backup.Source{Data: dir, DB: db, ServerID: "id", Version: "test"}
	for name, text := range map[string]string{
		"conf/takd.yaml": "server:\n", "conf/.takd-1": "half", "pki/root.key": "key", "pki/ca.pem": "cert", "log/takd.log": "log", "history/spool/1": "events",
		"profiles/connection/Blue/x.pref": "<preferences/>", "profiles/connection/.inactive": "", "profiles/connection/.directories": "maps", "packages/big.apk": strings.Repeat("apk", 200_000), "backups/old.tar.zst": "old", "run/takd.lock": "1",
	} {
		put(t, dir, name, text)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "profiles", "link")); err != nil {
		t.Fatal(err)
	}
	upload(t, src, "photo")
	return src
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func upload(t *testing.T, src backup.Source, text string) (file string) {
	t.Helper()
	hash := sum([]byte(text))
	if _, err := src.DB.ExecContext(t.Context(), `INSERT INTO files (id, hash, uid, name, mime, size, submitted_at, submitter, creator_uid, keywords, groups, tool, remarks, expires)
		SELECT COALESCE(MAX(id), 1000000) + 1, ?, 'u', 'n', 'm', ?, 0, 's', 'c', '[]', '[]', '', '', -1 FROM files`, hash, len(text)); err != nil {
		t.Fatal(err)
	}
	file = "blob/" + hash[:2] + "/" + hash
	put(t, src.Data, file, text)
	return file
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func create(t *testing.T, src backup.Source, to ...age.Recipient) (*backup.Manifest, []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "b")
	m, size, err := backup.Create(t.Context(), src, file, to...)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	info, err2 := os.Stat(file)
	if err := errors.Join(err, err2); err != nil || info.Mode() != 0o600 || size != int64(len(data)) {
		t.Fatalf("file: %v, mode %v, %d bytes, want %d", err, info.Mode(), len(data), size)
	}
	if _, _, err := backup.Create(t.Context(), src, file); !errors.Is(err, backup.ErrExists) {
		t.Errorf("Create over a backup: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(src.Data, "blob", "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in blob/tmp: %v, %v", left, err)
	}
	return m, data
}

// tree is what a directory holds.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == "meta.db" {
			return err
		}
		text, err := fs.ReadFile(root, name)
		all[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	src := source(t)
	photo := upload(t, src, "photo")
	gone := upload(t, src, "gone")
	if err := os.Remove(filepath.Join(src.Data, gone)); err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	_, plain := create(t, src)
	m, sealed := create(t, src, id.Recipient())
	if want := []string{gone, "profiles/link"}; !cmp.Equal(m.Missing, want) {
		t.Errorf("Missing = %q, want %q", m.Missing, want)
	}
	for _, data := range [][]byte{plain, sealed} {
		if _, err := backup.Verify(t.Context(), bytes.NewReader(data), id); err != nil {
			t.Errorf("Verify: %v", err)
		}
		dir := t.TempDir()
		if _, err := backup.Restore(t.Context(), bytes.NewReader(data), dir, id); err != nil {
			t.Fatalf("Restore: %v", err)
		}
		want := map[string]string{}
		for _, name := range []string{"conf/takd.yaml", "pki/root.key", "pki/ca.pem", "profiles/connection/Blue/x.pref", "profiles/connection/.inactive", "profiles/connection/.directories", "packages/big.apk", photo} {
			text, err := os.ReadFile(filepath.Join(src.Data, name))
			if err != nil {
				t.Fatal(err)
			}
			want[name] = string(text)
		}
		if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
			t.Errorf("restored (-want +got):\n%s", diff)
		}
		db, err := meta.Open(t.Context(), filepath.Join(dir, "meta.db"), nil)
		if err != nil {
			t.Fatal(err)
		}
		var rows int
		if err := db.NewRaw("SELECT COUNT(*) FROM files").Scan(t.Context(), &rows); err != nil || rows != 2 {
			t.Errorf("%d rows, %v; want the 2 of the photo", rows, err)
		}
		_ = db.Close()
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][]age.Identity{"no key": nil, "another key": {other}} {
		if _, err := backup.Verify(t.Context(), bytes.NewReader(sealed), keys...); !errors.Is(err, backup.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file that is damaged on disk is not passed on as a good one.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	src := source(t)
	put(t, src.Data, upload(t, src, "12345"), "12x45")
	file := filepath.Join(t.TempDir(), "b")
	if _, _, err := backup.Create(t.Context(), src, file); err == nil || !strings.Contains(err.Error(), "not what was uploaded") {
		t.Errorf("Create: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// However a backup is cut off or changed, it is refused.
func TestDamagedBackup(t *testing.T) {
	t.Parallel()
	_, data := create(t, source(t))
	for n := 0; n < len(data); n += 1 + len(data)/150 {
		if _, err := backup.Verify(t.Context(), bytes.NewReader(data[:n])); !errors.Is(err, backup.ErrInvalid) {
			t.Fatalf("cut off at %d of %d: %v", n, len(data), err)
		}
		bad := bytes.Clone(data)
		bad[n] ^= 0x40
		if _, err := backup.Verify(t.Context(), bytes.NewReader(bad)); err == nil {
			// A bit of a header that says nothing about the content.
			dir := t.TempDir()
			if _, err := backup.Restore(t.Context(), bytes.NewReader(bad), dir); err != nil {
				t.Fatalf("changed at %d: Verify likes it, Restore does not: %v", n, err)
			}
		}
	}
}

type member struct {
	tar.Header

	data string
}

// pack makes a backup by hand.
func pack(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, m := range members {
		if m.Size == 0 {
			m.Size = int64(len(m.data))
		}
		if m.Typeflag != 0 && m.Typeflag != tar.TypeReg {
			m.Size = 0
		}
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.data); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close() // fails where a member is shorter than it says
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, data string) member {
	return member{Header: tar.Header{Name: name, Mode: 0o777}, data: data}
}

// manifest says that the members are there.
func manifest(members ...member) member {
	m := backup.Manifest{Format: backup.Format, Created: time.Now()}
	for _, f := range members {
		m.Files = append(m.Files, backup.File{Name: f.Name, Size: max(f.Size, int64(len(f.data))), Mode: 0o777, SHA256: sum([]byte(f.data))})
	}
	text, _ := json.Marshal(m)
	return file("manifest.json", string(text))
}

func TestHostileBackups(t *testing.T) {
	t.Parallel()
	db := file("meta.db", "db")
	tests := map[string][]member{
		"no manifest":     {db},
		"nothing":         nil,
		"no json":         {file("manifest.json", "{"), db},
		"other format":    {file("manifest.json", `{"format":2,"files":[]}`)},
		"no database":     {manifest()},
		"up":              {manifest(db, file("pki/../../x", "x")), db, file("pki/../../x", "x")},
		"up at once":      {manifest(db, file("../x", "x")), db, file("../x", "x")},
		"absolute":        {manifest(db, file("/tmp/x", "x")), db, file("/tmp/x", "x")},
		"backslash":       {manifest(db, file(`pki\..\x`, "x")), db, file(`pki\..\x`, "x")},
		"not ours":        {manifest(db, file("run/x", "x")), db, file("run/x", "x")},
		"at the top":      {manifest(db, file("x", "x")), db, file("x", "x")},
		"twice":           {manifest(db, db), db, db},
		"not announced":   {manifest(db), db, file("pki/x", "x")},
		"another order":   {manifest(db, file("pki/x", "x")), file("pki/x", "x"), db},
		"missing":         {manifest(db, file("pki/x", "x")), db},
		"another content": {manifest(db, file("pki/x", "x")), db, file("pki/x", "y")},
		"longer":          {manifest(db, file("pki/x", "x")), db, file("pki/x", "xxxxxxxx")},
		"folder and file": {manifest(db, file("pki/x", "x"), file("pki/x/y", "x")), db, file("pki/x", "x"), file("pki/x/y", "x")},
		"link": {
			manifest(db, file("pki/x", ""), file("pki/x/passwd", "x")), db,
			{Header: tar.Header{Name: "pki/x", Typeflag: tar.TypeSymlink, Linkname: "/etc"}},
			file("pki/x/passwd", "x"),
		},
		"hard link": {manifest(db, file("pki/x", "")), db, {Header: tar.Header{Name: "pki/x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}}},
		"device":    {manifest(db, file("pki/x", "")), db, {Header: tar.Header{Name: "pki/x", Typeflag: tar.TypeChar}}},
		"too large for the disk": {
			manifest(db, member{Header: tar.Header{Name: "pki/x", Size: 1 << 49}, data: "x"}), db, file("pki/x", "x"),
		},
	}
	for name, members := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outer := t.TempDir()
			dir := filepath.Join(outer, "a", "b")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			data := pack(t, members...)
			if _, err := backup.Restore(t.Context(), bytes.NewReader(data), dir); err == nil {
				t.Errorf("restored: %v", tree(t, dir))
			}
			if _, err := backup.Verify(t.Context(), bytes.NewReader(data)); err == nil && name != "folder and file" {
				t.Error("verified")
			}
			for out := range tree(t, outer) {
				if !strings.HasPrefix(out, "a/b/") {
					t.Errorf("written outside: %s", out)
				}
			}
		})
	}
}

// A small file that unpacks to very much is read no further than the manifest says.
func TestBomb(t *testing.T) {
	t.Parallel()
	db := file("meta.db", "db")
	bomb := file("pki/x", strings.Repeat("\x00", 64<<20))
	small := file("pki/x", "x")
	dir := t.TempDir()
	if _, err := backup.Restore(t.Context(), bytes.NewReader(pack(t, manifest(db, small), db, bomb)), dir); !errors.Is(err, backup.ErrInvalid) {
		t.Errorf("Restore: %v", err)
	}
	if got := tree(t, dir); len(got) > 0 {
		t.Errorf("written: %d files", len(got))
	}
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "manifest.json", Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20))
	_ = z.Close()
	if _, err := backup.Verify(t.Context(), &b); !errors.Is(err, backup.ErrInvalid) {
		t.Errorf("Verify of a large manifest: %v", err)
	}
}

// Uploads and deletions go on while a backup is made; it is consistent.
func TestWhileFilesComeAndGo(t *testing.T) {
	t.Parallel()
	src := source(t)
	store, err := blob.Open(t.Context(), src.DB, filepath.Join(src.Data, "blob"), func() blob.Options { return blob.Options{} }, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			f, err := churn(ctx, store, i)
			if ctx.Err() != nil {
				done <- nil
				return
			}
			if err == nil && i%2 == 1 {
				err = remove(ctx, store, f)
			}
			if err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
	}()
	for range 5 {
		data := createBusy(t, src)
		dir := t.TempDir()
		if _, err := backup.Restore(t.Context(), bytes.NewReader(data), dir); err != nil {
			t.Fatalf("Restore: %v", err)
		}
		consistent(t, dir)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func churn(ctx context.Context, s *blob.Store, i int) (blob.File, error) {
	u, err := s.Begin("ann", -1)
	if err != nil {
		return blob.File{}, err
	}
	defer func() { _ = u.Close() }()
	if _, err := fmt.Fprintf(u, "file %d", i); err != nil {
		return blob.File{}, err
	}
	return u.Keep(ctx, blob.File{UID: fmt.Sprint(i), Name: "f", MIME: "text/plain", Expires: blob.Never})
}

func remove(ctx context.Context, s *blob.Store, f blob.File) error { return s.Delete(ctx, f.ID) }

func createBusy(t *testing.T, src backup.Source) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "b")
	_, _, err := backup.Create(t.Context(), src, name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// consistent checks that rows and files of a restored directory are the same.
func consistent(t *testing.T, dir string) {
	t.Helper()
	db, err := meta.Open(t.Context(), filepath.Join(dir, "meta.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var hashes []string
	if err := db.NewRaw("SELECT DISTINCT hash FROM files").Scan(t.Context(), &hashes); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, h := range hashes {
		want["blob/"+h[:2]+"/"+h] = true
	}
	got := map[string]bool{}
	for name := range tree(t, dir) {
		if strings.HasPrefix(name, "blob/") {
			got[name] = true
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-rows +files):\n%s", diff)
	}
}

func TestKeeper(t *testing.T) {
	t.Parallel()
	src := source(t)
	told := make(chan error, 10)
	k := backup.NewKeeper(src, func() backup.Options { return backup.Options{Keep: 2} }, func(_, _ string, err error) { told <- err })
	put(t, src.Data, "backups/mine.tar.zst", "the operator's")
	var names []string
	for range 3 {
		name, err := k.Begin("root")
		if err != nil {
			t.Fatal(err)
		}
		if err := <-told; err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
		for k.State().Running {
			time.Sleep(time.Millisecond)
		}
		for { // until the old ones are deleted
			if all, err := k.List(); err != nil || len(all) <= 2 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Millisecond) // names have milliseconds
	}
	k.Close()
	all, err := k.List()
	if err != nil || len(all) != 2 || all[0].Name != names[2] || all[1].Name != names[1] {
		t.Errorf("List = %+v, %v; want the last two of %q", all, err, names)
	}
	for _, name := range []string{"mine.tar.zst", "old.tar.zst", "../meta.db", "", names[0]} {
		if f, err := k.Open(name); err == nil {
			_ = f.Close()
			t.Errorf("Open(%q) opens", name)
		}
	}
	if _, err := os.Stat(filepath.Join(src.Data, "backups", "mine.tar.zst")); err != nil {
		t.Errorf("the operator's file: %v", err)
	}
	var b bytes.Buffer
	k.WriteMetrics(&b)
	if strings.Contains(b.String(), "takd_backup_last_success_timestamp_seconds 0\n") {
		t.Error(b.String())
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []backup.Options{{}, {Schedule: "0 3 * * *"}, {Schedule: "@daily"}, {Schedule: "daily"}, {Schedule: "6h"}, {Directory: "/mnt/backups"}} {
		if err := o.Validate(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []backup.Options{{Schedule: "often"}, {Schedule: "1s"}, {Schedule: "@every 1s"}, {Keep: -1}, {Directory: "pki"}, {Directory: "."}, {Recipients: []string{"age1x"}}} {
		if err := o.Validate(); !errors.Is(err, backup.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
