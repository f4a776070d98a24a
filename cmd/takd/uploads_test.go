package main

import (
	"path/filepath"
	"testing"
)

// A browser sends data packages: several at once, with progress; what is refused says
// why, and what is given up is not there.
func TestUploadsInChromium(t *testing.T) {
	t.Parallel()
	builtPage(t)
	w := start(t)
	secret := w.secretFile("a good password")
	site := map[string]string{"enroll": w.site("enroll"), "password": "a good password"}
	dir := t.TempDir()
	for key, user := range map[string]string{"zip": "alice", "other": "bob", "third": "carol"} {
		w.takd("user", "add", user)
		site[key] = filepath.Join(dir, user+".zip")
		w.takd("package", user, "--host", "localhost", "--out", site[key])
	}
	w.takd("user", "add", "root", "--role", "admin", "--password-file", secret)
	w.takd("user", "add", "ann", "--password-file", secret)
	chromium(t, "uploads.mjs", site)
}
