package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/state"
	"attune/pipeline/topology"
)

func (c *Customer) open(ctx context.Context, topic string) (bus.Session, error) {
	number, err := topology.PartitionOf(topic)
	if err != nil {
		return nil, err
	}
	p := &partition{c: c, number: number, sources: map[string]uint64{}, controls: Controls{}}
	p.cache = newCache(c.config.CachedProfiles)
	if p.reads, err = state.Open(c.conn, topology.Profiles); err != nil {
		return nil, err
	}
	tail, err := p.claim(ctx)
	if err != nil {
		p.reads.Close()
		return nil, fmt.Errorf("claim partition %d: %w", number, err)
	}
	if err := p.start(ctx); err != nil {
		p.reads.Close()
		return nil, err
	}
	c.config.Log.Debug("partition claimed", "partition", number, "epoch", p.epoch, "position", p.position, "unfolded_profiles", tail)
	return p, nil
}

// claimAttempts bounds how often a claim is tried anew because a commit came in between.
const claimAttempts = 100

// claim stores a commit with the next epoch, which ends every former owner, and reads the profiles that are
// not folded yet out of the commits above the mark.
func (p *partition) claim(ctx context.Context) (unfolded int, err error) {
	subject := topology.Subject(topology.Commits, p.number)
	var claim Commit
	var sequence uint64
	for range claimAttempts { // a former owner that is still at work commits faster than any pause
		if claim, sequence, err = p.tryClaim(ctx, subject); !bus.IsConflict(err) {
			break
		}
	}
	if err != nil {
		return 0, err
	}
	p.epoch, p.position, p.after, p.hash = claim.Epoch, claim.Position, claim.Position, NewRunningHash(claim.Hash)
	maps.Copy(p.sources, claim.Sources)
	maps.Copy(p.controls, claim.Controls)
	p.cache.stored(claim.Folded)
	p.committer = &committer{c: p.c, subject: subject, last: sequence, work: sequence, mark: claim.Mark, cache: p.cache, tracer: newTracer(p.c, p.number, sequence)}
	if err := p.readTail(ctx, subject, claim.Mark, sequence); err != nil {
		return 0, fmt.Errorf("read commits above the mark %d: %w", claim.Mark, err)
	}
	return p.cache.unfolded(), p.c.config.faults.at(claimed)
}

// tryClaim reads the last commit and stores the claim after it, if it is still the last.
func (p *partition) tryClaim(ctx context.Context, subject string) (claim Commit, sequence uint64, err error) {
	if err := p.c.config.faults.at(claimBegun); err != nil {
		return claim, 0, err
	}
	stream, err := bus.LookUpStream(ctx, p.c.config.JetStream, topology.Commits)
	if err != nil {
		return claim, 0, err
	}
	var last Commit
	var lastSequence uint64
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
	case err != nil:
		return claim, 0, err
	default:
		found, err := p.c.commits.Decode(m.Data)
		if err != nil {
			return claim, 0, err
		}
		last, lastSequence = *found, m.Sequence
	}
	// Before the claim: who can't decide must not take the partition.
	if p.chain == nil || !maps.Equal(last.Controls, p.loaded) {
		if p.chain, err = p.c.config.Load(ctx, last.Controls); err != nil {
			return claim, 0, fmt.Errorf("load what is in force: %w", err)
		}
		p.loaded = last.Controls
	}
	claim = Commit{
		Epoch: last.Epoch + 1, After: last.Position, Position: last.Position, Sources: last.Sources, Controls: last.Controls,
		Mark: last.Mark, Folded: last.Folded, Hash: last.Hash,
	}
	data, err := p.c.commits.Encode(&claim)
	if err != nil {
		return claim, 0, err
	}
	if err := p.c.config.faults.at(claimRead); err != nil {
		return claim, 0, err
	}
	ack, err := p.c.config.JetStream.Publish(ctx, subject, data, jetstream.WithExpectLastSequencePerSubject(lastSequence))
	if err != nil {
		return claim, 0, fmt.Errorf("store the claim: %w", err)
	}
	return claim, ack.Sequence, p.c.config.faults.at(claimStored)
}

// readTail takes over the profiles of the commits after mark, up to the claim.
func (p *partition) readTail(ctx context.Context, subject string, mark, claim uint64) error {
	js := p.c.config.JetStream
	consumer, err := bus.CreateConsumer(ctx, js, topology.Commits, jetstream.ConsumerConfig{
		FilterSubject: subject, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: mark + 1,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	name := consumer.CachedInfo().Name
	defer bus.Discard(ctx, js, topology.Commits, name)
	puller, err := bus.NewPuller(p.c.conn, topology.Commits, name, 64)
	if err != nil {
		return err
	}
	defer puller.Close()
	newest := map[string]lastCommitted{}
	for {
		batch, err := puller.Next(ctx, 64)
		if err != nil {
			return err
		}
		for _, d := range batch {
			commit, err := p.c.commits.Decode(d.Data)
			if err != nil {
				return fmt.Errorf("commit %d: %w", d.Sequence, err)
			}
			for _, s := range commit.Profiles {
				newest[s.ID] = lastCommitted{s.State, d.Sequence}
			}
			if err := p.c.config.faults.at(tailRead); err != nil {
				return err
			}
			if d.Sequence >= claim {
				for id, last := range newest {
					p.cache.restore(id, bytes.Clone(last.state), last.commit) // without the rest of its commit
				}
				return nil
			}
		}
	}
}

// lastCommitted is a profile's state in the newest commit that holds it.
type lastCommitted struct {
	state  []byte
	commit uint64
}

func (p *partition) start(ctx context.Context) error {
	wave, err := bus.NewWave(p.c.conn)
	if err != nil {
		return err
	}
	writes, err := state.Open(p.c.conn, topology.Profiles)
	if err != nil {
		wave.Close()
		return err
	}
	// The partition outlives the subscriber's context by its last commit and fold.
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.ended = cancel
	p.committer.start(wave)
	p.folder = &folder{c: p.c, number: p.number, cache: p.cache, bucket: writes, committer: p.committer, tracer: p.committer.tracer, stop: make(chan struct{})}
	folding, giveUp := context.WithCancel(background)
	p.work.Add(2)
	go func() {
		defer p.work.Done()
		defer p.folder.finish() // after the last commit, which it folds too
		p.committer.run(background)
		if p.committer.failed() != nil {
			giveUp() // the partition is lost: its new owner folds
		}
	}()
	go func() { defer p.work.Done(); defer giveUp(); p.folder.run(folding) }()
	return nil
}
