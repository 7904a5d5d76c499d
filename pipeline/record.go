package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"attune/pipeline/bus"
	"attune/pipeline/event"
)

// record is one delivery of the log, decoded.
type record struct {
	event event.Event
	entry *entry // its profile; nil: it has none
	err   error  // it could not be decoded
	did   effect // on its profile
}

// handle applies one record. What it can't use goes to the dead letters; an error stops the partition.
func (p *partition) handle(ctx context.Context, d bus.Delivery, r *record) error {
	if d.Sequence <= p.position {
		return nil // handed over again after a Nack of a later step
	}
	outcome := "applied"
	switch e := &r.event; {
	case r.err != nil:
		p.park(d, "undecodable", r.err)
		outcome = "parked"
	case e.Source.Name == "" || e.Type != event.Control && e.Profile == "":
		p.park(d, "no_source", errors.New("a record of the log needs its source and its profile: publish calls to attune.events.<key> instead"))
		outcome = "parked"
	case !e.Source.News(p.sources[e.Source.Name]):
		outcome = "repeated"
	case e.Type == event.Control:
		if err := p.control(ctx, e.Control); err != nil {
			return err // handed over again after a pause: the partition waits for its object, loudly
		}
		p.note(e.Source)
		outcome = "control"
	default:
		if err := p.apply(d, r); err != nil {
			outcome = "parked"
			if err := p.fail(d, r, err); err != nil {
				p.broken = err // the profile is half changed: the partition is claimed anew
				return err
			}
		}
		p.note(e.Source)
	}
	p.position = d.Sequence
	p.c.metrics.records.WithLabelValues(outcome).Inc()
	return nil
}

func (p *partition) note(s event.Source) {
	p.sources[s.Name] = s.Ordinal
	p.batch.changed = true
}

func (p *partition) control(ctx context.Context, record *event.ControlRecord) error {
	if record == nil || record.Version <= p.controls[record.Kind].Version {
		return nil // versions only rise
	}
	if !Steers(record.Kind) {
		return fmt.Errorf("control record of unknown kind %q (version %d): this worker is older than the one that wrote it", record.Kind, record.Version)
	}
	next := maps.Clone(p.controls) // the commit under way holds the map
	next[record.Kind] = *record
	chain, err := p.c.config.Load(ctx, next)
	if err != nil {
		return fmt.Errorf("%s version %d: %w", record.Kind, record.Version, err)
	}
	p.chain, p.controls = chain, next
	return nil
}

func (p *partition) apply(d bus.Delivery, r *record) error {
	e, entry := &r.event, r.entry
	if d.Sequence <= entry.profile.Applied {
		return nil // the second belt: already applied
	}
	armed := entry.profile.Armed
	result, err := p.chain.Try(entry.profile, e, d.Sequence)
	if err != nil {
		return err
	}
	if e.Type == event.Wake && armed != 0 && armed <= e.Accepted {
		p.c.metrics.lateness.Observe(time.Since(armed.Time()).Seconds())
	}
	if entry.profile.Applied != d.Sequence {
		return nil // a wake-up of a profile that is gone
	}
	if err := p.take(d, r, &result); err != nil {
		return err
	}
	r.did = applied
	return nil
}

// take takes what a record led to into the batch; after an error the batch is as it was.
func (p *partition) take(d bus.Delivery, r *record, result *Result) error {
	b, e, entry := &p.batch, &r.event, r.entry
	var leaving [][]byte
	for i := range result.Leaving {
		data, err := result.Leaving[i].Encode()
		if err != nil {
			return err
		}
		leaving = append(leaving, data)
	}
	if err := p.state(d, &result.Facts); err != nil {
		return err
	}
	for _, data := range leaving {
		b.size += len(data)
	}
	b.leaving = append(b.leaving, leaving...)
	b.decisions = append(b.decisions, result.Facts.Decisions...)
	for _, m := range result.Facts.Merges {
		if m.Refused != "" {
			b.merges = append(b.merges, m.Refused)
		} else if m.Loser == e.Merge.Loser { // those who had gone on in it were counted then
			b.merges = append(b.merges, "merged")
		}
	}
	b.deliveries = append(b.deliveries, result.Deliveries...)
	b.size += 64 // a wake-up's
	for i := range result.Deliveries {
		b.size += result.Deliveries[i].Size()
	}
	if result.Wake != 0 {
		b.wakes = append(b.wakes, WakeUp{Profile: e.Profile, At: result.Wake})
	}
	if b.oldest == 0 || e.Accepted < b.oldest {
		b.oldest = e.Accepted
	}
	if !entry.inBatch {
		entry.inBatch = true
		b.dirty = append(b.dirty, entry)
		b.size += len(entry.packed) + 512
	}
	b.changed = true
	return nil
}

// state takes a record's facts into the batch and the running hash.
func (p *partition) state(d bus.Delivery, f *Facts) error {
	b := &p.batch
	var err error
	if b.encoded, err = p.c.commits.AppendFacts(b.encoded[:0], d.Data, f); err != nil || len(b.encoded) == 0 {
		return err
	}
	before := len(b.facts)
	b.facts = AppendRecordFacts(b.facts, d.Sequence, b.encoded)
	p.hash.Add(d.Sequence, b.encoded)
	b.size += len(b.facts) - before
	return nil
}

func (p *partition) park(d bus.Delivery, reason string, err error) {
	letter := DeadLetter{Reason: reason, Error: err.Error(), Payload: d.Data, Subject: d.Subject, Position: d.Sequence}
	letter.Fit(p.c.conn.MaxPayload())
	p.batch.deadLetters = append(p.batch.deadLetters, letter)
	p.batch.size += len(letter.Payload) + 256
	p.batch.changed = true
}
