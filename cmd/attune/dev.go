package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/cmd/attune/shop"
	"attune/config"
	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/embedded"
	"attune/pipeline/embedded/mailbox"
	"attune/sinks/smtp"
)

// devCommand runs everything on one machine.
type devCommand struct {
	Data      string        `placeholder:"DIR" help:"Data folder; a restart goes on where it was (default: attune-data)."`
	Listen    string        `placeholder:"ADDRESS" help:"HTTP address; port 0 picks one (default: 127.0.0.1:8080)."`
	Config    string        `placeholder:"FILE" help:"An attune.yaml. Its destinations are redirected to the mail catcher."`
	Workspace string        `placeholder:"DIR" help:"A workspace of your own (default: the example, a small shop)."`
	MaxWait   time.Duration `default:"20s" help:"Shorten campaigns' waits to this, to see mails soon; 0 leaves them."`
	NoShop    bool          `help:"Leave out the simulated customers."`
	Seed      uint64        `default:"1" help:"Of the simulated customers: the same seed shops the same."`
	Rate      float64       `default:"5" help:"Simulated events per second."`
	JSON      bool          `name:"json" help:"Print the addresses as one line of JSON."`
}

// devDestination is the one that the example workspace sends to.
const devDestination = "mail"

// shutdownTimeout bounds the wait for requests and commits under way.
const shutdownTimeout = 20 * time.Second

// Run is the command.
func (d *devCommand) Run(ctx context.Context, s streams) error {
	if d.Rate <= 0 || d.Rate > 10_000 {
		return fmt.Errorf("--rate %g is out of range: give more than 0 and at most 10000 events per second", d.Rate)
	}
	c, log, err := d.configure(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	engines, err := startEngines(ctx, &c, true, s.err, log)
	if err != nil {
		return err
	}
	defer engines.close()
	mails, err := mailbox.Start(context.WithoutCancel(ctx), mailbox.Config{SMTPAddr: "127.0.0.1:0", Dir: filepath.Join(c.DataDir, "mails"), Keep: 1000}) // mails on their way are answered
	if err != nil {
		return err
	}
	defer func() { _ = mails.Close() }()
	if err := catchMails(&c, mails.SMTPAddr()); err != nil {
		return err
	}
	workspace, shortened, err := d.workspace(&c)
	if err != nil {
		return err
	}
	store, err := openControl(ctx, engines.js)
	if err != nil {
		return err
	}
	applied, err := d.apply(ctx, engines.js, store, workspace, c.DataDir)
	if err != nil {
		return err
	}
	if !applied {
		workspace.Name, shortened = "as applied by attune apply", nil
	}
	node, err := startNode(ctx, c, nil, engines, log)
	if err != nil {
		return err
	}
	defer node.close()
	node.mux.Handle("/mails/", mails.Handler())
	node.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/mails/", http.StatusFound) })

	endpoints := engines.endpoints(&c, node.server.url())
	endpoints.MailURL, endpoints.SMTPAddr = node.server.url()+"/mails/", mails.SMTPAddr()
	if err := embedded.WriteEndpoints(c.DataDir, endpoints); err != nil {
		return err
	}
	defer func() { _ = embedded.RemoveEndpoints(c.DataDir) }()
	if err := node.run(ctx, func() { d.announce(s, &c, endpoints, workspace, shortened) }, d.shop(&c, node, log)); err != nil {
		return err
	}
	if !d.JSON {
		fmt.Fprintf(s.out, "Stopped. Everything that was accepted is kept in %s.\n", c.DataDir)
	}
	return nil
}

// configure loads the configuration with what dev brings along.
func (d *devCommand) configure(s streams) (config.Config, *slog.Logger, error) {
	sources := config.Sources{
		Defaults: []config.Setting{
			{Path: "ingest.write_keys", Value: "[{name: dev, key: dev}]", Name: "attune dev"},
			{Path: "api.tokens", Value: "[{name: dev, token: dev, scopes: [profiles, personal]}]", Name: "attune dev"},
			{Path: "log.level", Value: "warn", Name: "attune dev"},
		},
		Path: d.Config, Env: os.Environ(),
	}
	for path, flag := range map[string]struct{ name, value string }{"data_dir": {"--data", d.Data}, "listen": {"--listen", d.Listen}} {
		if flag.value != "" {
			sources.Flags = append(sources.Flags, config.Setting{Path: path, Value: flag.value, Name: flag.name})
		}
	}
	c, err := sources.Load()
	if err != nil {
		return c, nil, err
	}
	return c, newLogger(c.Log, s.err), nil
}

// catchMails points every destination at the catcher: a simulation must not write to anyone.
func catchMails(c *config.Config, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("mail catcher: %w", err)
	}
	catcher := smtp.DefaultConfig()
	catcher.Host, catcher.TLS = host, smtp.TLSNone
	if catcher.Port, err = strconv.Atoi(port); err != nil {
		return fmt.Errorf("mail catcher: %w", err)
	}
	if c.Destinations == nil {
		c.Destinations = map[string]config.Destination{}
	}
	c.Destinations[devDestination] = config.Destination{}
	for name := range c.Destinations {
		c.Destinations[name] = config.Destination{SMTP: &catcher}
	}
	return nil
}

