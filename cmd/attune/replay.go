package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"attune/pipeline"
	"attune/pipeline/replay"
	"attune/pipeline/topology"
)

// replayCommand runs the log again.
type replayCommand struct {
	Verify    bool   `help:"Compare with what was recorded, byte for byte; exit 1 on a difference."`
	From      string `placeholder:"FILE" help:"Go on from a snapshot instead of the start."`
	Snapshot  string `placeholder:"FILE" help:"Write a snapshot of the end, to go on from later."`
	Partition int    `default:"-1" placeholder:"N" help:"Only this partition."`
	JSON      bool   `name:"json" help:"Print one JSON object a partition."`
	target
}

// Run is the command.
func (r *replayCommand) Run(ctx context.Context, s streams) error {
	conn, js, err := r.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	count, err := topology.Partitions(ctx, js)
	if err != nil {
		return err
	}
	if r.Partition >= count || r.Partition < -1 {
		return fmt.Errorf("replay: --partition %d: there are the partitions 0 to %d", r.Partition, count-1)
	}
	definitions, err := newDefinitions(ctx, js, count)
	if err != nil {
		return err
	}
	progress := newReplayProgress(s.err)
	defer progress.stop()
	replayer, err := replay.New(replay.Config{JetStream: js, Load: definitions.chain, Verify: r.Verify, Progress: progress.show})
	if err != nil {
		return err
	}
	from, err := openSnapshot(ctx, js, r.From)
	if err != nil {
		return err
	}
	defer from.close()
	to, err := r.create(ctx, js)
	if err != nil {
		return err
	}
	defer to.discard()
	var reports []*replay.Report
	for p := range count {
		if r.Partition != -1 && p != r.Partition {
			continue
		}
		state, err := from.state(p)
		if err != nil {
			return err
		}
		report, end, err := replayer.Partition(ctx, p, state)
		if err != nil {
			return err
		}
		reports = append(reports, report)
		if err := to.add(end); err != nil {
			return err
		}
	}
	progress.stop()
	if err := r.print(s.out, reports); err != nil {
		return err
	}
	for _, report := range reports {
		if !report.Equal() { // and there is no snapshot of that
			return reportedError{errors.New("replay: the log does not give what was recorded")}
		}
	}
	return to.keep()
}

