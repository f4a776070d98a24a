package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func certOf(b *browser) tls.Certificate {
	return b.http.Transport.(*http.Transport).TLSClientConfig.Certificates[0]
}

// A running server is backed up while a client is connected and uploads go on.
// Restored elsewhere, the client connects with its old certificate and finds its package.
func TestBackupOfARunningServer(t *testing.T) {
	t.Parallel()
	w := start(t)
	anna := w.browser(w.certificate("anna"))
	client := w.connect("anna", certOf(anna))
	data := []byte(strings.Repeat("photo", 50_000))
	if status, text := anna.upload("photo", data); status != 200 {
		t.Fatalf("upload: %d %s", status, text)
	}
	quit := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			default:
				if status, text := anna.upload(fmt.Sprint("more", i), fmt.Appendf(nil, "more %d", i)); status != 200 {
					t.Errorf("upload: %d %s", status, text)
					return
				}
			}
		}
	})
	file := filepath.Join(t.TempDir(), "takd.tar.zst")
	said := w.takd("backup", file)
	close(quit)
	busy.Wait()
	if !strings.Contains(said, "Not in it: the history of events") || !strings.Contains(said, "not encrypted") {
		t.Errorf("takd backup says %q", said)
	}
	if out, code := w.try("backup", file); code != 1 || !strings.Contains(out, "already exists") {
		t.Errorf("over a backup: %d %s", code, out)
	}
	client.position() // still there
	if got := w.takd("backup", "verify", file); !strings.Contains(got, "is whole") {
		t.Errorf("verify: %s", got)
	}
	if out, code := w.try("restore", file); code != 1 || !strings.Contains(out, "is not empty") {
		t.Errorf("restore over a server: %d %s", code, out)
	}
	if got := w.takd("audit"); !strings.Contains(got, file) {
		t.Errorf("audit: %s", got)
	}

	other := &world{T: t, data: filepath.Join(t.TempDir(), "r"), log: &syncBuffer{}}
	other.takd("restore", file)
	other.run()
	t.Cleanup(other.stop)
	back := other.connect("anna", certOf(anna))
	back.position()
	sum := sha256.Sum256(data)
	got := other.browser(certOf(anna)).want(200, "GET", "https", "/Marti/sync/content?hash="+hex.EncodeToString(sum[:]), "", "")
	if got != string(data) {
		t.Errorf("%d bytes of the package, want %d", len(got), len(data))
	}
	if got := other.takd("audit"); !strings.Contains(got, "restore") || !strings.Contains(got, "takd.tar.zst created=") {
		t.Errorf("audit: %s", got)
	}
	if strings.Contains(other.log.String(), "it is forgotten") {
		t.Errorf("rows without files: %s", other.log)
	}
}

// A directory stays empty when a backup cannot be restored.
func TestRestoreLeavesNothing(t *testing.T) {
	t.Parallel()
	w := &world{T: t, data: filepath.Join(t.TempDir(), "d"), log: &syncBuffer{}}
	w.fill()
	dir := t.TempDir()
	pass, wrong := filepath.Join(dir, "pass"), filepath.Join(dir, "wrong")
	for name, text := range map[string]string{pass: "correct horse\n", wrong: "battery staple\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "b.age")
	if said := w.takd("backup", file, "--passphrase-file", pass); strings.Contains(said, "not encrypted") {
		t.Errorf("takd backup says %q", said)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.age")
	if err := os.WriteFile(cut, data[:len(data)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	r := &world{T: t, data: filepath.Join(dir, "r"), log: &syncBuffer{}}
	for _, args := range [][]string{
		{"restore", file},
		{"restore", file, "--passphrase-file", wrong},
		{"restore", cut, "--passphrase-file", pass},
		{"restore", file, "--identity", wrong},
		{"restore", pass},
	} {
		if out, code := r.try(args...); code != 1 {
			t.Errorf("takd %q: exit code %d: %s", args, code, out)
		}
		entries, err := os.ReadDir(r.data)
		if err != nil || len(entries) != 1 || entries[0].Name() != "run" {
			t.Errorf("takd %q leaves %v, %v", args, entries, err)
		}
	}
	r.takd("restore", file, "--passphrase-file", pass)
	r.takd("user", "list")
}

type backupList struct {
	Running   bool       `json:"running"`
	Last      *time.Time `json:"last"`
	LastError string     `json:"last_error"`
	Next      *time.Time `json:"next"`
	Backups   []struct {
		Name string `json:"name"`
		Size int64  `json:"size"`
	} `json:"backups"`
}

// Administrators, and nobody else, begin, list and download backups; one is made
// by itself when it is due.
func TestBackupsByAPI(t *testing.T) {
	t.Parallel()
	w := start(t)
	root, user := w.root(), w.browser(w.certificate("ann"))
	for _, path := range []string{"/api/admin/backups", "/api/admin/backups/x"} {
		user.want(403, "GET", "https", path, "", "")
	}
	user.want(403, "POST", "https", "/api/admin/backups", "", "")
	list := func() (l backupList) {
		t.Helper()
		if err := json.Unmarshal([]byte(root.want(200, "GET", "https", "/api/admin/backups", "", "")), &l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	if l := list(); l.Last != nil || l.Next != nil || len(l.Backups) != 0 {
		t.Errorf("before the first: %+v", l)
	}
	root.want(202, "POST", "https", "/api/admin/backups", "", "")
	w.until("a backup", func() bool { return len(list().Backups) == 1 && list().Last != nil })
	l := list()
	got := root.want(200, "GET", "https", "/api/admin/backups/"+l.Backups[0].Name, "", "")
	file := filepath.Join(t.TempDir(), "b")
	if err := os.WriteFile(file, []byte(got), 0o600); err != nil || int64(len(got)) != l.Backups[0].Size {
		t.Fatalf("%d bytes, want %d: %v", len(got), l.Backups[0].Size, err)
	}
	w.takd("backup", "verify", file)
	for _, name := range []string{"x", "..%2fmeta.db", "%2e%2e%2fmeta.db", "meta.db", "takd-20260101T000000.000.tar.zst"} {
		if status, _ := root.call("GET", "https", "/api/admin/backups/"+name, "", ""); status != 404 && status != 400 {
			t.Errorf("download of %s: %d", name, status)
		}
	}
	if got := w.takd("audit"); !strings.Contains(got, "backup download") {
		t.Errorf("audit: %s", got)
	}
	w.takd("config", "set", "backup.schedule=daily", "backup.keep=3")
	if out, code := w.try("config", "set", "backup.schedule=sometimes"); code != 1 {
		t.Errorf("config set: %d %s", code, out)
	}
	// Written long ago: the one that is due is made when the server starts.
	w.stop()
	old := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(filepath.Join(w.data, "backups", l.Backups[0].Name), old, old); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.until("one by itself", func() bool { l := list(); return len(l.Backups) == 2 && l.Next != nil && l.Next.After(time.Now()) })
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+w.srv.Status().Listeners["ops"]+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.until("a metric of it", func() bool {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(text), fmt.Sprintf("takd_backup_last_success_timestamp_seconds %d", time.Now().Unix())[:46])
	})
}
