package config

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/config/document"
	"attune/pipeline/rollout"
	"attune/pipeline/topology"
	"attune/sinks/clickhouse"
	"attune/sinks/smtp"
	"attune/stages/deliver"
	"attune/stages/ingest"
	"attune/stages/normalize"
)

// Config is how the program runs: attune.yaml. What decides about customers is not here but in the workspace, so
// that two processes with different settings decide the same.
type Config struct {
	// DataDir is where the embedded engines keep their data. Default: attune-data in the working directory.
	DataDir string `yaml:"data_dir"`
	// Listen is the address of the HTTP server, host:port; port 0 picks one. Default 127.0.0.1:8080.
	Listen string `yaml:"listen"`
	// Ingest is how events are taken in over HTTP.
	Ingest ingest.Config `yaml:"ingest"`
	// Normalize is how what producers write in many forms is read.
	Normalize normalize.Settings `yaml:"normalize"`
	// API is who may ask about customers over HTTP.
	API API `yaml:"api"`
	// NATS is the broker.
	NATS NATS `yaml:"nats"`
	// Topology is how the broker's streams are laid out.
	Topology topology.Config `yaml:"topology"`
	// Rollout is how definitions that change reach customers who are there already.
	Rollout rollout.Settings `yaml:"rollout"`
	// ClickHouse is where the facts go.
	ClickHouse clickhouse.Config `yaml:"clickhouse"`
	// Destinations are where mail goes, by the name that campaigns use.
	Destinations map[string]Destination `yaml:"destinations"`
	// Audit is when the data and the workspace in force are looked over.
	Audit Audit `yaml:"audit"`
	// Learner trains models on a schedule.
	Learner Learner `yaml:"learner"`
	// Log is what the program says about itself.
	Log Log `yaml:"log"`

	origins map[string]origin
	file    *document.Document // nil: no file was read
}

// NATS says which broker to use.
type NATS struct {
	// URL is the cluster's address, nats://host:4222, several separated by commas. Empty: the embedded server.
	URL string `yaml:"url"`
	// Credentials is the path of a NATS credentials file; empty: none. Only with url.
	Credentials string `yaml:"credentials"`
	// Port is the embedded server's loopback port; 0 picks that of the last run if it is free, else another.
	Port int `yaml:"port"`
	// SyncAlways makes the embedded server flush to the disk before each acknowledgement: nothing is lost in a power
	// failure, at a fraction of the speed. Default false: every sync_interval; a crash of the process loses nothing.
	SyncAlways bool `yaml:"sync_always"`
	// SyncInterval is how often the embedded server flushes to the disk what it has acknowledged: what a power failure
	// may cost at most. Default 2m, 10ms to 1h. Without effect where sync_always is set.
	SyncInterval time.Duration `yaml:"sync_interval"`
}

// Destination is one way out for mail; exactly one protocol.
type Destination struct {
	// SMTP sends by a mail server.
	SMTP *smtp.Config `yaml:"smtp"`
	// AfterCrash is what happens to a mail whose end nobody saw: hold (default: at most one mail, perhaps none) or
	// resend (at least one, perhaps two with the same Message-ID).
	AfterCrash deliver.AfterCrash `yaml:"after_crash"`
}

// Start is what a protocol's settings begin with.
func (Destination) Start(key string) any {
	if key == "smtp" {
		c := smtp.DefaultConfig()
		return &c
	}
	return nil
}

// Log says how the program logs, to standard error.
type Log struct {
	// Format is text (default) or json.
	Format string `yaml:"format"`
	// Level is debug, info (default), warn or error.
	Level string `yaml:"level"`
}

// SlogLevel is the level for log/slog.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // Validate has told; else info
	return level
}

// Default is everything on this machine: embedded engines, the address for a browser, no destination yet.
func Default() Config {
	return Config{
		DataDir:    "attune-data",
		Listen:     "127.0.0.1:8080",
		Ingest:     ingest.DefaultConfig(),
		Normalize:  normalize.DefaultSettings(),
		NATS:       NATS{SyncInterval: 2 * time.Minute},
		Topology:   topology.DefaultConfig(),
		Rollout:    rollout.DefaultSettings(),
		ClickHouse: clickhouse.DefaultConfig(),
		Audit:      DefaultAudit(),
		Learner:    Learner{Every: 24 * time.Hour},
		Log:        Log{Format: "text", Level: "info"},
		origins:    map[string]origin{},
	}
}

