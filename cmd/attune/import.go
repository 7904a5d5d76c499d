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

	"github.com/nats-io/nats.go/jetstream"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

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
	kept := i.checkpointPath(c.DataDir, options.Mapping)
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
		return err
	}
	if ctx.Err() == nil {
		fmt.Fprintln(s.err, "Queryable now. What had been imported before was not counted twice.")
	}
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

// store appends the calls in batches and remembers how far it came.
func (i *importCommand) store(ctx context.Context, reader *file.Reader, raw *pipeline.RawLog, kept string, progress io.Writer) error {
	bar := newImportProgress(reader, progress)
	defer bar.stop()
	var batch []event.Raw
	var position file.Position
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := raw.Append(ctx, batch); err != nil {
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
		call.Raw.Accepted = time.Now()
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

// resume finds where an earlier import of this file into this target stopped.
func (i *importCommand) resume(kept string) (*file.Checkpoint, error) {
	if i.Restart || i.File == "-" {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	checkpoint, err := file.LoadCheckpoint(kept)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return checkpoint, err
}

// checkpointPath is beside the target's data, so that another target starts anew.
func (i *importCommand) checkpointPath(dataDir string, m *mapping.Mapping) string {
	path, err := filepath.Abs(i.File)
	if err != nil {
		path = i.File
	}
	sum := sha256.Sum256([]byte(path + "\x00" + m.Name()))
	return filepath.Join(dataDir, "imports", fmt.Sprintf("%x.json", sum[:8]))
}

// importProgress is a bar on a terminal, else a line every ten seconds.
type importProgress struct {
	reader *file.Reader
	out    io.Writer
	bar    *progressbar.ProgressBar
	last   time.Time
}

func newImportProgress(reader *file.Reader, out io.Writer) *importProgress {
	p := &importProgress{reader: reader, out: out, last: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription("calls"),
			progressbar.OptionShowIts(), progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

func (p *importProgress) show() {
	if p.bar == nil && time.Since(p.last) < 10*time.Second {
		return
	}
	p.last = time.Now()
	now := p.reader.Progress()
	if p.bar == nil {
		fmt.Fprintf(p.out, "%d rows read, %d calls made\n", now.Rows, now.Calls)
		return
	}
	if now.CallsTotal > 0 {
		p.bar.ChangeMax64(now.CallsTotal)
	}
	_ = p.bar.Set64(now.Calls) // a bar that can't be drawn is no reason to stop
}

func (p *importProgress) stop() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

// settle waits until everything that is stored now has gone through the chains and into the sink.
func settle(ctx context.Context, js jetstream.JetStream, partitions int) error {
	var readers [][2]string
	for p := range partitions {
		readers = append(readers, [2]string{topology.Raw, topology.Durable(pipeline.ReaderNormalize, p)})
	}
	for p := range partitions {
		readers = append(readers, [2]string{topology.Events, topology.Durable(pipeline.ReaderCustomer, p)})
	}
	readers = append(readers, [2]string{topology.Commits, pipeline.ReaderClickHouse})
	for _, r := range readers {
		for {
			consumer, err := js.Consumer(ctx, r[0], r[1])
			if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) { // which is being claimed at the moment
				return fmt.Errorf("look up reader %s: %w", r[1], err)
			}
			if err == nil && consumer.CachedInfo().NumPending == 0 && consumer.CachedInfo().NumAckPending == 0 {
				break
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}
