package auth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// User is an account. In and Out are what applies: __ANON__ where the user is in no group.
type User struct {
	Name        string    `json:"name"`
	Role        string    `json:"role"`
	Disabled    bool      `json:"disabled"`
	HasPassword bool      `json:"has_password"`
	In          []string  `json:"in"`  // may send to, sorted
	Out         []string  `json:"out"` // receives from, sorted
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
}

// NewUser describes a user to add. Groups that do not exist are made.
type NewUser struct {
	Name     string
	Password string   // empty: no password, certificate only
	Role     string   // empty: user
	In, Out  []string // both empty: __ANON__
	hash     string   // an imported hash, instead of Password
}

// Change says what to change of a user; nil fields stay as they are.
type Change struct {
	Role     *string
	In, Out  *[]string // replace the groups of that direction
	Password *string   // empty: no password any more
	Disabled *bool
}

const (
	dirIn  = "in"
	dirOut = "out"
	// maxGroups bounds the groups of one user and direction.
	maxGroups = 1000
)

// AddUser adds a user; an existing name gives ErrExists. The name of a removed
// user may be used again.
func (s *Service) AddUser(ctx context.Context, u NewUser) error {
	if err := u.check(); err != nil {
		return err
	}
	hash := u.hash
	if hash == "" {
		var err error
		if hash, err = s.hash(ctx, u.Password); err != nil {
			return err
		}
	}
	u.hash = hash
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { return s.insert(ctx, tx, u) })
	if err != nil {
		return fmt.Errorf("add user: %w", err)
	}
	s.changed(u.Name)
	return nil
}

// Validate reports what AddUser would refuse, but for a name that is taken.
func (u NewUser) Validate() error { return u.check() }

func (u *NewUser) check() error {
	if u.Role == "" {
		u.Role = RoleUser
	}
	errs := []error{meta.ValidName("user name", u.Name), checkRole(u.Role), checkGroups(u.In), checkGroups(u.Out)}
	if u.Password != "" {
		errs = append(errs, checkPassword(u.Password))
	}
	if u.hash != "" {
		errs = append(errs, checkHash(u.hash))
	}
	return errors.Join(errs...)
}

func checkRole(role string) error {
	switch role {
	case RoleAdmin, RoleUser, RoleReadonly:
		return nil
	}
	return fmt.Errorf("%w: role %q: want admin, user or readonly", ErrInvalid, role)
}

func checkGroups(names []string) error {
	if len(names) > maxGroups {
		return fmt.Errorf("%w: %d groups, want at most %d", ErrInvalid, len(names), maxGroups)
	}
	var errs []error
	for _, n := range names {
		errs = append(errs, meta.ValidName("group name", n))
	}
	return errors.Join(errs...)
}

func (s *Service) insert(ctx context.Context, tx bun.Tx, u NewUser) error {
	exists, err := tx.NewSelect().Model((*meta.User)(nil)).Where("name = ?", u.Name).Exists(ctx)
	if err != nil {
		return err
	}
	if exists {
		return fmt.Errorf("user %q %w", u.Name, ErrExists)
	}
	now := s.now().UnixMilli()
	row := meta.User{Name: u.Name, Role: u.Role, Hash: u.hash, CreatedAt: now, UpdatedAt: now}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return err
	}
	if _, err := tx.NewDelete().Model((*meta.RemovedUser)(nil)).Where("name = ?", u.Name).Exec(ctx); err != nil {
		return err
	}
	if err := s.setGroups(ctx, tx, u.Name, dirIn, u.In); err != nil {
		return err
	}
	return s.setGroups(ctx, tx, u.Name, dirOut, u.Out)
}

