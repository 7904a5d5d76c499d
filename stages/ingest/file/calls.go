package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"attune/stages/ingest"
	"attune/stages/ingest/mapping"
)

// Reasons for which a row is refused, beside those of package mapping and of the mapping itself.
const (
	reasonNoTime     = "no_time"
	reasonRepeatedID = "repeated_id"
	reasonIncomplete = "incomplete_group"
)

// key finds the group of a row. False: the row is not held.
func (r *Reader) key(ctx context.Context, one row) (key string, held bool, why *Refusal) {
	value, err := r.table.value(one)
	if err != nil {
		return "", false, refusal(err)
	}
	parts, problems := r.options.Mapping.Parts(ctx, value, r.limits)
	switch {
	case len(problems) > 0:
		return "", false, refusal(problems[0])
	case len(parts) > 1:
		return "", false, &Refusal{Reason: mapping.ReasonFailed, Err: errors.New("each makes several items of a row; in a file that is grouped, a row is one")}
	case len(parts) == 0:
		return "", false, nil
	}
	return parts[0].Key, true, nil
}

// refusal says why a row is refused, without the row's own place.
func refusal(err error) *Refusal {
	var p *mapping.Problem
	if !errors.As(err, &p) {
		return &Refusal{Reason: "malformed", Err: err}
	}
	told := *p
	told.Item = -1 // the line says which
	return &Refusal{Reason: p.Reason, Detail: p.Detail, Err: &told}
}

// make maps a row, or the rows of a group, and hands on the calls that lie behind the resumed position.
func (r *Reader) make(ctx context.Context, rows []row, emit func(Call) error) error {
	result, err := r.mapped(ctx, rows)
	if err != nil {
		return err
	}
	if len(result.Problems) > 0 {
		r.refuseAll(rows, refusal(result.Problems[0]))
		return nil
	}
	calls := make([]Call, 0, len(result.Calls))
	for _, c := range result.Calls {
		raw, p := ingest.Record(c)
		if p != nil {
			r.refuseAll(rows, refusal(p))
			return nil
		}
		if why := r.acceptable(c); why != nil {
			r.refuseAll(rows, why)
			return nil
		}
		raw.Historical = true
		name := c.Event
		if c.Kind != "track" {
			name = c.Kind
		}
		calls = append(calls, Call{Raw: raw, ID: c.ID, Event: name, Line: rows[0].line, Rows: len(rows)})
	}
	if len(calls) == 0 {
		r.report.Ignored += int64(len(rows))
		return nil
	}
	r.report.CallRows += int64(len(rows))
	for _, c := range calls {
		if err := r.hand(c, emit); err != nil {
			return err
		}
	}
	return nil
}

// mapped is what the mapping makes of a row or a group.
func (r *Reader) mapped(ctx context.Context, rows []row) (mapping.Result, error) {
	m := r.options.Mapping
	if !m.Grouped() {
		value, err := r.table.value(rows[0])
		if err != nil {
			return mapping.Result{Problems: []*mapping.Problem{problemOf(err)}}, nil
		}
		return m.MapRow(ctx, value, r.limits), ctx.Err()
	}
	whole := mapping.Row{}
	items := make([]any, 0, len(rows))
	for _, one := range rows {
		value, err := r.table.value(one)
		if err != nil { // it could be read when its key was
			return mapping.Result{Problems: []*mapping.Problem{problemOf(err)}}, nil
		}
		found, problems := m.Items(ctx, value, r.limits)
		if len(problems) > 0 {
			return mapping.Result{Problems: problems}, ctx.Err()
		}
		items = append(items, found...)
		whole.ID, whole.Size = value.ID, whole.Size+value.Size
	}
	whole.Value = items
	return m.MapGroup(ctx, whole, r.limits), ctx.Err()
}

func problemOf(err error) *mapping.Problem {
	var p *mapping.Problem
	if errors.As(err, &p) {
		return p
	}
	return &mapping.Problem{Reason: mapping.ReasonInvalidJSON, Item: -1, What: err.Error()}
}

// acceptable refuses what would count as happening now, and what the pipeline would drop as a repeat.
func (r *Reader) acceptable(c mapping.Call) *Refusal {
	if !c.Timed && (c.Kind == "track" || c.Kind == "page" || c.Kind == "screen") {
		return &Refusal{Reason: reasonNoTime, Err: errors.New("it says nothing of when it happened, and would count as happening now: give the call a time")}
	}
	sum := sha256.Sum256([]byte(c.ID))
	key := [16]byte(sum[:16])
	if _, again := r.seen[key]; again {
		return &Refusal{Reason: reasonRepeatedID, Detail: clip(c.ID), Err: errors.New("an earlier call has the same messageId, for which it would pass as a repeat: let id tell them apart")}
	}
	if len(r.seen) < rememberedIDs {
		r.seen[key] = struct{}{}
	}
	return nil
}

// hand gives a call on, unless it lies before the resumed position.
func (r *Reader) hand(c Call, emit func(Call) error) error {
	r.report.call(c.Event)
	chain := sha256.New()
	chain.Write(r.digest[:])
	chain.Write(c.Raw.Payload)
	chain.Sum(r.digest[:0])
	c.Position = Position{Calls: r.calls.Add(1), Digest: hex.EncodeToString(r.digest[:])}
	if c.Position.Calls <= r.resume.Calls {
		r.report.Skipped++
		if c.Position.Calls == r.resume.Calls && c.Position.Digest != r.resume.Digest {
			return fmt.Errorf("resume %s: the calls before the checkpoint are others now: the file %w", r.source.name, ErrChanged)
		}
		return nil
	}
	return emit(c)
}

func (r *Reader) refuse(line int, why *Refusal) {
	no := *why
	no.File, no.Line = r.source.name, line
	r.report.refuse(no)
	if r.options.OnRefusal != nil {
		r.options.OnRefusal(no)
	}
}

func (r *Reader) refuseAll(rows []row, why *Refusal) {
	for _, one := range rows {
		r.refuse(one.line, why)
	}
}

// declared tells a refusal that the mapping itself declares: its reason says it all.
func (r *Refusal) declared() bool {
	var p *mapping.Problem
	return errors.As(r.Err, &p) && strings.HasPrefix(p.Field, "refuse[")
}
