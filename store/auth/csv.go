package auth

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// Bounds of a CSV file.
const (
	maxCSVRows   = 100_000
	maxCSVErrors = 20
)

// ImportCSV adds the users of a CSV file, all or none, and returns how many.
// The first line names the columns: name, and any of password, hash (argon2id
// or bcrypt), role, groups (both directions), in, out; several groups in one
// field are separated by semicolons. Errors name the lines; there are at most
// twenty of them.
func (s *Service) ImportCSV(ctx context.Context, r io.Reader) (n int, err error) {
	users, lines, wrong, err := parseCSV(r)
	if err == nil {
		err = joined(wrong)
	}
	if err != nil {
		return 0, err
	}
	if err := s.hashAll(ctx, users, lines); err != nil {
		return 0, err
	}
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var errs []error
		for i, u := range users {
			err := s.insert(ctx, tx, u)
			switch {
			case err == nil:
			case errors.Is(err, ErrExists) && len(errs) < maxCSVErrors:
				errs = append(errs, fmt.Errorf("line %d: %w", lines[i], err))
			case !errors.Is(err, ErrExists):
				return fmt.Errorf("line %d: %w", lines[i], err)
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return 0, fmt.Errorf("import users: %w", err)
	}
	names := make([]string, 0, len(users))
	for _, u := range users {
		names = append(names, u.Name)
	}
	s.changed(names...)
	return len(users), nil
}

// hashAll hashes the passwords of users, on every core.
func (s *Service) hashAll(ctx context.Context, users []NewUser, lines []int) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, runtime.GOMAXPROCS(0))
	for w := range errs {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(users) && errs[w] == nil; i = int(next.Add(1)) - 1 {
				if users[i].hash != "" {
					continue
				}
				var err error
				if users[i].hash, err = s.hash(ctx, users[i].Password); err != nil {
					errs[w] = fmt.Errorf("line %d: %w", lines[i], err)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// CSVError is what is wrong with one line.
type CSVError struct {
	Line  int    // the header is 1
	Field string // name of the column; "" for the line as a whole
	Err   error
}

func (e *CSVError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *CSVError) Unwrap() error { return e.Err }

func joined(list []*CSVError) error {
	errs := make([]error, 0, len(list))
	for _, e := range list {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// CSVUser is a user whom an import would make.
type CSVUser struct {
	Line        int      `json:"line"`
	Name        string   `json:"name"`
	Role        string   `json:"role"`
	In          []string `json:"in"`
	Out         []string `json:"out"`
	HasPassword bool     `json:"has_password"`
}

// PreviewCSV tells what ImportCSV would make of a file, and what is wrong with
// it, and changes nothing. As ImportCSV it stops after twenty errors.
func (s *Service) PreviewCSV(ctx context.Context, r io.Reader) ([]CSVUser, []*CSVError, error) {
	users, lines, wrong, err := parseCSV(r)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	if err := s.db.NewSelect().Model((*meta.User)(nil)).Column("name").Scan(ctx, &names); err != nil {
		return nil, nil, fmt.Errorf("list users: %w", err)
	}
	taken := make(map[string]bool, len(names))
	for _, name := range names {
		taken[name] = true
	}
	all := make([]CSVUser, 0, len(users))
	for i := range users {
		u := &users[i]
		if taken[u.Name] && len(wrong) < maxCSVErrors {
			wrong = append(wrong, &CSVError{lines[i], "name", fmt.Errorf("user %q %w", u.Name, ErrExists)})
		}
		all = append(all, CSVUser{lines[i], u.Name, u.Role, append([]string{}, u.In...), append([]string{}, u.Out...), u.Password != "" || u.hash != ""})
	}
	slices.SortStableFunc(wrong, func(a, b *CSVError) int { return a.Line - b.Line })
	return all, wrong, nil
}

// ExportCSV writes users as ImportCSV reads them, without their passwords, and
// without who is disabled.
func ExportCSV(w io.Writer, users []User) error {
	c := csv.NewWriter(w)
	rows := make([][]string, 1, 1+len(users))
	rows[0] = []string{"name", "role", "in", "out"}
	anon := []string{Anonymous}
	for _, u := range users {
		in, out := strings.Join(u.In, ";"), strings.Join(u.Out, ";")
		if slices.Equal(u.In, anon) && slices.Equal(u.Out, anon) {
			in, out = "", "" // there because it is in no other
		}
		rows = append(rows, []string{u.Name, u.Role, in, out})
	}
	return c.WriteAll(rows)
}

// parseCSV reads and checks every line before anything is stored. err is for a
// file that makes no sense as a whole.
func parseCSV(r io.Reader) (users []NewUser, lines []int, wrong []*CSVError, err error) {
	c := csv.NewReader(r)
	header, err := c.Read()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: CSV header: %w", ErrInvalid, err)
	}
	columns, err := csvColumns(header)
	if err != nil {
		return nil, nil, nil, err
	}
	seen := make(map[string]int)
	for len(wrong) < maxCSVErrors {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line := 0
			var at *csv.ParseError
			if errors.As(err, &at) {
				line, err = at.Line, at.Err
			}
			wrong = append(wrong, &CSVError{line, "", fmt.Errorf("%w: %w", ErrInvalid, err)})
			break
		}
		line, _ := c.FieldPos(0)
		if len(users) >= maxCSVRows {
			return nil, nil, nil, fmt.Errorf("%w: line %d: want at most %d users", ErrInvalid, line, maxCSVRows)
		}
		u := csvUser(columns, record)
		bad := u.checkFields(line)
		if first, double := seen[u.Name]; double && len(bad) == 0 {
			bad = append(bad, &CSVError{line, "name", fmt.Errorf("%w: user %q is on line %d already", ErrInvalid, u.Name, first)})
		}
		if wrong = append(wrong, bad...); len(bad) > 0 {
			continue
		}
		seen[u.Name] = line
		users, lines = append(users, u), append(lines, line)
	}
	return users, lines, wrong, nil
}

// checkFields is check by column.
func (u *NewUser) checkFields(line int) (wrong []*CSVError) {
	if u.check() == nil {
		return nil // and the role has its default now
	}
	type field struct {
		name string
		err  error
	}
	fields := []field{{"name", meta.ValidName("user name", u.Name)}, {"role", checkRole(u.Role)}, {"in", checkGroups(u.In)}, {"out", checkGroups(u.Out)}}
	if u.Password != "" {
		fields = append(fields, field{"password", checkPassword(u.Password)})
	}
	if u.hash != "" {
		fields = append(fields, field{"hash", checkHash(u.hash)})
	}
	for _, f := range fields {
		if f.err != nil {
			wrong = append(wrong, &CSVError{line, f.name, f.err})
		}
	}
	return wrong
}

func csvColumns(header []string) ([]string, error) {
	columns := make([]string, len(header))
	named := false
	for i, h := range header {
		h = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(h, "\ufeff"))) // spreadsheets write a byte order mark
		switch h {
		case "name":
			named = true
		case "password", "hash", "role", "groups", "in", "out":
		default:
			return nil, fmt.Errorf("%w: line 1: column %q: want name, password, hash, role, groups, in or out", ErrInvalid, h)
		}
		columns[i] = h
	}
	if !named {
		return nil, fmt.Errorf("%w: line 1: no column name", ErrInvalid)
	}
	return columns, nil
}

func csvUser(columns, record []string) NewUser {
	var u NewUser
	for i, field := range record {
		switch columns[i] {
		case "name":
			u.Name = strings.TrimSpace(field)
		case "password": // spaces at its ends belong to it; nothing but spaces is none
			if strings.TrimSpace(field) != "" {
				u.Password = field
			}
		case "hash":
			u.hash = strings.TrimSpace(field)
		case "role":
			u.Role = strings.TrimSpace(field)
		case "groups":
			u.In, u.Out = append(u.In, splitGroups(field)...), append(u.Out, splitGroups(field)...)
		case "in":
			u.In = append(u.In, splitGroups(field)...)
		case "out":
			u.Out = append(u.Out, splitGroups(field)...)
		}
	}
	return u
}

func splitGroups(field string) []string {
	var groups []string
	for g := range strings.SplitSeq(field, ";") {
		if g = strings.TrimSpace(g); g != "" {
			groups = append(groups, g)
		}
	}
	return groups
}
