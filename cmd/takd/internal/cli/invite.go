package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/http/enroll"
)

type inviteCmd struct {
	Add    inviteAddCmd    `cmd:"" default:"withargs" help:"Invite a user: prints QR codes for ATAK and iTAK, and a token."`
	List   inviteListCmd   `cmd:"" help:"List invitations."`
	Remove inviteRemoveCmd `cmd:"" help:"Remove an invitation."`
}

type inviteAddCmd struct {
	Name    string        `arg:"" help:"Name of the user; made, for certificates only, if there is none."`
	Expires time.Duration `help:"How long the invitation is good for." default:"24h"`
	Uses    int           `help:"How many devices may enroll with it." default:"1" placeholder:"N"`
	groupFlags
	Label string `help:"A note for the list." placeholder:"TEXT"`
	Host  string `help:"Name or address that the client connects to; server.host of the configuration when left out."`
	PNG   string `name:"png" help:"Write the QR code for ATAK to FILE.png, and that for iTAK to FILE-itak.png." type:"path" placeholder:"FILE.png"`
}

func (c *inviteAddCmd) Run(a *app) error {
	if c.Expires <= 0 || c.Uses <= 0 {
		return usage("--expires and --uses must be more than 0")
	}
	i, err := ask(a, control.InviteAdd, control.NewInvite{
		User: c.Name, In: c.in(), Out: c.out(), Life: c.Expires, Uses: c.Uses, Label: c.Label, Host: c.Host,
	})
	if err != nil {
		return err
	}
	files := ""
	if c.PNG != "" {
		if files, err = writePNGs(c.PNG, i); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(i)
	}
	return a.invitation(i, files)
}

// writePNGs writes both codes for their owner only: they let a device in.
func writePNGs(path string, i enroll.Invitation) (string, error) {
	ext := filepath.Ext(path)
	second := strings.TrimSuffix(path, ext) + "-itak" + ext
	for name, data := range map[string][]byte{path: i.ATAKPNG, second: i.ITAKPNG} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return "", fmt.Errorf("write QR code: %w", err)
		}
	}
	return fmt.Sprintf("files  %s, %s\n", shorten(path), shorten(second)), nil
}

// invitation prints an invitation as it is shown to the person invited.
func (a *app) invitation(i enroll.Invitation, files string) error {
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
	_, err = fmt.Fprintf(a.Out, `ATAK: scan this.
%s
iTAK: scan this to add the server, then enter user and token.
%s
user   %s
token  %s
ATAK   %s
iTAK   %s
others %s
%s%s may enroll %s until %s; this is shown only now
`, atak, itak, i.User, i.Token, i.ATAK, i.ITAK, i.Package, files, i.User, uses, i.Expires.Local().Format("2006-01-02 15:04"))
	return err
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
			i.ID, i.User, i.State, fmt.Sprintf("%d/%d", i.Uses, i.MaxUses), i.Expires.Local().Format("2006-01-02 15:04"), groupText(i.In, i.Out), i.CreatedBy, i.Label,
		})
	}
	return a.table(all, "ID USER STATE USES EXPIRES GROUPS BY LABEL", rows)
}

type inviteRemoveCmd struct {
	ID string `arg:"" name:"id" help:"ID, as the list shows it."`
}

func (c *inviteRemoveCmd) Run(a *app) error {
	i, err := ask(a, control.InviteRemove, control.InviteID{ID: c.ID})
	if err != nil {
		return err
	}
	return a.say(i, "invitation of %s removed\n", i.User)
}
