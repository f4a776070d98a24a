package moving

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"takd/store/blob"
)

// otsConfig is what is read of config.yml.
type otsConfig struct {
	Database string `yaml:"SQLALCHEMY_DATABASE_URI"`
	Password string `yaml:"OTS_CA_PASSWORD"`
	Stream   int    `yaml:"OTS_SSL_STREAMING_PORT"`
	TCP      *bool  `yaml:"OTS_ENABLE_TCP_STREAMING_PORT"`
	TCPPort  int    `yaml:"OTS_TCP_STREAMING_PORT"`
}

// OTS reads the data folder of OpenTAKServer (~/ots), or its SQLite file alone.
func OTS(ctx context.Context, from string) (*Plan, error) {
	p := &Plan{Settings: map[string]string{}, Copies: map[string]string{}}
	if strings.HasPrefix(from, "postgres") && strings.Contains(from, "://") {
		return nil, fmt.Errorf("%w: takd has no driver for PostgreSQL: give the data folder, from which the authority and the server certificate come, "+
			"and bring users as CSV: takd user import FILE", ErrNothing)
	}
	from = strings.TrimPrefix(from, "sqlite://")
	info, err := os.Stat(from)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNothing, err)
	}
	dir, database := from, filepath.Join(from, "ots.db")
	if !info.IsDir() {
		dir, database = filepath.Dir(from), from
	}
	var c otsConfig
	if text, err := readFile(filepath.Join(dir, "config.yml")); err == nil {
		if err := yaml.Unmarshal(text, &c); err != nil {
			p.leave("config.yml", "%v", err)
		}
	}
	if c.Database != "" && !strings.HasPrefix(c.Database, "sqlite") {
		p.leave("users, groups, files", "they are in PostgreSQL, for which takd has no driver: bring users as CSV with takd user import")
	} else if err := p.database(ctx, database, filepath.Join(dir, "uploads")); err != nil {
		p.leave("users, groups, files", "%v", err)
	}
	ca := filepath.Join(dir, "ca")
	p.authorities(ca, "ca.pem")
	p.server([]string{c.Password}, filepath.Join(ca, "certs", "opentakserver", "opentakserver.p12"))
	if len(p.Users) == 0 && len(p.CAs) == 0 {
		return nil, fmt.Errorf("%w in %s: neither users nor an authority: %s", ErrNothing, from, p.Left[0].Detail)
	}
	if c.Stream != 0 && c.Stream != 8089 {
		p.leave("stream port", "it was %d: set messaging.inputs", c.Stream)
	}
	if c.TCP != nil && *c.TCP {
		p.leave("unencrypted stream", "takd has none unless messaging.inputs names it")
	}
	p.leave("missions, markers, chat, video recordings, settings", "takd does not read them")
	return p, nil
}

// database reads ots.db, which nobody writes to meanwhile or changes here.
func (p *Plan) database(ctx context.Context, path, uploads string) (err error) {
	if _, err := os.Stat(path); err != nil {
		return err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: "mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(1)"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := p.otsUsers(ctx, db); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	if err := p.otsPackages(ctx, db, uploads); err != nil {
		p.leave("files", "%v", err)
	}
	return nil
}

// each calls f for each row of a query.
func each(ctx context.Context, db *sql.DB, query string, f func(scan func(...any) error) error) (err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Err(), rows.Close()) }()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) otsUsers(ctx context.Context, db *sql.DB) error {
	admins := map[int64]bool{}
	err := each(ctx, db, `SELECT ru.user_id FROM roles_users ru JOIN role r ON r.id = ru.role_id WHERE r.name = 'administrator'`, func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		admins[id] = true
		return err
	})
	if err != nil {
		return err
	}
	in, out := map[int64][]string{}, map[int64][]string{}
	err = each(ctx, db, `SELECT gu.user_id, g.name, gu.direction FROM groups_users gu JOIN groups g ON g.id = gu.group_id`, func(scan func(...any) error) error {
		var id int64
		var name, direction string
		err := scan(&id, &name, &direction)
		if direction == "IN" {
			in[id] = append(in[id], name)
		} else {
			out[id] = append(out[id], name)
		}
		return err
	})
	if err != nil {
		p.leave("groups", "%v", err) // older versions have none
	}
	passwords := 0
	err = each(ctx, db, `SELECT id, username, COALESCE(password, ''), COALESCE(active, 1) FROM user ORDER BY id`, func(scan func(...any) error) error {
		var id int64
		var name, password string
		var active bool
		if err := scan(&id, &name, &password, &active); err != nil {
			return err
		}
		one := User{Name: name, Role: roleUser, In: in[id], Out: out[id], Disabled: !active}
		if admins[id] {
			one.Role = roleAdmin
		}
		if password != "" {
			passwords++
		}
		p.addUser(one)
		return nil
	})
	if passwords > 0 {
		p.leave(fmt.Sprintf("%d passwords", passwords), "they are hashed with a secret of OpenTAKServer's on top: users keep their certificates; for a password: takd user passwd NAME, or takd invite NAME")
	}
	return err
}

func (p *Plan) otsPackages(ctx context.Context, db *sql.DB, uploads string) error {
	const query = `SELECT d.filename, d.hash, COALESCE(d.creator_uid, ''), COALESCE(CAST(d.submission_time AS TEXT), ''), COALESCE(u.username, ''),
		COALESCE(d.keywords, ''), COALESCE(d.mime_type, ''), COALESCE(d.tool, '') FROM data_packages d LEFT JOIN user u ON u.id = d.submission_user ORDER BY d.id`
	return each(ctx, db, query, func(scan func(...any) error) error {
		var f Package
		var when, words string
		if err := scan(&f.Name, &f.Hash, &f.Creator, &when, &f.User, &words, &f.MIME, &f.Tool); err != nil {
			return err
		}
		what := fmt.Sprintf("file %.100q", f.Name)
		f.Hash = strings.ToLower(f.Hash)
		if !blob.ValidHash(f.Hash) { // it becomes part of a path
			p.leave(what, "its hash is none")
			return nil
		}
		if f.Path = stored(uploads, f.Hash); f.Path == "" {
			p.leave(what, "it is not in %s", uploads)
			return nil
		}
		for _, layout := range []string{"2006-01-02 15:04:05.999999", time.RFC3339Nano, "2006-01-02T15:04:05.999999"} {
			if t, err := time.Parse(layout, when); err == nil {
				f.Submitted = t
				break
			}
		}
		f.Keywords = strings.FieldsFunc(words, func(c rune) bool { return c == ',' || c == ' ' })
		p.Packages = append(p.Packages, f)
		return nil
	})
}

// stored is where a file lies: by its hash, with the ending that it had.
func stored(uploads, hash string) string {
	names, _ := filepath.Glob(filepath.Join(uploads, hash+"*"))
	for _, name := range names {
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}
