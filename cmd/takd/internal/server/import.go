package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"takd/cmd/takd/internal/control"
	"takd/cmd/takd/internal/moving"
	"takd/store/auth"
	"takd/store/blob"
)

// move brings over what another server kept. Users and authorities come first:
// when a later step fails, doing it again does no harm.
func (l *local) move(ctx context.Context, q control.Move) (moved control.Moved, err error) {
	var p *moving.Plan
	switch q.From {
	case "official":
		p, err = moving.Official(q.Dir)
	case "ots":
		p, err = moving.OTS(ctx, q.Dir)
	default:
		return moved, control.Errorf(control.ErrBad, "from %q: want official or ots", q.From)
	}
	if errors.Is(err, moving.ErrNothing) {
		return moved, control.As(control.ErrNotFound, err)
	} else if err != nil {
		return moved, err
	}
	if err := l.known(ctx, p); err != nil {
		return moved, err
	}
	if !q.DryRun {
		if moved.RestartNeeded, err = l.carryOut(ctx, p); err != nil {
			return moved, kinded(err)
		}
		l.audit(ctx, "import "+q.From, fmt.Sprintf("%s users=%d authorities=%d files=%d left=%d", q.Dir, len(p.Users), len(p.CAs), len(p.Packages), len(p.Left)))
	}
	moved.DryRun, moved.Comes, moved.Left = q.DryRun, p.Comes(), append([]moving.Item{}, p.Left...)
	moved.RestartNeeded = append([]string{}, moved.RestartNeeded...)
	return moved, nil
}

// known leaves out users that are here already: they stay as they are.
func (l *local) known(ctx context.Context, p *moving.Plan) error {
	users, err := l.store.Auth.Users(ctx)
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for i := range users {
		here[users[i].Name] = true
	}
	fresh := p.Users[:0]
	for _, u := range p.Users {
		if here[u.Name] {
			p.Left = append(p.Left, moving.Item{What: "user " + u.Name, Detail: "there is one of that name here, who stays as he is"})
			continue
		}
		fresh = append(fresh, u)
	}
	p.Users = fresh
	return nil
}

func (l *local) carryOut(ctx context.Context, p *moving.Plan) (restart []string, err error) {
	if err := l.moveUsers(ctx, p); err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	for _, c := range p.CAs {
		if err := l.store.PKI.ImportCA(ctx, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})); err != nil {
			p.Left = append(p.Left, moving.Item{What: "authority " + c.Subject.String(), Detail: err.Error()})
		}
	}
	for _, r := range p.Revoked {
		if _, err := l.store.PKI.ImportRevoked(ctx, r); err != nil {
			return nil, err
		}
	}
	if p.Server != nil {
		if err := l.store.PKI.ImportServer(ctx, p.Server, p.CAs); err != nil {
			return nil, err
		}
	}
	if err := l.moveFiles(ctx, p); err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	for name, from := range p.Copies {
		if err := copyNew(from, filepath.Join(l.data, "conf", name)); err != nil {
			p.Left = append(p.Left, moving.Item{What: "file conf/" + name, Detail: err.Error()})
		}
	}
	if len(p.Settings) == 0 {
		return nil, nil
	}
	cfg, err := l.conf()
	if err != nil {
		return nil, err
	}
	return cfg.Set(p.Settings)
}

// moveUsers adds all users, or none.
func (l *local) moveUsers(ctx context.Context, p *moving.Plan) error {
	if len(p.Users) == 0 {
		return nil
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"name", "role", "password", "hash", "in", "out"}) // a Buffer does not fail
	for _, u := range p.Users {
		_ = w.Write([]string{u.Name, u.Role, u.Password, u.Hash, strings.Join(u.In, ";"), strings.Join(u.Out, ";")})
	}
	w.Flush()
	if _, err := l.store.Auth.ImportCSV(ctx, &b); err != nil {
		return err
	}
	for _, u := range p.Users {
		if u.Disabled {
			if err := l.store.Auth.SetDisabled(ctx, u.Name, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// moveFiles takes the files; one that is damaged or too large stays behind.
func (l *local) moveFiles(ctx context.Context, p *moving.Plan) error {
	if len(p.Packages) == 0 {
		return nil
	}
	blobs := l.blobs
	if blobs == nil {
		cfg, err := l.conf()
		if err != nil {
			return err
		}
		if blobs, err = blob.Open(ctx, l.store.Meta, filepath.Join(l.data, "blob"), func() blob.Options { return cfg.Current().Files }, l.log); err != nil {
			return err
		}
	}
	groups := append(p.Groups(), auth.Anonymous)
	kept := p.Packages[:0]
	for _, f := range p.Packages {
		if err := moveFile(ctx, blobs, f, groups); err != nil {
			p.Left = append(p.Left, moving.Item{What: fmt.Sprintf("file %.100q", f.Name), Detail: err.Error()})
			continue
		}
		kept = append(kept, f)
	}
	p.Packages = kept
	return nil
}

func moveFile(ctx context.Context, blobs *blob.Store, f moving.Package, groups []string) error {
	in, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	u, err := blobs.Begin(cmp.Or(f.User, "import"), info.Size())
	if err != nil {
		return err
	}
	defer func() { _ = u.Close() }()
	if _, err := io.Copy(u, in); err != nil {
		return err
	}
	if u.Hash() != f.Hash {
		return fmt.Errorf("%s is not the file that its hash says", f.Path)
	}
	row := blob.File{
		Name: f.Name, MIME: cmp.Or(f.MIME, "application/octet-stream"), CreatorUID: f.Creator, Keywords: f.Keywords, Tool: cmp.Or(f.Tool, "public"),
		Groups: groups, Expires: blob.Never,
	}
	if !f.Submitted.IsZero() {
		row.Submitted = f.Submitted.UnixMilli()
	}
	_, err = u.Keep(ctx, row)
	return err
}

// copyNew copies a file, unless there is one.
func copyNew(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
