// Package contact keeps who was connected, and which of its groups a device has
// switched off.
package contact

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// Keep is how long an endpoint that went is remembered.
const Keep = 30 * 24 * time.Hour

// maxEndpoints bounds how many are told at once: the newest.
const maxEndpoints = 10_000

// Endpoint is a client that was connected, and when it was last.
type Endpoint struct {
	UID, Callsign, User, Team, Role string
	Groups                          []string // that it could send to, sorted
	At                              time.Time
}

type endpointRow struct {
	bun.BaseModel `bun:"table:endpoints"`

	UID      string `bun:"uid,pk"`
	Callsign string
	UserName string
	Team     string
	Role     string
	InGroups string
	At       int64
}

type inactiveRow struct {
	bun.BaseModel `bun:"table:inactive_groups"`

	UserName  string `bun:",pk"`
	ClientUID string `bun:"client_uid,pk"`
	GroupName string `bun:",pk"`
	Direction string `bun:",pk"`
}

// Store is safe for concurrent use.
type Store struct {
	db *meta.DB

	mu  sync.Mutex
	off map[string]map[string][]inactiveRow // by user and device; nil before the first use
}

// New returns the store in db.
func New(db *meta.DB) *Store { return &Store{db: db} }

// Left records clients that went, in one transaction, and forgets those that
// went long ago.
func (s *Store) Left(ctx context.Context, gone []Endpoint) error {
	if len(gone) == 0 {
		return nil
	}
	rows := make([]endpointRow, 0, len(gone))
	seen := make(map[string]int, len(gone))
	for _, e := range gone {
		row := endpointRow{
			UID: e.UID, Callsign: e.Callsign, UserName: e.User, Team: e.Team, Role: e.Role,
			InGroups: strings.Join(e.Groups, "\n"), At: e.At.UnixMilli(),
		}
		if i, ok := seen[e.UID]; ok { // one statement may not name a row twice
			rows[i] = row
			continue
		}
		seen[e.UID] = len(rows)
		rows = append(rows, row)
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&rows).
			On("CONFLICT (uid) DO UPDATE").
			Set("callsign = EXCLUDED.callsign, user_name = EXCLUDED.user_name, team = EXCLUDED.team, role = EXCLUDED.role").
			Set("in_groups = EXCLUDED.in_groups, at = EXCLUDED.at").Exec(ctx)
		if err != nil {
			return err
		}
		_, err = tx.NewDelete().Model((*endpointRow)(nil)).Where("at < ?", time.Now().Add(-Keep).UnixMilli()).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("record who left: %w", err)
	}
	return nil
}

// Forget forgets who went before a time, and returns how many; with dryRun it only
// counts them.
func (s *Store) Forget(ctx context.Context, before time.Time, dryRun bool) (int, error) {
	if dryRun {
		n, err := s.db.NewSelect().Model((*endpointRow)(nil)).Where("at < ?", before.UnixMilli()).Count(ctx)
		if err != nil {
			return 0, fmt.Errorf("count who left: %w", err)
		}
		return int(n), nil
	}
	gone, err := s.db.NewDelete().Model((*endpointRow)(nil)).Where("at < ?", before.UnixMilli()).Exec(ctx)
	if err != nil {
		return 0, fmt.Errorf("forget who left: %w", err)
	}
	n, err := gone.RowsAffected()
	return int(n), err
}

// Endpoints returns who went at since or later, the newest first.
func (s *Store) Endpoints(ctx context.Context, since time.Time) ([]Endpoint, error) {
	var rows []endpointRow
	q := s.db.NewSelect().Model(&rows).Order("at DESC").Limit(maxEndpoints)
	if !since.IsZero() {
		q = q.Where("at >= ?", since.UnixMilli())
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("read who left: %w", err)
	}
	list := make([]Endpoint, 0, len(rows))
	for _, r := range rows {
		list = append(list, Endpoint{
			UID: r.UID, Callsign: r.Callsign, User: r.UserName, Team: r.Team, Role: r.Role,
			Groups: strings.FieldsFunc(r.InGroups, func(c rune) bool { return c == '\n' }), At: time.UnixMilli(r.At),
		})
	}
	return list, nil
}

// SetActive remembers which of the groups that a user is in, all of in and out,
// are switched on. With device "" that holds for every device, and what single
// devices had set is forgotten.
func (s *Store) SetActive(ctx context.Context, user, device string, in, out, activeIn, activeOut []string) error {
	rows := []inactiveRow{}
	add := func(all, active []string, direction string) {
		for _, g := range all {
			if !slices.Contains(active, g) {
				rows = append(rows, inactiveRow{UserName: user, ClientUID: device, GroupName: g, Direction: direction})
			}
		}
	}
	add(in, activeIn, "in")
	add(out, activeOut, "out")
	if len(rows) == 0 && device != "" { // this device has all, though others may not
		rows = append(rows, inactiveRow{UserName: user, ClientUID: device, Direction: "in"})
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		q := tx.NewDelete().Model((*inactiveRow)(nil)).Where("user_name = ?", user)
		if device != "" {
			q = q.Where("client_uid = ?", device)
		}
		if _, err := q.Exec(ctx); err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		_, err := tx.NewInsert().Model(&rows).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("set active groups of %q: %w", user, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = nil
	return nil
}

// Active returns which of the groups in and out of a user are switched on for a
// device. One that has not said has what the user set for all. With device "",
// where it is not known which one asks, it is every group that is on for one of
// those that have said.
func (s *Store) Active(ctx context.Context, user, device string, in, out []string) (activeIn, activeOut []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off == nil {
		if err := s.load(ctx); err != nil {
			return nil, nil, err
		}
	}
	said := s.off[user]
	if device != "" {
		rows, ok := said[device]
		if !ok {
			rows = said[""]
		}
		said = map[string][]inactiveRow{device: rows}
	}
	if len(said) == 0 {
		return in, out, nil
	}
	without := func(all []string, direction string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(g string) bool {
			for _, rows := range said {
				if !slices.ContainsFunc(rows, func(r inactiveRow) bool { return r.GroupName == g && r.Direction == direction }) {
					return false
				}
			}
			return true
		})
	}
	return without(in, "in"), without(out, "out"), nil
}

// Chosen tells whether a user has switched a group off on any device.
func (s *Store) Chosen(ctx context.Context, user string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off == nil {
		if err := s.load(ctx); err != nil {
			return false, err
		}
	}
	return len(s.off[user]) > 0, nil
}

// load reads all rows: there are few, since most devices switch nothing off. The
// caller holds the lock.
func (s *Store) load(ctx context.Context) error {
	var rows []inactiveRow
	if err := s.db.NewSelect().Model(&rows).Scan(ctx); err != nil {
		return fmt.Errorf("read active groups: %w", err)
	}
	s.off = make(map[string]map[string][]inactiveRow)
	for _, r := range rows {
		if s.off[r.UserName] == nil {
			s.off[r.UserName] = make(map[string][]inactiveRow)
		}
		s.off[r.UserName][r.ClientUID] = append(s.off[r.UserName][r.ClientUID], r)
	}
	return nil
}
