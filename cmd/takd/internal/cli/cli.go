// Package cli is the command line of takd: one struct for each command, which
// asks the running server, or the store where none runs, and prints.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"takd/cmd/takd/internal/control"
	"takd/cmd/takd/internal/server"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// IO is what a command reads and prints to.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Version  string // as the linker was told, if it was
}

// root is the grammar. Scripts depend on it.
type root struct {
	Data string `help:"Data directory." env:"TAKD_DATA" default:"./takd-data" type:"path" placeholder:"DIR"`
	JSON bool   `name:"json" help:"Print JSON."`

	Init       initCmd       `cmd:"" help:"Make a data directory: CA, keys, database, admin."`
	Run        runCmd        `cmd:"" help:"Run the server."`
	User       userCmd       `cmd:"" help:"Manage users."`
	Group      groupCmd      `cmd:"" help:"Manage groups."`
	Cert       certCmd       `cmd:"" help:"Manage certificates."`
	Invite     inviteCmd     `cmd:"" help:"Invite users: QR codes and tokens to enroll with."`
	Backup     backupCmd     `cmd:"" help:"Write a backup: database, files, keys, configuration."`
	Restore    restoreCmd    `cmd:"" help:"Make the data directory of a backup; it has to be empty or absent."`
	Import     importCmd     `cmd:"" help:"Move in from another server."`
	Audit      auditCmd      `cmd:"" help:"Show who changed what."`
	Package    packageCmd    `cmd:"" help:"Make a connection data package for a phone or PC."`
	Status     statusCmd     `cmd:"" help:"Show the state of the running server."`
	Clients    clientsCmd    `cmd:"" help:"Show the connected clients."`
	Kick       kickCmd       `cmd:"" help:"Close connections."`
	Emergency  emergencyCmd  `cmd:"" help:"Show and cancel emergencies."`
	Reach      reachCmd      `cmd:"" help:"Find out whether A can be seen by B, and if not, why."`
	Logs       logsCmd       `cmd:"" help:"Show the log."`
	Config     configCmd     `cmd:"" help:"Show and change the configuration."`
	History    historyCmd    `cmd:"" help:"Ask the history, and take events in and out."`
	Retention  retentionCmd  `cmd:"" help:"Say how long data is kept, and remove what is too old."`
	Tiles      tilesCmd      `cmd:"" help:"Manage the base maps of the web page: PMTiles files."`
	Diag       diagCmd       `cmd:"" help:"Find out what is wrong."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Completion completionCmd `cmd:"" help:"Print a shell completion script."`

	HistoryEngine historyEngineCmd `cmd:"" hidden:"" name:"history-engine" help:"Run the history engine; takd run starts it."`
}

// app is what every command gets.
type app struct {
	IO
	ctx  context.Context //nolint:containedctx // of one command, from start to end
	data string
	json bool
}

type exit int

// Main runs one command and returns its exit code.
func Main(ctx context.Context, args []string, std IO) (code int) {
	if len(args) > 0 && args[0] == completeWord {
		for _, word := range complete(os.Getenv("COMP_LINE"), args[1:]) {
			_, _ = fmt.Fprintln(std.Out, word)
		}
		return exitOK
	}
	defer func() {
		if r := recover(); r != nil {
			n, ok := r.(exit)
			if !ok {
				panic(r)
			}
			code = int(n)
		}
	}()
	var cmd root
	parser, err := newParser(&cmd, std)
	if err != nil {
		return fail(std, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		_, _ = fmt.Fprintf(std.Err, "takd: %v; see: takd --help\n", err)
		return exitUsage
	}
	a := &app{IO: std, ctx: ctx, data: shorten(cmd.Data), json: cmd.JSON}
	if err := parsed.Run(a); err != nil {
		return fail(std, err)
	}
	return exitOK
}

func newParser(cmd *root, std IO) (*kong.Kong, error) {
	return kong.New(cmd,
		kong.Name("takd"),
		kong.Description("A TAK server: ATAK, WinTAK and iTAK connect to it and see each other."),
		kong.WithHyphenPrefixedParameters(true), // --box -34,-71,-33,-70
		kong.Writers(std.Out, std.Err),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
	)
}

// shorten returns path as seen from the working directory where that is
// shorter: it is shown, and the path of a socket is limited.
func shorten(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) && !strings.HasPrefix(rel, "..") {
		if rel == "." {
			return rel
		}
		return "." + string(filepath.Separator) + rel
	}
	return path
}

// fail prints err on one line.
func fail(std IO, err error) int {
	text := visible(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	_, _ = fmt.Fprintf(std.Err, "takd: %s\n", text)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailed
}

// errUsage is wrapped by errors in what the operator typed.
var errUsage = errors.New("usage")

func usage(format string, args ...any) error {
	return control.As(errUsage, fmt.Errorf(format, args...))
}

// server finds the running server.
func (a *app) server() (*control.Client, error) { return control.Dial(a.ctx, a.data) }

// doer is the running server, or the store where none runs.
type doer interface {
	control.Doer
	Close() error
}

// open returns the running server, or the store where none runs. A server that
// is just starting, or another command, is waited for.
func (a *app) open() (doer, error) {
	if _, err := os.Stat(filepath.Join(a.data, "conf", "takd.yaml")); err != nil {
		return nil, control.Errorf(control.ErrNotFound, "no takd data in %s; make it with: takd init --data %s --host NAME", a.data, a.data)
	}
	log := slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithTimeout(a.ctx, 10*time.Second)
	defer cancel()
	for {
		c, err := control.Dial(ctx, a.data)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, control.ErrNoServer) {
			return nil, err
		}
		local, err := server.OpenLocal(ctx, 200*time.Millisecond, a.data, log)
		if err == nil {
			return local, nil
		}
		if !errors.Is(err, control.ErrExists) || ctx.Err() != nil {
			return nil, err
		}
	}
}

// ask carries out one operation.
func ask[Q, R any](a *app, op control.Op[Q, R], q Q) (r R, err error) {
	d, err := a.open()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return op.Call(a.ctx, d, q)
}

// askServer carries out one operation that only a running server can do.
func askServer[Q, R any](a *app, op control.Op[Q, R], q Q) (r R, err error) {
	d, err := a.server()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return op.Call(a.ctx, d, q)
}

// say prints for people, or v with --json.
func (a *app) say(v any, format string, args ...any) error {
	if a.json {
		return a.printJSON(v)
	}
	_, err := io.WriteString(a.Out, text(format, args...))
	return err
}

// text is what people read; a string in it has no control characters.
func text(format string, args ...any) string {
	for i, arg := range args {
		if s, ok := arg.(string); ok {
			args[i] = visible(s)
		}
	}
	return lines(fmt.Sprintf(format, args...))
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.Out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table prints rows of cells, or v with --json.
func (a *app) table(v any, head string, rows [][]string) error {
	if a.json {
		return a.printJSON(v)
	}
	return writeTable(a.Out, head, rows)
}

func writeTable(out io.Writer, head string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if strings.ToUpper(head) == head { // names of columns, else one line above
		head = strings.ReplaceAll(head, " ", "\t")
	}
	_, _ = fmt.Fprintln(w, head)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = visible(cell)
		}
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// secret reads a password from a file; - is the standard input. A line end
// after it is not part of it.
func (a *app) secret(file string) (string, error) {
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(io.LimitReader(a.In, 4096))
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	word := strings.TrimRight(string(text), "\r\n")
	if word == "" {
		return "", fmt.Errorf("read password: %s is empty", file)
	}
	return word, nil
}

type versionCmd struct{}

func (versionCmd) Run(a *app) error {
	v := server.Version(a.Version)
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return a.say(map[string]string{"version": v, "revision": strings.TrimSpace(revision)}, "takd %s%s\n", v, revision)
}
