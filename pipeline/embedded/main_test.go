package embedded_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
)

// serveEnv turns the test binary into a program that serves a data folder, like attune dev, until its standard
// input ends or it is killed.
const serveEnv = "ATTUNE_TEST_SERVE"

func TestMain(m *testing.M) {
	embedded.MaybeClickHouse()
	if dir, ok := os.LookupEnv(serveEnv); ok {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	enginetest.MainNoLeaks(m)
}

// served is what the program says, in one line, once its data is stored.
type served struct {
	PID      int    `json:"pid"`
	ChildPID int    `json:"child_pid"`
	DSN      string `json:"dsn"`
	NATSURL  string `json:"nats_url"`
}

func serve(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	lock, err := embedded.Lock(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	n, err := embedded.StartNATS(ctx, embedded.NATSConfig{Dir: filepath.Join(dir, "nats")})
	if err != nil {
		return err
	}
	defer n.Close()
	if err := storeMessage(ctx, n, "kept"); err != nil {
		return err
	}
	ch, err := embedded.StartClickHouse(ctx, embedded.ClickHouseConfig{
		Library: os.Getenv("ATTUNE_TEST_LIBRARY"), Dir: filepath.Join(dir, "clickhouse"),
	})
	if err != nil {
		return err
	}
	defer ch.Stop(context.Background())
	for _, q := range []string{"CREATE TABLE kept (a UInt64) ENGINE = MergeTree ORDER BY a", "INSERT INTO kept SELECT number FROM numbers(1000)"} {
		if err := execute(ctx, ch.DSN(), q); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(served{
		PID: os.Getpid(), ChildPID: ch.PID(), DSN: ch.DSN(), NATSURL: n.URL(),
	}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
