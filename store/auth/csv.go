package auth

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/uptrace/bun"
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
	users, lines, err := parseCSV(r)
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

// parseCSV reads and checks every line before anything is stored.
func parseCSV(r io.Reader) (users []NewUser, lines []int, err error) {
	c := csv.NewReader(r)
	header, err := c.Read()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: CSV header: %w", ErrInvalid, err)
	}
	columns, err := csvColumns(header)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	seen := make(map[string]int)
	for len(errs) < maxCSVErrors {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil { // names the line itself
			errs = append(errs, fmt.Errorf("%w: %w", ErrInvalid, err))
			break
		}
		line, _ := c.FieldPos(0)
		if len(users) >= maxCSVRows {
			return nil, nil, fmt.Errorf("%w: line %d: want at most %d users", ErrInvalid, line, maxCSVRows)
		}
		u := csvUser(columns, record)
		if err := u.check(); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", line, err))
			continue
		}
		if first, double := seen[u.Name]; double {
			errs = append(errs, fmt.Errorf("%w: line %d: user %q is on line %d already", ErrInvalid, line, u.Name, first))
			continue
		}
		seen[u.Name] = line
		users, lines = append(users, u), append(lines, line)
	}
	return users, lines, errors.Join(errs...)
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
