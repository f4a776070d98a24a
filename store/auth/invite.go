package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// Errors of invitations, beside ErrNotFound.
var (
	ErrInviteUsed    = errors.New("invitation is used up")
	ErrInviteExpired = errors.New("invitation has expired")
)

// Bounds of an invitation, and what it is without a wish.
const (
	DefaultInviteLife = 24 * time.Hour
	MinInviteLife     = time.Minute
	MaxInviteLife     = 366 * 24 * time.Hour
	MaxInviteUses     = 10_000
	maxInvites        = 20_000
	maxLabel          = 200
	// inviteTail is how long a token still fetches the profile of the device that got
	// a certificate with it: clients do so with the same token.
	inviteTail = 10 * time.Minute
	// keepInvites is how long those that are over stay in the list.
	keepInvites = 30 * 24 * time.Hour
)

// Invite lets whoever holds its token enroll as one user. The token itself is
// kept nowhere.
type Invite struct {
	ID        string    `json:"id"`
	User      string    `json:"user"`
	Label     string    `json:"label"`
	In        []string  `json:"in"`  // groups that its first use adds
	Out       []string  `json:"out"` //
	CreatedBy string    `json:"created_by"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires"`
	MaxUses   int       `json:"uses"` // devices that may enroll
	Uses      int       `json:"used"` // certificates issued with it
	Used      time.Time `json:"used_at,omitzero"`
}

// State is "open", "used" or "expired".
func (i Invite) State(now time.Time) string {
	switch {
	case i.Uses >= i.MaxUses:
		return "used"
	case !now.Before(i.Expires):
		return "expired"
	}
	return "open"
}

// NewInvite says what an invitation is to be.
type NewInvite struct {
	User    string        // made, without a password, if there is no such user
	In, Out []string      // groups that the user gets; made if there are none of that name
	Role    string        // of a user that is made; "" is RoleUser
	Life    time.Duration // 0 is DefaultInviteLife
	Uses    int           // 0 is 1
	Label   string        // for the operator
	By      string        // who invites
}

func (n *NewInvite) check() error {
	if n.Life == 0 {
		n.Life = DefaultInviteLife
	}
	if n.Uses == 0 {
		n.Uses = 1
	}
	errs := []error{meta.ValidName("user name", n.User), checkGroups(n.In), checkGroups(n.Out)}
	if n.Role == "" {
		n.Role = RoleUser
	}
	if n.Role != RoleUser && n.Role != RoleAdmin && n.Role != RoleReadonly {
		errs = append(errs, fmt.Errorf("%w: role %q: want admin, user or readonly", ErrInvalid, shorten(n.Role)))
	}
	if n.Life < MinInviteLife || n.Life > MaxInviteLife {
		errs = append(errs, fmt.Errorf("%w: expires in %s: want %s to %s", ErrInvalid, n.Life, MinInviteLife, MaxInviteLife))
	}
	if n.Uses < 1 || n.Uses > MaxInviteUses {
		errs = append(errs, fmt.Errorf("%w: uses %d: want 1 to %d", ErrInvalid, n.Uses, MaxInviteUses))
	}
	if !utf8.ValidString(n.Label) || utf8.RuneCountInString(n.Label) > maxLabel || strings.ContainsRune(n.Label, 0) {
		errs = append(errs, fmt.Errorf("%w: label: want at most %d characters", ErrInvalid, maxLabel))
	}
	return errors.Join(errs...)
}

// inviteRow is a row of its table.
type inviteRow struct {
	bun.BaseModel `bun:"table:invites"`

	ID        string `bun:",pk"`
	TokenHash string
	UserName  string
	Label     string
	InGroups  string
	OutGroups string
	CreatedBy string
	CreatedAt int64
	ExpiresAt int64
	MaxUses   int64
	Uses      int64
	UsedAt    int64
}

func (r inviteRow) invite() Invite {
	i := Invite{
		ID: r.ID, User: r.UserName, Label: r.Label, In: lines(r.InGroups), Out: lines(r.OutGroups), CreatedBy: r.CreatedBy,
		Created: time.UnixMilli(r.CreatedAt).UTC(), Expires: time.UnixMilli(r.ExpiresAt).UTC(), MaxUses: int(r.MaxUses), Uses: int(r.Uses),
	}
	if r.UsedAt != 0 {
		i.Used = time.UnixMilli(r.UsedAt).UTC()
	}
	return i
}

// lines is the reverse of joining by line ends, which no name of a group holds.
func lines(s string) []string {
	if s == "" {
		return []string{}
	}
	return strings.Split(s, "\n")
}

