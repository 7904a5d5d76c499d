// Command attune is the whole of Attune: the engines and the pipeline on a laptop (dev), the pipeline over a
// cluster (run), and the tools for workspaces, imports, dead letters and queries.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // mappings name time zones, and a bare container has none

	"github.com/alecthomas/kong"

	"attune/config"
	"attune/pipeline/embedded"
)

// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 attune audit has found something, 130 interrupted before it was done.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// commands is the table of everything attune can do, one file each.
type commands struct {
	Dev        devCommand        `cmd:"" help:"Run everything on this machine: engines, pipeline, mail catcher and a simulated shop."`
	Run        runCommand        `cmd:"" help:"Run the pipeline over the NATS and ClickHouse that attune.yaml names."`
	Import     importCommand     `cmd:"" help:"Import a file of past events; it changes state and fires nothing."`
	Mapping    mappingCommand    `cmd:"" help:"Check, try and show mappings: what turns payloads of other formats into calls."`
	Init       initCommand       `cmd:"" help:"Write a commented starting workspace."`
	Check      checkCommand      `cmd:"" help:"Check a workspace; every mistake has its place."`
	Test       testCommand       `cmd:"" help:"Run a workspace's scenarios in virtual time."`
	Apply      applyCommand      `cmd:"" help:"Bring a workspace into force."`
	Segments   segmentsCommand   `cmd:"" help:"Show the segments: size, movement, overlap, and which campaigns use them."`
	Profile    profileCommand    `cmd:"" help:"Show one customer: what is known, and what changed it."`
	Audit      auditCommand      `cmd:"" help:"Look over data, models and workspace for what is amiss; exits with 3 on an alarm."`
	Status     statusCommand     `cmd:"" help:"Show who works on what, what waits, and for how long."`
	Explain    explainCommand    `cmd:"" help:"Say why a customer is in a segment or not, condition by condition."`
	Deadletter deadletterCommand `cmd:"" name:"deadletter" help:"Look at what could not be used, and try it again."`
	Replay     replayCommand     `cmd:"" help:"Run the log again, and compare with what was recorded."`
	Train      trainCommand      `cmd:"" help:"Fit the models to what customers bought, and put them in force."`
	Stock      stockCommand      `cmd:"" help:"Say and show which products are out of stock: recommendations leave them out."`
	Model      modelCommand      `cmd:"" help:"Show and choose the models that were trained; fit one to a file of your own."`
	SQL        sqlCommand        `cmd:"" name:"sql" help:"Run a query against ClickHouse."`
	Config     configCommand     `cmd:"" help:"Show the effective configuration and where each value comes from."`
	Version    versionCommand    `cmd:"" help:"Show the version."`
}

// streams are what a command reads and writes.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

func main() {
	embedded.MaybeClickHouse() // in the engine's child process this never returns
	tuneMemory()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, s streams) (code int) {
	var all commands
	exited := -1
	parser, err := kong.New(&all,
		kong.Name("attune"),
		kong.Description("Real-time email personalization: events in, the right mail out, once."),
		kong.Writers(s.out, s.err), kong.Exit(func(c int) { exited = c }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(s),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintln(s.err, "attune:", err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help has been printed
		return exited
	}
	if err != nil {
		fmt.Fprintf(s.err, "attune: %v\nTry: attune --help\n", err)
		return exitUsage
	}
	if err := parsed.Run(); err != nil {
		var reported reportedError
		var problems config.Problems
		var alarms alarmError
		switch {
		case errors.As(err, &alarms):
			return exitAlarm
		case errors.As(err, &reported):
		case errors.Is(err, context.Canceled) && ctx.Err() != nil:
			return exitInterrupted
		case errors.As(err, &problems): // each line begins with its place, as editors expect it
			fmt.Fprintln(s.err, err)
		default:
			fmt.Fprintln(s.err, "attune:", err)
		}
		return exitFailed
	}
	return 0
}

// reportedError ends a command whose findings have been printed already.
type reportedError struct{ err error }

func (e reportedError) Error() string { return e.err.Error() }
func (e reportedError) Unwrap() error { return e.err }