// DestinationNames are the destinations' names, sorted: what a workspace is checked against.
func (c *Config) DestinationNames() []string { return slices.Sorted(maps.Keys(c.Destinations)) }

var destinationName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Validate finds every setting that can't work, each told where it was set. It is a [Problems].
func (c *Config) Validate() error {
	var ps Problems
	add := func(path, message, hint string) { ps = append(ps, c.problem(path, message, hint)) }
	if strings.TrimSpace(c.DataDir) == "" {
		add("data_dir", "is empty", "name a folder, such as attune-data")
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil {
		add("listen", fmt.Sprintf("%q is no address", c.Listen), "write host:port, such as 127.0.0.1:8080")
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		add("listen", fmt.Sprintf("port %q is outside 0 to 65535", port), "")
	}
	for _, part := range []struct {
		path string
		err  error
	}{
		{"ingest", c.Ingest.Validate()}, {"normalize", c.Normalize.Validate()}, {"api", c.API.Validate()}, {"nats", c.NATS.Validate()},
		{"topology", c.Topology.Validate()}, {"rollout", c.Rollout.Validate()},
		{"clickhouse", c.ClickHouse.Validate()}, {"audit", c.Audit.Validate()}, {"learner", c.Learner.Validate()}, {"log", c.Log.Validate()},
	} {
		ps = append(ps, c.fromError(part.path, part.err)...)
	}
	for _, name := range c.DestinationNames() {
		path := "destinations." + name
		if !destinationName.MatchString(name) {
			add(path, fmt.Sprintf("%q is no destination's name", name), "want lower-case letters, digits and hyphens, such as mail")
		}
		if d := c.Destinations[name]; d.SMTP == nil {
			add(path, "says no protocol", "write smtp: {host: …} below it")
		} else {
			ps = append(ps, c.fromError(path+".smtp", d.SMTP.Validate())...)
		}
		if after := c.Destinations[name].AfterCrash; after != "" && after != deliver.Hold && after != deliver.Resend {
			add(path+".after_crash", fmt.Sprintf("%q is no policy", string(after)), "write hold or resend")
		}
	}
	return ps.Err()
}

// Validate reports what is wrong with the broker's settings.
func (n NATS) Validate() error {
	var errs []error
	if n.URL != "" {
		for one := range strings.SplitSeq(n.URL, ",") {
			u, err := url.Parse(strings.TrimSpace(one))
			if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
				errs = append(errs, errors.New("url: is no NATS address: write nats://host:4222 or tls://host:4222")) // may hold a password: not repeated
				break
			}
		}
	}
	if n.Credentials != "" && n.URL == "" {
		errs = append(errs, errors.New("credentials: are for a cluster, and no url is given: the embedded server needs none"))
	}
	if n.SyncInterval < 10*time.Millisecond || n.SyncInterval > time.Hour {
		errs = append(errs, fmt.Errorf("sync_interval: %s is outside 10ms to 1h; what may not be lost at all wants sync_always", n.SyncInterval))
	}
	if n.Port < 0 || n.Port > 65535 {
		errs = append(errs, fmt.Errorf("port: %d is outside 0 to 65535", n.Port))
	}
	return errors.Join(errs...)
}

// Validate reports what is wrong with the log's settings.
func (l Log) Validate() error {
	var errs []error
	if formats := []string{"text", "json"}; !slices.Contains(formats, l.Format) {
		errs = append(errs, fmt.Errorf("format: %q is not known: %s", l.Format, document.DidYouMean(l.Format, formats)))
	}
	if levels := []string{"debug", "info", "warn", "error"}; !slices.Contains(levels, l.Level) {
		errs = append(errs, fmt.Errorf("level: %q is not known: %s", l.Level, document.DidYouMean(l.Level, levels)))
	}
	return errors.Join(errs...)
}