// AddInvite makes an invitation, and the user where there is none of that name.
// The token is in the answer and nowhere else.
func (s *Service) AddInvite(ctx context.Context, n NewInvite) (i Invite, token string, err error) {
	if err := n.check(); err != nil {
		return Invite{}, "", err
	}
	token = strings.ToLower(rand.Text()) // 26 letters and digits, 130 bits; a phone's keyboard starts with small ones
	now := s.now()
	row := inviteRow{
		ID: strings.ToLower(rand.Text())[:10], TokenHash: inviteHash(token), UserName: n.User, Label: n.Label,
		InGroups: strings.Join(sorted(n.In), "\n"), OutGroups: strings.Join(sorted(n.Out), "\n"),
		CreatedBy: n.By, CreatedAt: now.UnixMilli(), ExpiresAt: now.Add(n.Life).UnixMilli(), MaxUses: int64(n.Uses),
	}
	made := false
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if made, err = s.prepareInvite(ctx, tx, n); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(&row).Exec(ctx)
		return err
	})
	if err != nil {
		return Invite{}, "", fmt.Errorf("invite %q: %w", n.User, err)
	}
	if made {
		s.changed(n.User)
	}
	return row.invite(), token, nil
}

// prepareInvite makes room, the groups and the user, and tells whether it made the user.
func (s *Service) prepareInvite(ctx context.Context, tx bun.Tx, n NewInvite) (made bool, err error) {
	old := s.now().Add(-keepInvites).UnixMilli()
	if _, err := tx.NewDelete().Model((*inviteRow)(nil)).Where("expires_at < ?", old).Exec(ctx); err != nil {
		return false, err
	}
	count, err := tx.NewSelect().Model((*inviteRow)(nil)).Count(ctx)
	if err != nil {
		return false, err
	}
	if count >= maxInvites {
		return false, fmt.Errorf("%w: there are %d invitations: remove some", ErrInvalid, count)
	}
	for _, g := range slices.Concat(n.In, n.Out) {
		if _, err := s.ensureGroup(ctx, tx, g); err != nil {
			return false, err
		}
	}
	var row meta.User
	err = tx.NewSelect().Model(&row).Where("name = ?", n.User).Scan(ctx)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return true, s.insert(ctx, tx, NewUser{Name: n.User, Role: n.Role, In: n.In, Out: n.Out})
	case err != nil:
		return false, err
	case row.Disabled:
		return false, fmt.Errorf("%w: user is disabled: enable it first", ErrInvalid)
	}
	return false, nil
}

// Invites returns every invitation, newest first; those that are long over are left out.
func (s *Service) Invites(ctx context.Context) ([]Invite, error) {
	var rows []inviteRow
	old := s.now().Add(-keepInvites).UnixMilli()
	err := s.db.NewSelect().Model(&rows).Where("expires_at >= ?", old).Order("created_at DESC", "id").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read invitations: %w", err)
	}
	all := make([]Invite, 0, len(rows))
	for _, r := range rows {
		all = append(all, r.invite())
	}
	return all, nil
}

// RemoveInvite ends an invitation and returns what it was.
func (s *Service) RemoveInvite(ctx context.Context, id string) (Invite, error) {
	var row inviteRow
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if !utf8.ValidString(id) || strings.ContainsRune(id, 0) {
			return ErrNotFound
		}
		err := tx.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		_, err = tx.NewDelete().Model(&row).WherePK().Exec(ctx)
		return err
	})
	if err != nil {
		return Invite{}, fmt.Errorf("remove invitation %q: %w", shorten(id), err)
	}
	return row.invite(), nil
}

// RemoveInvites ends every invitation that who names: an id, a user, or the token
// itself. ErrNotFound where there is none.
func (s *Service) RemoveInvites(ctx context.Context, who string) (gone []Invite, err error) {
	hash := ""
	if LooksLikeInvite(who) {
		hash = inviteHash(who)
	}
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if !utf8.ValidString(who) || strings.ContainsRune(who, 0) {
			return ErrNotFound
		}
		var rows []inviteRow
		err := tx.NewSelect().Model(&rows).Where("id = ? OR user_name = ? OR token_hash = ?", who, who, hash).Order("created_at").Scan(ctx)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return ErrNotFound
		}
		for _, row := range rows {
			gone = append(gone, row.invite())
		}
		_, err = tx.NewDelete().Model(&rows).WherePK().Exec(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("revoke invitations: %w", err)
	}
	return gone, nil
}

// inviteHash is what is kept of a token, which may have been typed: in capitals,
// or with dashes and spaces between.
func inviteHash(token string) string {
	sum := sha256.Sum256([]byte(normalInvite(token)))
	return hex.EncodeToString(sum[:])
}

func normalInvite(token string) string {
	return strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(token))
}

// LooksLikeInvite tells whether a text has the form of an invitation's token, so
// that other passwords and tokens cost no look at the database. A password may
// have that form, too.
func LooksLikeInvite(token string) bool {
	const size, longest = 26, 64
	if len(token) > longest {
		return false
	}
	token = normalInvite(token)
	return len(token) == size && !strings.ContainsFunc(token, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '2' || r > '7')
	})
}

func sorted(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }
