package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"attune/config"
	"attune/pipeline/embedded"
)

// runCommand runs the pipeline as configured: the production command.
type runCommand struct {
	Config string   `placeholder:"FILE" help:"The configuration, an attune.yaml (default: none, defaults and ATTUNE_ variables only)."`
	Only   []string `placeholder:"PART" help:"Run only these parts: ingest, normalize, customer, deliver, rollout, sink, learn (default: all)."`
}

// Validate refuses parts that don't exist.
func (r *runCommand) Validate() error {
	_, err := chosen(r.Only)
	return err
}

// Run is the command.
func (r *runCommand) Run(ctx context.Context, s streams) error {
	c, err := config.Load(r.Config, os.Environ())
	if err != nil {
		return err
	}
	log := newLogger(c.Log, s.err)
	engines, err := startEngines(ctx, &c, len(r.Only) == 0 || slices.Contains(r.Only, partSink) || slices.Contains(r.Only, partLearn), s.err, log)
	if err != nil {
		return err
	}
	defer engines.close()
	node, err := startNode(ctx, c, r.Only, engines, log)
	if err != nil {
		return err
	}
	defer node.close()
	if engines.folder != nil {
		if err := embedded.WriteEndpoints(c.DataDir, engines.endpoints(&c, node.server.url())); err != nil {
			return err
		}
		defer func() { _ = embedded.RemoveEndpoints(c.DataDir) }()
	}
	return node.run(ctx, func() { log.Info("running", "listen", node.server.url(), "partitions", c.Topology.Partitions) }, nil)
}

// newLogger logs as configured.
func newLogger(c config.Log, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.SlogLevel()}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// versionCommand prints the version.
type versionCommand struct{}

// Run is the command.
func (versionCommand) Run(s streams) error {
	fmt.Fprintln(s.out, "attune", version())
	return nil
}