// SetUser changes a user; ErrNotFound if there is none.
func (s *Service) SetUser(ctx context.Context, name string, c Change) error {
	errs := []error{meta.ValidName("user name", name)}
	if c.Role != nil {
		errs = append(errs, checkRole(*c.Role))
	}
	for _, groups := range []*[]string{c.In, c.Out} {
		if groups != nil {
			errs = append(errs, checkGroups(*groups))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var hash *string
	if c.Password != nil {
		h, err := s.hash(ctx, *c.Password)
		if err != nil {
			return err
		}
		hash = &h
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { return s.update(ctx, tx, name, c, hash) })
	if err != nil {
		return fmt.Errorf("change user %q: %w", name, err)
	}
	if hash != nil {
		s.throttle.forgive(name) // who set a new password may use it at once
	}
	s.changed(name)
	return nil
}

func (s *Service) update(ctx context.Context, tx bun.Tx, name string, c Change, hash *string) error {
	q := tx.NewUpdate().Model((*meta.User)(nil)).Set("updated_at = ?", s.now().UnixMilli()).Where("name = ?", name)
	if c.Role != nil {
		q = q.Set("role = ?", *c.Role)
	}
	if hash != nil {
		q = q.Set("hash = ?", *hash)
	}
	if c.Disabled != nil {
		q = q.Set("disabled = ?", *c.Disabled)
	}
	res, err := q.Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return ErrNotFound
	}
	if c.In != nil {
		if err := s.setGroups(ctx, tx, name, dirIn, *c.In); err != nil {
			return err
		}
	}
	if c.Out != nil {
		return s.setGroups(ctx, tx, name, dirOut, *c.Out)
	}
	return nil
}

// SetPassword changes a password; an empty one leaves only certificates.
func (s *Service) SetPassword(ctx context.Context, name, password string) error {
	return s.SetUser(ctx, name, Change{Password: &password})
}

// SetDisabled refuses a user's clients, or lets them in again.
func (s *Service) SetDisabled(ctx context.Context, name string, disabled bool) error {
	return s.SetUser(ctx, name, Change{Disabled: &disabled})
}

// RemoveUser removes a user and refuses certificates of that name until it is added again.
func (s *Service) RemoveUser(ctx context.Context, name string) error {
	if err := meta.ValidName("user name", name); err != nil {
		return err
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*meta.User)(nil)).Where("name = ?", name).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return ErrNotFound
		}
		_, err = tx.NewInsert().Model(&meta.RemovedUser{Name: name, RemovedAt: s.now().UnixMilli()}).
			On("CONFLICT (name) DO NOTHING").Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove user %q: %w", name, err)
	}
	s.changed(name)
	return nil
}

// User returns one account, or ErrNotFound.
func (s *Service) User(ctx context.Context, name string) (User, error) {
	if err := meta.ValidName("user name", name); err != nil {
		return User{}, err
	}
	users, err := s.users(ctx, name)
	if err != nil {
		return User{}, err
	}
	if len(users) == 0 {
		return User{}, fmt.Errorf("user %q: %w", name, ErrNotFound)
	}
	return users[0], nil
}

// Users returns every account, by name.
func (s *Service) Users(ctx context.Context) ([]User, error) { return s.users(ctx, "") }

// users reads one account, or all where name is empty.
func (s *Service) users(ctx context.Context, name string) ([]User, error) {
	var rows []meta.User
	var members []meta.Membership
	q, m := s.db.NewSelect().Model(&rows).Order("name"), s.db.NewSelect().Model(&members).Order("group_name")
	if name != "" {
		q, m = q.Where("name = ?", name), m.Where("user_name = ?", name)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	if err := m.Scan(ctx); err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	in, out := make(map[string][]string), make(map[string][]string)
	for _, r := range members {
		if r.Direction == dirIn {
			in[r.UserName] = append(in[r.UserName], r.GroupName)
		} else {
			out[r.UserName] = append(out[r.UserName], r.GroupName)
		}
	}
	users := make([]User, 0, len(rows))
	for _, r := range rows {
		u := User{
			Name: r.Name, Role: r.Role, Disabled: r.Disabled, HasPassword: r.Hash != "",
			In: in[r.Name], Out: out[r.Name],
			Created: time.UnixMilli(r.CreatedAt).UTC(), Updated: time.UnixMilli(r.UpdatedAt).UTC(),
		}
		u.In, u.Out = effective(u.In, u.Out)
		users = append(users, u)
	}
	return users, nil
}

// effective puts a user without any group into __ANON__. Neither result is nil.
func effective(in, out []string) (effIn, effOut []string) {
	if len(in) == 0 && len(out) == 0 {
		return []string{Anonymous}, []string{Anonymous}
	}
	return append([]string{}, in...), append([]string{}, out...)
}

// load reads the account of a name; without a row it is a plain user of __ANON__.
func (s *Service) load(ctx context.Context, name string) (*account, error) {
	var row meta.User
	err := s.db.NewSelect().Model(&row).Where("name = ?", name).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return s.loadUnknown(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read user %q: %w", name, err)
	}
	users, err := s.users(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(users) == 0 {
		return s.loadUnknown(ctx, name)
	}
	u := users[0]
	a := &account{hash: row.Hash, known: true, principal: Principal{User: name, Role: u.Role, In: u.In, Out: u.Out}}
	if u.Role == RoleReadonly {
		a.principal.In = nil
	}
	if u.Disabled {
		a.refused = fmt.Errorf("%w: %q", ErrDisabled, name)
	}
	return a, nil
}

func (s *Service) loadUnknown(ctx context.Context, name string) (*account, error) {
	removed, err := s.db.NewSelect().Model((*meta.RemovedUser)(nil)).Where("name = ?", name).Exists(ctx)
	if err != nil {
		return nil, fmt.Errorf("read user %q: %w", name, err)
	}
	in, out := effective(nil, nil)
	a := &account{principal: Principal{User: name, Role: RoleUser, In: in, Out: out}}
	if removed {
		a.refused = fmt.Errorf("%w: %q was removed", ErrDisabled, name)
	}
	return a, nil
}
