package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/topology"
	"attune/stages/ingest/file"
	"attune/stages/ingest/mapping"
)

// importCommand brings past events in from a file.
type importCommand struct {
	File      string `arg:"" help:"CSV or JSONL, gzipped or not; - is standard input."`
	Mapping   string `required:"" placeholder:"FILE" help:"YAML that says how rows become calls, or the name of a mapping that comes with Attune."`
	Country   string `placeholder:"COUNTRY" help:"Of phone numbers without country code."`
	Timezone  string `placeholder:"ZONE" help:"Of times without one (default: the mapping's own, else UTC)."`
	Delimiter string `placeholder:"CHARACTER" help:"Of CSV; tab for a tab (default: what separates the header row)."`
	Encoding  string `enum:"utf-8,latin1" default:"utf-8" help:"utf-8 or latin1."`
	Restart   bool   `help:"Begin at the beginning, where an interrupted import would be resumed."`
	NoWait    bool   `help:"Return when everything is stored, without waiting until it is queryable."`
	Verbose   bool   `short:"v" help:"Name every row that is refused, with what is wrong; that may be personal."`
	target
}

// importBatch is how many calls are acknowledged together.
const importBatch = 500

// Run is the command.
func (i *importCommand) Run(ctx context.Context, s streams) error {
	options, err := i.options(s)
	if err != nil {
		return err
	}
	c, err := i.load()
	if err != nil {
		return err
	}
	conn, js, err := connect(c.NATS)
	if err != nil {
		return err
	}
	defer conn.Close()
	partitions, err := topology.Partitions(ctx, js)
	if err != nil {
		return err
	}
	log, err := js.Stream(ctx, topology.Raw)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", topology.Raw, err)
	}
	kept := i.checkpointPath(c.DataDir, options.Mapping, topology.Generation(log.CachedInfo()))
	if options.Resume, err = i.resume(kept); err != nil {
		return err
	}
	reader, err := file.Open(i.File, options)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	if options.Resume != nil {
		fmt.Fprintln(s.err, "An import of this file was interrupted; going on where it stopped. --restart begins anew.")
	}
	raw, err := pipeline.NewRawLog(ctx, js, 1)
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := i.store(ctx, reader, raw, kept, s.err); err != nil {
		if ctx.Err() != nil {
			fmt.Fprintln(s.err, "Stopped. What was stored stays; run the same command again to go on.")
		}
		return fmt.Errorf("import %s: %w", i.File, err)
	}
	if err := os.Remove(kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("import %s: %w", i.File, err)
	}
	fmt.Fprint(s.out, reader.Report())
	if i.NoWait {
		return nil
	}
	fmt.Fprintln(s.err, "Stored; waiting until it is queryable. Ctrl-C stops the waiting only.")
	if err := settle(ctx, js, partitions); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	fmt.Fprintln(s.err, "Queryable now. What had been imported before, within topology.duplicates_age (30 days by default), was not counted twice.")
	return nil
}

// options are how the file is read.
func (i *importCommand) options(s streams) (o file.Options, err error) {
	o = file.Options{Stdin: s.in, Latin1: i.Encoding == "latin1"}
	switch {
	case i.Delimiter == "tab":
		o.Delimiter = '\t'
	case len(i.Delimiter) == 1 && i.Delimiter != `"`:
		o.Delimiter = i.Delimiter[0]
	case i.Delimiter != "":
		return o, fmt.Errorf("--delimiter %q: want one ASCII character that is no quote, or tab", i.Delimiter)
	}
	if i.Verbose {
		o.OnRefusal = func(no file.Refusal) {
			fmt.Fprintln(s.err, no.Error())
			if no.Detail != "" {
				fmt.Fprintf(s.err, "  %s\n", no.Detail)
			}
		}
	}
	how := mapping.Options{Country: i.Country}
	if i.Timezone != "" {
		if how.Zone, err = time.LoadLocation(i.Timezone); err != nil {
			return o, fmt.Errorf("--timezone: %w", err)
		}
	}
	if o.Mapping, err = mapping.Open(i.Mapping, os.ReadFile, how); err != nil {
		fmt.Fprintln(s.err, err)
		return o, reportedError{err}
	}
	return o, nil
}

// store appends the calls in batches and remembers how far it came. What the log refuses for the moment it offers again:
// message ids tell what was stored after all.
func (i *importCommand) store(ctx context.Context, reader *file.Reader, raw *pipeline.RawLog, kept string, progress io.Writer) error {
	bar := newImportProgress(reader, progress)
	defer bar.stop()
	told := false
	waits := func(err error, _ time.Duration) {
		if !told {
			fmt.Fprintf(progress, "Waiting until the log takes more (Ctrl-C stops): %v\n", err)
		}
		told = true
	}
	var batch []event.Raw
	var position file.Position
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		accepted := time.Now() // one for all of them: those of one partition share a message then
		for n := range batch {
			batch[n].Accepted = accepted
		}
		pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
		if err := backoff.RetryNotify(func() error { return lasting(raw.Append(ctx, batch)) }, backoff.WithContext(pause, ctx), waits); err != nil {
			return fmt.Errorf("%w; what was stored stays, run the same command again to go on", err)
		}
		batch = batch[:0]
		if i.File == "-" {
			return nil // can't be resumed; its message ids keep a repeat from doubling anything
		}
		checkpoint, err := reader.Checkpoint(position)
		if err != nil {
			return err
		}
		return checkpoint.Save(kept)
	}
	for call, err := range reader.Calls(ctx) {
		if err != nil {
			return errors.Join(err, flush())
		}
		batch, position = append(batch, call.Raw), call.Position
		if len(batch) >= importBatch {
			if err := flush(); err != nil {
				return err
			}
		}
		bar.show()
	}
	return flush()
}

// lasting marks what will be refused however often it is tried.
func lasting(err error) error {
	if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrConnectionClosed) {
		return backoff.Permanent(err)
	}
	return err
}

// resume finds where an earlier import of this file into this target stopped.
func (i *importCommand) resume(kept string) (*file.Checkpoint, error) {
	if i.File == "-" {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	if i.Restart {
		return nil, nil
	}
	checkpoint, err := file.LoadCheckpoint(kept)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return checkpoint, err
}

// checkpointPath is one for each file, mapping and target: what one log holds of a file another may lack.
func (i *importCommand) checkpointPath(dataDir string, m *mapping.Mapping, log string) string {
	path, err := filepath.Abs(i.File)
	if err != nil {
		path = i.File
	}
	sum := sha256.Sum256([]byte(path + "\x00" + m.Name() + "\x00" + log))
	return filepath.Join(dataDir, "imports", fmt.Sprintf("%x.json", sum[:8]))
}
