package pipeline

import "context"

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
