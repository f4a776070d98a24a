// Command takload simulates TAK clients. They connect over TLS like ATAK does,
// speak XML or negotiate protobuf, send at a fixed rate whether or not the
// server keeps up, and count what the others get and how late.
//
// It knows nothing of the server but its address, a folder of certificates
// and, on the same machine, its process id. Traffic is never held back for a
// slow server: latency counts from the moment at which an event was due.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // could not connect, or a limit was not kept
	exitUsage  = 2
)

type root struct {
	Run  runCmd  `cmd:"" default:"withargs" help:"Load a server and measure it (the default)."`
	Demo demoCmd `cmd:"" help:"A few teams walk around and chat until interrupted."`
	Soak soakCmd `cmd:"" help:"Everything that happens to a server, for a long time: fails when something is lost or left over."`

	API apiCmd `cmd:"" name:"api" help:"Call one route of the HTTP API as fast as it answers."`

	Storm stormCmd `cmd:"" hidden:"" help:"The storm of the mode storm."`
}

// target is where to connect to and as whom.
type target struct {
	Addr        string        `help:"Address of the TLS stream." default:"127.0.0.1:8089"`
	Certs       string        `help:"Folder that 'takd cert issue NAME --out DIR' wrote: NAME.pem and NAME.key, ca.pem. Several names are dealt out to the clients in turn." placeholder:"DIR"`
	Plain       bool          `help:"Connect without TLS, to an input of the kind tcp."`
	TLS         string        `name:"tls" help:"Version of TLS: 1.2, 1.3 or any." enum:"any,1.2,1.3" default:"any"`
	Protocol    string        `help:"xml, protobuf (negotiated), or mixed: every second client." enum:"xml,protobuf,mixed" default:"mixed"`
	ConnectRate int           `help:"New connections per second." default:"200"`
	Timeout     time.Duration `help:"Longest time for one client to connect and negotiate." default:"20s"`
}

// Validate is called by kong.
func (t *target) Validate() error {
	switch {
	case t.ConnectRate < 1:
		return fmt.Errorf("--connect-rate %d: want 1 or more", t.ConnectRate)
	case !t.Plain && t.Certs == "":
		return errors.New("--certs DIR or --plain is required")
	}
	return nil
}

func (t *target) protobuf(i int) bool {
	return t.Protocol == "protobuf" || t.Protocol == "mixed" && i%2 == 1
}

// exit carries kong's wish to leave, so that run can be called in tests.
type exit int

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out, errOut io.Writer) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exit:
			code = int(r)
		default:
			panic(r)
		}
	}()
	var cmd root
	parser, err := kong.New(&cmd,
		kong.Name("takload"),
		kong.Description("Simulated TAK clients: measures what a server delivers, and how late."),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.BindTo(out, (*io.Writer)(nil)),
		kong.BindTo(os.Stdin, (*io.Reader)(nil)),
	)
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "takload: %v\n", err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "takload: %v; see: takload --help\n", err)
		return exitUsage
	}
	if err := parsed.Run(); err != nil && !errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintf(errOut, "takload: %v\n", err)
		return exitFailed
	}
	return exitOK
}
