package main

import (
	"testing"
	"time"
)

// Each page is whole on a desktop and on a phone, in each theme: nothing that one can
// use is cut off or lies under something else.
func TestEveryPageAtEverySize(t *testing.T) {
	t.Parallel()
	builtPage(t)
	w := record(t)
	w.walked(time.Now().UTC().Truncate(time.Second))
	w.aged(0, 3, 9)
	w.takd("user", "add", "root", "--role", "admin", "--group", "Blue", "--password-file", w.secretFile("a good password"))
	w.takd("user", "add", "alice", "--group", "Blue")
	w.takd("user", "add", "a-user-with-a-rather-long-name-of-the-third-company", "--group", "Blue", "--group", "A group with a long name")
	alice := w.connect("alice", w.certificate("alice"))
	w.every(alice.position)
	chromium(t, "sizes.mjs", map[string]string{"enroll": w.site("enroll"), "password": "a good password"})
}
