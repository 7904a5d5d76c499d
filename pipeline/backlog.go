package pipeline

import (
	"context"
	"time"
)

// pause waits while too many commits wait.
func (p *partition) pause(ctx context.Context) error {
	for p.c.config.Throttle.full(ctx) {
		if err := p.relieve(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(throttleEvery):
		case <-p.committer.failing:
			return p.committer.failed()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Idle lets commits go that another partition may wait for.
func (p *partition) Idle(ctx context.Context) error {
	if !p.c.config.Throttle.full(ctx) {
		return nil
	}
	return p.relieve(ctx)
}

// relieve lets those of too many commits go that wait only for being folded, and for a commit that states that they are:
// nothing else stores one during a pause, or where no record comes.
func (p *partition) relieve(ctx context.Context) error {
	stated, err := p.stateMark(ctx)
	if err != nil {
		return err
	}
	if stated {
		p.hurries = purgePatience + 2 // it is stored, and then commits wait to go with those of other partitions
	}
	if p.hurries > 0 || p.cache.unfolded() > 0 {
		p.committer.hurry()
	}
	p.hurries = max(0, p.hurries-1)
	return nil
}

// stateMark stores a commit that states the mark and nothing else, if that lets others go.
func (p *partition) stateMark(ctx context.Context) (stated bool, err error) {
	mark, folded := p.cache.mark(p.committer.confirmed())
	if min(mark, p.committer.worked()) <= p.committer.stated() {
		return false, nil
	}
	commit := Commit{
		Epoch: p.epoch, After: p.after, Position: p.after, Sources: p.sources, Controls: p.controls,
		Mark: mark, Folded: folded, Hash: p.hash.Sum(),
	}
	data, err := p.c.commits.Encode(&commit)
	if err != nil {
		return false, err
	}
	return true, p.committer.submit(ctx, unit{commit: &commit, data: data})
}

// room waits while too many profiles lie only in commits: they can't leave the memory before they are folded, so it
// would grow for as long as the folds fall behind. There may be as many of them as clean ones.
func (p *partition) room(ctx context.Context) error {
	for p.cache.unfolded() > p.c.config.CachedProfiles {
		p.committer.hurry()
		select {
		case <-p.cache.relieved:
		case <-p.committer.failing:
			return p.committer.failed()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// hurry asks for a round of folding now.
func (c *committer) hurry() {
	select {
	case c.heavy <- struct{}{}:
	default:
	}
}
