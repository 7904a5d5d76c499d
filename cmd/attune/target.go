package main

import (
	"cmp"
	"context"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/config"
	"attune/pipeline/control"
	"attune/pipeline/embedded"
	"attune/pipeline/topology"
)

// target is the running Attune that a command works on: the configured engines, or those of a running dev.
type target struct {
	Data   string `placeholder:"DIR" help:"Data folder of the running 'attune dev' (default: attune-data)."`
	Config string `placeholder:"FILE" help:"An attune.yaml that names the engines."`
}

// configured is the configuration as it was given.
func (t *target) configured() (config.Config, error) {
	sources := config.Sources{Path: t.Config, Env: os.Environ()}
	if t.Data != "" {
		sources.Flags = []config.Setting{{Path: "data_dir", Value: t.Data, Name: "--data"}}
	}
	return sources.Load()
}

// load finds the configuration; where it leaves an engine to a running dev, that one's address is filled in.
func (t *target) load() (config.Config, error) {
	c, err := t.configured()
	if err != nil || c.NATS.URL != "" && c.ClickHouse.DSN != "" {
		return c, err
	}
	running, err := embedded.ReadEndpoints(c.DataDir)
	if err != nil {
		return c, err
	}
	if c.NATS.URL == "" {
		c.NATS.URL = running.NATSURL
	}
	if c.ClickHouse.DSN == "" { // for questions only: what is dropped there can't be brought back from the log
		c.ClickHouse.DSN, c.ClickHouse.HTTP = cmp.Or(running.ClickHouseAnalystDSN, running.ClickHouseDSN), running.ClickHouseHTTPURL
	}
	return c, nil
}

// connect reaches the target's NATS, whose streams must exist.
func (t *target) connect() (*nats.Conn, jetstream.JetStream, error) {
	c, err := t.configured()
	if err == nil && c.NATS.URL == "" {
		c, err = t.load()
	}
	if err != nil {
		return nil, nil, err
	}
	return connect(c.NATS)
}

// control opens the target's control store. Whoever gets it calls disconnect.
func (t *target) control(ctx context.Context) (store *control.Store, disconnect func(), err error) {
	conn, js, err := t.connect()
	if err != nil {
		return nil, nil, err
	}
	if store, err = openControl(ctx, js); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return store, conn.Close, nil
}

// openControl finds the control store of existing streams.
func openControl(ctx context.Context, js jetstream.JetStream) (*control.Store, error) {
	partitions, err := topology.Partitions(ctx, js)
	if err != nil {
		return nil, err
	}
	return control.Open(ctx, js, partitions)
}