// print shows a line for each partition, and the first difference of each in full.
func (r *replayCommand) print(out io.Writer, reports []*replay.Report) error {
	if r.JSON {
		encoder := json.NewEncoder(out)
		for _, report := range reports {
			if err := encoder.Encode(report); err != nil {
				return fmt.Errorf("replay: %w", err)
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "PARTITION\tUP TO\tRECORDS\tFACTS\tPARKED\tHASH\tRESULT")
	for _, x := range reports {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%.16s\t%s\n", x.Partition, x.Position, x.Records, x.Facts, x.Parked, x.Hash, verdict(x))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	for _, x := range reports {
		if x.First != nil {
			printDifference(out, x)
		}
	}
	return nil
}

// verdict says in words what the comparison found.
func verdict(x *replay.Report) string {
	if !x.Verified {
		return "not compared (--verify)"
	}
	var said []string
	if x.Equal() {
		said = append(said, "equal")
	} else {
		said = append(said, fmt.Sprintf("%d records differ, the first at position %d", x.Differences, x.First.Position))
	}
	if x.Missing > 0 {
		said = append(said, fmt.Sprintf("%d erased from the log, the first at position %d", x.Missing, x.Gone[0]))
	}
	if x.Unknown > 0 {
		said = append(said, fmt.Sprintf("of %d nothing was recorded any more", x.Unknown))
	}
	return strings.Join(said, "; ")
}

func printDifference(out io.Writer, x *replay.Report) {
	d := x.First
	fmt.Fprintf(out, "\npartition %d, position %d", x.Partition, d.Position)
	if d.Event != "" {
		fmt.Fprintf(out, ", event %s", d.Event)
	}
	if d.Profile != "" {
		fmt.Fprintf(out, ", profile %s", d.Profile)
	}
	fmt.Fprintf(out, "\n%s\nrecorded  %s\nreplayed  %s\n", d.What, factsText(d.Recorded, "not kept: the commit is purged, or stated nothing here"), factsText(d.Replayed, "nothing"))
}

func factsText(f *pipeline.Facts, none string) string {
	if f == nil {
		return none
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// snapshotSource gives the states to go on from; without a file each partition begins at the start.
type snapshotSource struct {
	path   string
	file   *os.File
	reader *replay.SnapshotReader
}

// openSnapshot opens a file; without a name there is none. Whoever gets it closes it.
func openSnapshot(ctx context.Context, js jetstream.JetStream, path string) (*snapshotSource, error) {
	if path == "" {
		return &snapshotSource{}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	reader, err := replay.NewSnapshotReader(ctx, js, file)
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("--from %s: %w", path, err)
	}
	return &snapshotSource{path: path, file: file, reader: reader}, nil
}

// state finds a partition's; they are asked for in ascending order.
func (s *snapshotSource) state(partition int) (*replay.State, error) {
	if s.reader == nil {
		return nil, nil
	}
	for {
		state, err := s.reader.Next()
		if errors.Is(err, io.EOF) || err == nil && state.Partition > partition {
			return nil, fmt.Errorf("--from %s: partition %d is not in it: it was made with another --partition", s.path, partition)
		}
		if err != nil {
			return nil, fmt.Errorf("--from %s: %w", s.path, err)
		}
		if state.Partition == partition {
			return state, nil
		}
	}
}

func (s *snapshotSource) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// snapshotTarget is the file that a snapshot is written to: it takes its name when it is whole.
type snapshotTarget struct {
	path   string
	file   *os.File
	writer *replay.SnapshotWriter
}

func (r *replayCommand) create(ctx context.Context, js jetstream.JetStream) (*snapshotTarget, error) {
	if r.Snapshot == "" {
		return &snapshotTarget{}, nil
	}
	file, err := os.CreateTemp(filepath.Dir(r.Snapshot), filepath.Base(r.Snapshot)+".*") // readable by its owner only
	if err != nil {
		return nil, fmt.Errorf("replay --snapshot: %w", err)
	}
	t := &snapshotTarget{path: r.Snapshot, file: file}
	if t.writer, err = replay.NewSnapshotWriter(ctx, js, file); err != nil {
		t.discard()
		return nil, err
	}
	return t, nil
}

func (t *snapshotTarget) add(state *replay.State) error {
	if t.writer == nil {
		return nil
	}
	return t.writer.Add(state)
}

func (t *snapshotTarget) keep() error {
	if t.writer == nil {
		return nil
	}
	err := errors.Join(t.writer.Close(), t.file.Sync(), t.file.Close())
	if err == nil {
		err = os.Rename(t.file.Name(), t.path)
	}
	if err != nil {
		return fmt.Errorf("replay --snapshot %s: %w", t.path, err)
	}
	return nil
}

// discard removes what was not kept.
func (t *snapshotTarget) discard() {
	if t.file != nil {
		_ = t.file.Close()
		_ = os.Remove(t.file.Name()) // after keep there is none of that name
	}
}

// replayProgress is a bar on a terminal, else a line every ten seconds.
type replayProgress struct {
	out  io.Writer
	bar  *progressbar.ProgressBar
	last time.Time
}

func newReplayProgress(out io.Writer) *replayProgress {
	p := &replayProgress{out: out, last: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(out),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

func (p *replayProgress) show(partition int, position, end uint64) {
	if p.bar != nil {
		p.bar.Describe(fmt.Sprintf("partition %d", partition))
		p.bar.ChangeMax64(int64(end))
		_ = p.bar.Set64(int64(position)) // a bar that can't be drawn is no reason to stop
		return
	}
	if time.Since(p.last) >= 10*time.Second {
		p.last = time.Now()
		fmt.Fprintf(p.out, "partition %d: position %d of %d\n", partition, position, end)
	}
}

// stop takes the bar away; stopping twice is fine.
func (p *replayProgress) stop() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}