// workspace is the user's own or the example, with its waits shortened.
func (d *devCommand) workspace(c *config.Config) (ws *config.Workspace, shortened []string, err error) {
	var files fs.FS = config.ExampleFiles()
	if d.Workspace != "" {
		files = os.DirFS(d.Workspace)
	}
	if ws, err = config.CheckWorkspace(files, c.Installation()); err != nil {
		return nil, nil, err
	}
	if d.MaxWait > 0 {
		shortened = ws.ShortenWaits(d.MaxWait)
	}
	return ws, shortened, nil
}

// apply brings dev's own workspace into force, unless the user has applied another one since: a restart goes on
// with that, until --workspace says otherwise. The file remembers what dev itself applied last.
func (d *devCommand) apply(ctx context.Context, js jetstream.JetStream, store *control.Store, ws *config.Workspace, dataDir string) (bool, error) {
	remembered := filepath.Join(dataDir, "dev-definitions")
	newest, err := store.Newest(ctx, pipeline.KindDefinitions)
	if err != nil {
		return false, err
	}
	own, err := os.ReadFile(remembered)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("data folder: %w", err)
	}
	staged, err := store.Newest(ctx, pipeline.KindStaged)
	if err != nil {
		return false, err
	}
	latest := newest.Hash
	if staged.Version > newest.Staged {
		latest = staged.Hash
	}
	if newest.Version > 0 && latest != string(own) && d.Workspace == "" {
		return false, nil
	}
	done, err := applyWorkspace(ctx, js, store, ws, false)
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(remembered, []byte(done.record.Hash), 0o600); err != nil {
		return false, fmt.Errorf("data folder: %w", err)
	}
	return true, nil
}

// shop is the simulated customers; nil when there are none.
func (d *devCommand) shop(c *config.Config, n *node, log *slog.Logger) func(context.Context) error {
	if d.NoShop {
		return nil
	}
	return func(ctx context.Context) error {
		err := shop.Run(ctx, shop.Config{
			URL: n.server.url(), WriteKey: c.Ingest.WriteKeys[0].Key, Seed: d.Seed, Rate: d.Rate, Now: time.Now, Log: log,
		})
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
}

// announce prints the few lines a newcomer needs.
func (d *devCommand) announce(s streams, c *config.Config, e embedded.Endpoints, ws *config.Workspace, shortened []string) {
	if d.JSON {
		line, _ := json.Marshal(map[string]any{ // strings and numbers only: it never fails
			"ingest_url": e.IngestURL, "write_key": c.Ingest.WriteKeys[0].Key, "mail_url": e.MailURL,
			"nats_url": e.NATSURL, "clickhouse_http_url": e.ClickHouseHTTPURL, "smtp_addr": e.SMTPAddr,
			"data_dir": c.DataDir, "workspace": ws.Name, "shortened_waits": shortened, "pid": os.Getpid(),
		})
		fmt.Fprintf(s.out, "%s\n", line)
		return
	}
	data := ""
	if c.DataDir != config.Default().DataDir {
		data = " --data " + c.DataDir
	}
	fmt.Fprintf(s.out, "Attune is running.\n\n")
	fmt.Fprintf(s.out, "  Mails   %s\n", e.MailURL)
	fmt.Fprintf(s.out, "  Events  POST %s/v1/track   (Segment's API, write key %q; or NATS %s)\n", e.IngestURL, c.Ingest.WriteKeys[0].Key, e.NATSURL)
	fmt.Fprintf(s.out, "  Query   %s sql%s 'SELECT event, count() FROM events GROUP BY event'\n", program(), data)
	fmt.Fprintf(s.out, "  Data    %s   (a restart goes on where it was)\n", c.DataDir)
	fmt.Fprintf(s.out, "  Rules   workspace %s\n", ws.Name)
	fmt.Fprintf(s.out, "  Stop    Ctrl-C\n")
	if len(shortened) > 0 {
		fmt.Fprintf(s.out, "\nWaits are shortened for this try-out (--max-wait 0 leaves them): %s.\n", strings.Join(shortened, "; "))
	}
	if !d.NoShop {
		fmt.Fprintf(s.out, "Simulated customers are shopping; their first mail comes within a minute. --no-shop leaves them out.\n")
	}
}

// program is how the newcomer started this: by go run, whose binary lies in a build folder, or by its name.
func program() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/attune"
	}
	return "attune"
}
