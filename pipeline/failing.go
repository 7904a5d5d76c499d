package pipeline

import (
	"fmt"
	"strings"

	"attune/pipeline/bus"
	"attune/pipeline/event"
)

// effect is what a record did to its profile.
type effect int

const (
	nothing  effect = iota
	applied         // its step ran
	salvaged        // its step failed: only what makes profiles one was taken from it
)

// fail parks a record whose step failed. Its profile is brought back to where it was, so that nothing else suffers:
// neither the records before it in the batch, nor the partition, which goes on with the next one. What makes profiles one
// is taken from the record all the same.
func (p *partition) fail(d bus.Delivery, r *record, cause error) error {
	summary, _, _ := strings.Cut(cause.Error(), "\n") // the letter has the stack too
	p.c.config.Log.Warn("a record's step failed, the record is parked", "partition", p.number, "position", d.Sequence, "type", r.event.Type, "error", summary)
	p.park(d, "failed", cause)
	if err := p.restore(r.entry); err != nil {
		return err
	}
	result, err := p.chain.Salvage(r.entry.profile, &r.event, d.Sequence)
	if err != nil {
		return p.restore(r.entry) // its state can't be read: the letter has it
	}
	if r.entry.profile.Applied != d.Sequence {
		return nil
	}
	if err := p.take(d, r, &result); err != nil {
		return err
	}
	r.did = salvaged
	return nil
}

// restore brings a half changed profile back to where it was before the record that failed: as of the last commit, and
// then by what was applied since.
func (p *partition) restore(e *entry) error {
	e.profile = nil
	if err := p.cache.use(e); err != nil {
		return err
	}
	for i := range p.records {
		r, d := &p.records[i], p.begun[i]
		if r.entry != e || r.did == nothing || d.Sequence <= p.after {
			continue
		}
		again, err := event.Decode(d.Data) // stages may have changed the one they were given
		if err != nil {
			return err
		}
		redo := p.chain.Try
		if r.did == salvaged {
			redo = p.chain.Salvage
		}
		if _, err := redo(e.profile, &again, d.Sequence); err != nil {
			return fmt.Errorf("position %d fails when it is run a second time: a stage is not pure: %w", d.Sequence, err)
		}
	}
	return nil
}
