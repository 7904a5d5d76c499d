package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"

	"attune/pipeline/event"
)

// Options of [Open]. Zero values mean the defaults.
type Options struct {
	Mapping *Mapping // required
	// Resume goes on after a checkpoint's position; nil begins at the beginning.
	Resume *Checkpoint
	// OnRefusal sees every refused row, in the goroutine that runs the sequence. nil: only the report counts.
	OnRefusal func(Refusal)
	// Stdin stands for "-"; default os.Stdin.
	Stdin io.Reader

	MaxRecord       int   // bytes of one row in the file; default 1 MiB. Longer rows are refused
	MaxPayload      int   // bytes of one call; default 512 KiB. Larger ones are refused as too_large
	MaxGroupedRows  int   // rows held for group_by; default 2,000,000. More is an error
	MaxGroupedBytes int64 // their memory, roughly; default 1 GiB. More is an error
}

// rememberedIDs bounds the memory for messageIds that the file already had.
const rememberedIDs = 2_000_000

// Call is one call, ready for RAW.
type Call struct {
	// Raw has neither Accepted nor SentAt: whoever publishes it stamps the one and nobody knows the other.
	Raw   event.Raw
	ID    string // the payload's messageId
	Event string // the event's name; "identify" for an identify
	Line  int    // where its first row begins
	Rows  int
	// Position is the one after this call: checkpoint it when this call and all before it are acknowledged.
	Position Position
}

// Progress is for a progress bar.
type Progress struct {
	BytesRead  int64 // of the file as it lies on disk
	BytesTotal int64 // -1 when nobody knows
	Rows       int64 // read so far
	Calls      int64 // made so far, skipped ones included
	CallsTotal int64 // at most; 0 until it is known, which is when a grouped file is read to its end
}

// Reader turns one file into calls, once. Calls, Report and Close belong to one goroutine; Progress to any.
type Reader struct {
	options    Options
	source     *source
	table      *table
	build      builder
	report     Report
	started    bool
	closed     bool
	resume     Position
	digest     [sha256.Size]byte
	seen       map[[16]byte]struct{}
	rows       atomic.Int64
	calls      atomic.Int64
	callsTotal atomic.Int64
}

// Open opens a file, or standard input for "-". It reads the header, so that a mapping that names a column
// which isn't there fails here. The caller closes the Reader.
func Open(path string, o Options) (*Reader, error) {
	if o.Mapping == nil {
		return nil, errors.New("open import: no mapping")
	}
	setDefault(&o.MaxRecord, 1<<20)
	setDefault(&o.MaxPayload, 512<<10)
	setDefault(&o.MaxGroupedRows, 2_000_000)
	setDefault(&o.MaxGroupedBytes, 1<<30)
	s, err := openSource(path, o.Stdin)
	if err != nil {
		return nil, err
	}
	r := &Reader{options: o, source: s, report: Report{File: s.name}, seen: make(map[[16]byte]struct{})}
	if err := r.begin(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return r, nil
}

func setDefault[T int | int64](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

func (r *Reader) begin() error {
	m := r.options.Mapping
	if c := r.options.Resume; c != nil {
		switch {
		case r.source.fingerprint == "":
			return fmt.Errorf("resume %s: %w", r.source.name, ErrNoResume)
		case c.Fingerprint != r.source.fingerprint:
			return fmt.Errorf("resume %s: the file %w", r.source.name, ErrChanged)
		case c.Mapping != m.hash:
			return fmt.Errorf("resume %s: the mapping %s %w", r.source.name, m.file, ErrChanged)
		}
		r.resume = c.Position
	}
	format := m.format
	if format == "" {
		var err error
		if format, err = r.source.sniff(); err != nil {
			return err
		}
	}
	var err error
	r.table, err = newTable(&lines{from: r.source, max: r.options.MaxRecord, latin1: m.latin1}, m, format)
	r.build = builder{m, r.table}
	return err
}

// Close closes the file. Standard input stays open.
func (r *Reader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	return r.source.close()
}

// Report is what has become of the file so far.
func (r *Reader) Report() Report { return r.report.snapshot() }

// Progress may be asked from any goroutine at any time.
func (r *Reader) Progress() Progress {
	return Progress{r.source.read.Load(), r.source.total, r.rows.Load(), r.calls.Load(), r.callsTotal.Load()}
}

// Checkpoint is the one to save when every call up to p is acknowledged. [ErrNoResume] for standard input.
func (r *Reader) Checkpoint(p Position) (Checkpoint, error) {
	if r.source.fingerprint == "" {
		return Checkpoint{}, ErrNoResume
	}
	return Checkpoint{r.source.name, r.source.fingerprint, r.options.Mapping.hash, p}, nil
}

// errStop ends the sequence because its reader has left the loop.
var errStop = errors.New("stop")

// Calls is the sequence of calls after the resumed position, in the order of their first rows. An error ends
// it: the context's, the file's, too large a group, or [ErrChanged]. Refused rows are no errors. It can be
// run once.
func (r *Reader) Calls(ctx context.Context) iter.Seq2[Call, error] {
	return func(yield func(Call, error) bool) {
		if r.started || r.closed {
			yield(Call{}, errors.New("read import: the calls of a reader can be read once: open the file again"))
			return
		}
		r.started = true
		err := r.run(ctx, func(c Call) error {
			if !yield(c, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(Call{}, err)
		}
	}
}

func (r *Reader) run(ctx context.Context, emit func(Call) error) error {
	var g *groups
	if r.options.Mapping.Grouped() {
		g = newGroups(r.options.MaxGroupedRows, r.options.MaxGroupedBytes)
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read import %s: %w", r.source.name, err)
		}
		one, bad, err := r.table.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read import: %w", err)
		}
		r.rows.Add(1)
		r.report.Rows++
		if bad != nil {
			r.refuse(Refusal{Line: bad.line, Reason: bad.reason, Err: bad.err})
			if g != nil {
				g.spoil(r.groupOf(bad.row))
			}
			continue
		}
		call, no := r.route(one)
		if no != nil {
			r.refuse(*no)
			continue
		}
		if g == nil {
			if err := r.make(call, []row{one}, emit); err != nil {
				return err
			}
			continue
		}
		if err := r.hold(g, call, one); err != nil {
			return err
		}
	}
	if g != nil {
		g.by = nil
		r.callsTotal.Store(int64(len(g.order)))
		for i, one := range g.order {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("read import %s: %w", r.source.name, err)
			}
			g.order[i] = nil // what is made may go
			if g.spoiled[one.value] {
				r.refuseAll(r.build.refuseAll(one.rows, nil))
				continue
			}
			if err := r.make(one.call, one.rows, emit); err != nil {
				return err
			}
		}
	}
	if r.calls.Load() < r.resume.Calls {
		return fmt.Errorf("resume %s: it has %d calls and the checkpoint is after %d: the file %w", r.source.name, r.calls.Load(), r.resume.Calls, ErrChanged)
	}
	return nil
}
