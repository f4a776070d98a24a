package cli

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"takd/cmd/takd/internal/control"
)

type userCmd struct {
	Add     userAddCmd     `cmd:"" help:"Add a user."`
	Set     userSetCmd     `cmd:"" help:"Change role or groups."`
	List    userListCmd    `cmd:"" help:"List users."`
	Passwd  userPasswdCmd  `cmd:"" help:"Set a password; a generated one is printed once."`
	Disable userDisableCmd `cmd:"" help:"Refuse a user, and close its connections."`
	Enable  userEnableCmd  `cmd:"" help:"Let a disabled user in again."`
	Remove  userRemoveCmd  `cmd:"" help:"Remove a user, and close its connections."`
	Import  userImportCmd  `cmd:"" help:"Add or change users from a CSV file."`
}

// groupFlags are the groups of a user.
type groupFlags struct {
	Group    []string `help:"Group, both directions." placeholder:"G"`
	InGroup  []string `help:"Group that the user may send to." placeholder:"G"`
	OutGroup []string `help:"Group that the user may receive from." placeholder:"G"`
}

func (f groupFlags) given() bool { return len(f.Group)+len(f.InGroup)+len(f.OutGroup) > 0 }
func (f groupFlags) in() []string {
	return named(f.Group, f.InGroup)
}

func (f groupFlags) out() []string {
	return named(f.Group, f.OutGroup)
}

// named joins lists of names: sorted, each once, without empty ones.
func named(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	all = slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == "" })
	return append([]string{}, all...)
}

type userAddCmd struct {
	Name         string `arg:"" help:"Name of the user."`
	PasswordFile string `help:"File with the password, - for standard input; without it only a certificate lets the user in." placeholder:"F"`
	groupFlags
	Role string `help:"admin, user or readonly." enum:"admin,user,readonly" default:"user"`
}

func (c *userAddCmd) Run(a *app) error {
	u := control.NewUser{Name: c.Name, Role: c.Role, In: c.in(), Out: c.out()}
	if c.PasswordFile != "" {
		var err error
		if u.Password, err = a.secret(c.PasswordFile); err != nil {
			return err
		}
	}
	made, err := ask(a, control.UserAdd, u)
	if err != nil {
		return err
	}
	return a.say(made, "user %s added; next: takd package %s\n", made.Name, made.Name)
}

type userSetCmd struct {
	Name string `arg:"" help:"Name of the user."`
	groupFlags
	Role string `help:"admin, user or readonly." enum:"admin,user,readonly," default:""`
}

func (c *userSetCmd) Run(a *app) error {
	if !c.given() && c.Role == "" {
		return usage("nothing to change: give --role, --group, --in-group or --out-group")
	}
	u, err := ask(a, control.UserSet, control.UserChange{Name: c.Name, Role: c.Role, Set: c.given(), In: c.in(), Out: c.out()})
	if err != nil {
		return err
	}
	return a.say(u, "user %s changed: role %s, %s\n", u.Name, u.Role, groupText(u.In, u.Out))
}

// groupText shows groups; those of one direction say which.
func groupText(in, out []string) string {
	all := named(in, out)
	words := make([]string, 0, len(all))
	for _, g := range all {
		switch {
		case !slices.Contains(out, g):
			g = "in:" + g
		case !slices.Contains(in, g):
			g = "out:" + g
		}
		words = append(words, g)
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ",")
}

type userListCmd struct{}

func (userListCmd) Run(a *app) error {
	users, err := ask(a, control.UserList, control.None{})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(users))
	for _, u := range users {
		state, password := "enabled", "no"
		if u.Disabled {
			state = "disabled"
		}
		if u.Password {
			password = "yes"
		}
		rows = append(rows, []string{u.Name, u.Role, state, password, groupText(u.In, u.Out)})
	}
	return a.table(users, "USER ROLE STATE PASSWORD GROUPS", rows)
}

type userPasswdCmd struct {
	Name         string `arg:"" help:"Name of the user."`
	PasswordFile string `help:"File with the password, - for standard input; without it one is generated and printed." placeholder:"F"`
}

func (c *userPasswdCmd) Run(a *app) error {
	word, shown := rand.Text(), ""
	if c.PasswordFile != "" {
		var err error
		if word, err = a.secret(c.PasswordFile); err != nil {
			return err
		}
	} else {
		shown = word
	}
	if _, err := ask(a, control.UserPasswd, control.Password{Name: c.Name, Password: word}); err != nil {
		return err
	}
	if shown == "" {
		return a.say(map[string]string{"name": c.Name}, "password of %s changed\n", c.Name)
	}
	return a.say(map[string]string{"name": c.Name, "password": shown}, "password of %s, shown only now: %s\n", c.Name, shown)
}

type userDisableCmd struct {
	Name string `arg:"" help:"Name of the user."`
}

func (c *userDisableCmd) Run(a *app) error {
	return done(a, control.UserDisable, control.Disable{Name: c.Name, Disabled: true}, c.Name, "user %s disabled\n")
}

type userEnableCmd struct {
	Name string `arg:"" help:"Name of the user."`
}

func (c *userEnableCmd) Run(a *app) error {
	return done(a, control.UserDisable, control.Disable{Name: c.Name}, c.Name, "user %s enabled\n")
}

type userRemoveCmd struct {
	Name string `arg:"" help:"Name of the user."`
}

func (c *userRemoveCmd) Run(a *app) error {
	return done(a, control.UserRemove, control.Name{Name: c.Name}, c.Name, "user %s removed\n")
}

// done carries out an operation without a result and says that it is done.
func done[Q any](a *app, op control.Op[Q, control.None], q Q, name, format string) error {
	if _, err := ask(a, op, q); err != nil {
		return err
	}
	return a.say(map[string]string{"name": name}, format, name)
}

type userImportCmd struct {
	File string `arg:"" help:"CSV file with the columns name, password, role, groups; - for standard input."`
}

func (c *userImportCmd) Run(a *app) error {
	text, err := a.readFile(c.File)
	if err != nil {
		return err
	}
	r, err := ask(a, control.UserImport, control.Import{CSV: text})
	if err != nil {
		return err
	}
	return a.say(r, "%d users imported\n", r.Users)
}

func (a *app) readFile(name string) ([]byte, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(a.In)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return text, nil
}

type groupCmd struct {
	Add    groupAddCmd    `cmd:"" help:"Add a group."`
	List   groupListCmd   `cmd:"" help:"List groups."`
	Remove groupRemoveCmd `cmd:"" help:"Remove a group from all its users."`
}

type groupAddCmd struct {
	Name string `arg:"" help:"Name of the group."`
}

func (c *groupAddCmd) Run(a *app) error {
	return done(a, control.GroupAdd, control.Name{Name: c.Name}, c.Name, "group %s added\n")
}

type groupListCmd struct{}

func (groupListCmd) Run(a *app) error {
	groups, err := ask(a, control.GroupList, control.None{})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(groups))
	for _, g := range groups {
		rows = append(rows, []string{g.Name, fmt.Sprint(len(g.Users)), strings.Join(g.Users, ",")})
	}
	return a.table(groups, "GROUP MEMBERS USERS", rows)
}

type groupRemoveCmd struct {
	Name string `arg:"" help:"Name of the group."`
}

func (c *groupRemoveCmd) Run(a *app) error {
	return done(a, control.GroupRemove, control.Name{Name: c.Name}, c.Name, "group %s removed\n")
}
