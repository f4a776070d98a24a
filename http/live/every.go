package live

import (
	"context"

	"takd/http/httpd"
)

// An administrator may look at the tracks of every group, which is recorded. It ends
// with his page, and as soon as he is an administrator no more.

// seeing is what a page is told when it sees other groups than it was told before.
type seeing struct {
	Type   string   `json:"t"` // "groups"
	Groups []string `json:"groups"`
	All    bool     `json:"all"` // every one that there is
}

// groups are those that the line's user sees now.
func (l *line) groups(ctx context.Context) ([]string, error) {
	if l.every {
		if out, err := l.h.access.All(ctx, l.s.user, l.s.serial); err == nil {
			return out, nil
		}
		l.every = false
	}
	return l.h.access.Out(ctx, l.s.user, l.s.serial)
}

// everything switches to the tracks of every group, or back.
func (l *line) everything(on bool, what string) error {
	if on == l.every {
		return nil
	}
	if on {
		if err := seeAll(l.h.access, l.who, what); err != nil {
			return errPage
		}
	}
	l.every = on
	l.s.ask.Store(true)
	return l.allowed()
}

// seeAll records that who, an administrator, looks at every group.
func seeAll(access Access, who httpd.Principal, what string) error {
	if who.Role != httpd.Admin {
		return httpd.Forbidden("all: for administrators alone")
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	if _, err := access.All(ctx, who.User, who.Serial); err != nil {
		return httpd.Forbidden("all: for administrators alone")
	}
	return access.Record(ctx, who.User, "map all groups", what)
}
