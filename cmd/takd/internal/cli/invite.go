package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/http/enroll"
	"takd/store/pki"
)

type inviteCmd struct {
	Add    inviteAddCmd    `cmd:"" default:"withargs" help:"Invite a user, or a unit: prints QR codes for ATAK and iTAK, and a token."`
	List   inviteListCmd   `cmd:"" help:"List invitations."`
	Revoke inviteRevokeCmd `cmd:"" help:"End invitations."`
}

type inviteAddCmd struct {
	Name    string        `arg:"" optional:"" help:"Name of the user; made, for certificates only, if there is none."`
	Expires time.Duration `help:"How long the invitation is good for." default:"24h"`
	Uses    int           `help:"How many devices may enroll with it." default:"1" placeholder:"N"`
	groupFlags
	Label string `help:"A note for the list." placeholder:"TEXT"`
	Host  string `help:"Name or address that the client connects to; server.host of the configuration when left out."`
	CSV   string `name:"csv" help:"Invite everybody in this file, with the columns name, group and role; several groups are separated by semicolons." type:"path" placeholder:"FILE.csv"`
	Sheet string `help:"Write a page for each person, to be printed." type:"path" placeholder:"FILE.pdf|FILE.html"`
	Out   string `help:"Write the QR codes into this directory." type:"path" placeholder:"DIR"`
}

func (c *inviteAddCmd) Run(a *app) error {
	switch {
	case c.Expires <= 0 || c.Uses <= 0:
		return usage("--expires and --uses must be more than 0")
	case (c.Name == "") == (c.CSV == ""):
		return usage("want either a name or --csv FILE")
	case c.Sheet != "" && !strings.EqualFold(filepath.Ext(c.Sheet), ".html") && !strings.EqualFold(filepath.Ext(c.Sheet), ".pdf"):
		return usage("--sheet: want FILE.pdf or FILE.html")
	}
	people := []person{{name: c.Name}}
	if c.CSV != "" {
		text, err := a.readFile(c.CSV)
		if err != nil {
			return err
		}
		if people, err = parsePeople(text); err != nil {
			return fmt.Errorf("%s: %w", c.CSV, err)
		}
	}
	all := make([]enroll.Invitation, 0, len(people))
	var failed error
	for _, p := range people {
		i, err := ask(a, control.InviteAdd, control.NewInvite{
			User: p.name, In: named(c.in(), p.groups), Out: named(c.out(), p.groups), Life: c.Expires, Uses: c.Uses, Label: c.Label, Role: p.role, Host: c.Host,
		})
		if err == nil && c.Out != "" {
			i.Files, err = writePNGs(c.Out, i)
		}
		if i.Token != "" {
			all = append(all, i)
		}
		if err != nil {
			if p.line > 0 {
				err = fmt.Errorf("%s: line %d: %w", c.CSV, p.line, err)
			}
			failed = err
			break
		}
	}
	// The tokens are known only now: what was made is shown, whatever went wrong.
	return errors.Join(failed, c.show(a, all))
}

// show prints, and writes the sheet.
func (c *inviteAddCmd) show(a *app, all []enroll.Invitation) error {
	if len(all) == 0 {
		return nil
	}
	if c.Sheet != "" {
		if err := writeSheet(c.Sheet, all); err != nil {
			return err
		}
	}
	switch {
	case a.json && c.CSV != "":
		return a.printJSON(all)
	case a.json:
		return a.printJSON(all[0])
	case c.CSV != "" && c.Sheet != "":
		_, err := fmt.Fprintf(a.Out, "%d invited until %s; one page for each in %s\n", len(all), all[0].Expires.Local().Format(minute), shorten(c.Sheet))
		return err
	}
	for _, i := range all {
		if err := a.invitation(i); err != nil {
			return err
		}
	}
	return nil
}

const minute = "2006-01-02 15:04"

// writePNGs writes the codes for their owner only: they let a device in.
func writePNGs(dir string, i enroll.Invitation) ([]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("write QR codes: %w", err)
	}
	var files []string
	for _, code := range []struct {
		kind string
		png  []byte
	}{{"atak", i.ATAKPNG}, {"itak", i.ITAKPNG}, {"registration", i.RegistrationPNG}} {
		name := filepath.Join(dir, i.User+"-"+code.kind+".png") // names of users hold no separators
		if err := pki.WriteFile(name, code.png, 0o600); err != nil {
			return files, fmt.Errorf("write QR codes: %w", err)
		}
		files = append(files, name)
	}
	return files, nil
}

// invitation prints an invitation as it is shown to the person invited.
func (a *app) invitation(i enroll.Invitation) error {
	atak, err := enroll.Terminal(i.ATAK)
	if err != nil {
		return err
	}
	itak, err := enroll.Terminal(i.ITAK)
	if err != nil {
		return err
	}
	uses := "1 device"
	if i.MaxUses > 1 {
		uses = fmt.Sprintf("%d devices", i.MaxUses)
	}
	var files strings.Builder
	for _, f := range i.Files {
		fmt.Fprintf(&files, "file   %s\n", shorten(f))
	}
	warning := ""
	if !i.Public {
		warning = "ATAK takes its code only from a server whose certificate is by a public authority, and takd's own is not.\n" +
			"Where ATAK refuses it, hand out a package instead: takd package " + quoted(i.User) + "\n"
	}
	_, err = fmt.Fprintf(a.Out, `ATAK: scan this.
%s
iTAK: scan this to add the server, then enter user and token.
%s
user   %s
token  %s
ATAK   %s
iTAK   %s
others %s
%s%s%s may enroll %s until %s; this is shown only now
`, atak, itak, i.User, i.Token, i.ATAK, i.ITAK, i.Package, files.String(), warning, i.User, uses, i.Expires.Local().Format(minute))
	return err
}

// quoted is a word for a shell.
func quoted(s string) string {
	if strings.ContainsAny(s, " '\"$`\\&|;<>()*?[]#~!") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

type inviteListCmd struct{}

func (inviteListCmd) Run(a *app) error {
	all, err := ask(a, control.InviteList, control.None{})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(all))
	for _, i := range all {
		rows = append(rows, []string{
			i.ID, i.User, i.State, fmt.Sprintf("%d/%d", i.Uses, i.MaxUses), i.Expires.Local().Format(minute), groupText(i.In, i.Out), i.CreatedBy, i.Label,
		})
	}
	return a.table(all, "ID USER STATE USES EXPIRES GROUPS BY LABEL", rows)
}

type inviteRevokeCmd struct {
	Who string `arg:"" name:"who" help:"Name of the user, the token, or the ID of the list."`
}

func (c *inviteRevokeCmd) Run(a *app) error {
	gone, err := ask(a, control.InviteRevoke, control.InviteID{Who: c.Who})
	if err != nil {
		return err
	}
	return a.say(gone, "%d invitations of %s revoked; certificates that were issued with them stay\n", len(gone), gone[0].User)
}
