package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/state"
)

// partition is the owner's session of one partition of the log. The subscriber's goroutine computes batches
// over speculative state; a committer stores one commit at a time meanwhile; a folder writes what is
// committed into the bucket in the background. On any failure all of it is thrown away and the partition
// claimed again.
type partition struct {
	c      *Customer
	number int

	// Of the subscriber's goroutine: the speculative state after the records handled so far.
	epoch    uint64
	position uint64
	after    uint64 // the position of the newest commit
	sources  map[string]uint64
	controls Controls
	chain    *Chain
	loaded   Controls // what the chain was made from, at the claim
	hash     *RunningHash
	batch    batch
	begun    []bus.Delivery // the latest that Begin was given
	records  []record       // and what they are
	encoded  []byte         // the last profile's bytes, to be used again
	reads    *state.Bucket
	hurries  int // rounds of folding to be hurried, when there are too many commits
	broken   error

	cache     *cache
	committer *committer
	folder    *folder
	ended     context.CancelFunc
	work      sync.WaitGroup
}

// batch collects what the records since the last commit led to.
type batch struct {
	facts       []byte // record by record, as the commit holds them
	encoded     []byte // the last record's facts, to be used again
	decisions   []Decision
	merges      []string // outcomes, for the metric
	deliveries  []Delivery
	wakes       []WakeUp
	deadLetters []DeadLetter
	leaving     [][]byte // records for other logs
	dirty       []*entry
	size        int
	oldest      event.Instant // the earliest `accepted` in it, for the age metric
	changed     bool
}

// Start is the record after the last one applied.
func (p *partition) Start() uint64 { return p.position + 1 }

// Begin decodes the records and reads the profiles that are not in memory, all in one request.
func (p *partition) Begin(ctx context.Context, deliveries []bus.Delivery) ([]any, error) {
	if err := p.pause(ctx); err != nil {
		return nil, err
	}
	if err := p.room(ctx); err != nil {
		return nil, err
	}
	p.cache.makeRoom()
	values, records := make([]any, len(deliveries)), make([]record, len(deliveries))
	p.begun, p.records = deliveries, records
	var missing []string
	asked := map[string]bool{}
	for i, d := range deliveries {
		r := &records[i]
		values[i] = r
		id := ""
		if r.err = r.event.Decode(d.Data); r.err == nil {
			id = r.event.Profile
		}
		if id == "" {
			continue
		}
		if r.entry = p.cache.find(id); r.entry == nil && !asked[id] {
			asked[id] = true
			missing = append(missing, id)
		}
	}
	if err := p.load(ctx, missing); err != nil {
		return nil, err
	}
	for i := range records {
		r := &records[i]
		if r.err != nil || r.event.Profile == "" {
			continue
		}
		if r.entry == nil {
			r.entry = p.cache.find(r.event.Profile)
		}
		if err := p.cache.use(r.entry); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (p *partition) load(ctx context.Context, missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	p.reads.NotBefore(p.cache.stored(0))
	found, err := p.reads.Get(ctx, missing)
	if err != nil {
		return fmt.Errorf("read profiles: %w", err)
	}
	for _, id := range missing {
		p.cache.load(id, found[id].Value, found[id].Revision)
	}
	return p.c.config.faults.at(profilesRead)
}

// Cut keeps a commit below its size and closes the batch before a control record.
func (p *partition) Cut(next any) bool {
	return p.batch.size >= p.c.config.CommitBytes || next.(*record).event.Type == event.Control
}

// Err is what ends the session.
func (p *partition) Err() error { return errors.Join(p.broken, p.committer.failed()) }

// Commit encodes the batch and hands it to the committer, which stores one at a time; the next batch is
// computed meanwhile.
func (p *partition) Commit(ctx context.Context, _ uint64, ack func() error) error {
	b := p.batch
	p.batch = batch{facts: b.facts, encoded: b.encoded}
	if !b.changed { // repeats only: their position goes with the next commit
		return p.committer.submit(ctx, unit{ack: ack})
	}
	used := p.committer.reuse()
	p.batch.facts = used.facts
	if err := p.c.config.faults.at(batchComputed); err != nil {
		return err
	}
	commit := Commit{
		Epoch: p.epoch, After: p.after, Position: p.position, Sources: p.sources, Controls: p.controls,
		Facts: b.facts, Deliveries: b.deliveries, Wakes: b.wakes, DeadLetters: b.deadLetters, Leaving: b.leaving, Hash: p.hash.Sum(),
	}
	commit.Profiles = make([]ProfileState, len(b.dirty))
	for i, e := range b.dirty {
		p.encoded = profile.Append(p.encoded[:0], e.profile)
		e.inBatch, e.packed = false, bytes.Clone(p.encoded) // it stays in memory: no larger than it must be
		commit.Profiles[i] = ProfileState{ID: e.id, State: e.packed}
	}
	commit.Mark, commit.Folded = p.cache.mark(p.committer.confirmed())
	data, err := p.c.commits.Append(used.data, &commit)
	if err != nil {
		return err
	}
	p.after = p.position
	p.cache.pin(b.dirty)
	if err := p.c.config.faults.at(commitEncoded); err != nil {
		return err
	}
	for _, d := range b.decisions {
		p.c.metrics.decisions.WithLabelValues(d.Campaign, string(d.Outcome), d.Reason).Inc()
	}
	for _, outcome := range b.merges {
		p.c.metrics.merges.WithLabelValues(outcome).Inc()
	}
	return p.committer.submit(ctx, unit{commit: &commit, data: data, dirty: b.dirty, ack: ack, oldest: b.oldest})
}

// Close stores what was submitted, folds and lets go.
func (p *partition) Close() {
	p.committer.finish()
	p.work.Wait()
	p.ended()
	p.reads.Close()
}
