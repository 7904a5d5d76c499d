package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync/atomic"

	"attune/pipeline/event"
	"attune/stages/ingest/mapping"
)

// Options of [Open]. Zero values mean the defaults.
type Options struct {
	Mapping *mapping.Mapping // required
	// Delimiter of CSV; 0: whatever of comma, semicolon, tab and bar separates the most names of the header row.
	Delimiter byte
	// Latin1 says that the file is not UTF-8 but Latin-1 (read as Windows-1252, its superset in practice).
	Latin1 bool
	// Resume goes on after a checkpoint's position; nil begins at the beginning.
	Resume *Checkpoint
	// OnRefusal sees every refused row, in the goroutine that runs the sequence. nil: only the report counts.
	OnRefusal func(Refusal)
	// Stdin stands for "-"; default os.Stdin.
	Stdin io.Reader

	MaxRecord       int   // bytes of one row in the file; default 1 MiB. Longer rows are refused
	MaxPayload      int   // bytes of one call; default 512 KiB. Larger ones are refused as payload_too_large
	MaxGroupedRows  int   // rows held for group; default 2,000,000. More is an error
	MaxGroupedBytes int64 // their memory, roughly; default 1 GiB. More is an error
}

// maxItems bounds what one row may become.
const maxItems = 100

// rememberedIDs bounds the memory for messageIds that the file already had.
const rememberedIDs = 2_000_000

// Call is one call, ready for RAW.
type Call struct {
	// Raw has neither Accepted nor SentAt: whoever publishes it stamps the one and nobody knows the other.
	Raw   event.Raw
	ID    string // the payload's messageId
	Event string // the event's name; "identify" for an identify
	Line  int    // where its first row begins
	Rows  int    // that it is made from; a row may become several calls
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
	limits     mapping.Limits
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

// Open opens a file, or standard input for "-", and reads a CSV's header. The caller closes the Reader.
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
	r := &Reader{
		options: o, source: s, report: Report{File: s.name}, seen: make(map[[16]byte]struct{}),
		limits: mapping.Limits{Items: maxItems, CallBytes: o.MaxPayload, AllBytes: maxItems * o.MaxPayload},
	}
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
		case c.Mapping != m.Hash():
			return fmt.Errorf("resume %s: the mapping %s, or its options, %w", r.source.name, m.Name(), ErrChanged)
		}
		r.resume = c.Position
	}
	format, err := r.source.sniff()
	if err != nil {
		return err
	}
	reads := map[Format]string{CSV: "csv", JSONL: "json"}[format]
	if !m.Reads(reads) {
		return fmt.Errorf("read import %s: this is %s, which the mapping %s does not read; write reads: %[4]s, or reads: [json, csv], into it", r.source.name, strings.ToUpper(reads), m.Name(), reads)
	}
	r.table, err = newTable(&lines{from: r.source, max: r.options.MaxRecord, latin1: r.options.Latin1}, format, r.options.Delimiter)
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
	return Checkpoint{r.source.name, r.source.fingerprint, r.options.Mapping.Hash(), p}, nil
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
			r.refuse(bad.line, &Refusal{Reason: bad.reason, Err: bad.err})
			if g != nil {
				r.spoil(ctx, g, bad.row)
			}
			continue
		}
		if g == nil {
			if err := r.make(ctx, []row{one}, emit); err != nil {
				return err
			}
			continue
		}
		key, held, why := r.key(ctx, one)
		switch {
		case why != nil:
			r.refuse(one.line, why)
		case !held:
			r.report.Ignored++
		default:
			if err := g.add(key, one); err != nil {
				return fmt.Errorf("read import %s:%d: %w", r.source.name, one.line, err)
			}
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
			if g.spoiled[one.key] {
				r.refuseAll(one.rows, &Refusal{Reason: reasonIncomplete, Detail: clip(one.key), Err: errors.New("another row of its group can't be read, and without it the call would be wrong")})
				continue
			}
			if err := r.make(ctx, one.rows, emit); err != nil {
				return err
			}
		}
	}
	if r.calls.Load() < r.resume.Calls {
		return fmt.Errorf("resume %s: it has %d calls and the checkpoint is after %d: the file %w", r.source.name, r.calls.Load(), r.resume.Calls, ErrChanged)
	}
	return nil
}

// spoil notes that the group of a row that can't be read lacks it, as far as its key can be seen.
func (r *Reader) spoil(ctx context.Context, g *groups, broken row) {
	if broken.cells == nil && broken.text == "" {
		return
	}
	if key, held, _ := r.key(ctx, broken); held {
		g.spoiled[key] = true
	}
}
