package video_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"takd/store/meta"
	"takd/store/video"
)

func TestConnections(t *testing.T) {
	db, err := meta.Open(t.Context(), filepath.Join(t.TempDir(), "meta.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := video.New(db)
	ann, bob, red := video.Viewer{User: "ann", Groups: []string{"Blue"}}, video.Viewer{User: "bob", Groups: []string{"Blue"}}, video.Viewer{User: "red", Groups: []string{"Red"}}
	boss := video.Viewer{User: "boss", Admin: true}
	if err := s.Put(t.Context(), ann, video.Connection{UID: "V", Groups: []string{"Blue"}, Body: "1"}); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		who  video.Viewer
		n    int
		mine bool
	}{"ann": {ann, 1, true}, "bob": {bob, 1, false}, "red": {red, 0, false}, "boss": {boss, 1, false}} {
		got, err := s.List(t.Context(), tc.who, "V")
		if err != nil || len(got) != tc.n || tc.n > 0 && got[0].Mine != tc.mine {
			t.Errorf("%s: List = %+v, %v; want %d, mine %v", name, got, err, tc.n, tc.mine)
		}
	}
	for name, tc := range map[string]struct {
		who video.Viewer
		c   video.Connection
		err error
	}{
		"another's":   {bob, video.Connection{UID: "V", Body: "2"}, video.ErrExists},
		"unseen":      {red, video.Connection{UID: "V", Body: "2"}, video.ErrExists},
		"no uid":      {ann, video.Connection{Body: "2"}, video.ErrInvalid},
		"long uid":    {ann, video.Connection{UID: strings.Repeat("u", 300)}, video.ErrInvalid},
		"much":        {ann, video.Connection{UID: "W", Body: strings.Repeat("b", 70_000)}, video.ErrInvalid},
		"by an admin": {boss, video.Connection{UID: "V", Body: "3"}, nil},
	} {
		if err := s.Put(t.Context(), tc.who, tc.c); !errors.Is(err, tc.err) {
			t.Errorf("%s: Put = %v, want %v", name, err, tc.err)
		}
	}
	got, err := s.List(t.Context(), bob, "")
	if err != nil || len(got) != 1 || got[0].Body != "3" || got[0].Owner != "ann" {
		t.Errorf("after the administrator: %+v, %v; want it still ann's, in her groups", got, err)
	}
	// The name of a removed user may be given to somebody else, and what was his not.
	if _, err := db.Exec("INSERT INTO users (name, role, hash, disabled, created_at, updated_at) VALUES ('ann', 'user', '', FALSE, 4000000000000, 0)"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		who video.Viewer
		uid string
		err error
	}{{red, "V", video.ErrNotFound}, {bob, "V", video.ErrExists}, {ann, "V", video.ErrExists}, {boss, "", video.ErrNotFound}, {boss, "V", nil}, {boss, "V", video.ErrNotFound}} {
		if err := s.Delete(t.Context(), tc.who, tc.uid); !errors.Is(err, tc.err) {
			t.Errorf("%s: Delete(%q) = %v, want %v", tc.who.User, tc.uid, err, tc.err)
		}
	}
}
