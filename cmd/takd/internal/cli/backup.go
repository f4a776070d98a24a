package cli

import (
	"fmt"
	"log/slog"
	"strings"

	"takd/cmd/takd/internal/control"
	"takd/cmd/takd/internal/server"
)

type backupCmd struct {
	Make   backupMakeCmd   `cmd:"" default:"withargs" help:"Write a backup of the running server, or of its data where none runs (the default)."`
	Verify backupVerifyCmd `cmd:"" help:"Read a whole backup and check it."`
}

type backupMakeCmd struct {
	File           string   `arg:"" type:"path" help:"File to write, such as takd.tar.zst; must not be there yet."`
	Recipient      []string `help:"Encrypt for this public key of age (age1...); may be repeated." placeholder:"KEY"`
	PassphraseFile string   `help:"Encrypt with the passphrase in this file, - for standard input." placeholder:"F"`
}

func (c *backupMakeCmd) Run(a *app) error {
	q := control.Backup{File: c.File, Recipients: c.Recipient}
	if c.PassphraseFile != "" {
		var err error
		if q.Passphrase, err = a.secret(c.PassphraseFile); err != nil {
			return err
		}
	}
	made, err := ask(a, control.BackupOp, q)
	if err != nil {
		return err
	}
	sealed := ""
	if len(c.Recipient) == 0 && c.PassphraseFile == "" {
		sealed = "It is not encrypted and holds the keys of the server: keep it as you keep those.\n"
	}
	return a.say(made, "%s: %d files, %s, %s in the backup\n%sNot in it: %s.\n%s", made.File, made.Files, volume(made.FilesBytes), volume(made.Bytes),
		missing(made.Missing), made.NotIncluded, sealed)
}

// missing says what a backup had to leave out.
func missing(names []string) string {
	if len(names) == 0 {
		return ""
	}
	shown := names[:min(len(names), 10)]
	return fmt.Sprintf("Not there, or no plain files, and so left out (%d): %s\n", len(names), strings.Join(shown, ", "))
}

func volume(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// keyFlags open an encrypted backup.
type keyFlags struct {
	PassphraseFile string `help:"File with the passphrase of the backup, - for standard input." placeholder:"F"`
	Identity       string `help:"File with a private key of age." type:"existingfile" placeholder:"F"`
}

func (k *keyFlags) keys(a *app) (keys server.Keys, err error) {
	keys.Identity = k.Identity
	if k.PassphraseFile != "" {
		keys.Passphrase, err = a.secret(k.PassphraseFile)
	}
	return keys, err
}

type backupVerifyCmd struct {
	File string `arg:"" type:"existingfile" help:"The backup."`
	keyFlags
}

func (c *backupVerifyCmd) Run(a *app) error {
	keys, err := c.keys(a)
	if err != nil {
		return err
	}
	made, err := server.VerifyBackup(a.ctx, c.File, keys)
	if err != nil {
		return err
	}
	return a.say(made, "%s is whole: %d files, %s, made %s by takd %s\n", c.File, made.Files, volume(made.FilesBytes), made.Created.Local().Format("2006-01-02 15:04:05"), made.Version)
}

type restoreCmd struct {
	File string `arg:"" type:"existingfile" help:"The backup."`
	keyFlags
}

func (c *restoreCmd) Run(a *app) error {
	keys, err := c.keys(a)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	made, err := server.RestoreBackup(a.ctx, c.File, a.data, keys, log)
	if err != nil {
		return err
	}
	return a.say(made, "%s: restored %d files, as they were at %s\nNot in it: %s.\nNext: takd run --data %s\n", a.data, made.Files,
		made.Created.Local().Format("2006-01-02 15:04:05"), made.NotIncluded, a.data)
}
